//! A running node that finds its servers by a real name server, and their health in real HAProxy workers.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "what the helpers of a test expect is part of the test"
)]

use std::{
    io::{Read, Write},
    net::{IpAddr, SocketAddr},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use ober_programs::SH;
use ober_tests::{
    lab::{Process, VIP4, storage4, until},
    load::Plan,
    nodes::one::{Settings, Stage, another_server},
    pattern::Pattern,
    peers::Nsd,
};
use ober_user::api::status::backends::Backend;

const PATH: &str = "/servers/object";
const CONTENT: Pattern = Pattern::new(9, 10_000);
const SOON: Duration = Duration::from_secs(30);
/// The node's own end of the wire to the storage host: the name server runs beside Ober.
const NAME_SERVER: &str = "10.77.1.1";

/// A name server on the node, with one zone.
fn name_server(stage: &Stage, records: &str) -> Nsd {
    let cluster = &stage.cluster;
    let address = format!("{NAME_SERVER}:53").parse().expect("an address");
    Nsd::start(&cluster.lab, &cluster.node, address, &zone(1, records)).expect("NSD")
}

fn zone(serial: u32, records: &str) -> String {
    format!(
        "$ORIGIN test.\n$TTL 1\n@ SOA ns host {serial} 1 1 1 1\n@ NS ns\nns A {NAME_SERVER}\n{records}\n"
    )
}

fn srv(servers: &[(u16, &str)]) -> String {
    let line = |(port, name): &(u16, &str)| {
        format!("_s3._tcp SRV 1 5 {port} {name}\n{name} A {}\n", storage4())
    };
    servers.iter().map(line).collect()
}

/// Another S3 server for the same objects.
fn server(stage: &Stage, port: u16) -> Process {
    let address = SocketAddr::new(storage4(), port);
    let cluster = &stage.cluster;
    another_server(&cluster.lab, &cluster.storage, address).expect("it listens")
}

fn backend(stage: &Stage) -> Result<Backend> {
    let text = stage.cli(&["backends", "--json"])?;
    let mut all: std::collections::BTreeMap<String, Backend> = serde_json::from_str(&text)?;
    all.remove("rgw").context("there is a backend rgw")
}

/// `port state` of every server.
fn standing(backend: &Backend) -> Vec<String> {
    let one = |server: &ober_user::api::status::backends::Server| {
        format!("{} {}", server.address.port(), server.state.name())
    };
    backend.servers.iter().map(one).collect()
}

fn becomes(stage: &Stage, wanted: &[&str]) -> Backend {
    let mut last = Vec::new();
    let found = until("the servers", SOON, || {
        let backend = backend(stage)?;
        last = standing(&backend);
        Ok((last == wanted).then_some(backend))
    });
    found.unwrap_or_else(|error| panic!("{error:#}: {last:?} in the place of {wanted:?}"))
}

/// Servers as a worker sees them: `port UP`, `port DOWN`.
fn in_haproxy(stage: &Stage, worker: usize) -> Result<Vec<String>> {
    let path = stage
        .cluster
        .lab
        .directory()
        .join(format!("run/worker-{worker}.sock"));
    let mut socket = UnixStream::connect(path)?;
    socket.set_read_timeout(Some(SOON))?;
    socket.write_all(b"show stat rgw 4 -1\n")?;
    let mut text = String::new();
    socket.read_to_string(&mut text)?;
    let mut lines = text.lines();
    let head: Vec<_> = lines.next().context("a heading")?.split(',').collect();
    let column = |name: &str| {
        head.iter()
            .position(|column| *column == name)
            .context("a column")
    };
    let (address, status) = (column("addr")?, column("status")?);
    let state = |line: &str| {
        let cells: Vec<_> = line.split(',').collect();
        let port = cells.get(address)?.rsplit(':').next()?;
        let word = cells.get(status)?.split(' ').next()?;
        Some(format!("{port} {word}"))
    };
    Ok(lines.filter_map(state).collect())
}

fn haproxy_says(stage: &Stage, wanted: &[&str]) {
    let mut last = Vec::new();
    until("HAProxy's view", SOON, || {
        last = vec![in_haproxy(stage, 0)?, in_haproxy(stage, 1)?];
        Ok(last.iter().all(|worker| worker == wanted).then_some(()))
    })
    .unwrap_or_else(|error| panic!("{error:#}: {last:?} in the place of {wanted:?}"));
}

fn scrape() -> Result<String> {
    let mut socket = std::net::TcpStream::connect(("127.0.0.1", 8404))?;
    socket.write_all(b"GET /metrics HTTP/1.0\r\nhost: localhost\r\n\r\n")?;
    let mut text = String::new();
    socket.read_to_string(&mut text)?;
    Ok(text)
}

/// A stage with an object in the store, whose backend has this added.
fn stage(name: &str, extra: &str) -> Stage {
    let settings = Settings {
        extra: extra.to_owned(),
        ..Settings::default()
    };
    Stage::new(name, &settings).expect("build the stage")
}

fn start(stage: &mut Stage) {
    stage.start().expect("start");
    let client = stage.secure(VIP4);
    stage.cluster.clients[0]
        .tokio(async || {
            client.create_bucket("servers").await?;
            client.put(PATH, CONTENT).await
        })
        .expect("enter the client")
        .expect("store an object");
}

#[test]
fn servers_found_by_srv_follow_the_records_and_stay_through_servfail_and_silence() {
    let discover = format!(
        "interval = '300ms'\n[[backends.rgw.discover]]\nkind = 'srv'\nlookup = '_s3._tcp.test'\nnameserver = '{NAME_SERVER}:53'\n\
         interval = '300ms'\n"
    );
    let mut stage = stage("srv", &discover);
    let mut names = name_server(&stage, &srv(&[(9001, "a"), (9002, "b")]));
    let _servers = [server(&stage, 9001), server(&stage, 9002)];
    start(&mut stage);
    let three = ["9000 up", "9001 up", "9002 up"];
    let found = becomes(&stage, &three);
    let second = &found.servers[1];
    assert_eq!(
        (
            second.host.as_deref(),
            second.tier,
            second.weight,
            &second.sources[..]
        ),
        (Some("a.test"), 1, 5, &["srv _s3._tcp.test".to_owned()][..])
    );
    let load = Plan {
        connections: 2,
        pause: Duration::from_millis(10),
        ..Plan::get(stage.secure(VIP4), PATH, CONTENT)
    }
    .start(&stage.cluster.clients[0])
    .expect("start the load");
    names
        .reload(&zone(2, &srv(&[(9002, "b")])))
        .expect("one leaves");
    becomes(&stage, &["9000 up", "9002 up"]);
    names.stop().expect("stop NSD");
    let failing = |words: &str| {
        until("a failing source", SOON, || {
            let backend = backend(&stage)?;
            let error = backend.sources[0].error.clone().unwrap_or_default();
            Ok(error.contains(words).then_some(backend))
        })
        .expect("it fails")
    };
    let silent = failing("_s3._tcp.test. SRV");
    assert_eq!(standing(&silent), ["9000 up", "9002 up"]);
    names
        .change(&stage.cluster.node, "this is no zone (")
        .expect("break the zone");
    let broken = failing("Server Failure");
    assert_eq!(standing(&broken), ["9000 up", "9002 up"]);
    let metrics = stage.cli(&["status"]).expect("status");
    assert!(metrics.contains("Server Failure"), "{metrics}");
    names
        .reload(&zone(3, &srv(&[(9001, "a"), (9002, "b")])))
        .expect("mend the zone");
    until("both again", SOON, || {
        let mut standing = standing(&backend(&stage)?);
        standing.sort();
        Ok((standing == three).then_some(()))
    })
    .expect("they come back");
    let report = load.finish().expect("finish");
    assert_eq!(report.tally().failed(), 0, "{:?}", report.failures(3));
}

/// A check by a program: the server is well unless the file is there.
fn unless(sick: &Path) -> String {
    let sick = sick.display();
    format!(
        "kind = 'exec'\ncommand = ['{SH}', '-c', 'test ! -e {sick}']\ninterval = '400ms'\n\
         fast_interval = '100ms'\nrise = 2\nfall = 2\n"
    )
}

#[test]
fn the_daemons_verdict_overrides_haproxys_checks_which_take_over_without_the_daemon() {
    // HAProxy's own check of an exec backend is a connection, which always succeeds here.
    let mut stage = stage("lease", "");
    let sick = stage.cluster.lab.directory().join("sick");
    let text = std::fs::read_to_string(&stage.ober.config)
        .expect("read")
        .replace("path = \"/\"\n", &unless(&sick));
    std::fs::write(&stage.ober.config, text).expect("write");
    start(&mut stage);
    becomes(&stage, &["9000 up"]);
    haproxy_says(&stage, &["9000 UP"]);
    std::fs::write(&sick, "").expect("make it sick");
    let down = becomes(&stage, &["9000 down"]);
    let reason = down.servers[0].reason.clone().unwrap_or_default();
    assert!(reason.contains("exit status: 1"), "{reason}");
    haproxy_says(&stage, &["9000 DOWN"]);
    // Ten checks of HAProxy's own, each of which finds the opposite.
    for _ in 0..80 {
        for worker in 0..2 {
            assert_eq!(in_haproxy(&stage, worker).expect("ask"), ["9000 DOWN"]);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let metrics = stage
        .cluster
        .node
        .run(scrape)
        .expect("enter the node")
        .expect("scrape");
    assert!(
        metrics.contains("ober_backend_servers_down{backend=\"rgw\"} 1"),
        "{metrics}"
    );
    stage.kill().expect("kill the daemon");
    haproxy_says(&stage, &["9000 UP"]);
    // The next daemon sets it right again.
    stage.start().expect("start again");
    haproxy_says(&stage, &["9000 DOWN"]);
    std::fs::remove_file(&sick).expect("heal it");
    becomes(&stage, &["9000 up"]);
    haproxy_says(&stage, &["9000 UP"]);
}

#[test]
fn a_server_added_to_a_running_worker_gets_the_daemons_verdict_over_haproxys_checks() {
    // HAProxy's own check of an exec backend is a connection, which succeeds here.
    let mut stage = stage("joins", "");
    let sick = stage.cluster.lab.directory().join("sick");
    let exec = unless(&sick);
    let change = |stage: &Stage, from: &str, to: &str| {
        let text = std::fs::read_to_string(&stage.ober.config).expect("read");
        assert!(text.contains(from), "{text}");
        std::fs::write(&stage.ober.config, text.replace(from, to)).expect("write");
    };
    change(&stage, "path = \"/\"\n", &exec);
    let _second = server(&stage, 9001);
    start(&mut stage);
    haproxy_says(&stage, &["9000 UP"]);
    std::fs::write(&sick, "").expect("make them sick");
    becomes(&stage, &["9000 down"]);
    let node = storage4();
    let (one, two) = (format!("\"{node}:9000\""), format!("\"{node}:9001\""));
    change(
        &stage,
        &format!("servers = [{one}]"),
        &format!("servers = [{one}, {two}]"),
    );
    let said = stage.cli(&["reload"]).expect("reload");
    assert!(said.contains("worker 1: changed while it runs"), "{said}");
    becomes(&stage, &["9000 down", "9001 down"]);
    haproxy_says(&stage, &["9000 DOWN", "9001 DOWN"]);
    // Eight checks of HAProxy's own.
    for _ in 0..64 {
        assert_eq!(
            in_haproxy(&stage, 0).expect("ask"),
            ["9000 DOWN", "9001 DOWN"]
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    std::fs::remove_file(&sick).expect("heal them");
    haproxy_says(&stage, &["9000 UP", "9001 UP"]);
    stage.kill().expect("kill the daemon");
    std::thread::sleep(Duration::from_secs(2));
    haproxy_says(&stage, &["9000 UP", "9001 UP"]);
}

#[test]
fn a_server_that_dies_is_down_in_status_and_workers_and_comes_back() {
    let mut stage = stage("dies", "interval = '300ms'\n");
    let text = std::fs::read_to_string(&stage.ober.config).expect("read");
    let storage: IpAddr = storage4();
    let both = format!("servers = [\"{storage}:9000\", \"{storage}:9001\"]");
    let text = text.replace(&format!("servers = [\"{storage}:9000\"]"), &both);
    std::fs::write(&stage.ober.config, text).expect("write");
    let mut second = server(&stage, 9001);
    start(&mut stage);
    becomes(&stage, &["9000 up", "9001 up"]);
    second
        .signal(Signal::SIGSTOP)
        .expect("stop it: it accepts and says nothing");
    let down = becomes(&stage, &["9000 up", "9001 down"]);
    let reason = down.servers[1].reason.clone().unwrap_or_default();
    assert!(reason.contains("no answer within 2s"), "{reason}");
    haproxy_says(&stage, &["9000 UP", "9001 DOWN"]);
    second.signal(Signal::SIGCONT).expect("go on");
    becomes(&stage, &["9000 up", "9001 up"]);
    haproxy_says(&stage, &["9000 UP", "9001 UP"]);
}
