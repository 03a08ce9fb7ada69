//! Two of our nodes against each other, and against packets that should not be on the wire.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use ober_programs::IP;
use ober_tests::lab::until;
use ober_user::protocols::vrrp::packet::{Interval, Version};

use crate::segment::{Node, SOON, Segment, VIP4, VIP6, address, config};

/// Most that a busy machine may take; the measured times are printed.
const GENEROUS: Duration = Duration::from_secs(2);

/// Node `own` with advertisements every 10 ms.
fn fast(own: u8, priority: u8) -> ober_user::protocols::vrrp::configured::Vrrp {
    let mut fast = config(own, 2, VIP4, priority);
    fast.interval = Interval::new(Version::V3, Duration::from_millis(10)).expect("in range");
    fast
}

/// How long after `from` the node became master, asked every 200 microseconds.
fn master_after(node: &Node, from: Instant) -> Result<Duration> {
    while node.status().state.name() != "master" {
        ensure!(from.elapsed() < GENEROUS, "{:?}", node.status());
        std::thread::sleep(Duration::from_micros(200));
    }
    Ok(from.elapsed())
}

#[test]
fn with_advertisements_of_10_ms_a_backup_takes_over_quickly_after_a_crash_or_a_closed_gate()
-> Result<()> {
    let segment = Segment::new("vrrp-fast", 2)?;
    let mut first = Node::start(&segment.nodes[0], &fast(1, 254))?;
    let mut second = Node::start(&segment.nodes[1], &fast(2, 253))?;
    segment.wait_holder(1, VIP4)?;
    segment.learn(VIP4)?;
    for _ in 0..5 {
        let from = Instant::now();
        first.gate(VIP4, false);
        println!(
            "gate closed, the other master after {:?}",
            master_after(&second, from)?
        );
        segment.wait_holder(2, VIP4)?;
        segment.wait_neighbour(VIP4, &segment.mac(2)?)?;
        first.gate(VIP4, true);
        segment.wait_holder(1, VIP4)?;
    }
    // Long enough for a false alarm.
    let before = second.status();
    std::thread::sleep(Duration::from_secs(2));
    let after = second.status();
    println!(
        "late timers {} and {}",
        first.status().late_timers,
        after.late_timers
    );
    ensure!(after.received > before.received + 50, "{after:?}");
    let from = Instant::now();
    first.crash();
    println!(
        "thread gone, the other master after {:?}",
        master_after(&second, from)?
    );
    segment.wait_neighbour(VIP4, &segment.mac(2)?)?;
    segment.wait_holder(2, VIP4)?;
    second.gate(VIP4, false);
    until("nobody has it", SOON, || {
        Ok((!segment.has(2, VIP4)?).then_some(()))
    })
}

#[test]
fn a_link_that_goes_down_makes_the_node_resign_until_it_is_up_again() -> Result<()> {
    let segment = Segment::new("vrrp-link", 2)?;
    let first = Node::start(&segment.nodes[0], &config(1, 2, VIP4, 254))?;
    let second = Node::start(&segment.nodes[1], &config(2, 2, VIP4, 253))?;
    segment.wait_holder(1, VIP4)?;
    segment.switch.ip(&["link set n1 down"])?;
    let status = first.wait_state("initialize")?;
    ensure!(status.transitions[0].reason == "link down");
    second.wait_state("master")?;
    segment.wait_holder(2, VIP4)?;
    segment.switch.ip(&["link set n1 up"])?;
    segment.wait_holder(1, VIP4)?;
    second.wait_state("backup")?;
    Ok(())
}

