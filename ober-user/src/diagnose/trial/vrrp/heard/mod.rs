//! The verdict on advertisements received while this node takes no part. It never sends one.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use super::PART;
use crate::{
    diagnose::finding::Finding,
    protocols::vrrp::{
        Conflict, Heard, OWNER, Settings,
        configured::{Instance, Transport, Vrrp},
        packet::{Advertisement, Version},
    },
};

/// A finding for each virtual router, and one for each sender whose packets are refused. `source`: the address this node would
/// advertise from, by family.
pub fn judge(
    config: &Vrrp,
    source: impl Fn(bool) -> Option<IpAddr>,
    all: &[Heard],
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for instance in &config.instances {
        if let Some(own) = source(instance.is_ipv6()) {
            let settings = config.settings(instance, own);
            findings.push(router(config, instance, &settings, all));
        }
    }
    findings.extend(refused(all));
    findings
}

fn router(config: &Vrrp, instance: &Instance, settings: &Settings, all: &[Heard]) -> Finding {
    let object = name(instance);
    let theirs: BTreeMap<IpAddr, &Advertisement> = all
        .iter()
        .filter_map(|heard| match heard {
            Heard::Advertisement {
                from,
                advertisement,
            } => Some((*from, advertisement)),
            Heard::Refused { .. } => None,
        })
        .filter(|(from, it)| it.vrid == instance.vrid && from.is_ipv6() == instance.is_ipv6())
        .collect();
    let wrong = theirs
        .iter()
        .find_map(|(from, it)| contradicts(settings, *from, it));
    if let Some((reason, advice)) = wrong {
        return Finding::failed(PART, object, reason).advice(advice);
    }
    let masters: Vec<_> = theirs.iter().filter(|(_, it)| it.priority > 0).collect();
    match masters.as_slice() {
        [] => silent(config, &object),
        [(from, master)] => led(settings, object, **from, master),
        several => {
            let names: Vec<_> = several.iter().map(|(from, _)| from.to_string()).collect();
            let reason = format!("several masters: {}", names.join(", "));
            Finding::failed(PART, object, reason)
                .advice("they do not hear one another: look for a filter on IP protocol 112, or unicast peers left out")
        }
    }
}

fn name(instance: &Instance) -> String {
    let family = if instance.is_ipv6() { 6 } else { 4 };
    format!("VRID {} (IPv{family})", instance.vrid)
}

/// Why this advertisement and this node cannot be one virtual router.
fn contradicts(
    settings: &Settings,
    from: IpAddr,
    heard: &Advertisement,
) -> Option<(String, String)> {
    let conflict = |conflict: Conflict| {
        let text = conflict.to_string();
        // Its text ends with what to do.
        let (reason, advice) = text
            .split_once(';')
            .unwrap_or((&text, "correct one of the two"));
        (reason.trim().to_owned(), advice.trim().to_owned())
    };
    if from == settings.own {
        return Some(conflict(Conflict::OwnAddress { from }));
    }
    if heard.version != settings.version {
        let (theirs, ours) = (heard.version.number(), settings.version.number());
        return Some((
            format!("{from} speaks version {theirs}, configured is {ours}"),
            format!("write `version = {theirs}`, or change it there"),
        ));
    }
    let same = heard.addresses.len() == settings.addresses.len()
        && heard
            .addresses
            .iter()
            .all(|it| settings.addresses.contains(it));
    if !same {
        let (reason, advice) = conflict(Conflict::Addresses { from });
        let list: Vec<_> = heard.addresses.iter().map(IpAddr::to_string).collect();
        return Some((format!("{reason}: {}", list.join(" ")), advice));
    }
    if heard.version == Version::V2 && heard.interval != settings.interval {
        let interval = heard.interval.duration();
        return Some(conflict(Conflict::Interval { from, interval }));
    }
    if heard.priority == OWNER && settings.priority == OWNER {
        return Some(conflict(Conflict::Owner { from }));
    }
    None
}

fn silent(config: &Vrrp, object: &str) -> Finding {
    match &config.transport {
        Transport::Unicast(_) => Finding::failed(PART, object, "none of the peers is heard as master").advice(
            "is VRRP running on them, with this node's address among their peers, and does IP protocol 112 come \
             through? On the first node of all this is no fault",
        ),
        Transport::Multicast => Finding::warning(PART, object, "no master is heard")
            .advice("is this the only node? If not: does multicast of IP protocol 112 come through?"),
    }
}

fn led(settings: &Settings, object: String, from: IpAddr, master: &Advertisement) -> Finding {
    let (priority, interval) = (master.priority, master.interval.duration());
    let reason = format!("{from} is master with priority {priority}, every {interval:?}");
    let finding = if master.interval == settings.interval {
        Finding::ok(PART, object, reason)
    } else {
        let ours = settings.interval.duration();
        Finding::warning(PART, object, format!("{reason}, configured is {ours:?}"))
            .advice("write the same `advertisement_interval` on all nodes")
    };
    finding
        .detail("master", from)
        .detail("master_priority", priority)
        .detail("version", master.version.number())
}

/// Senders whose packets this node would not accept, each reason once.
fn refused(all: &[Heard]) -> Vec<Finding> {
    let refused: BTreeSet<_> = all
        .iter()
        .filter_map(|heard| match heard {
            Heard::Refused { from, why } => Some((from, why)),
            Heard::Advertisement { .. } => None,
        })
        .collect();
    let finding = |(from, why): (&IpAddr, &String)| {
        Finding::warning(PART, from, format!("its packets are refused: {why}")).advice(
            "if it shares these VIPs, correct the two to agree; otherwise no action is needed",
        )
    };
    refused.into_iter().map(finding).collect()
}

#[cfg(test)]
mod tests;
