//! A flood of strangers costs the real-time thread nothing, and the strangers are named all the same.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    thread::sleep,
    time::Duration,
};

use anyhow::{Result, ensure};
use ober_tests::lab::{Host, until};
use ober_user::{
    names::entries::Entries,
    protocols::{
        routers::Routers,
        vrrp::{
            configured::{Transport, Vrrp},
            packet::{Advertisement, Coverage},
        },
    },
};

use crate::segment::{Node, SOON, Segment, VIP4, VIP6, address, config};

/// Packets of the flood: at 3 microseconds each, as they once cost, 90 ms.
const FLOOD: u32 = 30_000;

/// A raw socket that sends as VRRP does.
fn mouth(host: &Host, from: IpAddr, ttl: u32) -> Result<socket2::Socket> {
    host.run(|| {
        let domain = if from.is_ipv4() {
            socket2::Domain::IPV4
        } else {
            socket2::Domain::IPV6
        };
        let protocol = socket2::Protocol::from(112);
        let socket = socket2::Socket::new(domain, socket2::Type::RAW, Some(protocol))?;
        let index = nix::net::if_::if_nametoindex("eth0")?;
        socket.bind(&SocketAddr::new(from, 0).into())?;
        if from.is_ipv4() {
            socket.set_ttl_v4(ttl)?;
            socket.set_multicast_ttl_v4(ttl)?;
            socket.set_multicast_if_v4(&match from {
                IpAddr::V4(from) => from,
                IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
            })?;
        } else {
            socket.set_unicast_hops_v6(ttl)?;
            socket.set_multicast_hops_v6(ttl)?;
            socket.set_multicast_if_v6(index)?;
        }
        Ok(socket)
    })?
}

fn advertisement(config: &Vrrp, priority: u8, from: IpAddr, to: IpAddr) -> Vec<u8> {
    let instance = &config.instances[0];
    let advertisement = Advertisement {
        version: config.version,
        vrid: instance.vrid,
        priority,
        interval: config.interval,
        addresses: instance.vips.clone(),
    };
    advertisement.encode(Coverage::PseudoHeader, from, to)
}

/// Sends the flood; what it costs the node's real-time thread, beyond what that does anyway.
fn cost(node: &Node, mut send: impl FnMut() -> Result<()>) -> Result<Duration> {
    let began = std::time::Instant::now();
    let before = node.cpu()?;
    for number in 0..FLOOD {
        send()?;
        if number % 100 == 0 {
            sleep(Duration::from_micros(500));
        }
    }
    // Packets may still be on their way.
    sleep(Duration::from_millis(200));
    let (spent, took) = (node.cpu()?.saturating_sub(before), began.elapsed());
    let idle = node.cpu()?;
    sleep(took.min(Duration::from_secs(1)));
    let idle = node
        .cpu()?
        .saturating_sub(idle)
        .mul_f64(took.as_secs_f64() / took.min(Duration::from_secs(1)).as_secs_f64());
    Ok(spent.saturating_sub(idle))
}

/// A tenth of what it would cost to read them all.
const NOTHING: Duration = Duration::from_millis(9);

#[test]
fn a_flood_of_an_unknown_sender_costs_the_real_time_thread_no_time_and_is_reported() -> Result<()> {
    for (vip, six) in [(VIP4, false), (VIP6, true)] {
        let segment = Segment::new("vrrp-stranger", 3)?;
        let wanted = config(1, 2, vip, 100);
        let node = Node::start(&segment.nodes[0], &wanted)?;
        segment.wait_holder(1, vip)?;
        let (from, to) = (address(3, six), address(1, six));
        let stranger = mouth(&segment.nodes[2], from, 255)?;
        let bytes = advertisement(&wanted, 254, from, to);
        let to = SocketAddr::new(to, 0).into();
        let spent = cost(&node, || {
            stranger.send_to(&bytes, &to)?;
            Ok(())
        })?;
        println!("{FLOOD} packets of a stranger over {vip}: {spent:?}");
        ensure!(spent < NOTHING, "{spent:?}");
        ensure!(node.status().state.name() == "master" && node.status().received == 0);
        let counted = node.rejected()["source"];
        ensure!(
            (1..1000).contains(&counted),
            "{counted} of {FLOOD} were read"
        );
    }
    Ok(())
}

#[test]
fn distant_or_unrelated_multicast_packets_cost_no_time_and_are_reported() -> Result<()> {
    let segment = Segment::new("vrrp-group", 2)?;
    let mut wanted = config(1, 2, VIP4, 100);
    wanted.transport = Transport::Multicast;
    let node = Node::start(&segment.nodes[0], &wanted)?;
    segment.wait_holder(1, VIP4)?;
    let from = address(2, false);
    let group = IpAddr::from([224, 0, 0, 18]);
    let mut other = wanted.clone();
    other.instances[0].vrid.0 = 77.try_into()?;
    for (reason, ttl, said, to) in [
        ("ttl", 254, &wanted, group),
        ("vrid", 255, &other, group),
        ("source", 255, &wanted, address(1, false)),
    ] {
        let mouth = mouth(&segment.nodes[1], from, ttl)?;
        let bytes = advertisement(said, 254, from, to);
        let to = SocketAddr::new(to, 0).into();
        let spent = cost(&node, || {
            mouth.send_to(&bytes, &to)?;
            Ok(())
        })?;
        println!("{FLOOD} packets with a wrong {reason}: {spent:?}");
        ensure!(spent < NOTHING, "{reason}: {spent:?}");
        ensure!(
            node.rejected()[reason] > 0,
            "{reason}: {:?}",
            node.rejected()
        );
        ensure!(node.status().state.name() == "master" && node.status().received == 0);
    }
    Ok(())
}

