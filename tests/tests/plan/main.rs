//! Every change is a plan: the steps shown are the steps done, a refused change leaves everything as it was, and a
//! configuration that was in force can be put in force again.
#![expect(
    clippy::expect_used,
    reason = "what the helpers of a test expect is part of the test"
)]

use std::{
    fs, net::SocketAddr, os::unix::fs::PermissionsExt, path::PathBuf, process::Output,
    time::Duration,
};

use nix::sys::signal::Signal;
use ober_tests::{
    client::Client,
    lab::{VIP4, VIP6, client4, until},
    load::Plan as Load,
    nodes::one::{Settings, Stage},
    pattern::Pattern,
};
use ober_user::{
    api::{
        Reloaded,
        status::{Doubt, Status},
    },
    plan::{
        How, Plan,
        history::{Entry, Reason},
    },
};
use serde_json::Value;

mod config;
mod late;

const PATH: &str = "/plan/object";
const CONTENT: Pattern = Pattern::new(7, 20_000);
const PATIENCE: Duration = Duration::from_secs(20);
/// A port that the changes of these tests add.
const MORE: u16 = 8080;

fn serving(name: &str, extra: &str) -> (Stage, Status) {
    let settings = Settings {
        extra: extra.to_owned(),
        ..Settings::default()
    };
    let mut stage = Stage::new(name, &settings).expect("build the stage");
    let status = stage.start().expect("start the daemon");
    let client = stage.secure(VIP4);
    stage.cluster.clients[0]
        .tokio(async || {
            client.create_bucket("plan").await?;
            client.put(PATH, CONTENT).await
        })
        .expect("enter the client")
        .expect("store an object");
    (stage, status)
}

fn text(stage: &Stage) -> String {
    fs::read_to_string(&stage.ober.config).expect("read the configuration")
}

/// Another port, another list, one worker less, another server.
fn other(stage: &Stage) -> String {
    let listener =
        format!("[[services.listeners]]\nport = {MORE}\naccess = \"more\"\n\n[backends.rgw]\n");
    let both = text(stage);
    let start = both.find("cpus = [").expect("CPUs");
    let end = start + both[start..].find('\n').expect("a line");
    let cpu = ober_tests::nodes::one::two_cpus().expect("CPUs")[0];
    let one = format!("{}cpus = [{cpu}]{}", &both[..start], &both[end..]);
    one.replace("[backends.rgw]\n", &listener)
        + &format!("\n[lists.more]\nsources = [\"{}\"]\n", client4(1))
}

fn write(stage: &Stage, name: &str, text: impl AsRef<[u8]>) -> String {
    let path = stage.cluster.lab.write(name, text).expect("write");
    path.display().to_string()
}

fn run(stage: &Stage, arguments: &[&str]) -> (i32, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = stage.try_cli(arguments).expect("run ober-user");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (status.code().unwrap_or(-1), text(&stdout), text(&stderr))
}

fn json<T: serde::de::DeserializeOwned>(stage: &Stage, arguments: &[&str], code: i32) -> T {
    let arguments = [arguments, &["--json"]].concat();
    let (ended, out, err) = run(stage, &arguments);
    assert_eq!(ended, code, "{arguments:?}: {out}{err}");
    serde_json::from_str(&out).expect("JSON")
}

fn history(stage: &Stage) -> Vec<Entry> {
    json(stage, &["history"], 0)
}

/// May client `number` fetch the object on this port?
fn served(stage: &Stage, number: usize, port: u16) -> bool {
    let client = Client::plain(SocketAddr::new(VIP4, port))
        .limits(Duration::from_millis(1500), Duration::from_secs(10));
    let host = &stage.cluster.clients[number];
    let got = host.tokio(async || client.get(PATH, CONTENT).await);
    got.expect("enter the client").is_ok()
}

