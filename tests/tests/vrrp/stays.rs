//! A reload leaves alone what it does not change: no address that stays is removed meanwhile.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use ober_programs::IP;
use ober_tests::lab::{Host, Process, until};
use ober_user::protocols::vrrp::configured::{Instance, Transport, Vrrp};

use crate::segment::{Node, SOON, Segment, VIP4, VIP6, address, config};

/// Advertisements with the default interval: an interruption would last seconds.
fn alone(vips: &[IpAddr]) -> Vrrp {
    let mut wanted = config(1, 2, VIP4, 200);
    let with_six = config(1, 2, VIP6, 200);
    let (Transport::Unicast(four), Transport::Unicast(six)) =
        (&wanted.transport, &with_six.transport)
    else {
        unreachable!("both are");
    };
    wanted.transport = Transport::Unicast([&four[..], six].concat());
    let one = wanted.instances.remove(0);
    let instance = |(vrid, vip): (u8, &IpAddr)| Instance {
        vips: vec![*vip],
        vrid: ober_user::protocols::vrrp::packet::Vrid(vrid.try_into().expect("not zero")),
        ..one.clone()
    };
    wanted.instances = (51..).zip(vips).map(instance).collect();
    wanted
}

/// Every change of an address, as the kernel reports it.
fn watch(host: &Host) -> Result<Process> {
    host.spawn(IP.command().args(["-o", "monitor", "address"]))
}

fn left(watch: &Process, vip: IpAddr) -> bool {
    let log = watch.log();
    let mut gone = log.lines().filter(|line| line.starts_with("Deleted"));
    gone.any(|line| line.contains(&format!(" {vip}/")))
}

#[test]
fn a_first_virtual_router_of_the_other_family_is_added_and_removed_while_others_stay() -> Result<()>
{
    for (stays, comes) in [(VIP4, VIP6), (VIP6, VIP4)] {
        let segment = Segment::new("vrrp-family", 1)?;
        let host = &segment.nodes[0];
        let mut node = Node::start(host, &alone(&[stays]))?;
        segment.wait_holder(1, stays)?;
        let watch = watch(host)?;
        let before = node.status().transitions.len();
        for _ in 0..2 {
            node.configure(host, &alone(&[stays, comes]))?;
            node.gate(comes, true);
            segment.wait_holder(1, comes)?;
            node.configure(host, &alone(&[stays]))?;
            until("it is gone", SOON, || {
                Ok((!segment.has(1, comes)?).then_some(()))
            })?;
        }
        ensure!(!left(&watch, stays), "{}", watch.log());
        ensure!(left(&watch, comes), "{}", watch.log());
        ensure!(node.status().transitions.len() == before);
        ensure!(node.status().resignations_sent == 0);
    }
    Ok(())
}

#[test]
fn a_vip_joins_a_virtual_router_once_its_gate_opens_and_leaves_without_the_others() -> Result<()> {
    let segment = Segment::new("vrrp-join", 2)?;
    let host = &segment.nodes[0];
    let [served, new]: [IpAddr; 2] = ["10.77.0.120".parse()?, "10.77.0.130".parse()?];
    let with = |own, priority, more: &[IpAddr]| {
        let mut config = config(own, 2, VIP4, priority);
        config.instances[0].vips.extend(more);
        config
    };
    let mut node = Node::start(host, &with(1, 200, &[]))?;
    let _other = Node::start(&segment.nodes[1], &with(2, 100, &[]))?;
    segment.wait_holder(1, VIP4)?;
    let watch = watch(host)?;
    let before = node.status().transitions.len();
    // A VIP that is served and up before it joins.
    node.gate(served, true);
    node.configure(host, &with(1, 200, &[served]))?;
    until("the served one has joined", SOON, || {
        Ok(segment.has(1, served)?.then_some(()))
    })?;
    ensure!(node.status().joining.is_empty());
    // A new VIP, whose gate is still closed.
    node.configure(host, &with(1, 200, &[served, new]))?;
    std::thread::sleep(Duration::from_millis(500));
    ensure!(node.status().joining == [new] && !segment.has(1, new)?);
    ensure!(node.status().state.name() == "master");
    node.gate(new, true);
    until("the new one has joined", SOON, || {
        Ok(segment.has(1, new)?.then_some(()))
    })?;
    ensure!(node.status().joining.is_empty());
    segment.learn(new)?;
    // A VIP that leaves takes no other along.
    node.let_go(&[new]);
    node.gate(new, false);
    until("the new one is gone", SOON, || {
        Ok((!segment.has(1, new)?).then_some(()))
    })?;
    node.configure(host, &with(1, 200, &[served]))?;
    ensure!(
        !left(&watch, VIP4) && !left(&watch, served),
        "{}",
        watch.log()
    );
    ensure!(
        node.status().transitions.len() == before,
        "{:?}",
        node.status()
    );
    // A VIP that has joined counts: its closed gate ends mastership.
    node.gate(served, false);
    segment.wait_holder(2, VIP4)?;
    Ok(())
}