#[test]
fn claims_of_addresses_outside_all_virtual_routers_cost_no_time() -> Result<()> {
    let segment = Segment::new("vrrp-arp", 2)?;
    let node = Node::start(&segment.nodes[0], &config(1, 2, VIP4, 100))?;
    segment.wait_holder(1, VIP4)?;
    let frames = segment.nodes[1].run(|| -> Result<_> {
        let kind = socket2::Type::RAW;
        let socket = socket2::Socket::new(socket2::Domain::PACKET, kind, None)?;
        let index = nix::net::if_::if_nametoindex("eth0")?;
        Ok((
            socket,
            ober_user::system::sockopt::packet_address(index, 0x0806),
        ))
    })??;
    let mut frame = vec![0xff; 6];
    frame.extend([2, 0, 0, 0, 0, 7, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend([2, 0, 0, 0, 0, 7, 10, 77, 0, 55]);
    frame.extend([0; 6]);
    frame.extend([10, 77, 0, 56]);
    let spent = cost(&node, || {
        frames.0.send_to(&frame, &frames.1)?;
        Ok(())
    })?;
    println!("{FLOOD} ARP requests of others: {spent:?}");
    ensure!(spent < NOTHING, "{spent:?}");
    ensure!(node.status().conflicts == 0);
    Ok(())
}

#[test]
fn a_flood_indistinguishable_from_a_neighbour_leaves_most_of_the_cpu_free() -> Result<()> {
    let segment = Segment::new("vrrp-budget", 2)?;
    let wanted = config(1, 2, VIP4, 200);
    let node = Node::start(&segment.nodes[0], &wanted)?;
    segment.wait_holder(1, VIP4)?;
    let (from, to) = (address(2, false), address(1, false));
    let mouth = mouth(&segment.nodes[1], from, 255)?;
    let bytes = advertisement(&wanted, 1, from, to);
    let to = SocketAddr::new(to, 0).into();
    let (before, began) = (node.cpu()?, std::time::Instant::now());
    while began.elapsed() < Duration::from_secs(2) {
        for _ in 0..200 {
            mouth.send_to(&bytes, &to)?;
        }
    }
    let spent = node.cpu()?.saturating_sub(before);
    let share = spent.as_secs_f64() / began.elapsed().as_secs_f64();
    println!(
        "a flood of what cannot be told from a neighbour: {:.0} % of a CPU",
        share * 100.0
    );
    ensure!(share < 0.75, "{share}");
    ensure!(node.status().state.name() == "master");
    Ok(())
}

fn list(addresses: &[IpAddr]) -> Routers {
    let mut entries = Entries::default();
    for address in addresses {
        entries.push(*address);
    }
    Routers::listed(entries)
}

#[test]
fn vrrp_packets_of_senders_off_the_list_of_routers_are_ignored_and_the_list_changes_live()
-> Result<()> {
    for (vip, multicast) in [(VIP4, false), (VIP6, false), (VIP4, true), (VIP6, true)] {
        let segment = Segment::new("vrrp-routers", 2)?;
        let with = |own, priority| {
            let mut config = config(own, 2, vip, priority);
            if multicast {
                config.transport = Transport::Multicast;
            }
            config
        };
        let six = vip.is_ipv6();
        // Over IPv6 VRRP sends to the group from the link-local address.
        let other = if multicast && six {
            segment.link_local(2)?
        } else {
            address(2, six)
        };
        let mut first = Node::start(&segment.nodes[0], &with(1, 100))?;
        first.routers(list(&[
            IpAddr::from(Ipv6Addr::LOCALHOST),
            IpAddr::from([10, 77, 0, 9]),
        ]));
        segment.wait_holder(1, vip)?;
        let _second = Node::start(&segment.nodes[1], &with(2, 200))?;
        until("the other is master too", SOON, || {
            Ok(segment.has(2, vip)?.then_some(()))
        })?;
        sleep(Duration::from_millis(500));
        ensure!(
            first.status().state.name() == "master",
            "{multicast}: {:?}",
            first.status()
        );
        ensure!(
            first.status().received == 0,
            "{multicast}: {:?}",
            first.status()
        );
        until("it is said why", SOON, || {
            Ok((first.rejected()["source"] > 0).then_some(()))
        })?;
        first.routers(list(&[other]));
        segment.wait_holder(2, vip)?;
        first.routers(list(&[]));
        until("alone again", SOON, || {
            Ok(segment.has(1, vip)?.then_some(()))
        })?;
        first.routers(Routers::default());
        segment.wait_holder(2, vip)?;
    }
    Ok(())
}