/// The node's lists, services and worker processes, without values that change by themselves.
fn facts(stage: &Stage) -> (Value, Vec<Value>, Vec<i32>) {
    let lists: Value = json(stage, &["acl", "show"], 0);
    let status = stage.status().expect("status");
    let services = status
        .services
        .iter()
        .map(|service| serde_json::to_value(service).expect("JSON"));
    let workers = status.workers.iter().filter_map(|worker| worker.pid);
    (lists, services.collect(), workers.collect())
}

#[test]
fn a_plan_shows_exactly_the_changes_of_apply_and_is_empty_afterwards() {
    let (stage, before) = serving("show", "");
    let old = text(&stage);
    let nothing: Plan = json(&stage, &["plan"], 0);
    assert!(nothing.is_empty(), "{nothing:?}");
    let file = write(&stage, "next.toml", other(&stage));
    let shown: Plan = json(&stage, &["plan", &file], 4);
    assert_eq!(facts(&stage).2, pids(&before), "a plan changes nothing");
    assert_eq!(text(&stage), old, "a plan writes nothing");
    let names = |changes: &[ober_user::plan::Change]| -> Vec<(String, How)> {
        changes.iter().map(|it| (it.name.clone(), it.how)).collect()
    };
    assert_eq!(names(&shown.services), [("s3".to_owned(), How::Changed)]);
    assert_eq!(names(&shown.lists), [("more".to_owned(), How::Added)]);
    assert_eq!(
        names(&shown.workers),
        [
            ("0".to_owned(), How::Replaced),
            ("1".to_owned(), How::Removed)
        ]
    );
    let (code, words, _) = run(&stage, &["plan", &file]);
    assert_eq!(code, 4);
    let place = format!("+ {VIP4}:{MORE} list more");
    for word in [&place, "worker 1: removed", "in this order", "fill more"] {
        assert!(words.contains(word), "{word} is not in {words}");
    }

    let arguments = ["apply", &file, "--reason", "for the test"];
    let done: Reloaded = json(&stage, &arguments, 0);
    assert_eq!(done.plan, shown);
    assert_eq!((done.failed.len(), done.warnings.len()), (0, 0), "{done:?}");
    let left: Plan = json(&stage, &["plan"], 0);
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(text(&stage), other_of(&old, &file), "it is on disk");
    let aside = format!("{}.old", stage.ober.config.display());
    assert_eq!(
        fs::read_to_string(aside).expect("the old file is kept"),
        old
    );
    assert!(served(&stage, 1, MORE) && !served(&stage, 0, MORE));
    let history = history(&stage);
    let [first, second] = &history[..] else {
        panic!("{history:?}")
    };
    assert_eq!(first.origin.reason, Reason::Start);
    let origin = &second.origin;
    assert_eq!(
        (origin.reason, origin.by, origin.note.as_deref()),
        (Reason::Apply, Some(0), Some("for the test"))
    );
    assert_eq!(done.snapshot, Some(second.number));
    let (_, words, _) = run(&stage, &["history", "1", "--changes"]);
    assert!(
        words.contains("services.s3.listeners.8080.access"),
        "{words}"
    );
    let (_, words, _) = run(&stage, &["history", "1"]);
    assert!(words.ends_with(&old), "{words}");
}

#[test]
fn an_added_server_reaches_the_workers_live_and_the_next_plan_is_empty() {
    let (stage, before) = serving("told", "");
    let second = "10.77.8.10:9001";
    let servers = text(&stage).replace(":9000\"]", &format!(":9000\", \"{second}\"]"));
    assert_ne!(servers, text(&stage));
    let file = write(&stage, "next.toml", servers);
    let done: Reloaded = json(&stage, &["apply", &file], 0);
    let [backend] = &done.plan.backends[..] else {
        panic!("{:?}", done.plan)
    };
    assert!(backend.what.contains(&format!("+ server {second}")));
    let live = |change: &ober_user::plan::Change| change.how == How::ChangedLive;
    assert!(
        done.plan.workers.iter().all(live),
        "{:?}",
        done.plan.workers
    );
    assert_eq!(facts(&stage).2, pids(&before), "no worker is replaced");
    let left: Plan = json(&stage, &["plan"], 0);
    assert!(left.is_empty(), "{left:?}");
}

