//! A state directory that is full or cannot be written while the daemon runs.

use std::{fs, io::Write as _, os::linux::fs::MetadataExt as _, time::Duration};

use nix::{sys::stat::Mode, unistd::mkfifo};
use ober_tests::{
    client::Client,
    lab::{Process, VIP4, VIP6, client4, until},
    mounts,
    nodes::one::{Settings, Stage},
};
use ober_user::announce::gate::State;
use serde_json::Value;

use crate::{CONTENT, PATH, Refusal, store};

fn lists(stage: &Stage) -> Value {
    serde_json::from_str(&stage.cli(&["acl", "show", "--json"]).expect("show")).expect("JSON")
}

fn served(stage: &Stage) {
    let client = stage.open(VIP4);
    let get = stage.cluster.clients[0].tokio(async || client.get(PATH, CONTENT).await);
    assert_eq!(get.expect("enter the client"), Ok(()));
}

fn listed(stage: &Stage, address: &str) -> bool {
    let ran = stage.try_cli(&["acl", "check", address]).expect("check");
    ran.status.success()
}

fn state(stage: &Stage, vip: &str) -> State {
    let gates = stage.status().expect("status").gate;
    let gate = gates.into_iter().find(|gate| gate.vip.to_string() == vip);
    gate.expect("a gate").state
}

/// The files that do not hold what is in force.
fn unkept(stage: &Stage) -> Vec<String> {
    let unkept = stage.status().expect("status").disk.unkept;
    let files = unkept.iter().map(|it| it.file.display().to_string());
    files.collect()
}

/// The client is listed again and the VIP announced again, as the disk says: a restart would lose nothing any more.
fn what_is_as_it_was_is_kept(stage: &Stage) {
    let (guest, vip) = (client4(2).to_string(), VIP6.to_string());
    stage
        .cli(&["acl", "add", "frontend-http", &guest])
        .expect("add");
    stage.cli(&["undrain", &vip]).expect("undrain");
    assert_eq!(unkept(stage), [""; 0]);
}

/// A client is taken off the list and a VIP is drained at once, with a warning that a restart would lose this.
fn what_cannot_wait_is_done(stage: &Stage) {
    let (guest, vip) = (client4(2).to_string(), VIP6.to_string());
    assert!(listed(stage, &guest) && unkept(stage).is_empty());
    let said = stage
        .cli(&["acl", "remove", "frontend-http", &guest])
        .expect("remove");
    assert!(said.contains("not kept over a restart"), "{said}");
    assert!(!listed(stage, &guest));
    let said = stage.cli(&["drain", &vip]).expect("drain");
    assert!(said.contains("not kept over a restart"), "{said}");
    assert_eq!(state(stage, &vip), State::Draining);
    let unkept = unkept(stage);
    for file in ["frontend-http.json", "gate.json"] {
        assert!(unkept.iter().any(|it| it.ends_with(file)), "{unkept:?}");
    }
    let status = stage.cli(&["status"]).expect("status");
    assert!(
        status.contains("in force, but not kept over a restart"),
        "{status}"
    );
    // A reload goes by what is in force, not by what is on disk.
    stage.cli(&["reload"]).expect("reload");
    assert!(!listed(stage, &guest));
    assert_eq!(state(stage, &vip), State::Draining);
}

/// Once there is room again the daemon keeps it by itself.
fn what_was_done_is_kept_in_the_end(stage: &Stage) {
    until("all that is in force is kept", crate::PATIENCE, || {
        Ok(stage.status()?.disk.unkept.is_empty().then_some(()))
    })
    .expect("it is tried again");
    let home = stage.cluster.lab.directory().join("state");
    let home = mounts::seen(stage, &home).expect("path");
    let orders = fs::read_to_string(home.join("gate.json")).expect("the orders");
    assert!(orders.contains(&VIP6.to_string()), "{orders}");
    let list = fs::read_to_string(home.join("lists/frontend-http.json")).expect("the list");
    assert!(list.contains("remove"), "{list}");
}

