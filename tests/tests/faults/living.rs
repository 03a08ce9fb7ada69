//! A start that cannot serve anew, on a node whose pins are out of sight while its workers serve.

use std::{fs, path::PathBuf, time::Duration};

use ober_programs::{Command, MOUNT, SH, UNSHARE};

use ober_tests::{
    lab::{BPFFS, VIP4, until},
    load::{Plan, Running},
    nodes::one::{Settings, Stage},
};

use crate::{CONTENT, PATH, pins, store, workers};

fn serving(name: &str) -> Stage {
    let mut stage = Stage::new(name, &Settings::default()).expect("build the stage");
    stage.start().expect("start");
    store(&stage);
    stage
}

fn load(stage: &Stage) -> Running {
    let plan = Plan {
        connections: 2,
        pause: Duration::from_millis(20),
        ..Plan::get(stage.open(VIP4), PATH, CONTENT)
    };
    plan.start(&stage.cluster.clients[0])
        .expect("start the load")
}

/// A start, however it ends: whether it serves or gives up, traffic goes on.
fn attempt(stage: &Stage, command: &mut Command, load: &Running) {
    let command = command.env("RUST_LOG", "info");
    let mut daemon = stage.cluster.node.spawn(command).expect("spawn");
    until("a start that serves or gives up", crate::PATIENCE, || {
        let serves = daemon.log().contains(" serving");
        Ok((serves || daemon.ended()?.is_some()).then_some(()))
    })
    .expect("it comes to an end");
    goes_on(load);
    daemon.kill().expect("end it");
}

fn goes_on(load: &Running) {
    let done = load.done();
    until("more requests", crate::PATIENCE, || {
        Ok((load.done() > done + 4).then_some(()))
    })
    .expect("the traffic goes on");
}

fn whole(load: Running) {
    let report = load.finish().expect("finish");
    assert_eq!(report.tally().failed(), 0, "{:?}", report.failures(3));
}

fn run(stage: &Stage) -> Command {
    stage.ober.ober(&["run"]).expect("ober-user")
}

/// Pins under another name; dropping this moves them back.
struct Moved {
    from: PathBuf,
    to: PathBuf,
}

impl Moved {
    fn new(from: PathBuf) -> Self {
        let name = from.file_name().expect("a name").to_string_lossy();
        let to = from.with_file_name(format!("{name}-gone"));
        fs::rename(&from, &to).expect("move the pins");
        Self { from, to }
    }
}

impl Drop for Moved {
    fn drop(&mut self) {
        // A start may have pinned others meanwhile; those of the lab alone are swept.
        for entry in fs::read_dir(&self.from).into_iter().flatten().flatten() {
            drop(fs::remove_file(entry.path()));
        }
        drop(fs::remove_dir(&self.from));
        fs::rename(&self.to, &self.from).expect("move the pins back");
    }
}

#[test]
fn a_start_that_does_not_see_its_pins_never_ends_the_workers_that_serve() {
    let mut stage = serving("unpinned");
    let before = workers(&stage);
    assert_eq!(before.len(), 2);
    let load = load(&stage);
    stage.kill().expect("kill the daemon");
    let moved = Moved::new(pins(&stage));
    attempt(&stage, &mut run(&stage), &load);
    let after = workers(&stage);
    assert!(
        before.iter().all(|pid| after.contains(pid)),
        "{before:?} {after:?}"
    );
    drop(moved);
    stage.start().expect("start where the pins are seen");
    goes_on(&load);
    whole(load);
}

#[test]
fn a_start_in_another_mount_namespace_never_ends_the_workers_that_serve() {
    let mut stage = serving("elsewhere");
    let before = workers(&stage);
    let load = load(&stage);
    stage.kill().expect("kill the daemon");
    let other = MOUNT.args(["-t", "bpf", "bpf", BPFFS]);
    let mut command = UNSHARE.before(["--mount"], &SH.in_turn(&[&other, &run(&stage)]));
    attempt(&stage, &mut command, &load);
    let after = workers(&stage);
    assert!(
        before.iter().all(|pid| after.contains(pid)),
        "{before:?} {after:?}"
    );
    stage.start().expect("start where the pins are seen");
    goes_on(&load);
    whole(load);
}

#[test]
fn a_failed_start_never_ends_a_worker_without_a_record_and_a_successful_one_replaces_it() {
    let mut stage = serving("unrecorded");
    let before = workers(&stage);
    let load = load(&stage);
    stage.kill().expect("kill the daemon");
    let records = ["worker-0.json", "worker-1.json"];
    let record = |name: &str| stage.cluster.lab.directory().join("run").join(name);
    fs::write(record(records[0]), "{\"serving\":").expect("tear a record");
    fs::remove_file(record(records[1])).expect("lose a record");
    // The start cannot try the history: there is none.
    fs::remove_dir_all(stage.cluster.lab.directory().join("state/history")).expect("forget");
    let bridge = ["link add br9 type bridge", "link set br9 up"];
    stage.cluster.node.ip(&bridge).expect("make a bridge");
    let refused = crate::first::refused_by_the_driver().and("xdp = \"auto\"", "xdp = \"native\"");
    let refusal = crate::with(&stage, &refused, || crate::run(&stage));
    refusal.says(1, &["br9"]);
    let after = workers(&stage);
    assert!(
        before.iter().all(|pid| after.contains(pid)),
        "{before:?} {after:?}"
    );
    goes_on(&load);
    stage.start().expect("and now it starts");
    goes_on(&load);
    until("the old workers have finished", crate::PATIENCE, || {
        let now = workers(&stage);
        Ok((now.len() == 2 && !before.iter().any(|pid| now.contains(pid))).then_some(()))
    })
    .expect("those whose record was lost are replaced");
    whole(load);
}

#[test]
fn a_start_killed_while_it_swapped_pins_is_completed_by_the_next_one() {
    let mut stage = serving("settling");
    let home = pins(&stage);
    let name = home
        .file_name()
        .expect("a name")
        .to_string_lossy()
        .into_owned();
    let next = home.with_file_name(format!("{name}+next"));
    let load = load(&stage);
    // Between the two renames: the links and the maps in force are beside, and nothing is in their place.
    stage.kill().expect("kill the daemon");
    fs::rename(&home, &next).expect("as it was left");
    assert!(stage.start().expect("start").data_plane.adopted);
    goes_on(&load);
    assert!(home.is_dir() && !next.exists());
    // Among the links: one is beside already.
    stage.kill().expect("kill the daemon");
    fs::create_dir(&next).expect("as it was left");
    let mut link = fs::read_dir(&home)
        .expect("the pins")
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("link_xdp"));
    let link = link.next().expect("the link of the interface").file_name();
    fs::rename(home.join(&link), next.join(&link)).expect("move it");
    assert!(stage.start().expect("start").data_plane.adopted);
    goes_on(&load);
    assert!(home.join(&link).exists() && !next.exists());
    whole(load);
}