#[test]
fn both_families_and_more_vips_move_together_and_a_reload_disturbs_nothing() -> Result<()> {
    let segment = Segment::new("vrrp-many", 2)?;
    let more = "10.77.0.101".parse()?;
    let with = |own, priority| {
        let mut config = config(own, 2, VIP4, priority);
        config.instances[0].vips.push(more);
        config.instances[0].excluded.push(VIP6);
        config
    };
    let mut first = Node::start(&segment.nodes[0], &with(1, 254))?;
    let mut second = Node::start(&segment.nodes[1], &with(2, 253))?;
    for vip in [VIP4, more, VIP6] {
        segment.wait_holder(1, vip)?;
        segment.learn(vip)?;
    }
    // One VIP that may not be served takes the whole virtual router out.
    first.gate(more, false);
    for vip in [VIP4, more, VIP6] {
        segment.wait_holder(2, vip)?;
        segment.wait_neighbour(vip, &segment.mac(2)?)?;
    }
    first.gate(more, true);
    segment.wait_holder(1, VIP6)?;
    first.wait_state("master")?;
    // Fewer addresses leave the state as it is.
    let before = first.status();
    first.configure(&segment.nodes[0], &config(1, 2, VIP4, 254))?;
    until("the others are gone", SOON, || {
        Ok((!segment.has(1, more)? && !segment.has(1, VIP6)?).then_some(()))
    })?;
    ensure!(segment.has(1, VIP4)?);
    ensure!(first.status().transitions.len() == before.transitions.len());
    // A new priority counts at once.
    second.configure(&segment.nodes[1], &config(2, 2, VIP4, 253))?;
    first.configure(&segment.nodes[0], &config(1, 2, VIP4, 100))?;
    segment.wait_holder(2, VIP4)?;
    // Another transport starts everything anew.
    let group = |own, priority| {
        let mut config = config(own, 2, VIP4, priority);
        config.transport = ober_user::protocols::vrrp::configured::Transport::Multicast;
        config
    };
    first.configure(&segment.nodes[0], &group(1, 200))?;
    second.configure(&segment.nodes[1], &group(2, 100))?;
    segment.wait_holder(1, VIP4)?;
    // Another VRID is another virtual router.
    let other = |own, priority| {
        let mut other = group(own, priority);
        other.instances[0].vrid.0 = 52.try_into().expect("not zero");
        other
    };
    first.configure(&segment.nodes[0], &other(1, 100))?;
    second.configure(&segment.nodes[1], &other(2, 200))?;
    segment.wait_holder(2, VIP4)
}

#[test]
fn an_address_removed_by_hand_is_restored() -> Result<()> {
    let segment = Segment::new("vrrp-hand", 1)?;
    let host = &segment.nodes[0];
    let mut alone = config(1, 2, VIP4, 254);
    alone.instances[0].excluded.push(VIP6);
    let node = Node::start(host, &alone)?;
    segment.wait_holder(1, VIP4)?;
    segment.learn(VIP4)?;
    for vip in [VIP4, VIP6] {
        let length = if vip.is_ipv4() { 32 } else { 128 };
        host.ip(&[format!("addr del {vip}/{length} dev eth0")])?;
        segment.wait_holder(1, vip)?;
    }
    ensure!(node.status().state.name() == "master");
    Ok(())
}

#[test]
fn addresses_outlive_their_lifetime_while_there_is_a_master() -> Result<()> {
    let segment = Segment::new("vrrp-life", 1)?;
    let mut config = config(1, 2, VIP4, 254);
    config.instances[0].excluded.push(VIP6);
    let node = Node::start(&segment.nodes[0], &config)?;
    segment.wait_holder(1, VIP6)?;
    let began = Instant::now();
    while began.elapsed() < ober_user::system::ownership::LIFETIME * 2 {
        ensure!(segment.has(1, VIP4)? && segment.has(1, VIP6)?);
        std::thread::sleep(Duration::from_millis(100));
    }
    node.stop();
    ensure!(!segment.has(1, VIP4)? && !segment.has(1, VIP6)?);
    Ok(())
}

#[test]
fn a_foreign_host_that_claims_a_vip_is_reported_and_the_caches_are_corrected() -> Result<()> {
    for vip in [VIP4, VIP6] {
        let segment = Segment::new("vrrp-claim", 2)?;
        let node = Node::start(&segment.nodes[0], &config(1, 2, vip, 254))?;
        segment.wait_holder(1, vip)?;
        ensure!(segment.learn(vip)? == segment.mac(1)?);
        std::thread::sleep(Duration::from_secs(1));
        let stranger = &segment.nodes[1];
        stranger.sysctl("net.ipv4.conf.all.arp_notify", "1")?;
        stranger.sysctl("net.ipv6.conf.eth0.ndisc_notify", "1")?;
        let length = if vip.is_ipv4() { 32 } else { 128 };
        stranger.ip(&[
            format!("addr add {vip}/{length} dev eth0"),
            "link set eth0 down".to_owned(),
            "link set eth0 up".to_owned(),
        ])?;
        let length = if vip.is_ipv4() {
            None
        } else {
            Some(format!("addr replace {vip}/128 dev eth0"))
        };
        if let Some(again) = length {
            stranger.ip(&[again])?;
        }
        // After the link's return the switch's port may take a second until it forwards claims.
        let again = format!("link set eth0 address {}", segment.mac(2)?);
        let status = until("the claim is seen", SOON, || {
            stranger.ip(&[&again])?;
            Ok(Some(node.status()).filter(|status| status.conflict.is_some()))
        })?;
        let what = status.conflict.expect("seen").what;
        ensure!(
            what.contains("answers for") && what.contains(&segment.mac(2)?),
            "{what}"
        );
        segment.wait_neighbour(vip, &segment.mac(1)?)?;
    }
    Ok(())
}

