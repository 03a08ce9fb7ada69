//! VRRP neither takes nor changes what it did not put on the node: addresses, interfaces and sysctls of others.

use std::{collections::BTreeSet, fs, net::IpAddr};

use anyhow::{Context as _, Result, ensure};
use ober_programs::IP;
use ober_tests::{
    lab::{Host, VIP4 as SERVED, until},
    nodes::vrrp::{SharedVip, unhurried},
};
use ober_user::{
    announce::addresses,
    config::{Config, Env},
};
use rtnetlink::packet_route::address::{AddressAttribute, AddressProtocol, CacheInfo};

use crate::segment::{Node, SOON, Segment, VIP4, VIP6, config};

/// Which program put an address there, by the kernel's mark.
#[derive(Clone, Copy, Debug)]
enum By {
    /// `IFA_PROTO` of Herr Ober.
    Ober,
    /// `IFA_PROTO` of keepalived.
    Keepalived,
    /// No mark, as from `ip` and from daemons of versions without marks.
    Unmarked,
}

const FOREVER: u32 = u32::MAX;

fn put(host: &Host, address: &str, device: &str, by: By, seconds: u32) -> Result<()> {
    let (ip, length) = address
        .split_once('/')
        .context("an address with a length")?;
    let (ip, length): (IpAddr, u8) = (ip.parse()?, length.parse()?);
    host.tokio(async || -> Result<()> {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        tokio::spawn(connection);
        let index = nix::net::if_::if_nametoindex(device)?;
        let mut request = handle.address().add(index, ip, length);
        let attributes = &mut request.message_mut().attributes;
        let mut lifetime = CacheInfo::default();
        (lifetime.ifa_valid, lifetime.ifa_preferred) = (seconds, seconds);
        attributes.push(AddressAttribute::CacheInfo(lifetime));
        match by {
            By::Ober => attributes.push(AddressAttribute::Protocol(AddressProtocol::Other(79))),
            By::Keepalived => {
                attributes.push(AddressAttribute::Protocol(AddressProtocol::Other(18)));
            }
            By::Unmarked => {}
        }
        Ok(request.execute().await?)
    })?
}

fn ip(host: &Host, arguments: &str) -> Result<String> {
    let mut command = IP.command();
    let output = host.output(command.args(arguments.split_whitespace()))?;
    Ok(String::from_utf8(output.stdout)?)
}

/// Addresses and routes, but for lifetimes and what the kernel itself makes.
fn picture(host: &Host) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for arguments in [
        "-o -4 addr",
        "-o -6 addr show scope global",
        "-4 route",
        "-6 route show proto static",
    ] {
        let text = ip(host, arguments)?;
        lines.extend(text.lines().map(str::to_owned));
    }
    Ok(lines)
}

#[test]
fn at_the_start_vrrp_removes_leftovers_of_an_earlier_daemon_and_no_foreign_addresses() -> Result<()>
{
    let segment = Segment::new("vrrp-left", 1)?;
    let host = &segment.nodes[0];
    let link_local = "fe80::77";
    let mut config = config(1, 2, VIP4, 254);
    for number in 101..=105 {
        config.instances[0].vips.push([10, 77, 0, number].into());
    }
    config.instances[0].excluded = vec![VIP6, "fd77::101".parse()?, "fd77::102".parse()?];
    config.instances[0].link_local = Some(link_local.parse()?);
    let foreign = [
        ("10.77.0.100/24", "eth0", By::Unmarked, FOREVER),
        ("10.77.0.101/32", "lo", By::Unmarked, FOREVER),
        ("10.77.0.102/32", "eth0", By::Unmarked, 3600),
        ("10.77.0.103/32", "eth0", By::Keepalived, FOREVER),
        ("fd77::100/64", "eth0", By::Unmarked, FOREVER),
        ("fd77::101/128", "lo", By::Unmarked, FOREVER),
        ("fe80::77/64", "eth0", By::Unmarked, FOREVER),
        // An address for BGP, which removes its own.
        ("10.77.0.104/32", "lo", By::Ober, FOREVER),
    ];
    let left = [
        ("10.77.0.105/32", "eth0", By::Ober, 3600),
        ("10.77.0.104/24", "eth0", By::Ober, 3600),
        ("fd77::102/128", "lo", By::Ober, 3600),
    ];
    for (address, device, by, seconds) in foreign.iter().chain(&left) {
        put(host, address, device, *by, *seconds).with_context(|| (*address).to_owned())?;
    }
    let has = |(address, device, ..): &(&str, &str, By, u32)| -> Result<bool> {
        let shown = ip(host, &format!("-o addr show dev {device}"))?;
        Ok(shown.contains(&format!(" {address} ")))
    };
    let node = Node::closed(host, &config)?;
    for address in &left {
        until(&format!("{address:?} goes"), SOON, || {
            Ok((!has(address)?).then_some(()))
        })?;
    }
    node.stop();
    for address in &foreign {
        ensure!(
            has(address)?,
            "{address:?} is gone: {}",
            ip(host, "-o addr")?
        );
    }
    Ok(())
}

