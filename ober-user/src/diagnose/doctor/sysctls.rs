//! Settings of the kernel: those of bootstrap's table, and those that depend on this node's interfaces and VIPs.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ipnet::IpNet;

use crate::{
    config::Config,
    diagnose::finding::Finding,
    host::{
        object::State,
        parts::sysctl::{self, Row, Want},
        wants::{Configured, Wants},
    },
};

const PART: &str = "sysctls";
/// `rp_filter`: the source must be reached by the interface it comes in by.
const STRICT: u64 = 1;

/// The settings of one interface: of its own value and that of `all` the larger, as the kernel takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    pub name: String,
    pub rp_filter: Option<u64>,
    pub arp_ignore: Option<u64>,
    /// Its networks.
    pub networks: Vec<IpNet>,
    /// The VRF it is in.
    pub vrf: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SysctlFacts {
    /// Those of bootstrap's table that the kernel has.
    pub live: BTreeMap<&'static str, String>,
    /// Values of the table that this kernel does not know.
    pub lacking: BTreeSet<&'static str>,
    /// `tcp_l3mdev_accept`: are connections from a VRF for sockets that are in none?
    pub accepts_vrf: Option<u64>,
    /// Interfaces, or `all`, by which packets to 127.0.0.0/8 are taken from others (`route_localnet`).
    pub open_loopback: Vec<String>,
    pub interfaces: Vec<Interface>,
}

pub(super) fn judge(config: &Config, facts: &SysctlFacts) -> Vec<Finding> {
    let mut findings = of_table(Some(config), &facts.live, &facts.lacking);
    for interface in &facts.interfaces {
        findings.extend(strict(config, interface));
        findings.extend(answers(config, interface));
        findings.extend(vrf(interface, facts.accepts_vrf));
    }
    findings.extend(facts.open_loopback.iter().map(|it| open_loopback(it)));
    if findings.is_empty() {
        findings.push(Finding::ok(PART, "all", "those that matter are well"));
    }
    findings
}

/// Those that bootstrap would set. `config`: `None` before there is one.
pub(super) fn of_table(
    config: Option<&Config>,
    live: &BTreeMap<&'static str, String>,
    lacking: &BTreeSet<&'static str>,
) -> Vec<Finding> {
    let wants = Wants {
        configured: config.map(Configured::of),
        ..Wants::default()
    };
    let known = |row: &&Row| !matches!(row.want, Want::Exactly(value) if lacking.contains(value));
    let off = |row: &'static Row| {
        let value = live.get(row.key).filter(|it| !row.is_met(it, &wants))?;
        let wanted = row.better(value, &wants);
        let value = State::value(value);
        let reason = format!("{value}, and {wanted} is wanted: {}", row.reason);
        let finding = Finding::warning(PART, row.key, reason);
        Some(finding.advice("`ober-user bootstrap --only sysctl` sets it, and for every start"))
    };
    sysctl::rows(&wants).filter(known).filter_map(off).collect()
}

/// The workers' sockets are in no VRF.
fn vrf(interface: &Interface, accepts: Option<u64>) -> Option<Finding> {
    let vrf = interface.vrf.as_ref()?;
    (accepts != Some(1)).then(|| {
        let reason = format!(
            "not 1, and {} is in VRF {vrf}: connections that come in by it are never established",
            interface.name
        );
        Finding::failed(PART, "net.ipv4.tcp_l3mdev_accept", reason)
            .advice("`sysctl -w net.ipv4.tcp_l3mdev_accept=1`, which holds for IPv6 too")
    })
}

/// Workers and the daemon listen on loopback, where no access list applies.
fn open_loopback(interface: &str) -> Finding {
    let reason = "1: others on the link reach what listens on 127.0.0.0/8, past every access list (CVE-2020-8558)";
    Finding::failed(
        PART,
        format!("net.ipv4.conf.{interface}.route_localnet"),
        reason,
    )
    .advice(format!(
        "`sysctl -w net.ipv4.conf.{interface}.route_localnet=0`; kube-proxy sets it unless it runs \
         with `--iptables-localhost-nodeports=false`"
    ))
}

/// With several ways in and out, answers may leave by another than the question came by.
fn strict(config: &Config, interface: &Interface) -> Option<Finding> {
    let name = &interface.name;
    let several = config.node.interfaces.len() > 1;
    (several && interface.rp_filter == Some(STRICT)).then(|| {
        let reason =
            "strict: packets whose sender is reached by another interface are dropped silently";
        Finding::warning(PART, format!("net.ipv4.conf.{name}.rp_filter"), reason).advice(format!(
            "`sysctl -w net.ipv4.conf.{name}.rp_filter=2` where routes may differ by direction"
        ))
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
