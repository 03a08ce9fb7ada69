//! Does another process have the ports and protocols that this node needs?

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ober_common::packet::{BGP_PORT, VRRP};

use crate::{config::Config, diagnose::finding::Finding};

const PART: &str = "ports";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Tcp,
    Udp,
    /// The port is the protocol of IP.
    Raw,
}

/// A socket that listens or takes datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    pub protocol: Protocol,
    pub at: SocketAddr,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortFacts {
    /// Does a daemon run? Then the sockets are its own.
    pub daemon: bool,
    pub bound: Vec<Bound>,
}

/// Sockets of a table of `/proc/net`: those that listen, or take any datagram.
pub(super) fn read(protocol: Protocol, text: &str) -> Vec<Bound> {
    const LISTEN: &str = "0A";
    let line = |line: &str| {
        let mut words = line.split_whitespace().skip(1);
        let (local, _remote, state) = (words.next()?, words.next()?, words.next()?);
        (protocol != Protocol::Tcp || state == LISTEN).then_some(())?;
        let at = socket_address(local)?;
        Some(Bound { protocol, at })
    };
    text.lines().skip(1).filter_map(line).collect()
}

/// Address and port as those tables have them.
pub(crate) fn socket_address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    Some(SocketAddr::new(address_of(address)?, port))
}

/// Words of four bytes in the order of this machine.
fn address_of(text: &str) -> Option<IpAddr> {
    let word = |at: usize| {
        let word = u32::from_str_radix(text.get(at..at + 8)?, 16).ok()?;
        Some(word.to_ne_bytes())
    };
    if text.len() == 8 {
        return Some(Ipv4Addr::from(word(0)?).into());
    }
    let words = [word(0)?, word(8)?, word(16)?, word(24)?];
    let bytes: [u8; 16] = words.concat().try_into().ok()?;
    Some(Ipv6Addr::from(bytes).into())
}

pub(super) fn judge(config: &Config, facts: &PortFacts) -> Vec<Finding> {
    if facts.daemon {
        return vec![Finding::ok(PART, "all", "the daemon has those it needs")];
    }
    let mut findings = Vec::new();
    for (object, protocol, at, fatal, advice) in wanted(config) {
        let taken = |it: &&Bound| it.protocol == protocol && conflicts(it.at, at);
        let Some(other) = facts.bound.iter().find(taken) else {
            continue;
        };
        let reason = match protocol {
            Protocol::Raw => "another program here takes it".to_owned(),
            Protocol::Tcp | Protocol::Udp => format!("another program here has {}", other.at),
        };
        let finding = if fatal {
            Finding::failed(PART, object, reason)
        } else {
            Finding::warning(PART, object, reason)
        };
        findings.push(finding.advice(advice));
    }
    if findings.is_empty() {
        findings.push(Finding::ok(PART, "all", "those that are needed are free"));
    }
    findings
}

type Wanted = (String, Protocol, SocketAddr, bool, &'static str);

/// The sockets that must be free, and those on which another program would be in the way.
fn wanted(config: &Config) -> Vec<Wanted> {
    let any = |port| SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port);
    let metrics = config.node.metrics;
    let advice = "`node.metrics` may name another";
    let mut all = vec![(
        format!("TCP {metrics} (metrics)"),
        Protocol::Tcp,
        metrics,
        true,
        advice,
    )];
    if let Some(bgp) = &config.bgp {
        let advice = "is another BGP speaker running here, such as FRR? Stop it, or take `listen` out of [bgp]";
        for at in &bgp.listen {
            all.push((format!("TCP {at} (BGP)"), Protocol::Tcp, *at, true, advice));
        }
        if bgp.listen.is_empty() {
            let advice = "another BGP speaker runs here; with the same neighbours the two would end one another's sessions";
            all.push((
                "TCP port 179 (BGP)".to_owned(),
                Protocol::Tcp,
                any(BGP_PORT),
                false,
                advice,
            ));
        }
        if bgp.neighbours.iter().any(|it| it.bfd.is_some()) {
            for port in crate::protocols::bfd::Hops::ALL.map(crate::protocols::bfd::Hops::port) {
                let advice = "is another BFD daemon running here, such as FRR's bfdd? Stop it";
                all.push((
                    format!("UDP port {port} (BFD)"),
                    Protocol::Udp,
                    any(port),
                    true,
                    advice,
                ));
            }
        }
    }
    if config.vrrp.is_some() {
        let advice = "is keepalived running here? Two must not care for the same VIPs";
        all.push((
            "IP protocol 112 (VRRP)".to_owned(),
            Protocol::Raw,
            any(VRRP.into()),
            false,
            advice,
        ));
    }
    all
}

/// The same port, and the same address or an unspecified one.
fn conflicts(one: SocketAddr, other: SocketAddr) -> bool {
    let all = |it: SocketAddr| it.ip().is_unspecified();
    one.port() == other.port() && (all(one) || all(other) || one.ip() == other.ip())
}