fn other_of(old: &str, file: &str) -> String {
    let new = fs::read_to_string(file).expect("read the new file");
    assert_ne!(old, new);
    new
}

fn pids(status: &Status) -> Vec<i32> {
    status
        .workers
        .iter()
        .filter_map(|worker| worker.pid)
        .collect()
}

#[test]
fn a_file_that_is_refused_changes_nothing_on_disk_or_in_force() {
    let (stage, _) = serving("refuse", "");
    let (old, before) = (text(&stage), facts(&stage));
    let missing = write(&stage, "missing.pem", "no certificate\n");
    for (name, bad, code, words) in [
        (
            "key",
            old.replace("sample = 1", "sampel = 1"),
            2,
            "key.toml:10",
        ),
        ("interface", old.replace("\"in0\"", "\"in7\""), 1, "in7"),
        (
            "fixed",
            old.replace("127.0.0.1:8404", "127.0.0.1:8405"),
            1,
            "fixed at the start",
        ),
        ("pem", old.replace(&pem(&old), &missing), 2, "missing.pem"),
    ] {
        assert_ne!(bad, old, "{name}");
        let file = write(&stage, &format!("{name}.toml"), &bad);
        for arguments in [["plan", &file], ["apply", &file]] {
            let (ended, out, err) = run(&stage, &arguments);
            assert_eq!(ended, code, "{arguments:?}: {out}{err}");
            assert!(err.contains(words), "{words} is not in {err}");
        }
        assert_eq!(text(&stage), old, "{name}");
        assert_eq!(facts(&stage), before, "{name}");
    }
    assert_eq!(history(&stage).len(), 1);
    let left = fs::read_dir(stage.cluster.lab.directory()).expect("list the directory");
    let names = left.flatten().map(|entry| entry.file_name());
    let beside = |name: &std::ffi::OsString| {
        let name = name.to_string_lossy().into_owned();
        name.starts_with("ober.toml.")
    };
    assert_eq!(names.filter(beside).count(), 0, "nothing is left beside");
}

/// The certificate that a configuration names.
fn pem(text: &str) -> String {
    let (_, rest) = text.split_once("certificate = \"").expect("a certificate");
    let (path, _) = rest.split_once('"').expect("its path");
    path.to_owned()
}

#[test]
fn a_rollback_restores_services_lists_and_workers_even_when_the_file_on_disk_is_bad() {
    let (stage, _) = serving("back", "");
    let old = text(&stage);
    let before = facts(&stage);
    let file = write(&stage, "next.toml", other(&stage));
    run(&stage, &["apply", &file]);
    assert!(served(&stage, 1, MORE));
    fs::write(&stage.ober.config, "nonsense [\n").expect("spoil the file");
    let load = Load::get(stage.secure(VIP4), PATH, CONTENT)
        .start(&stage.cluster.clients[0])
        .expect("TLS load");

    // The spoilt file still says where the daemon listens.
    let run_directory = stage.cluster.lab.directory().join("run");
    let state = stage.cluster.lab.directory().join("state");
    let rest = format!(
        "[node]\nrun = \"{}\"\nstate = \"{}\"\nnonsense [\n",
        run_directory.display(),
        state.display()
    );
    fs::write(&stage.ober.config, rest).expect("spoil the file");
    let done: Reloaded = json(&stage, &["rollback", "--reason", "it was bad"], 0);
    assert!(!done.plan.is_empty());
    assert_eq!(text(&stage), old, "the good file is on disk again");
    let after = facts(&stage);
    assert_eq!((&after.0, &after.1), (&before.0, &before.1));
    assert_eq!(after.2.len(), 2);
    assert!(!served(&stage, 1, MORE));
    let entries = history(&stage);
    let latest = entries.last().expect("history");
    assert_eq!(
        (latest.origin.reason, latest.origin.of),
        (Reason::Rollback, Some(1))
    );
    assert_eq!(latest.hash, entries[0].hash);

    let again: Reloaded = json(&stage, &["rollback"], 0);
    assert!(
        again.plan.lists.iter().any(|list| list.name == "more"),
        "{again:?}"
    );
    assert!(
        served(&stage, 1, MORE),
        "the one before is the other one again"
    );
    let (code, _, err) = run(&stage, &["rollback", "99"]);
    assert!(
        code == 2 && err.contains("1 to 4 are kept"),
        "{code}: {err}"
    );
    let report = load.finish().expect("finish");
    report.none_failed().expect("requests");
}

