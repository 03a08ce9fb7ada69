//! keepalived 2.2 as the neighbour, one test for a cell of the matrix. Node 1 is ours, node 2 is keepalived's.

use std::{net::IpAddr, time::Duration};

use anyhow::{Result, ensure};
use ober_tests::{
    lab::until,
    peers::{Keepalived, keepalived::Router},
};
use ober_user::protocols::vrrp::{
    Preempt,
    configured::{Form, Scope, Transport, Vrrp},
    packet::{Coverage, Interval, Version},
};

use crate::segment::{Node, SOON, Segment, VIP4, VIP6, address, config};

#[derive(Clone, Copy)]
struct Cell {
    version: Version,
    vip: IpAddr,
    multicast: bool,
}

impl Cell {
    fn interval(self) -> Duration {
        match self.version {
            Version::V2 => Duration::from_secs(1),
            Version::V3 => Duration::from_millis(100),
        }
    }

    fn ours(self, priority: u8) -> Vrrp {
        let mut ours = config(1, 2, self.vip, priority);
        ours.version = self.version;
        ours.interval = Interval::new(self.version, self.interval()).expect("it can be told");
        if self.multicast {
            ours.transport = Transport::Multicast;
        }
        ours
    }

    fn theirs(self, segment: &Segment, priority: u8) -> Result<Router> {
        let six = self.vip.is_ipv6();
        Ok(Router {
            interface: "eth0".to_owned(),
            version: self.version.number(),
            vrid: 51,
            priority,
            interval: self.interval(),
            vips: vec![self.vip],
            source: if six && self.multicast {
                segment.link_local(2)?
            } else {
                address(2, six)
            },
            peers: if self.multicast {
                vec![]
            } else {
                vec![address(1, six)]
            },
            preempt: true,
            more: if six && !self.multicast {
                "unicast_ttl 255".to_owned()
            } else {
                String::new()
            },
        })
    }

    fn keepalived(self, segment: &Segment, priority: u8) -> Result<Keepalived> {
        let router = self.theirs(segment, priority)?;
        Keepalived::start(&segment.lab, &segment.nodes[1], &router)
    }
}

const V3: Cell = Cell {
    version: Version::V3,
    vip: VIP4,
    multicast: false,
};

/// Every way the VIP can move between the two. A third host's neighbour table follows each time without asking.
fn duel(name: &str, cell: Cell) -> Result<()> {
    let segment = Segment::new(name, 2)?;
    let vip = cell.vip;
    let (here, there) = (segment.mac(1)?, segment.mac(2)?);
    let mut ours = Node::start(&segment.nodes[0], &cell.ours(150))?;
    segment.wait_holder(1, vip)?;
    ensure!(segment.learn(vip)? == here);

    // A higher priority takes over; its resignation gives the VIP back at once.
    let mut theirs = cell.keepalived(&segment, 200)?;
    segment.wait_holder(2, vip)?;
    segment.wait_neighbour(vip, &there)?;
    let status = ours.wait_state("backup")?;
    ensure!(
        (status.master_priority, status.conflicts) == (Some(200), 0),
        "{status:?}"
    );
    theirs.stop()?;
    segment.wait_holder(1, vip)?;
    segment.wait_neighbour(vip, &here)?;
    let status = ours.wait_state("master")?;
    ensure!(
        status.transitions[0].reason == "the master resigned",
        "{status:?}"
    );
    ensure!(status.resignations_received >= 1, "{status:?}");

    // A lower priority waits for our resignation.
    let mut theirs = cell.keepalived(&segment, 100)?;
    std::thread::sleep(cell.interval() * 5);
    segment.wait_holder(1, vip)?;
    ours.gate(vip, false);
    segment.wait_holder(2, vip)?;
    segment.wait_neighbour(vip, &there)?;
    ensure!(ours.status().state.name() == "initialize");
    ours.gate(vip, true);
    segment.wait_holder(1, vip)?;
    segment.wait_neighbour(vip, &here)?;
    until("keepalived gives way", Duration::from_secs(2), || {
        ensure!(
            theirs.log().contains("with higher priority 150"),
            "{}",
            theirs.log()
        );
        Ok(Some(()))
    })?;

    // A master that is killed is missed.
    ours.gate(vip, false);
    segment.wait_holder(2, vip)?;
    ours.gate(vip, true);
    segment.wait_holder(1, vip)?;
    theirs.kill()?;
    let mut theirs = cell.keepalived(&segment, 200)?;
    segment.wait_holder(2, vip)?;
    theirs.kill()?;
    let status = ours.wait_state("master")?;
    ensure!(
        status.transitions[0].reason == "no master heard",
        "{status:?}"
    );
    segment.wait_neighbour(vip, &here)?;
    ensure!(ours.all_taken(), "{:?}", ours.rejected());

    // A planned end leaves nothing behind.
    ours.stop();
    ensure!(!segment.has(1, vip)?);
    Ok(())
}