#[test]
fn an_unmarked_address_left_by_an_older_daemon_is_taken_over() -> Result<()> {
    let segment = Segment::new("vrrp-unmarked", 1)?;
    let host = &segment.nodes[0];
    let mut config = config(1, 2, VIP4, 255);
    config.instances[0].excluded.push(VIP6);
    let mut node = Node::closed(host, &config)?;
    // As if the thread had died just now: too late for the start to clear it.
    put(host, &format!("{VIP4}/32"), "eth0", By::Unmarked, 4)?;
    put(host, &format!("{VIP6}/128"), "eth0", By::Unmarked, 4)?;
    node.gate(VIP4, true);
    node.gate(VIP6, true);
    until("it has both", SOON, || {
        Ok(node.status().addresses_present.then_some(()))
    })?;
    ensure!(segment.has(1, VIP4)? && segment.has(1, VIP6)?);
    node.stop();
    ensure!(!segment.has(1, VIP4)? && !segment.has(1, VIP6)?);
    Ok(())
}

/// Waits until the node gave mastership up because its addresses could not be added.
fn until_refused(node: &Node) -> Result<()> {
    until("its addresses are refused", SOON, || {
        let status = node.status();
        let mut reasons = status.transitions.iter().map(|it| it.reason.as_str());
        let refused = reasons.any(|reason| reason == "addresses could not be added");
        Ok(refused.then_some(()))
    })
}

#[test]
fn a_foreign_address_equal_to_a_vip_is_left_unchanged_and_the_node_yields() -> Result<()> {
    for (vip, address) in [(VIP4, "10.77.0.100/32"), (VIP6, "fd77::100/64")] {
        let segment = Segment::new("vrrp-foreign", 1)?;
        let host = &segment.nodes[0];
        put(host, address, "eth0", By::Unmarked, FOREVER)?;
        let node = Node::start(host, &config(1, 2, vip, 254))?;
        until_refused(&node)?;
        let shown = ip(host, "-o addr show dev eth0 permanent")?;
        ensure!(shown.contains(&format!(" {address} ")), "{shown}");
        host.ip(&[format!("addr del {address} dev eth0")])?;
        until("it has its own", SOON, || {
            Ok(node.status().addresses_present.then_some(()))
        })?;
        node.stop();
        ensure!(!segment.has(1, vip)?);
    }
    Ok(())
}

#[test]
fn a_held_vip_that_becomes_the_nodes_own_address_is_neither_renewed_nor_removed() -> Result<()> {
    let segment = Segment::new("vrrp-replaced", 1)?;
    let host = &segment.nodes[0];
    let node = Node::start(host, &config(1, 2, VIP4, 254))?;
    segment.wait_holder(1, VIP4)?;
    host.ip(&[format!("addr replace {VIP4}/32 dev eth0")])?;
    until("the node gives way", SOON, || {
        let status = node.status();
        Ok((!status.addresses_present).then_some(()))
    })?;
    node.stop();
    let shown = ip(host, "-o addr show dev eth0 permanent")?;
    ensure!(shown.contains(&format!(" {VIP4}/32 ")), "{shown}");
    Ok(())
}

