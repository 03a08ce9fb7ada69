//! `stop`: VIPs are given up, connections may end, and nothing that serves is left.

use std::{
    io::Write as _,
    net::{SocketAddr, TcpStream},
    path::Path,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use ober_programs::Command;
use ober_tests::{
    lab::{VIP4, until},
    nodes::one::OPEN,
};
use ober_user::{
    announce::gate::{Standing, State},
    api::status::gate::Gate,
};

use crate::{Node, PATIENCE, UNIT};

/// A started node.
fn started(name: &str) -> Node {
    let node = Node::new(name);
    start(&node);
    node
}

fn start(node: &Node) {
    let started = node.ober(&["start"]);
    assert_eq!(started.code, 0, "{started:?}");
    node.stage.until_paths(&[0], PATIENCE).expect("the route");
}

/// A client's upload that is half done.
fn upload(node: &Node) -> TcpStream {
    let begin = || {
        let mut stream = TcpStream::connect(SocketAddr::new(VIP4, OPEN)).expect("connect");
        let head =
            "PUT /life/half HTTP/1.1\r\nHost: s3.test\r\nContent-Length: 20\r\n\r\nfirst half";
        stream.write_all(head.as_bytes()).expect("send the half");
        stream
    };
    node.stage
        .fabric
        .client
        .run(begin)
        .expect("enter the client")
}

/// No daemon, worker, program or route is left.
fn nothing_is_left(node: &Node, workers: &[i32]) {
    let status = node.stage.ober[0].try_cli(node.host(), &["status"]);
    let status = status.expect("run status");
    let words = String::from_utf8_lossy(&status.stderr).into_owned();
    assert!(words.contains("no daemon answers"), "{words}");
    assert!(!node.pins().exists(), "{}", node.pins().display());
    for pid in workers {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        assert!(stat.is_empty() || stat.contains(") Z "), "{stat}");
    }
    node.stage.until_paths(&[], PATIENCE).expect("no route");
}

fn workers(node: &Node) -> Vec<i32> {
    node.stage.ober[0].workers(node.host()).expect("workers")
}

#[test]
fn stop_gives_the_vips_up_and_waits_for_connections_and_one_that_is_ended_before_changes_nothing() {
    let node = started("stop");
    let before = workers(&node);
    let client = upload(&node);
    let mut stop = node.spawn(&["stop", "--drain", "2m"]);
    until("the VIP is given up", PATIENCE, || {
        node.stands(Standing::GracefulShutdown)
    })
    .expect("given up");
    until("the router hears of it", PATIENCE, || {
        let route = node
            .stage
            .frr
            .show(&format!("bgp ipv4 unicast {VIP4}/32"))?;
        Ok(route.to_string().contains("graceful").then_some(()))
    })
    .expect("the community");
    until("a line that says what is left", PATIENCE, || {
        Ok(stop.log().contains("1 connection left, ").then_some(()))
    })
    .expect("a line");
    assert!(
        stop.log()
            .contains("connections that reach another node now are cut")
    );
    std::thread::sleep(Duration::from_secs(3));
    assert!(stop.ended().expect("look").is_none(), "{}", stop.log());
    assert_eq!(node.calls().len(), 3, "systemd was not asked to stop it");
    stop.kill().expect("end it");
    until("the VIP is announced again", PATIENCE, || {
        node.stands(Standing::Announced)
    })
    .expect("announced");
    let orders = node.at("ober-0/state/gate.json");
    assert!(!orders.exists(), "{}", orders.display());

    let mut stop = node.spawn(&["stop", "--drain", "2m"]);
    until("the VIP is given up", PATIENCE, || {
        node.stands(Standing::GracefulShutdown)
    })
    .expect("given up");
    drop(client);
    let began = Instant::now();
    assert!(
        stop.wait(PATIENCE).expect("its end").success(),
        "{}",
        stop.log()
    );
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "{:?}",
        began.elapsed()
    );
    let log = stop.log();
    assert!(
        log.contains(&format!("{UNIT} stopped, 2 workers dismissed")),
        "{log}"
    );
    assert!(!log.contains("time was over"), "{log}");
    assert_eq!(node.calls()[3..], [format!("stop {UNIT}")]);
    nothing_is_left(&node, &before);

    // It kept no order either: the next daemon announces.
    start(&node);
}

#[test]
fn stop_ends_on_time_and_says_what_it_cut() {
    let node = started("stop-time");
    let before = workers(&node);
    let _client = upload(&node);
    let began = Instant::now();
    let stopped = node.ober(&["stop", "--drain", "3", "--json"]);
    let took = began.elapsed();
    assert_eq!(stopped.code, 0, "{stopped:?}");
    assert!(
        took >= Duration::from_secs(3) && took < Duration::from_secs(20),
        "{took:?}"
    );
    let said = stopped.json();
    assert_eq!(said["given_up"], true, "{said}");
    assert_eq!(said["left"], 1, "{said}");
    assert_eq!(said["workers"], 2, "{said}");
    assert_eq!(said["vips"].as_array().map(Vec::len), Some(2), "{said}");
    nothing_is_left(&node, &before);
}