#[test]
fn a_virtual_router_that_keeps_none_of_its_vips_restarts() -> Result<()> {
    let segment = Segment::new("vrrp-none-stays", 1)?;
    let host = &segment.nodes[0];
    let new: IpAddr = "10.77.0.130".parse()?;
    let mut node = Node::start(host, &config(1, 2, VIP4, 200))?;
    segment.wait_holder(1, VIP4)?;
    node.configure(host, &config(1, 2, new, 200))?;
    until("nothing is held", SOON, || {
        Ok((!segment.has(1, VIP4)? && node.status().state.name() == "initialize").then_some(()))
    })?;
    node.gate(new, true);
    segment.wait_holder(1, new)?;
    Ok(())
}

#[test]
fn a_vip_moves_from_one_virtual_router_to_another_in_one_reload() -> Result<()> {
    let segment = Segment::new("vrrp-between", 1)?;
    let host = &segment.nodes[0];
    let moves: IpAddr = "10.77.0.120".parse()?;
    let last: IpAddr = "10.77.0.121".parse()?;
    let mut wanted = alone(&[VIP4, last]);
    wanted.instances[0].vips.push(moves);
    let mut node = Node::start(host, &wanted)?;
    for vip in [VIP4, last, moves] {
        segment.wait_holder(1, vip)?;
    }
    let watch = watch(host)?;
    wanted.instances[0].vips.pop();
    wanted.instances[1].vips.push(moves);
    node.configure(host, &wanted)?;
    let began = Instant::now();
    until("the other has it", SOON, || {
        let status = node.all();
        let has = status
            .iter()
            .any(|it| it.vrid == 52 && it.vips.contains(&moves) && it.joining.is_empty());
        Ok((has && segment.has(1, moves)?).then_some(()))
    })?;
    println!("moved after {:?}", began.elapsed());
    ensure!(
        !left(&watch, VIP4) && !left(&watch, last),
        "{}",
        watch.log()
    );
    std::thread::sleep(Duration::from_secs(1));
    ensure!(segment.has(1, moves)?);
    ensure!(segment.has(1, address(1, false))?, "the node's own address");
    Ok(())
}

#[test]
fn advertisements_follow_the_address_of_the_interface_and_the_master_stays() -> Result<()> {
    let segment = Segment::new("vrrp-source", 2)?;
    let in_group = |own, priority| Vrrp {
        transport: Transport::Multicast,
        ..config(own, 2, VIP4, priority)
    };
    let host = &segment.nodes[0];
    let mut first = Node::start(host, &in_group(1, 254))?;
    segment.wait_holder(1, VIP4)?;
    let second = Node::start(&segment.nodes[1], &in_group(2, 100))?;
    let hears = |from: &str| {
        let from: IpAddr = from.parse()?;
        until(&format!("advertisements from {from}"), SOON, || {
            Ok((second.status().master == Some(from)).then_some(()))
        })
    };
    hears("10.77.0.1")?;
    let before = (
        first.status().transitions.len(),
        second.status().transitions.len(),
    );
    // A further address of the node does not change the source of packets.
    host.ip(&["addr add 10.77.0.41/24 dev eth0"])?;
    first.addresses_changed(host)?;
    first.configure(host, &in_group(1, 254))?;
    hears("10.77.0.1")?;
    host.sysctl("net.ipv4.conf.eth0.promote_secondaries", "1")?;
    host.ip(&["addr del 10.77.0.1/24 dev eth0"])?;
    first.addresses_changed(host)?;
    hears("10.77.0.41")?;
    host.ip(&[
        "addr add 10.77.0.42/24 dev eth0",
        "addr del 10.77.0.41/24 dev eth0",
    ])?;
    first.configure(host, &in_group(1, 254))?;
    hears("10.77.0.42")?;
    segment.wait_holder(1, VIP4)?;
    let after = (
        first.status().transitions.len(),
        second.status().transitions.len(),
    );
    ensure!(
        after == before,
        "{:?}\n{:?}",
        first.status(),
        second.status()
    );
    ensure!(first.status().resignations_sent == 0);
    Ok(())
}
