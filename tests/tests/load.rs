//! New connections over TLS, long uploads and long downloads at once, while everything that can change does so again and again:
//! not one is refused, cut or given a wrong byte. A killed worker cuts the connections that it had accepted, and no others.
#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "what the helpers of a test expect is part of the test, and what the load counted is shown"
)]

use std::{
    collections::BTreeSet,
    fs,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use ober_tests::{
    certificate::{Authority, leaf, shown},
    client::Client,
    lab::{Process, VIP4, VIP6, storage4, until},
    load::{Ask, Plan, Record, Report, Running, Tally},
    nodes::one::{S3_PORT, SECURE, Settings, Stage, another_server},
    pattern::Pattern,
    sockets::connections,
};

const CHANGES: u16 = 20;
const SMALL: (&str, Pattern) = ("/load/small", Pattern::new(21, 10_000));
const LARGE: (&str, Pattern) = ("/load/large", Pattern::new(22, 4 << 20));
/// Bytes per second of each long transfer: one lasts four seconds.
const RATE: u32 = 1 << 20;
const SOON: Duration = Duration::from_secs(20);
const VIPS: [IpAddr; 2] = [VIP4, VIP6];

/// A node with two workers, certificates in a directory, and a second server that it does not use yet.
struct Node {
    stage: Stage,
    authority: Authority,
    client: Client,
    _second: Process,
}

impl Node {
    fn new() -> Self {
        let mut stage = Stage::new("load", &Settings::default()).expect("build the stage");
        let authority = Authority::new().expect("make an authority");
        let lab = &stage.cluster.lab;
        let second = SocketAddr::new(storage4(), S3_PORT + 1);
        let second = another_server(lab, &stage.cluster.storage, second).expect("a second server");
        fs::create_dir(lab.directory().join("tls")).expect("make a directory");
        let text = authority.server(&VIPS).expect("issue");
        lab.write("tls/s3.pem", text).expect("write a certificate");
        let text = fs::read_to_string(&stage.ober.config).expect("read the configuration");
        let line = text
            .lines()
            .find(|line| line.starts_with("certificate = "))
            .expect("it names a certificate");
        let text = text.replace(line, "certificates = [\"tls\"]");
        fs::write(&stage.ober.config, text).expect("write the configuration");
        stage.start().expect("start the daemon");
        let trust = authority.client().expect("trust");
        let client = Client::tls(SocketAddr::new(VIP4, SECURE), trust)
            .limits(Duration::from_secs(10), Duration::from_mins(1));
        stage.cluster.clients[0]
            .tokio(async || {
                client.create_bucket("load").await?;
                client.put(SMALL.0, SMALL.1).await?;
                client.put(LARGE.0, LARGE.1).await
            })
            .expect("enter the client")
            .expect("store the objects");
        Self {
            stage,
            authority,
            client,
            _second: second,
        }
    }

    /// Starts it and waits until each part of it is well under way.
    fn load(&self) -> Load {
        let [first, second, ..] = &self.stage.cluster.clients[..] else {
            unreachable!("there are two clients")
        };
        let small = Plan {
            connections: 6,
            pause: Duration::from_millis(20),
            time: Duration::from_mins(10),
            ..Plan::get(self.client.clone(), SMALL.0, SMALL.1)
        };
        let downloads = Plan {
            client: self.client.clone().paced(Some(RATE)),
            connections: 2,
            pause: Duration::ZERO,
            ask: Ask::Get {
                path: LARGE.0.to_owned(),
                content: LARGE.1,
            },
            ..small.clone()
        };
        let uploads = Plan {
            ask: Ask::Store {
                path: "/load/upload".to_owned(),
                content: LARGE.1,
            },
            ..downloads.clone()
        };
        let load = Load {
            small: small.start(first).expect("start the small requests"),
            downloads: downloads.start(second).expect("start the downloads"),
            uploads: uploads.start(second).expect("start the uploads"),
        };
        let enough = load.small.done() + 50;
        until("a load well under way", SOON, || {
            Ok((load.small.done() > enough).then_some(()))
        })
        .expect("it comes");
        load
    }

    fn configure(&self, change: impl FnOnce(String) -> String) -> String {
        let text = fs::read_to_string(&self.stage.ober.config).expect("read the configuration");
        let other = change(text.clone());
        assert_ne!(text, other);
        fs::write(&self.stage.ober.config, other).expect("write the configuration");
        self.stage.cli(&["reload"]).expect("reload")
    }

    fn workers(&self) -> Vec<i32> {
        let workers = self.stage.ober.workers(&self.stage.cluster.node);
        workers.expect("status")
    }

    /// Other limits of connections need other workers.
    fn replace_workers(&self, round: u16) {
        let before = self.workers();
        self.configure(|text| {
            let (old, new) = (1999 + round, 2000 + round);
            let [old, new] = [old, new].map(|limit| format!("max_connections = {limit}\n"));
            text.replace(&old, &new)
        });
        let after = self.workers();
        assert_eq!(after.len(), 2);
        assert!(after.iter().all(|pid| !before.contains(pid)), "{after:?}");
    }

    /// Another certificate, renamed over the one in the watched directory.
    fn change_certificate(&self) {
        let (lab, client) = (&self.stage.cluster.lab, &self.stage.cluster.clients[0]);
        let text = self.authority.server(&VIPS).expect("issue");
        let beside = lab.write("beside", &text).expect("write a certificate");
        fs::rename(beside, lab.directory().join("tls/s3.pem")).expect("rename it");
        let wanted = leaf(&text).expect("PEM");
        let address = SocketAddr::new(VIP4, SECURE);
        until("the new certificate", SOON, || {
            for _ in 0..6 {
                if shown(client, address, None)? != wanted {
                    return Ok(None);
                }
            }
            Ok(Some(()))
        })
        .expect("it is shown");
    }

    /// The second server joins the backend, gets requests, and leaves again.
    fn join_and_leave(&self) {
        let server = |port| format!("\"{}:{port}\"", storage4());
        let alone = server(S3_PORT);
        let both = format!("{alone}, {}", server(S3_PORT + 1));
        for (from, to) in [(&alone, &both), (&both, &alone)] {
            let said = self.configure(|text| text.replace(from, to));
            assert!(said.contains("worker 1: changed while it runs"), "{said}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// A load of all three kinds under way.
struct Load {
    small: Running,
    downloads: Running,
    uploads: Running,
}

impl Load {
    /// The reports of the three kinds: small requests, downloads, uploads.
    fn finish(self) -> [(&'static str, Report); 3] {
        // All are stopped before one is waited for.
        let parts = [
            ("new connections", self.small),
            ("downloads", self.downloads),
            ("uploads", self.uploads),
        ];
        for (_, load) in &parts {
            load.stop();
        }
        parts.map(|(name, load)| (name, load.finish().expect("finish")))
    }
}

/// Does it twenty times; the moments at which each time began.
fn twenty(mut change: impl FnMut(u16)) -> Vec<Instant> {
    let one = |round| {
        let began = Instant::now();
        change(round);
        began
    };
    (1..=CHANGES).map(one).collect()
}

/// At how many of the moments some request was under way.
fn met(report: &Report, moments: &[Instant]) -> usize {
    let under_way = |moment: &&Instant| {
        let mut records = report.records.iter();
        records.any(|record| record.began < **moment && **moment < record.ended)
    };
    moments.iter().filter(under_way).count()
}

#[test]
fn changes_under_load_fail_no_request_and_a_killed_worker_fails_only_its_own_connections() {
    let node = Node::new();
    let load = node.load();
    let kinds: [(&str, Vec<Instant>); 3] = [
        ("reloads", twenty(|round| node.replace_workers(round))),
        ("certificates", twenty(|_| node.change_certificate())),
        ("joins and leaves", twenty(|_| node.join_and_leave())),
    ];
    for (part, report) in load.finish() {
        let tally = report.tally();
        let over = report.elapsed;
        println!("{part}: {tally} in {over:.1?}");
        let failures = report.failures(3);
        assert!(tally.ok > 0 && tally.failed() == 0, "{tally}: {failures:?}");
        for (kind, moments) in &kinds {
            let met = met(&report, moments);
            println!("  {met} of {CHANGES} {kind} with a request under way");
            assert!(part == "new connections" || met > 10, "{kind}: {part}");
        }
    }
    killed(&node);
}

/// A worker is stopped, so that its accepted connections are known and later ones wait on its socket, and then killed.
fn killed(node: &Node) {
    let load = node.load();
    let pid = node.workers()[0];
    let stopped = Instant::now();
    signal(pid, Signal::SIGSTOP);
    let stat = || fs::read_to_string(format!("/proc/{pid}/stat"));
    until("a stopped worker", SOON, || {
        Ok(stat()?.contains(") T ").then_some(()))
    })
    .expect("it stops");
    let held: BTreeSet<SocketAddr> = connections(pid)
        .expect("its connections")
        .iter()
        .map(|it| it.peer)
        .collect();
    std::thread::sleep(Duration::from_millis(400));
    let dead = Instant::now();
    signal(pid, Signal::SIGKILL);
    until("its successor", SOON, || {
        let workers = node.stage.status()?.workers;
        let serves =
            |worker: &ober_user::api::status::Worker| worker.in_ring && worker.pid != Some(pid);
        Ok(workers.iter().all(serves).then_some(()))
    })
    .expect("it serves");
    let enough = load.small.done() + 50;
    until("a load that goes on", SOON, || {
        Ok((load.small.done() > enough).then_some(()))
    })
    .expect("it does");
    let mut waited = 0;
    for (part, report) in load.finish() {
        waited += judge(part, &report, &held, stopped, dead);
    }
    assert!(waited > 0, "no connection waited on the killed worker");
}

/// How many requests waited over the kill and were served.
fn judge(
    part: &str,
    report: &Report,
    held: &BTreeSet<SocketAddr>,
    stopped: Instant,
    dead: Instant,
) -> u64 {
    let was_held = |record: &Record| record.local.is_some_and(|local| held.contains(&local));
    let (inside, others) = (report.count(was_held), report.count(|it| !was_held(it)));
    let waiting = |it: &Record| it.began >= stopped && it.began < dead && it.ended > dead;
    let waited = report.count(|record| !was_held(record) && waiting(record));
    println!("{part}: in the killed worker {inside}, waiting on it {waited}, all others {others}");
    assert_eq!(others.failed(), 0, "{part}: {:?}", report.failures(3));
    let promised = Tally {
        ok: inside.ok,
        handshake: inside.handshake,
        cut: inside.cut,
        truncated: inside.truncated,
        ..Tally::default()
    };
    assert_eq!(inside, promised, "{part}: {:?}", report.failures(3));
    waited.ok
}

fn signal(pid: i32, signal: Signal) {
    kill(Pid::from_raw(pid), signal).expect("send a signal");
}
