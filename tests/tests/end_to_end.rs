//! The main job end to end: real clients, the real daemon, the real HAProxy, a real S3 server.
#![expect(
    clippy::expect_used,
    reason = "what the helpers of a test expect is part of the test"
)]

use std::{
    path::Path,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use ober_tests::{
    client::Failure,
    demo::{self, Script},
    lab::{BPFFS, VIP4, VIP6, client4, until},
    load::{Plan, Tally},
    nodes::one::{OPEN, Settings, Stage},
    pattern::Pattern,
};

const PATH: &str = "/proxy/object";
const CONTENT: Pattern = Pattern::new(3, 20_000);
const SOON: Duration = Duration::from_secs(10);

/// A stage whose daemon serves [`PATH`].
fn serving(name: &str, settings: &Settings) -> Stage {
    let mut stage = Stage::new(name, settings).expect("build the stage");
    stage.start().expect("start the daemon");
    let client = stage.secure(VIP4);
    stage.cluster.clients[0]
        .tokio(async || {
            client.create_bucket("proxy").await?;
            client.put(PATH, CONTENT).await
        })
        .expect("enter the client")
        .expect("store an object");
    stage
}

fn load(stage: &Stage) -> Plan {
    Plan {
        connections: 4,
        ..Plan::get(stage.secure(VIP4), PATH, CONTENT)
    }
}

fn all_ok(tally: Tally) -> bool {
    tally.ok > 0 && tally.failed() == 0
}

#[test]
fn the_demo_holds_every_claim() {
    let mut script = Script::silent();
    let scene = demo::run(&mut script);
    drop(scene);
    assert_eq!(script.failed(), 0, "{}", script.data().expect("data"));
    assert!(script.passed() >= 14, "{}", script.data().expect("data"));
}

#[test]
fn a_client_on_the_old_and_the_new_list_is_never_refused_while_lists_change() {
    let stage = serving("lists", &Settings::default());
    let plan = Plan {
        client: stage.open(VIP4),
        ..load(&stage)
    };
    let load = plan
        .start(&stage.cluster.clients[0])
        .expect("start the load");
    for round in 0..20 {
        let others = format!("10.{}.[0-255].[1-200]", 100 + round);
        let sources = format!("{},{others}", client4(0));
        stage
            .cli(&["acl", "sync", "--frontend-http", &sources])
            .expect("sync");
    }
    let report = load.finish().expect("finish");
    assert!(
        all_ok(report.tally()),
        "{}: {:?}",
        report.tally(),
        report.failures(3)
    );
    assert_eq!(
        stage
            .verdict(VIP4, OPEN, "denied")
            .expect("counters")
            .packets,
        0
    );
}

#[test]
fn a_reload_refuses_and_resets_no_connection_and_finishes_a_running_upload() {
    let mut stage = serving("reload", &Settings::default());
    let before = stage.status().expect("status");
    let slow = Plan {
        ask: ober_tests::load::Ask::Put {
            path: "/proxy/large".to_owned(),
            content: Pattern::new(5, 24 << 20),
        },
        connections: 2,
        requests: 2,
        ..load(&stage)
    };
    let uploads = slow
        .start(&stage.cluster.clients[1])
        .expect("start the uploads");
    until("both uploads at the S3 server", SOON, || {
        let under_way = stage.storage.log().matches("PUT /proxy/large").count();
        Ok((under_way == 2).then_some(()))
    })
    .expect("they are under way");
    let load = load(&stage)
        .start(&stage.cluster.clients[0])
        .expect("start the load");
    let text = std::fs::read_to_string(&stage.ober.config)
        .expect("read the configuration")
        .replace("max_connections = 2000", "max_connections = 1900");
    std::fs::write(&stage.ober.config, text).expect("write the configuration");
    stage
        .ober
        .daemon
        .as_mut()
        .expect("it runs")
        .signal(Signal::SIGHUP)
        .expect("reload");
    assert_eq!(
        uploads.done() + uploads.failed(),
        0,
        "the uploads were to last longer"
    );
    let after = until("new workers", SOON, || {
        let status = stage.status()?;
        let new = status
            .workers
            .iter()
            .zip(&before.workers)
            .all(|(new, old)| new.pid != old.pid && new.in_ring);
        Ok(new.then_some(status))
    })
    .expect("every worker is replaced");
    assert!(after.healthy);
    let uploads = uploads.wait().expect("finish");
    let report = load.finish().expect("finish");
    assert!(
        all_ok(report.tally()),
        "{}: {:?}",
        report.tally(),
        report.failures(3)
    );
    assert_eq!(
        uploads.tally(),
        Tally {
            ok: 2,
            ..Tally::default()
        },
        "{:?}",
        uploads.failures(3)
    );
}

#[test]
fn a_second_daemon_on_an_instance_refuses_and_the_first_goes_on() {
    let stage = serving("second", &Settings::default());
    let output = stage.try_cli(&["run"]).expect("start another");
    assert!(
        matches!(output.status.code(), Some(1 | 2)),
        "{:?}",
        output.status
    );
    let words = String::from_utf8_lossy(&output.stderr);
    let first = stage.ober.daemon.as_ref().expect("it runs").pid();
    assert!(
        words.contains(&first.to_string()),
        "it names the holder: {words}"
    );
    assert_eq!(stage.status().expect("status").pid, Some(first));
}

#[test]
fn a_stopped_daemon_leaves_filter_and_workers_and_detach_removes_everything() {
    let mut stage = serving("stop", &Settings::default());
    let mut daemon = stage.ober.daemon.take().expect("it runs");
    daemon.signal(Signal::SIGTERM).expect("stop");
    assert!(daemon.wait(SOON).expect("it ends").success());
    let (listed, other) = (
        stage.open(VIP4),
        stage.open(VIP4).limits(Duration::from_millis(700), SOON),
    );
    let get = stage.cluster.clients[0].tokio(async || listed.get(PATH, CONTENT).await);
    assert_eq!(get.expect("enter the client"), Ok(()));
    let denied = stage.cluster.clients[1].tokio(async || other.connect().await.map(drop));
    assert!(matches!(
        denied.expect("enter the client"),
        Err(Failure::Unanswered(_))
    ));
    let pins = Path::new(BPFFS)
        .join("ober")
        .join(stage.cluster.lab.instance());
    assert!(pins.is_dir());
    stage.cli(&["detach"]).expect("detach");
    assert!(!pins.exists());
    let gone = stage.cluster.clients[0].tokio(async || listed.connect().await.map(drop));
    assert!(matches!(
        gone.expect("enter the client"),
        Err(Failure::Refused(_) | Failure::Unanswered(_))
    ));
}

#[test]
fn a_node_on_a_veth_serves_with_every_steer_setting_in_native_and_generic_xdp() {
    for (steer, xdp) in [
        ("auto", "native"),
        ("cpu", "native"),
        ("always", "native"),
        ("off", "native"),
        ("off", "generic"),
        ("cpu", "generic"),
        ("always", "generic"),
    ] {
        let settings = Settings {
            steer,
            xdp,
            ..Settings::default()
        };
        let stage = serving(&format!("{steer}-{xdp}"), &settings);
        let status = stage.status().expect("status");
        assert_eq!(
            status.data_plane.steering,
            steer == "always" && xdp == "native"
        );
        assert!(status.data_plane.steering_reason.is_some(), "it says why");
        assert!(
            status
                .data_plane
                .interfaces
                .iter()
                .all(|interface| interface.native == (xdp == "native"))
        );
        let content = Pattern::new(9, 5_000_000);
        for vip in [VIP4, VIP6] {
            let (secure, open) = (stage.secure(vip), stage.open(vip));
            stage.cluster.clients[0]
                .tokio(async || {
                    secure.put(PATH, content).await?;
                    open.get(PATH, content).await
                })
                .expect("enter the client")
                .expect("served");
        }
    }
}

#[test]
fn connections_that_wait_on_a_killed_worker_are_served_by_its_successor() {
    let settings = Settings {
        workers: 1,
        ..Settings::default()
    };
    let stage = serving("alone", &settings);
    let pid = stage.status().expect("status").workers[0]
        .pid
        .expect("it runs");
    let pid = nix::unistd::Pid::from_raw(pid);
    // A stopped worker accepts nothing: new connections wait on its socket.
    nix::sys::signal::kill(pid, Signal::SIGSTOP).expect("stop the worker");
    let plan = Plan {
        connections: 10,
        requests: 10,
        ..load(&stage)
    };
    let began = Instant::now();
    let load = plan
        .start(&stage.cluster.clients[0])
        .expect("start the load");
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(load.done() + load.failed(), 0);
    nix::sys::signal::kill(pid, Signal::SIGKILL).expect("kill the worker");
    let report = load.wait().expect("finish");
    assert_eq!(
        report.tally(),
        Tally {
            ok: 10,
            ..Tally::default()
        },
        "{:?}",
        report.failures(3)
    );
    assert!(began.elapsed() < SOON);
}