#[test]
fn packets_of_unknown_distant_or_unrelated_senders_are_counted_and_change_nothing() -> Result<()> {
    let segment = Segment::new("vrrp-strangers", 3)?;
    let node = Node::start(&segment.nodes[0], &config(1, 2, VIP4, 100))?;
    segment.wait_holder(1, VIP4)?;
    // Node 3 is no peer.
    let mut stranger = config(3, 3, VIP4, 254);
    stranger.instances[0].vips = vec!["10.77.0.103".parse()?];
    let _stranger = Node::start(&segment.nodes[2], &stranger)?;
    until("a stranger is counted", SOON, || {
        Ok((node.rejected()["source"] > 5).then_some(()))
    })?;
    // Node 2 is a peer, with another VRID.
    let mut other = config(2, 2, "10.77.0.102".parse()?, 254);
    other.instances[0].vrid.0 = 77.try_into()?;
    let _other = Node::start(&segment.nodes[1], &other)?;
    until("a VRID is counted", SOON, || {
        Ok((node.rejected()["vrid"] > 5).then_some(()))
    })?;
    ensure!(node.status().state.name() == "master" && node.status().received == 0);
    Ok(())
}

#[test]
fn malformed_packets_and_wrong_ttls_of_a_peer_are_counted_by_fault_and_change_nothing() -> Result<()>
{
    let segment = Segment::new("vrrp-garbage", 2)?;
    let node = Node::start(&segment.nodes[0], &config(1, 2, VIP4, 100))?;
    segment.wait_holder(1, VIP4)?;
    let message = |bytes: &[u8]| bytes.to_vec();
    segment.nodes[1].run(|| -> Result<()> {
        let protocol = socket2::Protocol::from(112);
        let kind = socket2::Type::RAW;
        let socket = socket2::Socket::new(socket2::Domain::IPV4, kind, Some(protocol))?;
        let to = std::net::SocketAddr::new(address(1, false), 0).into();
        socket.set_ttl_v4(255)?;
        for bytes in [
            message(b""),
            message(&[0x41, 51, 254, 1, 0, 100, 0, 0, 10, 77, 0, 100]),
            message(&[0x31, 51, 254, 1, 0, 100, 0, 0, 10, 77, 0, 100]),
            message(&[0x31, 51, 254, 9, 0, 100, 0, 0, 10, 77, 0, 100]),
            message(&[0x32, 51, 254, 1, 0, 100, 0, 0, 10, 77, 0, 100]),
            message(&[0xff; 1400]),
        ] {
            socket.send_to(&bytes, &to)?;
        }
        socket.set_ttl_v4(254)?;
        socket.send_to(&[0x31, 51, 254, 1, 0, 100, 0, 0, 10, 77, 0, 100], &to)?;
        Ok(())
    })??;
    let wanted = [
        ("length", 2),
        ("version", 2),
        ("checksum", 1),
        ("malformed", 1),
        ("ttl", 1),
    ];
    until("each is counted", SOON, || {
        let found = node.rejected();
        let all = wanted
            .iter()
            .all(|(reason, count)| found[*reason] == *count);
        ensure!(all, "{found:?}");
        Ok(Some(()))
    })?;
    ensure!(node.status().state.name() == "master" && node.status().received == 0);
    Ok(())
}

#[test]
fn with_a_virtual_mac_the_clients_cache_never_changes() -> Result<()> {
    for (vip, mac, multicast) in [
        (VIP4, "00:00:5e:00:01:33", true),
        (VIP6, "00:00:5e:00:02:33", false),
        (VIP4, "00:00:5e:00:01:33", false),
    ] {
        let segment = Segment::new("vrrp-vmac", 2)?;
        let with = |own, priority| {
            let mut config = config(own, 2, vip, priority);
            config.virtual_mac = true;
            if multicast {
                config.transport = ober_user::protocols::vrrp::configured::Transport::Multicast;
            }
            config
        };
        let mut first = Node::start(&segment.nodes[0], &with(1, 254))?;
        let second = Node::start(&segment.nodes[1], &with(2, 253))?;
        segment.wait_holder(1, vip)?;
        ensure!(segment.learn(vip)? == mac, "{:?}", segment.neighbour(vip)?);
        first.gate(vip, false);
        segment.wait_holder(2, vip)?;
        segment.answers(vip)?;
        ensure!(segment.neighbour(vip)?.as_deref() == Some(mac));
        first.gate(vip, true);
        segment.wait_holder(1, vip)?;
        segment.answers(vip)?;
        ensure!(second.status().conflicts == 0, "{:?}", second.status());
        first.stop();
        second.stop();
        let mut command = IP.command();
        let links = segment.nodes[0].output(command.args(["-o", "link"]))?;
        ensure!(
            !String::from_utf8(links.stdout)?.contains("macvlan"),
            "nothing is left"
        );
    }
    Ok(())
}