#[test]
fn a_foreign_interface_with_the_name_of_a_virtual_mac_is_left_unchanged() -> Result<()> {
    let segment = Segment::new("vrrp-vmac-own", 1)?;
    let host = &segment.nodes[0];
    let index = host.run(|| nix::net::if_::if_nametoindex("eth0"))??;
    let name = format!("vr{index}-4-51");
    let with_mac = |own, nodes| {
        let mut config = config(own, nodes, VIP4, 254);
        config.virtual_mac = true;
        config
    };
    for kind in [
        format!("link add {name} type veth peer name other"),
        // The right kind, MAC and parent, but it belongs to another program.
        format!("link add {name} link eth0 address 00:00:5e:00:01:33 type macvlan mode bridge"),
    ] {
        host.ip(&[&kind])?;
        host.ip(&[format!("link set {name} alias mine")])?;
        let node = Node::start(host, &with_mac(1, 2))?;
        until_refused(&node)?;
        node.stop();
        ensure!(ip(host, "-o link")?.contains(&name), "{kind}: it is gone");
        host.ip(&[format!("link del {name}")])?;
    }
    Ok(())
}

#[test]
fn the_interface_of_a_virtual_mac_is_down_while_none_of_its_addresses_is_there() -> Result<()> {
    let segment = Segment::new("vrrp-vmac-down", 2)?;
    let with_mac = |own, priority| {
        let mut config = config(own, 2, VIP4, priority);
        config.virtual_mac = true;
        config
    };
    let (first, second) = (&segment.nodes[0], &segment.nodes[1]);
    // As a daemon leaves it that is killed while it is master.
    let left = |host: &Host| -> Result<String> {
        let index = host.run(|| nix::net::if_::if_nametoindex("eth0"))??;
        let name = format!("vr{index}-4-51");
        host.ip(&[
            format!("link add {name} link eth0 address 00:00:5e:00:01:33 type macvlan mode bridge"),
            format!("link set {name} up"),
        ])?;
        Ok(name)
    };
    let is_up = |host: &Host, name: &str| -> Result<bool> {
        Ok(ip(host, &format!("-o link show dev {name}"))?.contains(",UP"))
    };
    let goes_down = |host: &Host, name: &str| {
        until("it goes down", SOON, || {
            Ok((!is_up(host, name)?).then_some(()))
        })
    };
    let master = Node::start(first, &with_mac(1, 254))?;
    segment.wait_holder(1, VIP4)?;
    let name = left(second)?;
    ensure!(is_up(second, &name)?);
    let backup = Node::start(second, &with_mac(2, 253))?;
    goes_down(second, &name)?;
    ensure!(backup.status().transitions_to_master == 0);
    // The interface does not stay up either where its address could not be added.
    let address = format!("addr add {VIP4}/32 dev {name}");
    second.ip(&[&address])?;
    master.stop();
    until_refused(&backup)?;
    goes_down(second, &name)?;
    backup.stop();
    Ok(())
}

#[test]
fn sysctls_that_vrrp_needs_otherwise_are_put_back_at_the_end() -> Result<()> {
    let segment = Segment::new("vrrp-sysctls", 1)?;
    let host = &segment.nodes[0];
    let keys = [
        "promote_secondaries",
        "arp_ignore",
        "arp_announce",
        "rp_filter",
    ];
    for key in keys {
        host.sysctl(&format!("net.ipv4.conf.eth0.{key}"), "0")?;
    }
    let read = || -> Result<Vec<String>> {
        host.run(|| {
            let value = |key| fs::read_to_string(format!("/proc/sys/net/ipv4/conf/eth0/{key}"));
            let values = keys.iter().map(|key| Ok(value(key)?.trim().to_owned()));
            values.collect()
        })?
    };
    let mut config = config(1, 2, VIP4, 254);
    (config.virtual_mac, config.form.ipv4_length) = (true, 24);
    let node = Node::start(host, &config)?;
    segment.wait_holder(1, VIP4)?;
    ensure!(read()? == ["1", "1", "2", "2"], "{:?}", read()?);
    // A value that another program has set since stays.
    host.sysctl("net.ipv4.conf.eth0.arp_announce", "1")?;
    node.stop();
    ensure!(read()? == ["0", "0", "1", "0"], "{:?}", read()?);
    Ok(())
}

