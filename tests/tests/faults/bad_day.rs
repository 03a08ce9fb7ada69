//! Commands while the configuration on disk is of no use: they ask the running daemon all the same, and one line says what is
//! wrong with the files.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt as _, chown},
    time::Duration,
};

use nix::sys::signal::Signal;
use ober_tests::{
    lab::{VIP4, until},
    nodes::one::{Settings, Stage},
};

use crate::Refusal;

const MISTAKE: &str = "warning: the configuration on disk has a mistake: ";

/// How a command ends that only has to find the daemon, and words of its answer.
type Asked = (&'static [&'static str], i32, &'static str);

const ASKED: &[Asked] = &[
    (&["status"], 0, "instance "),
    (&["counters"], 0, ""),
    (&["acl", "show"], 0, "frontend-http: "),
    (&["acl", "show", "routers"], 0, "routers: "),
    (&["acl", "show", "none"], 2, "there is no such list"),
    (&["acl", "check", "192.0.2.99"], 1, "not listed"),
    (
        &["acl", "check", "192.0.2.99", "--list", "none"],
        2,
        "there is no list",
    ),
    (&["acl", "add", "routers", "192.0.2.99"], 0, "1 added"),
    (&["acl", "remove", "routers", "192.0.2.99"], 0, "1 removed"),
    (
        &["acl", "add", "none", "192.0.2.99"],
        2,
        "there is no such list",
    ),
    (&["sync", "--refresh"], 0, "list routers: "),
    (&["sync", "--routers", ""], 0, "list routers: "),
    (
        &["sync", "--backend-http", "10.88.0.1:9000", "--dry-run"],
        0,
        "backend rgw: ",
    ),
    (&["backends"], 0, "rgw"),
    (&["gate"], 0, "announced"),
    (&["drain", VIP], 0, "draining"),
    (&["undrain", VIP], 0, VIP),
    (&["disable", VIP], 0, "disabled"),
    (&["enable", VIP], 0, VIP),
    (&["bgp"], 0, ""),
    (&["bfd"], 0, ""),
    (&["vrrp"], 0, ""),
    (&["history"], 0, "start"),
    (&["history", "1"], 0, "[node]"),
    (&["plan", "--snapshot", "1"], 0, "nothing to do"),
    (&["detach"], 1, "daemon is running"),
    // Last: it puts the snapshot in the place of the file.
    (&["rollback", "1"], 0, "nothing to do"),
];

/// As text, for the table.
const VIP: &str = "10.77.9.1";

/// It reads the maps itself, and so needs a configuration that it can trust.
const EXPLAIN: &[&str] = &["flow", "explain", "192.0.2.99:4000", "10.77.9.1:80"];

/// Commands about the files themselves.
const ABOUT: &[&[&str]] = &[
    &["validate"],
    &["reload"],
    &["plan"],
    &["apply"],
    &["config", "--set", "gate.rise=3"],
];

/// A change of the main file, and words of the message about it.
struct Day {
    name: &'static str,
    make: fn(&Stage, &str),
    words: &'static str,
}

fn day(name: &'static str, make: fn(&Stage, &str), words: &'static str) -> Day {
    Day { name, make, words }
}

fn write(stage: &Stage, text: impl AsRef<[u8]>) {
    fs::write(&stage.ober.config, text).expect("write the configuration");
}

fn mode(stage: &Stage, mode: u32) {
    fs::set_permissions(&stage.ober.config, Permissions::from_mode(mode)).expect("set its mode");
}