/// Neither takes the VIP from the other, whichever has the higher priority.
fn patience(name: &str, cell: Cell) -> Result<()> {
    let (segment, vip) = (Segment::new(name, 2)?, cell.vip);
    let mut router = cell.theirs(&segment, 100)?;
    let mut theirs = Keepalived::start(&segment.lab, &segment.nodes[1], &router)?;
    segment.wait_holder(2, vip)?;
    let mut patient = cell.ours(200);
    patient.instances[0].preempt = Preempt::Never;
    let ours = Node::start(&segment.nodes[0], &patient)?;
    ours.wait_state("backup")?;
    std::thread::sleep(cell.interval() * 5);
    segment.wait_holder(2, vip)?;
    theirs.stop()?;
    segment.wait_holder(1, vip)?;
    router.priority = 250;
    router.preempt = false;
    let _theirs = Keepalived::start(&segment.lab, &segment.nodes[1], &router)?;
    std::thread::sleep(cell.interval() * 5);
    segment.wait_holder(1, vip)?;
    ours.stop();
    segment.wait_holder(2, vip)
}

/// Every version, family and transport, with everything that may happen.
macro_rules! matrix {
    ($($way:ident $name:literal $cell:expr;)*) => {
        mod the_vip_follows_priority_resignation_and_death {
            use super::*;
            $(#[test] fn $way() -> Result<()> { duel(concat!("vrrp-", $name), $cell) })*
        }
        mod without_preemption_neither_takes_from_the_other {
            use super::*;
            $(#[test] fn $way() -> Result<()> { patience(concat!("vrrp-np", $name), $cell) })*
        }
    };
}

matrix! {
    version_3_over_ipv4_by_unicast "34u" V3;
    version_3_over_ipv4_by_multicast "34m" Cell { multicast: true, ..V3 };
    version_3_over_ipv6_by_unicast "36u" Cell { vip: VIP6, ..V3 };
    version_3_over_ipv6_by_multicast "36m" Cell { vip: VIP6, multicast: true, ..V3 };
    version_2_over_ipv4_by_unicast "24u" Cell { version: Version::V2, ..V3 };
    version_2_over_ipv4_by_multicast "24m" Cell { version: Version::V2, multicast: true, ..V3 };
}

#[test]
fn a_preempt_delay_is_waited_for() -> Result<()> {
    let segment = Segment::new("vrrp-delay", 2)?;
    let _theirs = V3.keepalived(&segment, 100)?;
    segment.wait_holder(2, VIP4)?;
    let mut patient = V3.ours(200);
    patient.instances[0].preempt = Preempt::After(Duration::from_secs(2));
    let ours = Node::start(&segment.nodes[0], &patient)?;
    ours.wait_state("backup")?;
    std::thread::sleep(Duration::from_secs(1));
    segment.wait_holder(2, VIP4)?;
    segment.wait_holder(1, VIP4)
}

#[test]
fn a_masters_address_is_on_the_interface_as_configured_and_is_removed_completely() -> Result<()> {
    let segment = Segment::new("vrrp-form", 2)?;
    let theirs = V3.keepalived(&segment, 100)?;
    segment.wait_holder(2, VIP4)?;
    let mut config = V3.ours(200);
    config.form = Form {
        ipv4_length: 24,
        label: Some("eth0:vip".to_owned()),
        ..Form::default()
    };
    let mut ours = Node::start(&segment.nodes[0], &config)?;
    let stands = |words: &[&str]| {
        until(&format!("it stands as {words:?}"), SOON, || {
            let shown = segment.shown(1)?;
            let mut lines = shown.lines().filter(|it| it.contains("10.77.0.100/"));
            let (line, no_other) = (lines.next(), lines.next().is_none());
            let right = line.is_some_and(|line| words.iter().all(|word| line.contains(word)));
            ensure!(right && no_other, "{shown}");
            Ok(Some(()))
        })
    };
    stands(&["10.77.0.100/24 ", " scope global ", " eth0:vip"])?;
    segment.wait_holder(1, VIP4)?;
    // A reload changes the scope. The kernel takes another scope only outside of the interface's own network.
    config.form = Form {
        scope: Scope::Link,
        ..Form::default()
    };
    ours.configure(&segment.nodes[0], &config)?;
    stands(&["10.77.0.100/32 ", " scope link "])?;
    segment.wait_holder(1, VIP4)?;
    ours.stop();
    segment.wait_holder(2, VIP4)?;
    ensure!(
        theirs.log().contains("Entering MASTER STATE"),
        "{}",
        theirs.log()
    );
    Ok(())
}

#[test]
fn if_the_daemons_thread_dies_keepalived_takes_over_and_the_address_expires_by_itself() -> Result<()>
{
    let segment = Segment::new("vrrp-thread", 2)?;
    let mut ours = Node::start(&segment.nodes[0], &V3.ours(200))?;
    segment.wait_holder(1, VIP4)?;
    segment.learn(VIP4)?;
    let _theirs = V3.keepalived(&segment, 100)?;
    ours.crash();
    until("keepalived has it", SOON, || {
        Ok(segment.has(2, VIP4)?.then_some(()))
    })?;
    ensure!(segment.has(1, VIP4)?, "nobody has removed it");
    segment.wait_neighbour(VIP4, &segment.mac(2)?)?;
    segment.wait_holder(2, VIP4)
}

#[test]
fn checksums_with_and_without_the_pseudo_header_are_distinguished_and_accepted() -> Result<()> {
    let segment = Segment::new("vrrp-sum", 2)?;
    let mut cisco = V3.ours(200);
    cisco.coverage = Coverage::Message;
    let better = Node::start(&segment.nodes[0], &cisco)?;
    segment.wait_holder(1, VIP4)?;
    let worse = Node::start(&segment.nodes[1], &config(2, 2, VIP4, 100))?;
    worse.wait_state("backup")?;
    until("it hears its master", SOON, || {
        Ok((worse.status().master_priority == Some(200)).then_some(()))
    })?;
    ensure!(worse.all_taken(), "{:?}", worse.rejected());
    better.stop();
    segment.wait_holder(2, VIP4)
}

#[test]
fn a_duplicate_vrid_on_the_link_is_reported() -> Result<()> {
    let segment = Segment::new("vrrp-vrid", 2)?;
    let cell = Cell {
        multicast: true,
        ..V3
    };
    let mut other = cell.theirs(&segment, 100)?;
    other.vips = vec!["10.77.0.101".parse()?];
    let _theirs = Keepalived::start(&segment.lab, &segment.nodes[1], &other)?;
    let ours = Node::start(&segment.nodes[0], &cell.ours(90))?;
    let status = until("the conflict is seen", SOON, || {
        Ok(Some(ours.status()).filter(|status| status.conflict.is_some()))
    })?;
    let conflict = status.conflict.expect("seen");
    ensure!(
        conflict.what.contains("uses this VRID for other addresses"),
        "{conflict:?}"
    );
    ensure!(conflict.what.contains("10.77.0.2"), "{conflict:?}");
    Ok(())
}

#[test]
fn ipv6_routers_with_a_link_local_address_first_interoperate_with_keepalived() -> Result<()> {
    let segment = Segment::new("vrrp-linklocal", 2)?;
    let cell = Cell { vip: VIP6, ..V3 };
    let own: std::net::Ipv6Addr = "fe80::100".parse()?;
    let mut config = cell.ours(200);
    config.instances[0].link_local = Some(own);
    let ours = Node::start(&segment.nodes[0], &config)?;
    segment.wait_holder(1, VIP6)?;
    segment.wait_holder(1, own.into())?;
    let mut router = cell.theirs(&segment, 100)?;
    router.vips.insert(0, own.into());
    let theirs = Keepalived::start(&segment.lab, &segment.nodes[1], &router)?;
    std::thread::sleep(cell.interval() * 8);
    segment.wait_holder(1, VIP6)?;
    ours.stop();
    segment.wait_holder(2, VIP6)?;
    segment.wait_holder(2, own.into())?;
    ensure!(!theirs.log().contains("invalid"), "{}", theirs.log());
    Ok(())
}

/// The hop limit is another unless `unicast_ttl` is 255, as RFC 9568 wants.
#[test]
fn keepalived_sends_ipv6_by_unicast_with_a_wrong_hop_limit_which_is_refused_unless_configured()
-> Result<()> {
    let segment = Segment::new("vrrp-hops", 2)?;
    let cell = Cell { vip: VIP6, ..V3 };
    let mut router = cell.theirs(&segment, 200)?;
    router.more = String::new();
    let mut ours = Node::start(&segment.nodes[0], &cell.ours(100))?;
    segment.wait_holder(1, VIP6)?;
    let _theirs = Keepalived::start(&segment.lab, &segment.nodes[1], &router)?;
    until("its hop limit is refused", SOON, || {
        Ok((ours.rejected()["ttl"] > 0).then_some(()))
    })?;
    let mut config = cell.ours(100);
    if let Transport::Unicast(peers) = &mut config.transport {
        peers[0].ttl = 64..=255;
    }
    ours.configure(&segment.nodes[0], &config)?;
    segment.wait_holder(2, VIP6)
}
