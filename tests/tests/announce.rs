//! How a reload changes announcements, with a real router.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use ober_programs::IP;
use ober_tests::{
    lab::{Process, VIP4, VIP6, until},
    nodes::routed::{Routed, Settings},
};
use ober_user::announce::gate::Standing;

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
fn bgp_added_by_a_reload_announces_vips_whose_gates_are_already_open() {
    let without = |whole: &str| whole.split("[bgp]").next().unwrap_or_default().to_owned();
    let (stage, whole) = serving("late", without).expect("a node that serves");
    until("the gates are open", PATIENCE, || {
        let gates = stage.status(0)?.gate;
        let open = |gate: &ober_user::api::status::gate::Gate| gate.standing == Standing::Announced;
        Ok((gates.len() == 2 && gates.iter().all(open)).then_some(()))
    })
    .expect("open gates");
    reload(&stage, &whole).expect("reload with BGP");
    stage.until_paths(&[0], PATIENCE).expect("the route");
    reload(&stage, &without(&whole)).expect("reload without BGP");
    stage.until_paths(&[], PATIENCE).expect("no route");
}

#[test]
fn a_removed_vip_is_withdrawn_and_the_session_stays() {
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

/// The lines of `ip monitor` on the node's addresses that concern the VIP.
fn changes(monitor: &Process) -> Vec<String> {
    let log = monitor.log();
    let of_vip = log
        .lines()
        .filter(|line| line.contains(&format!(" {VIP4}/")));
    of_vip.map(str::to_owned).collect()
}

#[test]
fn a_vip_moved_to_vrrp_and_back_by_a_reload_keeps_its_address_without_interruption() {
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
         advertisement_interval = \"500ms\"\n[[vrrp.instances]]\nvips = [\"{VIP4}\"]\npriority = 200\n"
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

/// A change that is refused: the session, the route and the neighbours are as before, and there is nothing left to do.
fn refused(stage: &Routed, whole: &str, bad: &str, words: &str) -> Result<()> {
    let before = uptime(stage)?;
    let Err(refusal) = reload(stage, bad) else {
        bail!("the change was not refused");
    };
    ensure!(format!("{refusal:#}").contains(words), "{refusal:#}");
    ensure!(stage.paths()? == [0]);
    ensure!(uptime(stage)? >= before, "it was reset");
    let status = stage.status(0)?;
    ensure!(status.bgp.len() == 1, "{:?}", status.bgp);
    let doubt = status.configuration.and_then(|it| it.doubt);
    ensure!(doubt.is_none(), "{doubt:?}");
    fs::write(&stage.ober[0].config, whole)?;
    let plan = stage.cli(0, &["plan"])?;
    ensure!(plan.contains("nothing to do"), "{plan}");
    reload(stage, whole)?;
    ensure!(stage.status(0)?.bgp.len() == 1);
    ensure!(uptime(stage)? >= before, "it was reset");
    Ok(())
}

#[test]
fn a_change_refused_by_an_interface_or_a_taken_port_adds_no_neighbour_and_ends_no_session() {
    let settings = Settings {
        bfd: "off",
        ..Settings::default()
    };
    let mut stage = Routed::new("refusals", &settings).expect("the stage");
    let text = fs::read_to_string(&stage.ober[0].config).expect("the configuration");
    let whole = text
        .replace("sample = 1\n", "sample = 1\nxdp = \"native\"\n")
        .replace(
            "[bgp]\n",
            "[bgp]\nlisten = [\"0.0.0.0:179\", \"[::]:179\"]\n",
        );
    fs::write(&stage.ober[0].config, &whole).expect("write");
    stage.start(0).expect("a node that serves");
    stage.until_paths(&[0], PATIENCE).expect("the route");
    // A bridge has no XDP of its own.
    stage
        .node(0)
        .ip(&["link add dm0 type bridge", "link set dm0 up"])
        .expect("a bridge");
    let stranger = "[[bgp.neighbours]]\naddress = \"10.78.1.99\"\nas = 65099\n\
                    [[bgp.neighbours]]\naddress = \"fd99::99\"\nas = 65099\n";
    let bad = format!("{whole}\n{stranger}")
        .replace("interfaces = [\"in0\"]", "interfaces = [\"in0\", \"dm0\"]");
    refused(&stage, &whole, &bad, "dm0").expect("an interface without native XDP");
    let log = stage.ober[0]
        .daemon
        .as_ref()
        .map(Process::log)
        .unwrap_or_default();
    assert!(!log.contains("put back what was in force"), "{log}");
    // Another program speaks BFD here.
    let port = stage
        .node(0)
        .run(|| std::net::UdpSocket::bind("0.0.0.0:3784"))
        .expect("enter the node")
        .expect("take the port");
    let with_bfd = whole.replace("bfd = \"off\"", "bfd = \"default\"");
    let bad = format!("{with_bfd}\n{stranger}");
    refused(&stage, &whole, &bad, "UDP port 3784").expect("a port that is taken");
    drop(port);
    // BFD begins and ends while the BGP session goes on.
    let before = uptime(&stage).expect("the session");
    reload(&stage, &with_bfd).expect("BFD");
    reload(&stage, &whole).expect("no BFD");
    // A neighbour comes and goes.
    reload(&stage, &format!("{whole}\n{stranger}")).expect("two more neighbours");
    assert_eq!(stage.status(0).expect("status").bgp.len(), 3);
    reload(&stage, &whole).expect("they go");
    assert_eq!(stage.status(0).expect("status").bgp.len(), 1);
    stage.cli(0, &["rollback"]).expect("they come again");
    stage.cli(0, &["rollback"]).expect("and go again");
    assert_eq!(stage.status(0).expect("status").bgp.len(), 1);
    assert!(
        uptime(&stage).expect("the session") >= before,
        "it was reset"
    );
    assert_eq!(stage.paths().expect("paths"), [0]);
}