/// The daemon can be found, though the file is of no use.
fn mistakes() -> [Day; 7] {
    [
        day(
            "it is no TOML",
            |stage, good| write(stage, good.replace("[workers]", "nonsense\n[workers]")),
            "ober.toml:",
        ),
        day(
            "a key is unknown",
            |stage, good| write(stage, good.replace("sample = 1", "sampel = 1")),
            "unknown key `sampel`",
        ),
        day(
            "a value is bad",
            |stage, good| write(stage, good.replace("sample = 1", "sample = 'often'")),
            "ober.toml:10:",
        ),
        day(
            "a file that it names is gone",
            |stage, good| write(stage, good.replace("s3.pem", "gone.pem")),
            "gone.pem",
        ),
        day(
            "a variable is not set",
            |stage, good| {
                write(
                    stage,
                    good.replace("sample = 1", "sample = 1\ncluster_key = '${OBER_NO}'"),
                );
            },
            "`OBER_NO` is not set",
        ),
        day(
            "it is not UTF-8",
            |stage, good| write(stage, [b"# caf\xe9\n", good.as_bytes()].concat()),
            "UTF-8",
        ),
        day(
            "every account may write it",
            |stage, _| mode(stage, 0o666),
            "chmod o-w",
        ),
    ]
}

fn stage(name: &str) -> Stage {
    let mut stage = Stage::new(name, &Settings::default()).expect("build the stage");
    stage.start().expect("start");
    until("an open gate", crate::PATIENCE, || {
        Ok(stage.cli(&["gate"])?.contains("announced").then_some(()))
    })
    .expect("it opens");
    stage
}

fn ran(stage: &Stage, arguments: &[&str]) -> Refusal {
    Refusal::from(stage.try_cli(arguments).expect("a command"))
}

/// Runs the commands, then puts the file back.
fn on(stage: &Stage, day: &Day, check: impl FnOnce()) {
    let good = fs::read_to_string(&stage.ober.config).expect("read the configuration");
    (day.make)(stage, &good);
    check();
    write(stage, good);
    mode(stage, 0o600);
}

/// Runs every command of the table; a panic shows all that ended otherwise than it says.
fn asked(stage: &Stage, day: &Day, judge: impl Fn(&Refusal) -> bool) {
    let mut wrong = Vec::new();
    for (arguments, code, words) in ASKED {
        let ran = ran(stage, arguments);
        if ran.code != *code || !ran.words.contains(words) || !judge(&ran) {
            wrong.push(format!("{arguments:?}: {}: {}", ran.code, ran.words));
        }
    }
    assert!(wrong.is_empty(), "{}:\n{}", day.name, wrong.join("\n"));
}

#[test]
fn commands_that_only_need_the_daemon_work_with_any_fault_in_the_configuration() {
    assert_eq!(VIP, VIP4.to_string());
    let stage = stage("bad-day");
    for day in mistakes() {
        on(&stage, &day, || {
            for arguments in ABOUT {
                ran(&stage, arguments).says(2, &[day.words]);
            }
            if day.words == "chmod o-w" {
                ran(&stage, EXPLAIN).says(2, &[day.words]);
            } else {
                ran(&stage, EXPLAIN).says(0, &["verdict", MISTAKE, "in force last"]);
            }
            asked(&stage, &day, |ran| {
                let lines = ran.words.lines();
                let mistakes: Vec<_> = lines.filter(|line| line.starts_with(MISTAKE)).collect();
                mistakes.len() == 1 && mistakes[0].contains(day.words)
            });
        });
    }
}

#[test]
fn with_a_broken_configuration_commands_that_observe_work_and_ones_that_judge_it_fail() {
    let stage = stage("bad-watch");
    let [_, unknown, ..] = mistakes();
    on(&stage, &unknown, || {
        for arguments in [&["acl", "watch"][..], &["counters", "--watch=0.2"]] {
            let mut watch = stage.spawn_cli(arguments).expect("watch");
            until("a word of the mistake", crate::PATIENCE, || {
                Ok(watch.log().contains(MISTAKE).then_some(()))
            })
            .expect("it is said");
            std::thread::sleep(Duration::from_millis(700));
            assert_eq!(watch.ended().expect("look"), None, "{}", watch.log());
            assert_eq!(watch.log().matches(MISTAKE).count(), 1, "{}", watch.log());
            watch.signal(Signal::SIGINT).expect("interrupt it");
        }
        for arguments in [&["doctor"][..], &["test", "node"]] {
            ran(&stage, arguments).says(1, &[MISTAKE, unknown.words, "ober-user validate"]);
        }
    });
}

