//! Faults around the real daemon: it says what is wrong and how to mend it, and leaves nothing half done.
#![expect(
    clippy::expect_used,
    reason = "what the helpers of a test expect is part of the test"
)]

mod bad_day;
mod children;
mod crowd;
mod damaged;
mod disk;
mod fallback;
mod files;
mod finishing;
mod first;
mod full;
mod later;
mod living;
mod power;
mod service;
mod starting;
mod sync;

use std::{
    fs,
    os::linux::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::Output,
    time::Duration,
};

use ober_programs::{Command, IP};
use ober_tests::{
    certificate::Authority,
    lab::{BPFFS, VIP4, VIP6, program},
    nodes::one::Stage,
    pattern::Pattern,
};

const PATH: &str = "/faults/object";
const CONTENT: Pattern = Pattern::new(4, 10_000);
/// How long a start that is refused may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(40);

/// How a command ended that was to be refused.
#[derive(Debug)]
struct Refusal {
    code: i32,
    words: String,
}

impl From<Output> for Refusal {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            words: String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned(),
        }
    }
}

impl Refusal {
    fn says(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, code, "{}", self.words);
        for word in words {
            assert!(
                self.words.contains(word),
                "{word:?} is not in: {}",
                self.words
            );
        }
    }
}

/// A change of the configuration that must be refused, and the words that the refusal must have.
struct Fault {
    changes: Vec<(&'static str, String)>,
    code: i32,
    words: Vec<&'static str>,
}

fn fault(from: &'static str, to: impl Into<String>, code: i32, words: &[&'static str]) -> Fault {
    Fault {
        changes: vec![(from, to.into())],
        code,
        words: words.to_vec(),
    }
}

impl Fault {
    /// With one more change.
    fn and(mut self, from: &'static str, to: impl Into<String>) -> Self {
        self.changes.push((from, to.into()));
        self
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{:?}", self.changes)
    }
}

/// Faults of the configuration that every start and every reload must refuse.
fn everywhere(stage: &Stage) -> Vec<Fault> {
    let wrong = mismatched(stage);
    vec![
        fault(
            "sample = 1",
            "sampel = 1",
            2,
            &["ober.toml:10:", "sampel", "did you mean `sample`"],
        ),
        fault(
            "sample = 1",
            "sample = \"often\"",
            2,
            &["ober.toml:10:", "sample"],
        ),
        fault(
            "s3.pem",
            "gone.pem",
            2,
            &["gone.pem", "correct the path, or make the file"],
        ),
        fault("[\"in0\"]", "[\"in7\"]", 1, &["in7", "node.interfaces"]),
        fault(
            "[workers]",
            "[workers]\nhaproxy = \"/nonexistent/haproxy\"",
            2,
            &["/nonexistent/haproxy", "haproxy"],
        ),
        fault("s3.pem", wrong, 1, &["wrong.pem", "private key"]),
        // HAProxy's TLS library alone knows which ciphers there are.
        fault(
            "[[services.listeners]]\nport = 80",
            "[services.listeners.tls]\nciphers = \"NONSENSE\"\n\n[[services.listeners]]\nport = 80",
            1,
            &["HAProxy refuses", "NONSENSE"],
        ),
    ]
}

/// A certificate and a key that are good and do not belong together.
fn mismatched(stage: &Stage) -> String {
    let authority = Authority::new().expect("an authority");
    let [one, other] = [(); 2].map(|()| authority.server(&[VIP4]).expect("a certificate"));
    let key = "-----BEGIN PRIVATE KEY-----";
    let (chain, _) = one.split_once(key).expect("a key");
    let (_, other) = other.split_once(key).expect("a key");
    let text = format!("{chain}{key}{other}");
    stage
        .cluster
        .lab
        .write("wrong.pem", text)
        .expect("write the certificate");
    "wrong.pem".to_owned()
}

/// Does something while the configuration is another one.
fn with<T>(stage: &Stage, fault: &Fault, act: impl FnOnce() -> T) -> T {
    let good = fs::read_to_string(&stage.ober.config).expect("read the configuration");
    let mut text = good.clone();
    for (from, to) in &fault.changes {
        assert!(text.contains(from), "{from} is not in {text}");
        text = text.replace(from, to);
    }
    fs::write(&stage.ober.config, text).expect("write it");
    let result = act();
    fs::write(&stage.ober.config, good).expect("write it back");
    result
}

/// `ober-user run` to its end, which must come by itself.
fn run(stage: &Stage) -> Refusal {
    let mut command = Command::own(program("ober-user").expect("ober-user"));
    command.arg("run").arg("--config").arg(&stage.ober.config);
    run_command(stage, &mut command)
}

fn run_command(stage: &Stage, command: &mut Command) -> Refusal {
    let mut process = stage.cluster.node.spawn(command).expect("start it");
    let status = process.wait(PATIENCE).expect("it was to refuse");
    Refusal {
        code: status.code().unwrap_or(-1),
        words: process.log(),
    }
}

fn pins(stage: &Stage) -> PathBuf {
    Path::new(BPFFS)
        .join("ober")
        .join(stage.cluster.lab.instance())
}

fn ip(stage: &Stage, arguments: &str) -> String {
    let mut command = IP.command();
    command.args(arguments.split(' '));
    let output = stage.cluster.node.output(&mut command).expect("ip");
    String::from_utf8(output.stdout).expect("text")
}

/// HAProxy processes on the node.
fn workers(stage: &Stage) -> Vec<u32> {
    let namespace =
        |pid: u32| fs::metadata(format!("/proc/{pid}/ns/net")).map(|data| data.st_ino());
    let node = namespace(stage.cluster.node.pid()).expect("the node's namespace");
    let running = |pid: &u32| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        name.trim() == "haproxy" && namespace(*pid).is_ok_and(|other| other == node)
    };
    let mut found: Vec<u32> = fs::read_dir("/proc")
        .expect("/proc")
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(running)
        .collect();
    found.sort_unstable();
    found
}

/// Nothing of Ober is in the kernel, on the interfaces or among the processes of the node.
fn nothing_is_applied(stage: &Stage, after: &dyn std::fmt::Display) {
    let name = stage.cluster.lab.instance();
    let left: Vec<_> = fs::read_dir(Path::new(BPFFS).join("ober"))
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(name))
        .collect();
    assert!(left.is_empty(), "{after}: pins {left:?}");
    let links = ip(stage, "-details link show");
    assert!(!links.contains("xdp"), "{after}: {links}");
    let addresses = ip(stage, "address show");
    for vip in [VIP4, VIP6] {
        let vip = format!(" {vip}/");
        assert!(!addresses.contains(&vip), "{after}: {addresses}");
    }
    assert_eq!(workers(stage), [0; 0], "{after}: workers are left");
}

/// Puts the object of the tests into S3, through the node.
fn store(stage: &Stage) {
    let client = stage.secure(VIP4);
    stage.cluster.clients[0]
        .tokio(async || {
            client.create_bucket("faults").await?;
            client.put(PATH, CONTENT).await
        })
        .expect("enter the client")
        .expect("store an object");
}