#[test]
fn a_stop_by_force_waits_for_nothing_and_gives_nothing_up() {
    let node = started("stop-force");
    let before = workers(&node);
    let _client = upload(&node);
    let began = Instant::now();
    let stopped = node.ober(&["stop", "--force"]);
    assert_eq!(stopped.code, 0, "{stopped:?}");
    assert!(
        began.elapsed() < Duration::from_secs(15),
        "{:?}",
        began.elapsed()
    );
    let cut = "1 connection left when the time was over: cut";
    assert!(stopped.out.contains(cut), "{stopped:?}");
    assert!(!stopped.err.contains("neighbours are asked"), "{stopped:?}");
    nothing_is_left(&node, &before);
}

#[test]
fn a_dead_daemon_is_no_reason_to_leave_workers_and_programs() {
    let node = started("stop-dead");
    let before = workers(&node);
    let pid = i32::try_from(node.pid().expect("a daemon")).expect("its number");
    let daemon = nix::unistd::Pid::from_raw(pid);
    nix::sys::signal::kill(daemon, nix::sys::signal::Signal::SIGKILL).expect("kill it");
    until("its end", PATIENCE, || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        Ok((stat.is_empty() || stat.contains(") Z ")).then_some(()))
    })
    .expect("it ends");
    assert!(Path::new(&node.pins()).exists(), "the data plane goes on");
    let stopped = node.ober(&["stop"]);
    assert_eq!(stopped.code, 0, "{stopped:?}");
    let why = "the VIPs are not given up before the stop";
    assert!(stopped.err.contains(why), "{stopped:?}");
    assert!(stopped.out.contains("2 workers dismissed"), "{stopped:?}");
    assert_eq!(node.calls()[3..], [format!("stop {UNIT}")]);
    nothing_is_left(&node, &before);
    let again = node.ober(&["stop"]);
    assert!(
        again.code == 0 && again.out.contains("0 workers dismissed"),
        "{again:?}"
    );
}

fn signal(node: &Node, signal: Signal) {
    let pid = i32::try_from(node.pid().expect("a daemon")).expect("its number");
    kill(Pid::from_raw(pid), signal).expect("the signal");
}

#[test]
fn a_daemon_that_hangs_and_is_killed_leaves_its_workers_their_time_and_what_is_cut_is_counted() {
    let node = started("stop-hangs");
    let before = workers(&node);
    let _client = upload(&node);
    std::fs::write(node.at("end-with"), "-KILL").expect("choose the signal");
    signal(&node, Signal::SIGSTOP);
    let stopped = node.ober(&["stop", "--drain", "3", "--json"]);
    assert_eq!(stopped.code, 0, "{stopped:?}");
    let why = "the VIPs are not given up before the stop";
    assert!(stopped.err.contains(why), "{stopped:?}");
    let said = stopped.json();
    assert_eq!(said["given_up"], false, "{said}");
    assert_eq!(said["left"], 1, "{said}");
    nothing_is_left(&node, &before);
}

#[test]
fn a_daemon_that_starts_anew_during_a_stop_is_asked_again() {
    let node = started("stop-anew");
    let client = upload(&node);
    let mut stop = node.spawn(&["stop", "--drain", "2m"]);
    until("the VIP is given up", PATIENCE, || {
        node.stands(Standing::GracefulShutdown)
    })
    .expect("given up");
    signal(&node, Signal::SIGKILL);
    until("the stop notices it", PATIENCE, || {
        Ok(stop.log().contains("asking again").then_some(()))
    })
    .expect("a warning");
    let mut systemctl = Command::own(node.at("bin/systemctl"));
    systemctl.args(["start", UNIT]);
    let started = node.host().try_output(&mut systemctl).expect("run it");
    assert!(started.status.success(), "{started:?}");
    until("the new daemon is asked", PATIENCE, || {
        let gate = node.gate()?;
        Ok((gate.state == State::Draining).then_some(()))
    })
    .expect("asked");
    assert!(stop.ended().expect("look").is_none(), "{}", stop.log());
    drop(client);
    let end = stop.wait(PATIENCE).expect("its end");
    assert!(end.success(), "{}", stop.log());
    assert!(!stop.log().contains("time was over"), "{}", stop.log());
}

#[test]
fn a_daemon_that_another_manager_runs_is_left_alone_and_named() {
    let mut node = Node::new("stop-other");
    node.stage.start(0).expect("start it by hand");
    let refused = node.ober(&["stop", "--drain", "1"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(
        refused.err.contains("something else runs it"),
        "{refused:?}"
    );
    assert!(refused.err.contains("runs no process"), "{refused:?}");
    assert!(!refused.err.contains("neighbours are asked"), "{refused:?}");
    assert!(node.calls().is_empty(), "systemd was not asked to stop it");
    assert!(node.pins().exists());
    let Gate { history, .. } = node.gate().expect("the gate");
    let drained = history.iter().any(|it| it.to == State::Draining);
    assert!(!drained, "the VIP was given up: {history:?}");
    node.stage.ober[0].stop().expect("stop");
}