/// No list and no server can be changed, the commands say so, and everything else goes on.
fn nothing_can_be_kept(stage: &Stage) {
    let before = (lists(stage), stage.status().expect("status"));
    let sources = format!("{},10.[1-9].0.[1-200]", client4(1));
    for arguments in [
        ["acl", "sync", "--frontend-http", &sources],
        ["acl", "add", "frontend-http", &sources],
    ] {
        let refusal = Refusal::from(stage.try_cli(&arguments).expect("run"));
        refusal.says(
            1,
            &[
                "frontend-http",
                "/state/lists",
                "its disk not full",
                "stays in force",
            ],
        );
    }
    let after = (lists(stage), stage.status().expect("status"));
    assert_eq!(after.0, before.0);
    assert!(after.1.healthy);
    assert_eq!(after.1.pid, before.1.pid);
    served(stage);
}

#[test]
fn on_a_full_disk_the_daemon_reports_it_goes_on_and_removals_still_take_effect() {
    let mut stage = Stage::new("disk", &Settings::default()).expect("build the stage");
    let home = stage.cluster.lab.directory().join("state");
    fs::create_dir(&home).expect("make the directory");
    mounts::start(&mut stage, &[mounts::memory("size=128k", &home)])
        .expect("start on a small disk");
    store(&stage);
    let guest = client4(2).to_string();
    stage
        .cli(&["acl", "add", "frontend-http", &guest])
        .expect("add");
    let filler = mounts::seen(&stage, &home.join("filler")).expect("path");
    let mut file = fs::File::create(&filler).expect("create a file");
    while file.write_all(&[0; 512]).is_ok() {}
    drop(file);
    nothing_can_be_kept(&stage);
    what_cannot_wait_is_done(&stage);
    what_is_as_it_was_is_kept(&stage);
    what_cannot_wait_is_done(&stage);
    fs::remove_file(filler).expect("make room");
    what_was_done_is_kept_in_the_end(&stage);
    let sources = client4(1).to_string();
    stage
        .cli(&["acl", "sync", "--frontend-http", &sources])
        .expect("with room again it works");
}

#[test]
fn a_read_only_state_directory_lets_the_daemon_start_and_stop_and_go_on_but_changes_are_refused() {
    let mut stage = Stage::new("readonly", &Settings::default()).expect("build the stage");
    stage.start().expect("start");
    store(&stage);
    let guest = client4(2).to_string();
    stage
        .cli(&["acl", "add", "frontend-http", &guest])
        .expect("add");
    stage.kill().expect("kill it");
    let home = stage.cluster.lab.directory().join("state");
    let read_only = [mounts::bind(&home, &home), mounts::become_mode("ro", &home)];
    mounts::start(&mut stage, &read_only).expect("start where nothing can be written");
    assert!(stage.status().expect("status").data_plane.adopted);
    nothing_can_be_kept(&stage);
    what_cannot_wait_is_done(&stage);
    stage.ober.stop().expect("stop");
    mounts::start(&mut stage, &read_only).expect("start where nothing can be written");
    // The restart has lost it, as the warning said.
    assert!(listed(&stage, &guest));
    assert_ne!(state(&stage, &VIP6.to_string()), State::Draining);
    what_cannot_wait_is_done(&stage);
    mounts::run(&stage, &mounts::become_mode("rw", &home)).expect("writable again");
    what_was_done_is_kept_in_the_end(&stage);
    let sources = client4(1).to_string();
    stage
        .cli(&["acl", "sync", "--frontend-http", &sources])
        .expect("writable again, it works");
}

/// Begins a reload with another text, and returns when that is in force.
fn reload_unkept(stage: &Stage, from: &str, to: &str) -> Process {
    let hash = || {
        let now = stage.status()?.configuration;
        anyhow::Ok(now.map(|it| it.hash))
    };
    let before = hash().expect("status");
    let text = fs::read_to_string(&stage.ober.config).expect("read");
    fs::write(&stage.ober.config, text.replace(from, to)).expect("write");
    let mut reload = stage.spawn_cli(&["reload"]).expect("begin to reload");
    let what = "the new configuration, in force and not kept";
    until(what, crate::PATIENCE, || {
        let limit = Duration::from_secs(20);
        stage.spawn_cli(&["status"])?.wait(limit)?;
        anyhow::ensure!(reload.ended()?.is_none(), "{}", reload.log());
        Ok((hash()? != before).then_some(()))
    })
    .expect("the daemon answers");
    reload
}

