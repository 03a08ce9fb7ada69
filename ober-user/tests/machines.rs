//! The pure files: machines and decisions that get the time and all facts as arguments. None of them names what would let it
//! reach out by itself: tokio, a socket, a file, a clock or the log.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails by it, in its helpers as well"
)]
#![expect(
    clippy::disallowed_methods,
    reason = "a test reads the files of the package"
)]

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Below `src` of `ober-user` or `ober-base`, but for those of the tests' own model.
const PURE: [&str; 62] = [
    "announce/gate/damping.rs",
    "announce/gate/leaving.rs",
    "announce/gate/mod.rs",
    "announce/gate/plan.rs",
    "announce/gate/round.rs",
    "announce/gate/shown.rs",
    "announce/gate/state.rs",
    "backends/check/mod.rs",
    "backends/check/targets.rs",
    "backends/discover/merge.rs",
    "backends/discover/own.rs",
    "backends/discover/source.rs",
    "certificates/acme/mod.rs",
    "config/assemble.rs",
    "dataplane/rendezvous.rs",
    "haproxy/live/reconcile.rs",
    "haproxy/live/mod.rs",
    "haproxy/live/text.rs",
    "haproxy/worker/event.rs",
    "haproxy/worker/leaving.rs",
    "haproxy/worker/mod.rs",
    "haproxy/worker/policy.rs",
    "haproxy/worker/snapshot.rs",
    "host/part.rs",
    "host/parts/firewall/nft.rs",
    "host/plan.rs",
    "host/wants.rs",
    "machine/mod.rs",
    "plan/difference.rs",
    "plan/mod.rs",
    "plan/state.rs",
    "protocols/bfd/client.rs",
    "protocols/bfd/counters.rs",
    "protocols/bfd/event.rs",
    "protocols/bfd/interval.rs",
    "protocols/bfd/mod.rs",
    "protocols/bfd/packet.rs",
    "protocols/bfd/settings.rs",
    "protocols/bgp/configured.rs",
    "protocols/bgp/connection.rs",
    "protocols/bgp/event.rs",
    "protocols/bgp/message/judge.rs",
    "protocols/bgp/message/mod.rs",
    "protocols/bgp/message/notify.rs",
    "protocols/bgp/message/received.rs",
    "protocols/bgp/pace.rs",
    "protocols/bgp/peering/dial.rs",
    "protocols/bgp/peering/configure.rs",
    "protocols/bgp/peering/mod.rs",
    "protocols/bgp/policy.rs",
    "protocols/bgp/rib.rs",
    "protocols/bgp/settings.rs",
    "protocols/routers.rs",
    "protocols/standing.rs",
    "protocols/vrrp/claims.rs",
    "protocols/vrrp/configured.rs",
    "protocols/vrrp/event.rs",
    "protocols/vrrp/mod.rs",
    "protocols/vrrp/neighbour.rs",
    "protocols/vrrp/packet/mod.rs",
    "protocols/vrrp/received.rs",
    "protocols/vrrp/timing.rs",
];

/// What none of them may name, with a word for it.
const FORBIDDEN: [(&str, &str); 22] = [
    ("tokio", "tasks and timers"),
    ("mio::", "sockets"),
    ("socket2", "sockets"),
    ("nix::sys::socket", "sockets"),
    ("TcpStream", "sockets"),
    ("TcpListener", "sockets"),
    ("UdpSocket", "sockets"),
    ("UnixStream", "sockets"),
    ("UnixListener", "sockets"),
    ("std::fs", "files"),
    ("fs::", "files"),
    ("File::", "files"),
    ("std::process", "programs"),
    ("process::Command", "programs"),
    ("std::env", "the environment"),
    ("Instant::now", "the clock"),
    ("SystemTime", "the clock"),
    ("drive::now", "the clock"),
    ("clock::", "the clock"),
    ("sleep(", "the clock"),
    ("tracing", "the log"),
    ("println!", "the log"),
];

/// A folder of the repository.
fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)
}

fn sources() -> [PathBuf; 2] {
    ["ober-user/src", "ober-base/src"].map(folder)
}

/// A file of the list.
fn listed(file: &str) -> PathBuf {
    let [upper, lower] = sources().map(|source| source.join(file));
    if upper.exists() { upper } else { lower }
}

/// The product's part of a file: without comments, and without the tests at its end.
fn code(text: &str) -> String {
    let product = text.split("#[cfg(test)]\nmod tests {").next();
    let lines = product
        .unwrap_or_default()
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

/// What of the forbidden is named in it.
fn reaches(text: &str) -> Vec<&'static str> {
    let code = code(text);
    let named = FORBIDDEN.iter().filter(|(name, _)| {
        code.match_indices(name).any(|(at, _)| {
            let before = code.get(..at).unwrap_or_default().chars().next_back();
            !before.is_some_and(|letter| letter.is_ascii_alphanumeric() || letter == '_')
        })
    });
    named.map(|(_, what)| *what).collect()
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.append(&mut files(&path));
        } else if path.extension().is_some_and(|it| it == "rs") {
            found.push(path);
        }
    }
    found
}

#[test]
fn what_a_file_reaches_is_read_from_its_code_and_neither_from_comments_nor_from_tests() {
    let text = "//! tokio\nuse std::fs;\nlet at = Instant::now();\nmy_socket2();\n#[cfg(test)]\nmod tests {\n    tracing::info!();\n}\n";
    assert_eq!(reaches(text), ["files", "the clock"]);
}

#[test]
fn machines_and_decisions_name_no_task_socket_file_clock_or_log() {
    let model = folder("tests/src/model");
    for path in PURE.map(listed).into_iter().chain(files(&model)) {
        let found = reaches(&fs::read_to_string(&path).unwrap());
        assert!(
            found.is_empty(),
            "{} reaches {found:?}; take it as an argument, or leave it to the world of the machine",
            path.display()
        );
    }
}

#[test]
fn every_machine_is_on_the_list() {
    let listed = PURE.map(listed);
    for path in sources().iter().flat_map(|source| files(source)) {
        let text = fs::read_to_string(&path).unwrap();
        if code(&text).contains("impl Machine for") {
            assert!(
                listed.contains(&path),
                "{} implements `Machine` and is not in PURE",
                path.display()
            );
        }
    }
}
