//! A name service that is dead, or half of it: listed clients stay, and only a command that asks for a name waits.

use std::{
    fs,
    net::IpAddr,
    path::Path,
    time::{Duration, Instant},
};

use hickory_proto::{op::ResponseCode, rr::RecordType};
use ober_tests::{
    lab::until,
    mounts,
    names::{NameServer, Says},
    nodes::one::{Settings, Stage},
};

use crate::{Ran, SOON, acl, listed};

/// A question about the state must not take longer on a busy machine; before, it took as long as the names.
const AT_ONCE: Duration = Duration::from_secs(5);

fn address(text: &str) -> IpAddr {
    text.parse().expect("address")
}

fn addresses(texts: &[&str]) -> Says {
    Says::Addresses(texts.iter().map(|text| address(text)).collect())
}

/// A daemon that asks a name server of the test, and finds `search` in /etc/resolv.conf.
fn named(name: &str, extra: &str, search: &str) -> (Stage, NameServer) {
    let settings = Settings {
        extra: format!("[lists.extra]\n{extra}"),
        ..Settings::default()
    };
    let mut stage = Stage::new(name, &settings).expect("build the stage");
    let server = NameServer::start(&stage.cluster.node).expect("a name server");
    let conf = format!("{search}nameserver 127.0.0.1\n");
    let conf = stage.cluster.lab.write("resolv.conf", conf).expect("write");
    let files = [mounts::bind(&conf, Path::new("/etc/resolv.conf"))];
    mounts::start(&mut stage, &files).expect("start with a name server of its own");
    (stage, server)
}

fn quick(stage: &Stage, arguments: &[&str]) -> Ran {
    let began = Instant::now();
    let ran: Ran = stage.try_cli(arguments).expect("run ober-user").into();
    let took = began.elapsed();
    assert!(took < AT_ONCE, "{arguments:?} took {took:?}: {ran:?}");
    ran
}

