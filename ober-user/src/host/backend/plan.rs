//! From facts and setup, without I/O, the changes in their order and the remarks.

use super::{
    look::Facts,
    objects::{self, ENABLED, LOADED, THERE, UP},
    setup::{Interface, Setting, Setup},
    text,
};
use crate::host::{
    object::{Object, Rights, State},
    part::Part,
    plan::{PartPlan, Remark},
};

pub fn plan(facts: &Facts, setup: &Setup) -> PartPlan {
    let mut plan = PartPlan::new(Part::Backend);
    plan.remarks.extend(refusals(facts, setup));
    if plan.is_refused() {
        return plan;
    }
    if setup.has_ipv6() {
        let words = "no setting is needed: the kernel answers a neighbour solicitation only for an address of the interface that it came by, and lo is another";
        plan.remarks.push(Remark::ok("IPv6", words));
    }
    modules(facts, setup, &mut plan);
    settings(facts, setup, &mut plan);
    for tunnel in setup.tunnels() {
        plan.change(
            Object::Link(tunnel.link.to_owned()),
            objects::link_of(&facts.links, tunnel.link),
            State::value(UP),
            "it takes packets out of those that a balancer sends to this server's own address",
        );
    }
    vips(facts, setup, &mut plan);
    at_start(facts, setup, &mut plan);
    plan
}

/// What would do harm.
fn refusals(facts: &Facts, setup: &Setup) -> Vec<Remark> {
    let mut remarks = Vec::new();
    let named = setup.interface.as_ref().map(Interface::name);
    if let Some(name) = named.filter(|name| !facts.links.iter().any(|it| it.name == *name)) {
        let remark = Remark::refused(name, "there is no such interface");
        remarks.push(remark.advice("`ip -brief link` shows those that there are"));
    }
    for vip in &setup.vips {
        if let State::Other(found) = objects::vip_of(&facts.links, *vip) {
            let words = format!(
                "lo has it as {found}, so this server takes every address of that for its own"
            );
            let advice = "take it off lo, also where lo is configured, and run this again";
            remarks.push(Remark::refused(vip.to_string(), words).advice(advice));
        }
        let others = facts.links.iter().filter(|it| it.name != text::LINK);
        for link in others.filter(|it| it.has(*vip)) {
            let name = &link.name;
            let words = format!("it is an address of {name}, so this server answers for it");
            let advice = format!(
                "take it off (`ip address del {vip} dev {name}`), also where {name} is configured, and run this again"
            );
            remarks.push(Remark::refused(vip.to_string(), words).advice(advice));
        }
    }
    remarks
}

fn settings(facts: &Facts, setup: &Setup, plan: &mut PartPlan) {
    let all = setup.settings();
    let text = (!all.is_empty()).then(|| text::settings(setup));
    if text.is_some() && facts.home.is_absent() {
        plan.change(
            Object::Directory(text::SETTINGS_HOME.into()),
            State::Absent,
            State::Directory(Rights::of_root(0o755)),
            "the file below goes here",
        );
    }
    let reason = "the settings, for every start of the machine";
    facts.file.become_text(plan, text, reason);
    for it in &all {
        plan.remarks.extend(contradicted(facts, it));
        let found = facts.live.get(&it.key).and_then(Option::as_ref);
        if found.is_some_and(|value| it.is_met(value)) {
            continue;
        }
        // That of a tunnel is there once its module is.
        let before = found.map_or(State::Absent, State::value);
        plan.change(
            Object::Sysctl(it.key.clone()),
            before,
            State::value(it.value),
            it.reason,
        );
    }
}

/// A file that is read after ours and sets it otherwise.
fn contradicted(facts: &Facts, setting: &Setting) -> Option<Remark> {
    let dotted = setting.key.replace('/', ".");
    let mut said = facts.assigned.iter().rev();
    let said = said.find(|it| it.sets(&dotted))?;
    if said.file.as_os_str() == text::SETTINGS || setting.is_met(&said.value) {
        return None;
    }
    if !said.comes_after(text::SETTINGS) {
        return None;
    }
    let words = format!("{said} sets it to {}, after {}", said.value, text::SETTINGS);
    let advice = format!(
        "take the line out: {} sets the key again when the machine starts, and `sysctl --system` would undo that, so this server \
         would answer for the VIPs",
        text::UNIT
    );
    Some(Remark::warning(&setting.key, words).advice(advice))
}

/// The modules that a tunnel comes with, where it is not there.
fn modules(facts: &Facts, setup: &Setup, plan: &mut PartPlan) {
    for tunnel in setup.tunnels() {
        if !objects::link_of(&facts.links, tunnel.link).is_absent() {
            continue;
        }
        let before = facts.modules.get(tunnel.module).cloned();
        plan.change(
            Object::Module(tunnel.module.to_owned()),
            before.unwrap_or(State::Absent),
            State::value(LOADED),
            format!("{} comes with it", tunnel.link),
        );
    }
}

/// The VIPs: those that this command had put here and that are not named any more go.
fn vips(facts: &Facts, setup: &Setup, plan: &mut PartPlan) {
    let there = State::value(THERE);
    for vip in facts.former.iter().filter(|it| !setup.vips.contains(it)) {
        let found = objects::vip_of(&facts.links, *vip);
        let reason = "it is not among the VIPs any more";
        plan.change(Object::Vip(*vip), found, State::Absent, reason);
    }
    for vip in &setup.vips {
        let found = objects::vip_of(&facts.links, *vip);
        let reason = "packets for it are this server's own";
        plan.change(Object::Vip(*vip), found, there.clone(), reason);
    }
}

/// What a start of the machine does.
fn at_start(facts: &Facts, setup: &Setup, plan: &mut PartPlan) {
    if !facts.systemd {
        let words =
            "systemd does not run here, so a start of this machine would not put the VIPs back";
        let advice = "have what starts programs here run the script that `ober-user backend-setup --print sh` prints";
        plan.remarks
            .push(Remark::warning(text::UNIT, words).advice(advice));
        return;
    }
    let remarks = plan.remarks.len();
    let reason = "a start of the machine puts the VIPs back, after the settings";
    facts
        .unit_file
        .become_text(plan, Some(text::unit(setup)), reason);
    // Another's unit of that name is not started.
    if plan.remarks.len() == remarks {
        plan.change(
            Object::Unit(text::UNIT.to_owned()),
            facts.unit.clone(),
            State::value(ENABLED),
            "systemd starts it with the machine",
        );
    }
}
