//! What a reload does to what is announced, with a real router.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result};
use ober_programs::IP;
use ober_tests::{
    lab::{VIP4, VIP6, until},
    routed::{Routed, Settings},
};
use ober_user::gate::Standing;

const PATIENCE: Duration = Duration::from_secs(20);

/// A node whose configuration is the given part of the usual one.
fn serving(name: &str, part: impl Fn(&str) -> String) -> Result<(Routed, String)> {
    let mut stage = Routed::new(name, &Settings::default())?;
    let whole = fs::read_to_string(&stage.ober[0].config)?;
    fs::write(&stage.ober[0].config, part(&whole))?;
    stage.start(0)?;
    Ok((stage, whole))
}

fn reload(stage: &Routed, text: &str) -> Result<String> {
    fs::write(&stage.ober[0].config, text)?;
    stage.cli(0, &["reload"])
}

/// How long the session with node 0 has been up, in milliseconds, as FRR has it.
fn uptime(stage: &Routed) -> Result<u64> {
    let summary = stage.frr.show("bgp ipv4 unicast summary")?;
    let peer = &summary["peers"]["10.78.1.2"];
    peer["peerUptimeMsec"].as_u64().context("no uptime")
}

/// FRR's prefixes of the IPv6 VIP.
fn has_v6(stage: &Routed) -> Result<bool> {
    let routes = stage.frr.show("bgp ipv6 unicast")?;
    Ok(routes["routes"].get(format!("{VIP6}/128")).is_some())
}

#[test]
fn bgp_that_comes_with_a_reload_is_told_of_vips_whose_gates_are_open_already() {
    let without = |whole: &str| whole.split("[bgp]").next().unwrap_or_default().to_owned();
    let (stage, whole) = serving("late", without).expect("a node that serves");
    until("the gates are open", PATIENCE, || {
        let gates = stage.status(0)?.gate;
        let open = |gate: &ober_user::status::gate::Gate| gate.standing == Standing::Announced;
        Ok((gates.len() == 2 && gates.iter().all(open)).then_some(()))
    })
    .expect("open gates");
    reload(&stage, &whole).expect("reload with BGP");
    stage.until_paths(&[0], PATIENCE).expect("the route");
    reload(&stage, &without(&whole)).expect("reload without BGP");
    stage.until_paths(&[], PATIENCE).expect("no route");
}

#[test]
fn a_vip_that_goes_is_withdrawn_and_the_session_stays() {
    let (stage, whole) = serving("gone", str::to_owned).expect("a node that serves");
    stage.until_paths(&[0], PATIENCE).expect("the route");
    until("the IPv6 route", PATIENCE, || {
        Ok(has_v6(&stage)?.then_some(()))
    })
    .expect("both routes");
    let before = uptime(&stage).expect("the session");
    let fewer = whole.replace(&format!("\"{VIP4}\", \"{VIP6}\""), &format!("\"{VIP4}\""));
    reload(&stage, &fewer).expect("reload");
    until("the IPv6 route is gone", PATIENCE, || {
        Ok((!has_v6(&stage)?).then_some(()))
    })
    .expect("withdrawn");
    assert_eq!(stage.paths().expect("paths"), [0]);
    assert!(
        uptime(&stage).expect("the session") >= before,
        "it was reset"
    );
}

#[test]
fn a_reload_that_a_speaker_refuses_leaves_sessions_and_routes_alone() {
    let (stage, whole) = serving("refused", str::to_owned).expect("a node that serves");
    stage.until_paths(&[0], PATIENCE).expect("the route");
    let before = uptime(&stage).expect("the session");
    let without = whole.split("[bgp]").next().unwrap_or_default();
    let bad = format!(
        "{without}[vrrp]\ninterface = \"none9\"\nsource = [\"10.78.1.2\"]\npeers = [\"10.78.1.9\"]\n\
         [[vrrp.instances]]\nvips = [\"{VIP4}\"]\npriority = 100\n"
    );
    let refusal = reload(&stage, &bad).expect_err("there is no such interface");
    assert!(
        format!("{refusal:#}").contains("no such Ethernet interface"),
        "{refusal:#}"
    );
    assert_eq!(stage.paths().expect("paths"), [0]);
    assert!(
        uptime(&stage).expect("the session") >= before,
        "it was reset"
    );
}

/// `ip monitor` on the node's addresses: what it says of the VIP.
fn changes(monitor: &ober_tests::lab::Process) -> Vec<String> {
    let log = monitor.log();
    let of_vip = log
        .lines()
        .filter(|line| line.contains(&format!(" {VIP4}/")));
    of_vip.map(str::to_owned).collect()
}

#[test]
fn a_vip_that_a_reload_moves_to_vrrp_and_back_stays_where_it_is_held() {
    let (stage, whole) = serving("moved", str::to_owned).expect("a node that serves");
    stage.until_paths(&[0], PATIENCE).expect("the route");
    let shown = |stage: &Routed| -> Result<String> {
        let mut ip = IP.command();
        let output = stage.node(0).output(ip.args(["-o", "addr"]))?;
        Ok(String::from_utf8(output.stdout)?)
    };
    let held = |stage: &Routed| -> Result<bool> {
        let shown = shown(stage)?;
        let mut lines = shown.lines().filter(|it| it.contains(&format!(" {VIP4}/")));
        Ok(lines.all(|line| line.contains(" in0 ")) && shown.contains(&format!(" {VIP4}/")))
    };
    let mut ip = IP.command();
    ip.args(["-o", "monitor", "address"]);
    let monitor = stage.node(0).spawn(&mut ip).expect("watch the addresses");
    let vrrp = format!(
        "{whole}[vrrp]\ninterface = \"in0\"\nsource = [\"10.78.1.2\"]\npeers = [\"10.78.1.9\"]\n\
         advertisement_interval = \"10ms\"\n[[vrrp.instances]]\nvips = [\"{VIP4}\"]\npriority = 200\n"
    );
    reload(&stage, &vrrp).expect("reload with VRRP");
    until("VRRP alone has the VIP", PATIENCE, || {
        Ok(held(&stage)?.then_some(()))
    })
    .expect("held");
    stage.until_paths(&[], PATIENCE).expect("no route");
    std::thread::sleep(Duration::from_secs(1));
    let taken = |line: &String| line.contains("Deleted") && line.contains(" in0 ");
    let seen = changes(&monitor);
    assert!(!seen.iter().any(taken), "{seen:#?}");
    reload(&stage, &whole).expect("reload without VRRP");
    stage.until_paths(&[0], PATIENCE).expect("the route again");
    // Longer than VRRP's address could have lasted.
    std::thread::sleep(Duration::from_secs(5));
    let shown = shown(&stage).expect("addresses");
    assert!(shown.contains(&format!(" {VIP4}/32 ")), "{shown}");
    assert_eq!(stage.paths().expect("paths"), [0]);
}
