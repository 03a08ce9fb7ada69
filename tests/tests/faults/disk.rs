//! A state directory that is full or cannot be written while the daemon runs.

use std::{fs, io::Write as _};

use ober_tests::{
    lab::{VIP4, client4},
    mounts,
    stage::{Settings, Stage},
};
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

/// No list and no server can be changed, which is said, and everything else goes on.
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
fn a_full_disk_is_said_the_list_stays_in_force_and_the_daemon_goes_on() {
    let mut stage = Stage::new("disk", &Settings::default()).expect("build the stage");
    let home = stage.cluster.lab.directory().join("state");
    fs::create_dir(&home).expect("make the directory");
    mounts::start(&mut stage, &[mounts::memory("size=64k", &home)]).expect("start on a small disk");
    store(&stage);
    let filler = mounts::seen(&stage, &home.join("filler")).expect("path");
    let mut file = fs::File::create(&filler).expect("create a file");
    while file.write_all(&[0; 512]).is_ok() {}
    drop(file);
    nothing_can_be_kept(&stage);
    fs::remove_file(filler).expect("make room");
    let sources = client4(1).to_string();
    stage
        .cli(&["acl", "sync", "--frontend-http", &sources])
        .expect("with room again it works");
}

#[test]
fn a_read_only_state_directory_lets_the_daemon_start_again_and_go_on_but_changes_are_refused() {
    let mut stage = Stage::new("readonly", &Settings::default()).expect("build the stage");
    stage.start().expect("start");
    store(&stage);
    stage.kill().expect("kill it");
    let home = stage.cluster.lab.directory().join("state");
    let read_only = [mounts::bind(&home, &home), mounts::become_mode("ro", &home)];
    mounts::start(&mut stage, &read_only).expect("start where nothing can be written");
    assert!(stage.status().expect("status").data_plane.adopted);
    nothing_can_be_kept(&stage);
    mounts::run(&stage, &mounts::become_mode("rw", &home)).expect("writable again");
    let sources = client4(1).to_string();
    stage
        .cli(&["acl", "sync", "--frontend-http", &sources])
        .expect("writable again, it works");
}
