//! A daemon that starts slowly says so to every command, and how far it is.

use std::{
    fs::{self, File},
    thread,
    time::{Duration, Instant},
};

use nix::fcntl::{Flock, FlockArg};
use ober_programs::{SH, SLEEP};
use ober_tests::{
    lab::until,
    nodes::one::{Settings, Stage},
};

use crate::Refusal;

#[test]
fn a_starting_daemon_answers_every_command_with_its_current_step() {
    let slow = format!(
        "\n[[backends.rgw.discover]]\nkind = 'exec'\ntimeout = '8s'\n\
         command = ['{SH}', '-c', '{SLEEP} 6; echo 10.77.1.2:9000']\n"
    );
    let mut stage = Stage::new("starting", &Settings::default()).expect("build the stage");
    let text = fs::read_to_string(&stage.ober.config).expect("read the configuration");
    fs::write(&stage.ober.config, text + &slow).expect("write it");
    let mut command = stage.ober.ober(&["run"]).expect("ober-user");
    let daemon = stage.cluster.node.spawn(command.env("RUST_LOG", "info"));
    stage.ober.daemon = Some(daemon.expect("spawn"));
    let ran = |arguments: &[&str]| Refusal::from(stage.try_cli(arguments).expect("a command"));
    until("the control socket", crate::PATIENCE, || {
        Ok((!ran(&["status"]).words.contains("not here")).then_some(()))
    })
    .expect("it listens");
    let since = Instant::now();
    for arguments in [
        &["status"][..],
        &["acl", "show"],
        &["drain"],
        &["reload"],
        &["acl", "watch"],
        &["counters"],
        &["doctor"],
        &["test"],
    ] {
        ran(arguments).says(1, &["the daemon is starting: step 1 of ", "servers"]);
    }
    ran(&["detach"]).says(1, &["daemon is running"]);
    // Well before a command would have given up.
    assert!(since.elapsed().as_secs() < 6, "{:?}", since.elapsed());
    let mut steps = Vec::new();
    until("a daemon that serves", crate::PATIENCE, || {
        let words = ran(&["bgp"]).words;
        let step = words.split("starting: step ").nth(1).map(ToOwned::to_owned);
        let serves = step.is_none();
        steps.extend(step);
        Ok(serves.then_some(()))
    })
    .expect("it serves");
    let numbers: Vec<usize> = steps
        .iter()
        .filter_map(|it| it.split(' ').next())
        .map(|it| it.parse().expect("a number"))
        .collect();
    assert!(numbers.is_sorted(), "{steps:?}");
    let of = steps.iter().filter_map(|it| it.split([' ', ',']).nth(2));
    for of in of {
        let of: usize = of.parse().expect("a number");
        assert!(numbers.iter().all(|it| *it <= of), "{steps:?}");
    }
}

/// Holds the instance as a command does that works without a daemon.
fn held(stage: &Stage) -> Flock<File> {
    let lock = stage.cluster.lab.directory().join("run/lock");
    let file = File::options().read(true).write(true).open(lock);
    let file = file.expect("open the lock");
    Flock::lock(file, FlockArg::LockExclusiveNonblock).expect("it is free")
}

#[test]
fn a_starting_daemon_waits_for_a_command_that_holds_the_instance_and_names_one_that_stays() {
    let mut stage = Stage::new("waits", &Settings::default()).expect("build the stage");
    stage.start().expect("start");
    stage.ober.stop().expect("stop");
    let command = held(&stage);
    let ends = thread::spawn(move || {
        thread::sleep(Duration::from_secs(2));
        drop(command);
    });
    stage.start().expect("it waits, and starts");
    ends.join().expect("the command");
    let log = stage.ober.daemon.as_ref().expect("a daemon").log();
    let holder = format!("process {} (", std::process::id());
    assert!(
        log.contains("waits up to") && log.contains(&holder),
        "{log}"
    );
    stage.ober.stop().expect("stop");
    let _stays = held(&stage);
    crate::run(&stage).says(1, &["use the instance at", &holder, "stop that one"]);
    // A command that works without a daemon does the same.
    let guest = ober_tests::lab::client4(2).to_string();
    let ran = stage.try_cli(&["acl", "add", "frontend-http", &guest]);
    Refusal::from(ran.expect("run")).says(1, &["use the instance at", &holder]);
}