#[test]
fn a_configuration_of_another_account_and_a_missing_list_file_are_no_fault() {
    let stage = stage("fair-day");
    let days = [
        day(
            "another account owns it",
            |stage, _| chown(&stage.ober.config, Some(1000), Some(1000)).expect("give it away"),
            "",
        ),
        day(
            "slurm.conf is away",
            |stage, good| {
                write(
                    stage,
                    format!("{good}\n[resolve]\nslurm_conf = 'gone.conf'\n"),
                );
            },
            "",
        ),
        day(
            "the file of a list is away",
            |stage, good| {
                write(
                    stage,
                    format!("{good}\n[lists.x]\nsources = ['@gone.hosts']\n"),
                );
            },
            "",
        ),
    ];
    for day in days {
        on(&stage, &day, || {
            asked(&stage, &day, |ran| !ran.words.contains(MISTAKE));
        });
        chown(&stage.ober.config, Some(0), Some(0)).expect("take it back");
    }
}

#[test]
fn commands_guess_no_instance_if_the_files_do_not_name_one() {
    let stage = stage("lost-day");
    let days = [
        day(
            "it is gone",
            |stage, _| fs::remove_file(&stage.ober.config).expect("remove it"),
            "read configuration",
        ),
        day(
            "its place is no string",
            |stage, good| write(stage, good.replace("\nrun = ", "\nrun = 5 # ")),
            "run",
        ),
    ];
    for day in days {
        on(&stage, &day, || {
            for (arguments, ..) in ASKED {
                let refused = ran(&stage, arguments);
                let said = format!("{}: {arguments:?}: {}", day.name, refused.words);
                assert_eq!(refused.code, 2, "{said}");
                assert!(refused.words.contains(day.words), "{said}");
                assert!(refused.words.contains("ober.toml"), "{said}");
            }
        });
    }
}

#[test]
fn without_a_daemon_commands_use_the_last_snapshot() {
    let mut stage = stage("dead-day");
    stage.kill().expect("kill the daemon");
    let [_, unknown, .., open] = mistakes();
    let history = stage.cluster.lab.directory().join("state/history");
    let aside = history.with_extension("aside");
    on(&stage, &unknown, || {
        let snapshot = "snapshot 1 of the history, which was in force last";
        for (arguments, code, words) in [
            (&["status"][..], 0, "no daemon"),
            (&["counters"], 0, ""),
            (&["acl", "show"], 0, "frontend-http: "),
            (&["acl", "check", "192.0.2.99"], 1, "not listed"),
            (&["acl", "add", "routers", "192.0.2.99"], 0, "1 added"),
            (&["acl", "add", "none", "192.0.2.99"], 2, "the lists are"),
            (EXPLAIN, 0, "verdict"),
        ] {
            ran(&stage, arguments).says(code, &[words, MISTAKE, unknown.words, snapshot]);
        }
        for arguments in [&["drain"][..], &["backends"], &["rollback"]] {
            ran(&stage, arguments).says(1, &["is not running", MISTAKE, unknown.words]);
        }
        ran(&stage, &["reload"]).says(2, &[unknown.words]);
        fs::rename(&history, &aside).expect("take the history away");
        for arguments in [&["status"][..], &["detach"], &["acl", "show"]] {
            ran(&stage, arguments).says(2, &[unknown.words]);
        }
        fs::rename(&aside, &history).expect("put it back");
    });
    // An account that can write the file could name a history in it as well.
    on(&stage, &open, || {
        ran(&stage, &["detach"]).says(2, &[open.words]);
    });
    on(&stage, &unknown, || {
        ran(&stage, &["detach"]).says(0, &["detached", MISTAKE]);
    });
}
