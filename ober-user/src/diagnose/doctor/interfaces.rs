//! The interfaces that packets come in by: does the driver run XDP, does the program meet what comes in, and are packets
//! steered?

use crate::{
    config::{Config, Steer, XdpMode},
    dataplane::{
        Occupant,
        interface::{
            Features,
            refusal::{self, Cause, WhyGeneric},
            steer::{self, Candidate, Decision},
        },
    },
    diagnose::finding::Finding,
    system::fact::Fact,
};

const PART: &str = "interfaces";
/// With fewer packets nothing is judged.
const TELLING: u64 = 10;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceFacts {
    pub name: String,
    /// `None`: there is no interface of that name.
    pub features: Option<Features>,
    /// Is our program attached?
    pub attached: Fact,
    /// Programs that are not ours.
    pub others: Vec<Occupant>,
    /// Does the driver run ours? `None`: it is not attached.
    pub native: Option<bool>,
    /// Why it does not, although the configuration asks for it.
    pub why_generic: Option<WhyGeneric>,
    /// Does the program meet packets, as the daemon has seen?
    pub runs: Option<bool>,
    /// While the daemon ran: packets the interface took in, and packets the programs counted on all interfaces.
    pub sample: Option<Sample>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    pub received: u64,
    pub counted: u64,
}

/// The daemon's facts about all interfaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub steering: bool,
    pub why: Option<String>,
    /// Packets that drivers dropped although no program asked for it.
    pub unexplained_drops: u64,
}

pub(super) fn judge(config: &Config, all: &[InterfaceFacts], node: Option<&Node>) -> Vec<Finding> {
    let mut findings: Vec<_> = all.iter().map(|facts| xdp(config, facts)).collect();
    findings.extend(all.iter().filter_map(counters));
    findings.extend(node.and_then(lost));
    findings.push(steering(config, all, node));
    findings
}

fn xdp(config: &Config, facts: &InterfaceFacts) -> Finding {
    let name = &facts.name;
    if let Fact::Unasked(why) = &facts.attached {
        return Finding::warning(
            PART,
            name,
            format!("could not ask whether XDP is attached: {why}"),
        )
        .advice("ask again; if it stays so, raise the limit on open files (`ulimit -n`)");
    }
    let Some(features) = &facts.features else {
        return Finding::failed(PART, name, "there is no such interface")
            .advice("correct `node.interfaces`; `ip -brief link` lists them");
    };
    if let Some(other) = facts.others.first() {
        return taken(name, other);
    }
    let what = described(features);
    let finding = match (facts.native, &facts.why_generic) {
        (Some(true), _) => Finding::ok(PART, name, format!("{what}, native XDP")),
        (Some(false), _) if config.node.xdp == XdpMode::Generic => {
            Finding::ok(PART, name, format!("{what}, generic XDP as configured"))
        }
        (Some(false), Some(why_generic)) => generic(name, &what, features, why_generic),
        (Some(false), None) => Finding::warning(
            PART,
            name,
            format!("{what}, generic XDP, the reason was not kept"),
        )
        .advice("`ober-user reload` tries the driver again, and keeps its answer"),
        (None, _) => unattached(config, name, &what, features),
    };
    finding
        .detail("driver", features.what())
        .detail("mtu", features.mtu)
}

fn taken(name: &str, other: &Occupant) -> Finding {
    let reason = format!("another XDP program is on it ({other})");
    Finding::failed(PART, name, reason).advice(format!(
        "see whose it is (`bpftool prog show id {}`), then take it off with `{}`",
        other.program,
        other.off(name)
    ))
}

fn described(features: &Features) -> String {
    let queues = match features.queues {
        Some(queues) => format!("{} queues", queues.now),
        None => "queues unknown".to_owned(),
    };
    format!("{}, {queues}, MTU {}", features.what(), features.mtu)
}

fn generic(name: &str, what: &str, features: &Features, why_generic: &WhyGeneric) -> Finding {
    let reason = format!("{what}, generic XDP only: {}", why_generic.cause.words());
    let advice = refusal::advice(&why_generic.cause, features);
    Finding::warning(PART, name, reason)
        .advice(format!(
            "{advice}. `ober-user reload` tries the driver again; until then packets are slower, and not steered"
        ))
        .detail("since", why_generic.since)
}