/// The daemon's answer over HTTP, which must come at once.
fn fetched(stage: &Stage, path: &str) -> String {
    let url = format!("http://127.0.0.1:8404{path}");
    let most = AT_ONCE.as_secs().to_string();
    let mut curl = ober_programs::CURL.args(["-s", "-S", "-m", &most, &url]);
    let output = stage.cluster.node.output(&mut curl).expect("an answer");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn while_a_change_waits_for_names_other_commands_and_changes_are_served() {
    let slow = "[resolve]\ntimeout = \"2s\"\ninterval = \"1s\"\n";
    let (stage, server) = named("dead", slow, "");
    server.tell("dead*", &Says::Silence);
    server.tell("good1", &addresses(&["10.60.0.1"]));
    server.tell("good2", &addresses(&["10.60.0.2"]));
    acl(&stage, &["add", "frontend-http", "10.60.9.9"]).says(0, &[]);
    let sync = "dead[1-500],good[1-2]";
    let mut waiting = stage
        .spawn_cli(&["acl", "sync", "--frontend-http", sync])
        .expect("begin to sync");
    until("questions for names that nobody answers for", SOON, || {
        Ok((server.asked() > 100).then_some(()))
    })
    .expect("it asks");
    for (arguments, code) in [
        (&["status"][..], 0),
        (&["acl", "check", "10.60.9.9"], 0),
        (&["acl", "show"], 0),
        (&["backends"], 0),
        (&["gate"], 0),
        (&["acl", "add", "extra", "10.1.1.1"], 0),
        (&["acl", "remove", "frontend-http", "10.60.9.9"], 0),
        (&["plan"], 0),
    ] {
        let ran = quick(&stage, arguments);
        assert_eq!(ran.code, code, "{arguments:?}: {ran:?}");
    }
    assert!(fetched(&stage, "/health").contains("healthy"));
    assert!(fetched(&stage, "/metrics").contains("ober_"));
    assert!(
        waiting.ended().expect("ask").is_none(),
        "it still waits for names"
    );
    assert!(listed(&stage, address("10.1.1.1")) && !listed(&stage, address("10.60.9.9")));
    let end = waiting.wait(SOON * 2).expect("it ends");
    assert_eq!(end.code(), Some(3), "{}", waiting.log());
    assert!(listed(&stage, address("10.60.0.1")) && listed(&stage, address("10.60.0.2")));
    // The list has the dead names from now on: every round asks for them, and no command waits for that.
    for _ in 0..5 {
        assert!(fetched(&stage, "/health").contains("healthy"));
        quick(&stage, &["acl", "add", "extra", "10.1.1.2"]);
    }
}

#[test]
fn names_without_an_answer_do_not_delay_the_resolution_of_others() {
    let quick_names = "[resolve]\ntimeout = \"1s\"\ninterval = \"0\"\n";
    let (stage, server) = named("starved", quick_names, "search a.test b.test c.test\n");
    server.tell("dead*", &Says::Silence);
    server.tell("zgood*", &addresses(&["10.60.0.1"]));
    server.tell("good7*", &addresses(&["10.60.0.7"]));
    let sync = "dead[1-600],zgood[1-100]";
    let mut waiting = stage
        .spawn_cli(&["acl", "sync", "--frontend-http", sync])
        .expect("begin to sync");
    let daemon = stage.ober.daemon.as_ref().expect("a daemon").pid();
    until("many questions", SOON, || {
        Ok((server.asked() > 100).then_some(()))
    })
    .expect("it asks");
    let status = fs::read_to_string(format!("/proc/{daemon}/status")).expect("read");
    let threads: usize = status
        .lines()
        .find_map(|line| line.strip_prefix("Threads:"))
        .expect("threads")
        .trim()
        .parse()
        .expect("a number");
    assert!(threads < 64, "{threads} threads");
    // Another change asks for its own name and is answered.
    acl(&stage, &["add", "extra", "good7"]).says(0, &["1 added"]);
    let end = waiting.wait(SOON * 2).expect("it ends");
    assert_eq!(end.code(), Some(3));
    let said = waiting.log();
    assert!(!said.contains("zgood"), "{said}");
    assert!(said.contains("dead[1-600]: no answer in time"), "{said}");
    assert!(listed(&stage, address("10.60.0.1")));
    acl(&stage, &["add", "extra", "good71"]).says(0, &[]);
}

#[test]
fn addresses_of_a_family_whose_query_fails_are_kept() {
    let (stage, server) = named(
        "halves",
        "[resolve]\ntimeout = \"2s\"\ninterval = \"0\"\n",
        "",
    );
    let (v4, v6) = ("10.60.0.1", "fd00:60::1");
    server.tell("dual", &addresses(&[v4, v6]));
    acl(&stage, &["sync", "--frontend-http", "dual"]).says(0, &["2 on it"]);
    for fault in [Says::Code(ResponseCode::ServFail), Says::Silence] {
        for kind in [RecordType::AAAA, RecordType::A] {
            server.tell("dual", &addresses(&[v4, v6]));
            server.tell_of("dual", kind, fault.clone());
            let family = if kind == RecordType::A {
                "IPv4"
            } else {
                "IPv6"
            };
            let words = format!("its {family} addresses are not known");
            let expected = [
                &words,
                "keeps its earlier addresses",
                "0 removed",
                "2 on it",
            ];
            acl(&stage, &["sync", "--refresh"]).says(3, &expected);
            assert!(listed(&stage, address(v4)) && listed(&stage, address(v6)));
        }
    }
    // What is answered is believed: a family without records has none.
    server.tell("dual", &addresses(&[v6]));
    acl(&stage, &["sync", "--refresh"]).says(0, &["1 removed", "1 on it"]);
    assert!(!listed(&stage, address(v4)) && listed(&stage, address(v6)));
}

#[test]
fn a_daemon_starts_and_answers_while_the_name_service_is_dead() {
    let slow = "sources = [\"dead[1-500]\", \"10.1.1.1\"]\n[resolve]\ntimeout = \"4s\"\n";
    let settings = Settings {
        extra: format!("[lists.extra]\n{slow}"),
        ..Settings::default()
    };
    let mut stage = Stage::new("deadstart", &settings).expect("build the stage");
    let server = NameServer::start(&stage.cluster.node).expect("a name server");
    server.tell("*", &Says::Silence);
    let conf = stage
        .cluster
        .lab
        .write("resolv.conf", "nameserver 127.0.0.1\n")
        .expect("write");
    // 500 names would take over half a minute.
    let bound = [mounts::bind(&conf, Path::new("/etc/resolv.conf"))];
    mounts::start(&mut stage, &bound).expect("start");
    quick(&stage, &["status"]).says(0, &[]);
    quick(&stage, &["acl", "remove", "frontend-http", "10.77.0.9"]).says(0, &[]);
}
