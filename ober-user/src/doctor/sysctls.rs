//! Settings of the kernel that matter for what Ober does.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::{config::Config, finding::Finding};

const PART: &str = "sysctls";
/// What Linux has had since 5.4; a worker's queue of new connections is as long.
const QUEUE: u64 = 4096;
/// `rp_filter`: the source must be reached by the interface it comes in by.
const STRICT: u64 = 1;

/// Of one interface, each the larger of its own value and that of `all`, as the kernel takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    pub name: String,
    pub rp_filter: Option<u64>,
    pub arp_ignore: Option<u64>,
    /// Its networks.
    pub networks: Vec<IpNet>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    pub somaxconn: Option<u64>,
    pub interfaces: Vec<Interface>,
}

pub(super) fn judge(config: &Config, facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(length) = facts.somaxconn.filter(|length| *length < QUEUE) {
        let reason =
            format!("{length}: that few new connections wait for a worker, then they are dropped");
        findings.push(
            Finding::warning(PART, "net.core.somaxconn", reason)
                .advice(format!("`sysctl -w net.core.somaxconn={QUEUE}` or more")),
        );
    }
    for interface in &facts.interfaces {
        findings.extend(strict(config, interface));
        findings.extend(answers(config, interface));
    }
    if findings.is_empty() {
        findings.push(Finding::ok(PART, "all", "those that matter are well"));
    }
    findings
}

/// With several ways in and out, answers may leave by another than the question came by.
fn strict(config: &Config, interface: &Interface) -> Option<Finding> {
    let name = &interface.name;
    let several = config.node.interfaces.len() > 1;
    (several && interface.rp_filter == Some(STRICT)).then(|| {
        let reason = "strict: packets whose sender is reached by another interface are dropped without a word";
        Finding::warning(PART, format!("net.ipv4.conf.{name}.rp_filter"), reason)
            .advice(format!("`sysctl -w net.ipv4.conf.{name}.rp_filter=2` where routes may differ by direction"))
    })
}

/// A VIP that is announced by BGP and lies in a network of the link would be answered for by ARP too, by every node at
/// once.
fn answers(config: &Config, interface: &Interface) -> Option<Finding> {
    let name = &interface.name;
    let within = |vip: &IpAddr| {
        vip.is_ipv4()
            && interface
                .networks
                .iter()
                .any(|network| network.contains(vip))
    };
    let vip = config.bgp.iter().find_map(|_| config.vips().find(within))?;
    (interface.arp_ignore == Some(0)).then(|| {
        let reason = format!("0, and VIP {vip} lies in a network of {name}: every node answers ARP for it");
        Finding::warning(PART, format!("net.ipv4.conf.{name}.arp_ignore"), reason).advice(format!(
            "`sysctl -w net.ipv4.conf.{name}.arp_ignore=1` and `...arp_announce=2`, or take VIPs of a network of their own"
        ))
    })
}
