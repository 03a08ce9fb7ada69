//! Interfaces and drivers that change after a program was attached.

use std::{
    io::{Read as _, Write as _},
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::Instant,
};

use ober_programs::{SH, UNSHARE};

use ober_tests::{
    lab::{BPFFS, VIP4, until},
    load::Plan,
    mounts,
    nodes::one::{Settings, Stage},
};
use ober_user::{dataplane, system::fact::Fact};

use crate::{CONTENT, PATH, SOON, doctor, finding, interface, log, pins, serving};

#[test]
fn a_driver_is_asked_again_when_the_mtu_changes_and_no_request_fails_meanwhile() {
    let stage = serving("mtu", &Settings::default());
    let before = stage.status().expect("status").data_plane.programs;
    let load = Plan::get(stage.secure(VIP4), PATH, CONTENT)
        .start(&stage.cluster.clients[0])
        .expect("a load");
    for mtu in [3000, 1500] {
        let narrow = format!("link set in0 mtu {mtu}");
        stage.cluster.node.ip(&[narrow]).expect("change the MTU");
        let asked = format!("mtu={mtu} \"the interface changed");
        until("the driver was asked", SOON, || {
            let logged = log(&stage).lines().any(|line| {
                line.contains("the interface changed") && line.contains(&format!("mtu={mtu}"))
            });
            Ok((logged && interface(&stage, "in0").mtu == mtu).then_some(()))
        })
        .unwrap_or_else(|error| panic!("{asked}: {error:#}\n{}", log(&stage)));
        assert!(interface(&stage, "in0").native, "a veth takes it");
    }
    let enough = load.done() + 20;
    until("more requests", SOON, || {
        Ok((load.done() > enough).then_some(()))
    })
    .expect("traffic goes on");
    let report = load.finish().expect("finish");
    report.none_failed().expect("requests");
    assert_eq!(stage.status().expect("status").data_plane.programs, before);
}

#[test]
fn a_program_that_is_exchanged_in_place_is_seen_attached_all_the_time() {
    let stage = serving("exchange", &Settings::default());
    let (home, over) = (pins(&stage), AtomicBool::new(false));
    let look = || {
        let (began, mut seen) = (Instant::now(), 0_u64);
        while began.elapsed() < 10 * SOON && !over.load(Ordering::Relaxed) {
            let fact = dataplane::holds(&home, "in0");
            assert_ne!(fact, Fact::No, "after {seen} looks");
            seen += 1;
        }
        seen
    };
    std::thread::scope(|scope| {
        let looker = scope.spawn(|| stage.cluster.node.run(look).expect("enter the node"));
        for mtu in [3000, 1500].repeat(4) {
            let change = format!("link set in0 mtu {mtu}");
            stage.cluster.node.ip(&[change]).expect("change the MTU");
            let asked = until("the driver was asked", SOON, || {
                Ok((looker.is_finished() || last_asked(&stage) == Some(mtu)).then_some(()))
            });
            asked.unwrap_or_else(|error| panic!("{error:#}\n{}", log(&stage)));
        }
        over.store(true, Ordering::Relaxed);
        assert!(looker.join().expect("it was seen all the time") > 100);
    });
    assert!(!log(&stage).contains("program detached"), "{}", log(&stage));
}

/// The MTU with which a driver was asked again last.
fn last_asked(stage: &Stage) -> Option<u32> {
    let log = log(stage);
    let mut lines = log.lines().rev();
    let line = lines.find(|line| line.contains("the interface changed"))?;
    line.split_once("mtu=")?
        .1
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}

#[test]
fn status_shows_that_a_program_runs_once_it_saw_packets_and_the_drivers_drops() {
    let stage = serving("runs", &Settings::default());
    until("a proof", SOON, || Ok(interface(&stage, "in0").runs)).expect("packets came in");
    let stranger = stage
        .open(VIP4)
        .limits(std::time::Duration::from_millis(300), SOON);
    let knock = stage.cluster.clients[1].tokio(async || stranger.connect().await.map(drop));
    assert!(
        knock.expect("enter the client").is_err(),
        "the stranger is dropped"
    );
    until("the driver's own count", SOON, || {
        Ok(interface(&stage, "in0")
            .driver_drops
            .filter(|drops| *drops > 0))
    })
    .expect("a veth counts");
    assert_eq!(
        stage.status().expect("status").data_plane.unexplained_drops,
        0
    );
    assert_eq!(
        doctor(&stage, "interfaces", "in0 counters")["verdict"],
        "ok"
    );
    let metrics = stage
        .cluster
        .node
        .run(metrics)
        .expect("enter the node")
        .expect("the metrics");
    for line in [
        "ober_interface_runs{interface=\"in0\"} 1",
        "ober_interface_fallback{interface=\"in0\"} 0",
        "ober_unexplained_drops_total 0",
    ] {
        assert!(
            metrics.lines().any(|found| found == line),
            "{line} is missing from {metrics}"
        );
    }
}

#[test]
fn doctor_recognises_the_instances_program_without_access_to_its_pins() {
    let stage = serving("unseen-pins", &Settings::default());
    let hide = mounts::memory("size=64k", Path::new(BPFFS));
    let doctor = stage.ober.ober(&["doctor", "--json"]).expect("a command");
    let mut command = UNSHARE.before(["--mount"], &SH.in_turn(&[&hide, &doctor]));
    let answer = stage
        .cluster
        .node
        .try_output(&mut command)
        .expect("ask")
        .stdout;
    let found = finding(&answer, "interfaces", "in0");
    assert_eq!(found["verdict"], "ok", "{found:#}");
    assert!(
        found["reason"].to_string().contains("native XDP"),
        "{found:#}"
    );
}

#[test]
fn doctor_fails_on_a_loopback_open_to_others_and_names_routes_to_clients_without_a_program() {
    let stage = serving("ways", &Settings::default());
    let node = &stage.cluster.node;
    node.sysctl("net.ipv4.conf.in0.route_localnet", "1")
        .expect("as kube-proxy sets it");
    let found = doctor(&stage, "sysctls", "net.ipv4.conf.in0.route_localnet");
    assert_eq!(found["verdict"], "failed", "{found:#}");
    node.sysctl("net.ipv4.conf.in0.route_localnet", "0")
        .expect("as it was");

    let lines = [
        "link add by0 type veth peer name by1",
        "link set by0 up",
        "link set by1 up",
        "route add 10.77.0.11/32 dev by0",
    ];
    node.ip(&lines).expect("another way to the listed client");
    let found = doctor(&stage, "interfaces", "by0");
    assert_eq!(found["verdict"], "warning", "{found:#}");
    assert!(
        found["reason"]
            .to_string()
            .contains("10.77.0.11 of list frontend-http"),
        "{found:#}"
    );
}

/// The daemon's metrics page on loopback.
fn metrics() -> std::io::Result<String> {
    let mut page = std::net::TcpStream::connect("127.0.0.1:8404")?;
    page.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    page.read_to_string(&mut text)?;
    Ok(text)
}