/// The expected way of attaching, for an interface without our program.
fn unattached(config: &Config, name: &str, what: &str, features: &Features) -> Finding {
    let only_native = config.node.xdp == XdpMode::Native;
    let not = |reason: String, advice: String| {
        if only_native {
            Finding::failed(PART, name, reason)
                .advice(format!("{advice}; or set `node.xdp = \"auto\"`"))
        } else {
            Finding::warning(PART, name, reason).advice(advice)
        }
    };
    if config.node.xdp == XdpMode::Generic {
        return Finding::ok(PART, name, format!("{what}, generic XDP as configured"));
    }
    if features.virtio.is_some_and(|it| it.is_blind(features.mtu)) {
        let reason = format!("{what}: {}", Cause::Blind.words());
        return not(reason, refusal::advice(&Cause::Blind, features));
    }
    match refusal::has_native(features) {
        Some(true) => Finding::ok(PART, name, format!("{what}, which has native XDP")),
        known => {
            let words = if known.is_some() {
                "has no"
            } else {
                "is not known to have"
            };
            let refused = Cause::Refused {
                errno: libc::EOPNOTSUPP,
                words: None,
            };
            let advice = refusal::advice(&refused, features);
            not(format!("{what}: the driver {words} native XDP"), advice)
        }
    }
}

/// Does the program meet the packets?
fn counters(facts: &InterfaceFacts) -> Option<Finding> {
    let object = format!("{} counters", facts.name);
    let blind = |reason: String| {
        Finding::failed(PART, &object, reason).advice(
            "the driver takes the program and does not run it; `ober-user reload` tries it again, and `node.xdp = \
             \"generic\"` has the kernel run it",
        )
    };
    if facts.runs == Some(false) {
        return Some(blind(
            "the daemon saw packets come in, and the program meet none of them".to_owned(),
        ));
    }
    let Sample { received, counted } = facts.sample?;
    if counted == 0 && received >= TELLING && facts.runs != Some(true) {
        let reason = format!("{received} packets came in, and the programs saw none of them");
        return Some(blind(reason));
    }
    let reason = match facts.runs {
        Some(_) => "the program meets the packets".to_owned(),
        None if counted > 0 => {
            format!("{received} packets came in, the programs counted {counted}")
        }
        None => {
            "attached; too few packets have come in to say whether the driver runs it".to_owned()
        }
    };
    Some(Finding::ok(PART, object, reason))
}

/// Packets that drivers drop although no program asked for it.
fn lost(node: &Node) -> Option<Finding> {
    let drops = node.unexplained_drops;
    (drops > 0).then(|| {
        let reason = format!(
            "drivers have dropped {drops} packets at XDP that no program asked them to drop, since the daemon started"
        );
        Finding::failed(PART, "driver drops", reason).advice(
            "`ethtool -S` shows on which queue (`xdp_drops`); the MTU may have become too large for native XDP (`ober-user \
             reload` asks the driver again), or a CPU that packets are steered to is overrun (`steer = \"off\"`)",
        )
    })
}

fn steering(config: &Config, all: &[InterfaceFacts], node: Option<&Node>) -> Finding {
    let decision = node.map_or_else(|| expected_decision(config, all), reported_decision);
    let object = "steering";
    if decision.steers {
        return Finding::ok(
            PART,
            object,
            format!("packets go to their worker's CPU: {}", decision.why),
        );
    }
    let reason = format!("packets stay on the CPU they come in by: {}", decision.why);
    if matches!(config.node.steer, Steer::Cpu | Steer::Always) {
        return Finding::warning(PART, object, reason)
            .advice("set `node.steer = \"auto\"`, or change what prevents it");
    }
    Finding::ok(PART, object, reason)
}

fn reported_decision(node: &Node) -> Decision {
    Decision {
        steers: node.steering,
        why: node
            .why
            .clone()
            .unwrap_or_else(|| "the daemon does not say why".to_owned()),
        refused: false,
    }
}

/// The decision that a daemon would make.
fn expected_decision(config: &Config, all: &[InterfaceFacts]) -> Decision {
    let candidates: Vec<_> = all
        .iter()
        .filter_map(|facts| {
            Some(Candidate {
                features: facts.features.clone()?,
                native: facts
                    .native
                    .or((config.node.xdp == XdpMode::Generic).then_some(false)),
            })
        })
        .collect();
    steer::decide(config.node.steer, config.workers.cpus.len(), &candidates)
}
