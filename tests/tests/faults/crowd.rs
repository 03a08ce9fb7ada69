//! More callers than the daemon has room for: anybody at its page, and root's own at its control socket.

use std::{
    env, fs,
    net::{SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    path::Path,
    thread::sleep,
    time::{Duration, Instant},
};

use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
use ober_programs::Command;
use ober_tests::{
    lab::{Process, VIP4, client4, until},
    nodes::one::{Settings, Stage},
};
use ober_user::{
    announce::gate::State,
    api::{connections::MOST, status::gate::Gate},
};
use socket2::{Domain, Socket, Type};

use crate::{CONTENT, PATH, store};

/// The variable that makes this program a crowd at that address, and nothing else.
const CROWD: &str = "OBER_CROWD";
/// Half of what a daemon may have open here.
const CALLERS: usize = 10_100;
const NOBODY: u32 = 65534;
/// How long a crowd stays.
const STAY: Duration = Duration::from_secs(25);
const HERE: &str = "the crowd is here";
/// A command has its answer within this, also on a busy machine. Silent callers would have half a minute.
const PROMPT: Duration = Duration::from_secs(10);
const SOON: Duration = Duration::from_mins(1);

/// Is this process a crowd? Then it opens its connections as another account, says half a request on each, and goes after a
/// while.
fn is_crowd() -> bool {
    let Ok(address) = env::var(CROWD) else {
        return false;
    };
    let address: SocketAddr = address.parse().expect("an address");
    let (uid, gid) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
    setgroups(&[]).expect("leave the groups");
    setresgid(gid, gid, gid).expect("become another group");
    setresuid(uid, uid, uid).expect("become another account");
    let kind = Type::STREAM.nonblocking();
    let call = |_| {
        let socket = Socket::new(Domain::IPV4, kind, None).expect("a descriptor");
        // It is under way; the kernel's queue is shorter than the crowd.
        socket.connect(&address.into()).unwrap_or_default();
        socket
    };
    let callers: Vec<Socket> = (0..CALLERS).map(call).collect();
    println!("{HERE}");
    let end = Instant::now() + STAY;
    while Instant::now() < end {
        let connected = callers.iter().filter(|it| it.send(b"GET /h").is_ok());
        println!("{} are connected", connected.count());
        sleep(Duration::from_secs(1));
    }
    true
}

/// This program again, as a crowd.
fn gather(stage: &Stage) -> Process {
    // A test's thread bears its name.
    let thread = std::thread::current();
    let test = thread.name().expect("a test's thread");
    let mut command = Command::again().expect("own path");
    command.args(["--exact", test, "--nocapture"]);
    command.env(CROWD, "127.0.0.1:8404");
    stage
        .cluster
        .node
        .spawn(&mut command)
        .expect("start a crowd")
}

fn descriptors(pid: u32) -> usize {
    let open = fs::read_dir(format!("/proc/{pid}/fd"));
    open.expect("its descriptors").count()
}

/// How often a gate has closed. At a start the facts arrive one by one, and the last of them may be late.
fn closed(gate: &Gate) -> usize {
    let to_down = gate.history.iter().filter(|it| it.to == State::Down);
    to_down.count()
}

/// The status, which must come at once and show gates that have not closed since they did so `before`.
fn served(stage: &Stage, before: &[usize]) {
    let began = Instant::now();
    let status = stage.status().expect("status");
    let took = began.elapsed();
    assert!(took < PROMPT, "{took:?}");
    assert_eq!(status.gate.len(), 2);
    for (gate, before) in status.gate.iter().zip(before) {
        let open = gate.state == State::Up && closed(gate) == *before;
        assert!(open, "{gate:#?}");
    }
}

#[test]
fn twenty_thousand_connections_of_another_account_cost_the_daemon_no_announcement() {
    if is_crowd() {
        return;
    }
    let mut stage = Stage::new("crowd", &Settings::default()).expect("build the stage");
    stage.start().expect("start");
    store(&stage);
    until("open gates", SOON, || {
        let gates = stage.status()?.gate;
        Ok(gates.iter().all(|it| it.state == State::Up).then_some(()))
    })
    .expect("they open");
    let gates = stage.status().expect("status").gate;
    let closings: Vec<usize> = gates.iter().map(closed).collect();
    let daemon = stage.ober.daemon.as_ref().expect("it runs").pid();
    let before = descriptors(daemon);
    let mut crowds = [gather(&stage), gather(&stage)];
    until("both crowds", SOON, || {
        Ok(crowds
            .iter()
            .all(|it| it.log().contains(HERE))
            .then_some(()))
    })
    .expect("they come");
    let client = stage.open(VIP4);
    let end = Instant::now() + STAY / 2;
    while Instant::now() < end {
        let now = descriptors(daemon);
        // Beside the callers at its page: its own work, a command, a probe.
        assert!(
            now < before + MOST + 50,
            "{now} descriptors, {before} before"
        );
        served(&stage, &closings);
        let got = stage.cluster.clients[0].tokio(async || client.get(PATH, CONTENT).await);
        assert_eq!(got.expect("enter the client"), Ok(()));
    }
    for crowd in &mut crowds {
        assert!(
            crowd.wait(SOON).expect("it goes").success(),
            "{}",
            crowd.log()
        );
        let connected = crowd.log().matches(" are connected").count();
        assert!(connected > 0, "{}", crowd.log());
    }
    until("room at the page", SOON, || {
        let page = stage.cluster.node.run(|| health("127.0.0.1:8404"))?;
        Ok(page.filter(|it| it.starts_with("HTTP/1.1 200 ")))
    })
    .expect("an answer");
    served(&stage, &closings);
    let log = stage.ober.daemon.as_ref().expect("it runs").log();
    for words in ["program detached", "Too many open files"] {
        assert!(!log.contains(words), "{log}");
    }
}

/// The page's answer, if one comes soon.
fn health(address: &str) -> Option<String> {
    use std::io::{Read as _, Write as _};
    let mut page = TcpStream::connect(address).ok()?;
    page.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    let question = b"GET /health HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n";
    page.write_all(question).ok()?;
    let mut answer = String::new();
    page.read_to_string(&mut answer).ok()?;
    Some(answer)
}

/// Callers that never ask anything.
fn say_nothing(socket: &Path) -> Vec<UnixStream> {
    let call = |_| UnixStream::connect(socket).expect("connect");
    (0..3 * MOST).map(call).collect()
}

#[test]
fn silent_callers_of_the_control_socket_keep_no_command_waiting_and_end_no_watch() {
    let mut stage = Stage::new("silence", &Settings::default()).expect("build the stage");
    stage.start().expect("start");
    let mut watch = stage.spawn_cli(&["acl", "watch"]).expect("watch");
    let client = stage.open(VIP4).limits(Duration::from_millis(500), SOON);
    let denied = || {
        let connect = async || client.connect().await.is_err();
        let refused = stage.cluster.clients[1].tokio(connect);
        assert!(refused.expect("enter the client"), "it is on no list");
    };
    let address = client4(1).to_string();
    let shown = |watch: &Process| watch.log().matches(&address).count();
    until("a drop that is shown", SOON, || {
        denied();
        Ok((shown(&watch) > 0).then_some(()))
    })
    .expect("the watch works");
    let socket = stage.cluster.lab.directory().join("run/control.sock");
    let silent = say_nothing(&socket);
    let began = Instant::now();
    stage.status().expect("status");
    let took = began.elapsed();
    assert!(took < PROMPT, "{took:?} behind {} callers", silent.len());
    let before = shown(&watch);
    until("another drop that is shown", SOON, || {
        denied();
        Ok((shown(&watch) > before).then_some(()))
    })
    .expect("the watch goes on");
    assert!(watch.ended().expect("ask").is_none());
    drop(silent);
}