#[test]
fn vips_in_their_own_network_leave_singly_and_their_route_leaves_with_the_last() -> Result<()> {
    let segment = Segment::new("vrrp-network", 1)?;
    let host = &segment.nodes[0];
    for interface in ["all", "eth0"] {
        let key = format!("net.ipv4.conf.{interface}.promote_secondaries");
        host.sysctl(&key, "0")?;
    }
    let vips: [IpAddr; 2] = ["10.78.0.100".parse()?, "10.78.0.101".parse()?];
    let mut config = config(1, 2, vips[0], 254);
    let mut other = config.instances[0].clone();
    other.vips = vec![vips[1]];
    other.vrid.0 = 52.try_into()?;
    config.instances.push(other);
    config.instances[0].excluded.push(VIP6);
    config.form.ipv4_length = 24;
    config.form.ipv4_prefix_route = true;
    let mut node = Node::start(host, &config)?;
    for vip in [vips[0], vips[1], VIP6] {
        segment.wait_holder(1, vip)?;
    }
    let shown = segment.shown(1)?;
    let of = |vip: IpAddr| {
        shown
            .lines()
            .find(|line| line.contains(&format!(" {vip}/")))
    };
    let flags = [" nodad ", " noprefixroute "];
    ensure!(
        of(VIP6).is_some_and(|line| flags.iter().all(|flag| line.contains(flag))),
        "{shown}"
    );
    let routed = || -> Result<bool> {
        let routes = host.output(IP.command().args(["-4", "route"]))?;
        Ok(String::from_utf8(routes.stdout)?.contains("10.78.0.0/24 dev eth0"))
    };
    ensure!(routed()?);

    // The first is primary, and the kernel would remove the second with it.
    let secondary = |vip| of(vip).is_some_and(|line| line.contains(" secondary "));
    let [first, second] = if secondary(vips[0]) {
        [vips[1], vips[0]]
    } else {
        vips
    };
    ensure!(secondary(second) && !secondary(first), "{shown}");
    let watch = host.spawn(IP.command().args(["-o", "monitor", "address"]))?;
    until("a renewal is seen", SOON, || {
        Ok(watch.log().contains(&second.to_string()).then_some(()))
    })?;
    node.gate(first, false);
    let left = |vip: IpAddr| {
        let log = watch.log();
        let mut gone = log.lines().filter(|line| line.starts_with("Deleted"));
        gone.any(|line| line.contains(&format!(" {vip}/")))
    };
    until("it has left", SOON, || Ok(left(first).then_some(())))?;
    std::thread::sleep(Duration::from_millis(500));
    ensure!(!left(second) && segment.has(1, second)?, "{}", watch.log());
    ensure!(routed()?);
    node.stop();
    ensure!(!segment.has(1, second)? && !routed()?);
    Ok(())
}

#[test]
fn vrrp_reports_missing_interfaces_and_addresses_at_the_start() -> Result<()> {
    let segment = Segment::new("vrrp-missing", 1)?;
    let host = &segment.nodes[0];
    let says = |config: &_| match Node::closed(host, config) {
        Ok(_) => "nothing".to_owned(),
        Err(error) => format!("{error:#}"),
    };
    let mut wrong = config(1, 2, VIP4, 100);
    wrong.interface = "none".to_owned();
    ensure!(
        says(&wrong).contains("there is no such Ethernet interface"),
        "{}",
        says(&wrong)
    );
    let mut wrong = config(1, 2, VIP4, 100);
    wrong.garp_interfaces = vec!["none".to_owned()];
    ensure!(
        says(&wrong).contains("set vrrp.garp_interfaces to one of"),
        "{}",
        says(&wrong)
    );
    host.ip(&[format!("addr del {}/24 dev eth0", address(1, false))])?;
    let text = says(&config(1, 2, VIP4, 100));
    ensure!(
        text.contains("it has no IPv4 address to advertise from"),
        "{text}"
    );
    Ok(())
}
