//! Sources of servers that give false answers: too many servers, nothing that is a server, this node itself.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "what the helpers of a test expect is part of the test"
)]

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use ober_tests::{
    lab::{Host, VIP4, until},
    mounts,
    names::{NameServer, Says},
    nodes::one::{Settings, Stage},
};
use ober_user::api::status::backends::Backend;

const SOON: Duration = Duration::from_mins(1);
/// A question about the state must not take longer on a busy machine.
const AT_ONCE: Duration = Duration::from_secs(5);
const SOURCE: &str = "127.0.0.1:7001";

/// A source asked over HTTP, whose answer the test sets.
struct Source {
    body: Arc<Mutex<String>>,
    over: Arc<AtomicBool>,
}

impl Source {
    fn start(host: &Host) -> Result<Self> {
        let listener = host.run(|| TcpListener::bind(SOURCE))??;
        let source = Self {
            body: Arc::default(),
            over: Arc::default(),
        };
        let (body, over) = (Arc::clone(&source.body), Arc::clone(&source.over));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(mut stream) = stream else { continue };
                let body = body.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let mut lines = BufReader::new(&stream).lines();
                while lines
                    .next()
                    .is_some_and(|line| line.is_ok_and(|line| !line.is_empty()))
                {}
                let head = format!(
                    "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                    body.len()
                );
                // The daemon hangs up on an answer that is too long.
                drop(stream.write_all(head.as_bytes()));
                drop(stream.write_all(body.as_bytes()));
            }
        });
        Ok(source)
    }

    fn says(&self, body: impl Into<String>) {
        *self.body.lock().unwrap_or_else(PoisonError::into_inner) = body.into();
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// A source of lines `address:port`, or of JSON, for the backend of the stage.
fn discover(kind: &str) -> String {
    let how = match kind {
        "plaintext" => "pattern = '(?<host>[^:\\n]+):(?<port>[0-9]+)'",
        _ => "",
    };
    format!(
        "[[backends.rgw.discover]]\nkind = \"{kind}\"\nurl = \"http://{SOURCE}/\"\ninterval = \"300ms\"\ntimeout = \"10s\"\n{how}\n"
    )
}

fn stage(name: &str, extra: &str) -> (Stage, Source) {
    let settings = Settings {
        extra: extra.to_owned(),
        ..Settings::default()
    };
    let mut stage = Stage::new(name, &settings).expect("build the stage");
    let source = Source::start(&stage.cluster.node).expect("a source");
    source.says("[]");
    stage.start().expect("start");
    (stage, source)
}

fn backend(stage: &Stage) -> Result<Backend> {
    let text = stage.cli(&["backends", "--json"])?;
    let mut all: BTreeMap<String, Backend> = serde_json::from_str(&text)?;
    all.remove("rgw").context("there is a backend rgw")
}

/// Waits until the backend is so, while every question is answered at once.
fn becomes(stage: &Stage, what: &str, is: impl Fn(&Backend) -> bool) -> Backend {
    let mut last = None;
    let found = until(what, SOON, || {
        let began = Instant::now();
        let status = stage.status()?;
        assert!(status.healthy, "{status:?}");
        let took = began.elapsed();
        assert!(took < AT_ONCE, "`status` took {took:?}");
        let backend = backend(stage)?;
        let good = is(&backend);
        last = Some((
            backend.servers.len(),
            backend.sources.clone(),
            backend.left_out.clone(),
        ));
        Ok(good.then_some(backend))
    });
    found.unwrap_or_else(|error| panic!("{error:#}: {last:?}"))
}

fn failing(words: &str) -> impl Fn(&Backend) -> bool {
    move |backend| {
        let mut errors = backend
            .sources
            .iter()
            .filter_map(|source| source.error.as_ref());
        errors.any(|error| error.contains(words))
    }
}

fn lines(count: usize) -> String {
    let line = |number: usize| format!("10.200.{}.{}:80\n", number >> 8, number & 255);
    (0..count).map(line).collect()
}

/// The most resident memory that the daemon ever had, in kB.
fn peak(stage: &Stage) -> u64 {
    let pid = stage.ober.daemon.as_ref().expect("a daemon").pid();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("read");
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .expect("a peak")
        .trim()
        .trim_end_matches(" kB");
    peak.parse().expect("a number")
}

#[test]
fn a_source_beyond_the_server_limit_fails_and_one_at_the_limit_is_applied_promptly() {
    let extra = format!("[limits]\nservers = 2000\n{}", discover("plaintext"));
    let (stage, source) = stage("toomany", &extra);
    source.says(lines(60_000));
    let refused = becomes(&stage, "a failed source", failing("more than 2000 servers"));
    assert_eq!(refused.servers.len(), 1, "those that were there stay");
    source.says(lines(1999));
    becomes(&stage, "2,000 servers", |backend| {
        backend.servers.len() == 2000
    });
    // Together with the servers of the configuration it would be one too many.
    source.says(lines(2000));
    let full = becomes(&stage, "a full backend", |backend| {
        !backend.left_out.is_empty()
    });
    assert_eq!(full.servers.len(), 2000);
    assert!(
        full.left_out[0].contains("limits.servers"),
        "{:?}",
        full.left_out
    );
    source.says("10.200.0.1:80\n");
    becomes(&stage, "few servers again", |backend| {
        backend.servers.len() == 2
    });
}

#[test]
fn an_endless_answer_of_a_source_takes_no_memory() {
    let (stage, source) = stage("bomb", &discover("json"));
    let before = peak(&stage);
    source.says(format!("[{}]", vec!["{\"\":0}"; 2 << 20].join(",")));
    becomes(
        &stage,
        "a failed source",
        failing("longer than 1048576 bytes"),
    );
    source.says(format!("[{}]", vec!["{\"\":0}"; 100_000].join(",")));
    becomes(
        &stage,
        "another failure",
        failing("item 0 has nothing of use"),
    );
    let host = format!(
        "[{{\"host\":\"10.200.0.1\",\"x\":[{}]}}]",
        vec!["[{}]"; 150_000].join(",")
    );
    source.says(host);
    becomes(&stage, "a server among rubbish", |backend| {
        backend.servers.len() == 2
    });
    let more = peak(&stage) - before;
    assert!(more < 64 << 10, "{more} kB more");
}

#[test]
fn forbidden_servers_of_a_source_are_left_out_and_reported_and_the_rest_serve() {
    let (stage, source) = stage("own", &discover("plaintext"));
    let sockets = stage
        .cluster
        .node
        .output(&mut ober_programs::SS.args(["-Hltn4"]))
        .expect("ask for sockets")
        .stdout;
    let sockets = String::from_utf8_lossy(&sockets).into_owned();
    let words = sockets.split_whitespace();
    let worker = words
        .filter(|word| word.starts_with("127.0.0.1:"))
        .find(|word| !word.ends_with(":8404") && !word.ends_with(":7001"))
        .expect("a worker's socket");
    let own = [
        "127.0.0.1:8404",
        &format!("{VIP4}:80"),
        worker,
        "0.0.0.0:8404",
        "127.0.0.1:9000",
        "169.254.169.254:80",
    ];
    source.says(own.join("\n") + "\n10.200.0.1:80\n");
    let backend = becomes(&stage, "the servers", |backend| backend.servers.len() == 2);
    assert_eq!(backend.left_out.len(), own.len(), "{:?}", backend.left_out);
    for (server, why) in own.iter().zip([
        "`node.metrics`",
        "a listener of this node",
        "a worker of this node",
        "no address of one machine",
        "this machine itself",
        "another machine on every link",
    ]) {
        let mut lines = backend.left_out.iter();
        let line = lines.find(|line| line.starts_with(server)).expect(server);
        assert!(why.split('|').any(|why| line.contains(why)), "{line}");
    }
    let shown = stage.cli(&["backends"]).expect("show");
    assert!(
        shown.contains("left out of backend rgw: 127.0.0.1:8404"),
        "{shown}"
    );
    // An answer that does not even look like servers fails the source, and the servers stay.
    for nonsense in [
        "10.0.0.1-20:80\n",
        "a..b:80\n",
        "10.0.0.300:80\n",
        "rgw\\1:80\n",
    ] {
        source.says(nonsense);
        let failed = becomes(&stage, nonsense, failing("a match with the host"));
        assert_eq!(failed.servers.len(), 2);
        source.says("10.200.0.1:80\n");
        becomes(&stage, "a good source", |it| {
            it.sources.iter().all(|it| it.error.is_none())
        });
    }
}

#[test]
fn a_malformed_record_fails_its_source_and_affects_no_other() {
    let extra = "[[backends.rgw.discover]]\nkind = \"srv\"\nlookup = \"_s3._tcp.test\"\nnameserver = \"127.0.0.1:53\"\ninterval = \"300ms\"\n\
                 [backends.rgw.tls]\nverify = false\n[backends.other]\n[lists.extra]\n";
    let settings = Settings {
        extra: extra.to_owned(),
        ..Settings::default()
    };
    let mut stage = Stage::new("record", &settings).expect("build the stage");
    let names = NameServer::start(&stage.cluster.node).expect("a name server");
    let target = |first: &[u8]| {
        let labels = [first, b"example", b"net"];
        Says::Service {
            port: 7480,
            target: labels.map(<[u8]>::to_vec).into(),
        }
    };
    names.tell(
        "rgw*",
        &Says::Addresses(vec!["10.200.0.1".parse().expect("address")]),
    );
    names.tell("_s3._tcp.test", &target(b"rgw 1"));
    // The very first start, with nothing kept.
    let conf = "nameserver 127.0.0.1\n";
    let conf = stage.cluster.lab.write("resolv.conf", conf).expect("write");
    let bound = [mounts::bind(&conf, Path::new("/etc/resolv.conf"))];
    mounts::start(&mut stage, &bound).expect("start");
    becomes(
        &stage,
        "a failed source",
        failing("cannot be part of a name"),
    );
    for (arguments, code) in [
        (
            &[
                "acl",
                "sync",
                "--backend",
                "other",
                "--backend-http",
                "10.9.0.4:9000",
            ][..],
            0,
        ),
        (&["acl", "add", "extra", "10.1.1.1"], 0),
        (&["reload"], 0),
    ] {
        let output = stage.try_cli(arguments).expect("run ober-user");
        assert_eq!(
            output.status.code(),
            Some(code),
            "{arguments:?}: {output:?}"
        );
    }
    names.tell("_s3._tcp.test", &target(b"rgw1"));
    becomes(&stage, "a good source", |backend| {
        backend.servers.len() == 2
    });
}

#[test]
fn a_source_that_keeps_changing_delays_no_reload() {
    // Changes come sooner than HAProxy can check a configuration.
    let discover = discover("plaintext").replace("300ms", "100ms");
    let (stage, source) = stage("restless", &discover);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let began = Instant::now();
            for number in (1..200).cycle() {
                if over.load(Ordering::Relaxed) || began.elapsed() > 3 * SOON {
                    return;
                }
                source.says(format!("10.200.0.{number}:80\n"));
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        let ends = |words: &[&str]| {
            let mut command = stage.spawn_cli(words)?;
            let end = command.wait(SOON)?;
            anyhow::ensure!(end.success(), "{words:?}: {end}: {}", command.tail());
            anyhow::Ok(())
        };
        let all = || -> Result<()> {
            let config = &stage.ober.config;
            let text = fs::read_to_string(config)?;
            for seconds in 3..6 {
                let resolve = format!("[resolve]\ntimeout = '{seconds}s'\n");
                fs::write(config, format!("{text}\n{resolve}"))?;
                ends(&["reload"])?;
            }
            ends(&["acl", "sync", "--frontend-http", "10.77.0.1"])
        };
        let done = all();
        over.store(true, Ordering::Relaxed);
        done.expect("changes are put in force");
    });
}