/// The configuration that once took a node off the network.
#[test]
fn a_vip_that_is_the_nodes_own_address_is_refused_and_no_address_or_route_is_lost() -> Result<()> {
    let mut stage = SharedVip::new("vrrp-own", [255, 100])?;
    let text = unhurried(&fs::read_to_string(&stage.ober[0].config)?);
    stage.node(0).ip(&[
        "addr add 172.31.9.1/24 dev in0",
        "addr add 172.31.9.5/24 dev in0",
        "addr add fc00:9::1/64 dev in0 nodad",
        "addr add fc00:9::5/64 dev in0 nodad",
        "route add 10.0.0.0/8 via 172.31.9.2",
    ])?;
    let before = picture(stage.node(0))?;
    let served = format!("[\"{SERVED}\"]");
    let own = text
        .replace(&served, "[\"172.31.9.1\", \"fc00:9::1\"]")
        .replace(
            "vips = [\"172.31.9.1\", \"fc00:9::1\"]\nvrid",
            "vips = [\"172.31.9.1\"]\nexcluded = [\"fc00:9::1\"]\nvrid",
        );
    fs::write(&stage.ober[0].config, own)?;
    let refusal = stage
        .start(0)
        .expect_err("the VIP is the node's own address");
    let refusal = format!("{refusal:#}");
    ensure!(
        refusal.contains("172.31.9.1") && refusal.contains("is this node's own address"),
        "{refusal}"
    );
    ensure!(refusal.contains("ip addr del"), "{refusal}");
    ensure!(
        picture(stage.node(0))? == before,
        "{:?}",
        picture(stage.node(0))?
    );
    stage.ober[0].daemon = None;
    // A reload refuses it too; no virtual router ends, and nothing is taken at the end.
    fs::write(&stage.ober[0].config, &text)?;
    stage.start(0)?;
    stage.until_master(0, SOON)?;
    let own = text.replace(&served, "[\"172.31.9.5\"]");
    fs::write(&stage.ober[0].config, own)?;
    let output = stage.ober[0].try_cli(stage.node(0), &["reload"])?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(
        !output.status.success() && said.contains("172.31.9.5/24 on in0"),
        "{said}"
    );
    ensure!(stage.holds(0)?, "the VIP that is served was given up");
    stage.ober[0].stop()?;
    stage.cli(0, &["detach"])?;
    ensure!(
        picture(stage.node(0))? == before,
        "{:?}",
        picture(stage.node(0))?
    );
    Ok(())
}

fn with_vips(directory: &std::path::Path, vips: &str, place: &str) -> Result<Config> {
    let text = format!(
        "[node]\ninterfaces = ['eth0']\nstate = '{0}/state'\nrun = '{0}/run'\nvip_interface = '{place}'\n\
         [workers]\nhaproxy = '/usr/sbin/haproxy'\n[[services]]\nname = 's3'\nvips = {vips}\nbackend = 'b'\n\
         [[services.listeners]]\nport = 80\naccess = 'open'\n[backends.b]\nservers = ['10.8.0.1:80']\n",
        directory.display()
    );
    Ok(Config::parse(&text, directory, &Env::current()?)?)
}

#[test]
fn removing_a_vip_removes_only_addresses_that_the_daemon_added() -> Result<()> {
    let segment = Segment::new("vips-own", 1)?;
    let (host, directory) = (&segment.nodes[0], segment.lab.directory());
    let three = "['192.0.2.1', '192.0.2.2', '2001:db8::1']";
    let config = with_vips(directory, three, "lo")?;
    // A daemon of a version without marks had added the second address, and noted that.
    fs::create_dir_all(directory.join("state"))?;
    fs::write(directory.join("state/vips.json"), "[\"192.0.2.2\"]")?;
    put(host, "192.0.2.2/32", "lo", By::Unmarked, FOREVER)?;
    let added = host.tokio(async || addresses::add(&config, addresses::Noted::May).await)??;
    ensure!(added.len() == 2, "{added:?}");
    // Meanwhile the operator gives the node addresses of these values.
    let foreign = ["192.0.2.1/24", "192.0.2.2/32", "2001:db8::1/64"];
    for address in foreign {
        put(host, address, "eth0", By::Unmarked, FOREVER)?;
    }
    let gone = host.tokio(async || addresses::remove(&config, &BTreeSet::new()).await)??;
    ensure!(gone.len() == 3, "{gone:?}");
    let shown = ip(host, "-o addr")?;
    for address in foreign {
        let on = |device: &str| {
            let mut lines = shown.lines();
            lines.any(|line| line.contains(&format!(" {device} ")) && line.contains(address))
        };
        ensure!(on("eth0") && !on("lo"), "{address}: {shown}");
    }
    ensure!(
        !ip(host, "-o addr show dev lo")?.contains("192.0.2."),
        "{shown}"
    );
    Ok(())
}
