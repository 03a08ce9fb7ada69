//! Which routers may speak routing protocols with this node, and whether VRRP can move its VIPs.

use crate::{config::Config, diagnose::finding::Finding, system::ownership::Foreign};

const PART: &str = "speaking";

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpeakingFacts {
    /// Addresses that VRRP would move, and that something else put on this node.
    pub own: Vec<Foreign>,
}

pub(super) fn judge(config: &Config, facts: &SpeakingFacts) -> Vec<Finding> {
    let mut findings = Vec::new();
    let spoken: Vec<&str> = [
        (config.bgp.is_some(), "BGP"),
        (
            config
                .bgp
                .iter()
                .flat_map(|it| &it.neighbours)
                .any(|it| it.bfd.is_some()),
            "BFD",
        ),
        (config.vrrp.is_some(), "VRRP"),
    ]
    .iter()
    .filter(|(on, _)| *on)
    .map(|(_, name)| *name)
    .collect();
    if let (Some((last, others)), None) = (spoken.split_last(), &config.node.routers) {
        let names = match others {
            [] => (*last).to_owned(),
            _ => format!("{} and {last}", others.join(", ")),
        };
        let reason = format!("every host that reaches this node may speak {names} with it");
        findings.push(Finding::warning(PART, "node.routers", reason).advice(
            "write the addresses of the neighbours, and of the other nodes of VRRP, into a list, and name it as `routers` in \
             [node]: packets of others are then dropped before anything reads them",
        ));
    } else if config.node.routers.is_some() {
        findings.push(Finding::ok(
            PART,
            "node.routers",
            "routing protocols have a list",
        ));
    }
    findings.extend(facts.own.iter().map(|foreign| {
        let reason = format!("it is this node's own address ({foreign}), so VRRP cannot move it");
        Finding::failed(PART, format!("VIP {}", foreign.address), reason).advice(format!(
            "name another VIP, or take the address off: `ip addr del {}/{} dev {}`",
            foreign.address, foreign.prefix_length, foreign.interface
        ))
    }));
    findings
}