#[test]
fn an_unanswering_disk_delays_the_change_that_writes_and_not_status_health_or_other_changes() {
    let mut stage = Stage::new("slow", &Settings::default()).expect("build the stage");
    stage.start().expect("start");
    let history = stage.cluster.lab.directory().join("state/history");
    // The daemon opens this to write the next snapshot, and waits for a reader, as for a disk that does not answer.
    let pipe = history.join("2.json.new");
    mkfifo(&pipe, Mode::S_IRWXU).expect("make a named pipe");
    let limit = Duration::from_secs(20);
    let mut reload = reload_unkept(&stage, "sample = 1", "sample = 2");
    // Its snapshot waits for the one before; no other command waits for this change.
    let mut next = reload_unkept(&stage, "sample = 2", "sample = 4");
    let guest = client4(2).to_string();
    for arguments in [
        &["status"][..],
        &["acl", "add", "frontend-http", &guest],
        &["drain", &VIP6.to_string()],
        &["acl", "show"],
    ] {
        let mut command = stage.spawn_cli(arguments).expect("run");
        let end = command.wait(limit).expect("it is answered");
        assert!(end.success(), "{arguments:?}: {}", command.log());
    }
    let client = Client::plain("127.0.0.1:8404".parse().expect("an address"));
    let health = stage
        .cluster
        .node
        .tokio(async || client.connect().await?.text("/health").await)
        .expect("enter the node")
        .expect("ask");
    assert!(health.contains("healthy"), "{health}");
    for reload in [&mut reload, &mut next] {
        let ended = reload.ended().expect("ask");
        assert!(ended.is_none(), "it still waits for the disk");
    }
    let reader = fs::File::open(&pipe).expect("open the named pipe");
    reload.wait(limit).expect("it ends");
    next.wait(limit).expect("it ends");
    drop(reader);
    // A pipe is no disk: the snapshot is not kept, and the reload says so.
    assert!(reload.log().contains("keep a snapshot"), "{}", reload.log());
}

/// The files of the lists, and when they were written.
fn files(stage: &Stage) -> Vec<(String, u64, i64, i64)> {
    let home = stage.cluster.lab.directory().join("state/lists");
    let entries = fs::read_dir(home).expect("the lists").flatten();
    let mut facts: Vec<_> = entries
        .map(|entry| {
            let facts = entry.metadata().expect("metadata");
            let name = entry.file_name().to_string_lossy().into_owned();
            (
                name,
                facts.st_ino(),
                facts.st_mtime(),
                facts.st_mtime_nsec(),
            )
        })
        .collect();
    facts.sort();
    facts
}

#[test]
fn a_list_that_is_unchanged_is_not_written_by_a_refresh_a_reload_or_a_start() {
    let mut stage = Stage::new("unwritten", &Settings::default()).expect("build the stage");
    stage.start().expect("start");
    let guest = client4(2).to_string();
    stage
        .cli(&["acl", "add", "frontend-http", &guest])
        .expect("add");
    let before = files(&stage);
    stage.cli(&["acl", "sync", "--refresh"]).expect("refresh");
    assert_eq!(files(&stage), before, "a refresh");
    let text = fs::read_to_string(&stage.ober.config).expect("read");
    fs::write(&stage.ober.config, text.replace("sample = 1", "sample = 2")).expect("write");
    stage.cli(&["reload"]).expect("reload");
    stage.cli(&["acl", "sync", "--refresh"]).expect("refresh");
    assert_eq!(files(&stage), before, "a reload");
    stage.kill().expect("kill it");
    stage.start().expect("start");
    stage.cli(&["acl", "sync", "--refresh"]).expect("refresh");
    assert_eq!(files(&stage), before, "a start");
    // A list that changes is written.
    let other = client4(3).to_string();
    stage
        .cli(&["acl", "add", "frontend-http", &other])
        .expect("add");
    assert_ne!(files(&stage), before);
}