#[test]
fn history_is_bounded_records_a_signal_and_warns_if_it_cannot_be_written() {
    let (stage, _) = serving("bound", "");
    let text = text(&stage).replace("sample = 1\n", "sample = 1\nhistory = 3\n");
    let change = |sample: u32| text.replace("sample = 1\n", &format!("sample = {sample}\n"));
    fs::write(&stage.ober.config, change(2)).expect("write");
    let daemon = stage.ober.daemon.as_ref().expect("it runs");
    let pid = nix::unistd::Pid::from_raw(daemon.pid().cast_signed());
    nix::sys::signal::kill(pid, Signal::SIGHUP).expect("send SIGHUP");
    until("a snapshot for the signal", PATIENCE, || {
        let latest = history(&stage).pop();
        Ok(latest.filter(|entry| entry.origin.reason == Reason::Sighup))
    })
    .expect("SIGHUP puts it in force");
    for sample in [4, 8, 16] {
        fs::write(&stage.ober.config, change(sample)).expect("write");
        run(&stage, &["reload"]);
        run(&stage, &["reload"]);
    }
    let numbers: Vec<u64> = history(&stage).iter().map(|it| it.number).collect();
    assert_eq!(numbers, [3, 4, 5], "the same text makes no second one");

    let home = stage.cluster.lab.directory().join("state/history");
    fs::remove_dir_all(&home).expect("remove the history");
    fs::write(&home, "no directory").expect("be in its way");
    let file = write(&stage, "next.toml", change(32));
    let done: Reloaded = json(&stage, &["apply", &file], 0);
    assert_eq!(done.snapshot, None);
    assert!(
        done.warnings.iter().any(|it| it.contains("history")),
        "{done:?}"
    );
    let left: Plan = json(&stage, &["plan"], 0);
    assert!(left.is_empty(), "the change is in force");
}

#[test]
fn twenty_reloads_under_a_steady_load_of_new_tls_connections_fail_none() {
    let (stage, _) = serving("twenty", "");
    let loads = [VIP4, VIP6].map(|vip| {
        let load = Load {
            connections: 2,
            time: Duration::from_mins(5),
            ..Load::get(stage.secure(vip), PATH, CONTENT)
        };
        load.start(&stage.cluster.clients[0]).expect("TLS load")
    });
    let good = text(&stage);
    for number in 0..20 {
        let limit = format!("max_connections = {}", 1900 + number);
        let text = good.replace("max_connections = 2000", &limit);
        fs::write(&stage.ober.config, text).expect("write the configuration");
        let done: Reloaded = json(&stage, &["reload"], 0);
        assert!(done.failed.is_empty() && !done.plan.is_empty(), "{done:?}");
    }
    for load in loads {
        let report = load.finish().expect("finish");
        let tally = report.tally();
        assert!(
            tally.ok > 20 && tally.failed() == 0,
            "{tally}: {:?}",
            report.failures(3)
        );
    }
    assert_eq!(history(&stage).len(), 21);
}
