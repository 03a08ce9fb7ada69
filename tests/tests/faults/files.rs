//! Files of the configuration that turn into something else while the daemon runs.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use nix::{sys::stat::Mode, unistd::mkfifo};
use ober_tests::{
    lab::{VIP4, until},
    nodes::one::{Settings, Stage},
};

use crate::{CONTENT, PATH, PATIENCE, Refusal, store};

/// Longer than any question may take.
const SOON: Duration = Duration::from_secs(30);

fn pipe(path: &Path) {
    fs::remove_file(path).expect("remove the file");
    mkfifo(path, Mode::S_IRWXU).expect("make a named pipe");
}

fn device(path: &Path) {
    fs::remove_file(path).expect("remove the file");
    symlink("/dev/zero", path).expect("make a link");
}

/// The daemon answers every question of an operator, and clients are served.
fn answered(stage: &Stage, what: &str) {
    let begun = Instant::now();
    stage.status().expect(what);
    stage.cli(&["acl", "show"]).expect(what);
    let reload = Refusal::from(stage.try_cli(&["reload"]).expect("run"));
    assert!(!reload.words.contains("no answer"), "{what}: {reload:?}");
    assert!(begun.elapsed() < SOON, "{what}: {:?}", begun.elapsed());
    let client = stage.open(VIP4);
    let get = stage.cluster.clients[0].tokio(async || client.get(PATH, CONTENT).await);
    assert_eq!(get.expect("enter the client"), Ok(()), "{what}");
}

#[test]
fn a_list_or_certificate_that_becomes_a_pipe_or_device_is_reported_without_a_wait() {
    let mut stage = Stage::new("pipe", &Settings::default()).expect("build the stage");
    let lab = &stage.cluster.lab;
    let clients = lab
        .write("clients.txt", "10.77.0.1\n")
        .expect("write the list");
    let certificate = lab.directory().join("s3.pem");
    let extra = format!(
        "[lists.other]\nsources = [\"@{}\"]\n\n[resolve]\ninterval = \"1s\"\n",
        clients.display()
    );
    let config = fs::read_to_string(&stage.ober.config).expect("read the configuration");
    fs::write(&stage.ober.config, config + &extra).expect("add to it");
    stage.start().expect("start");
    store(&stage);
    let kept = |path: &PathBuf| fs::read(path).expect("read");
    for path in [&clients, &certificate] {
        let text = kept(path);
        for (what, become_so) in [
            ("it is a named pipe", pipe as fn(&Path)),
            ("it is a device", device),
        ] {
            become_so(path);
            let words = format!("{}: {what}", path.display());
            until(&words, PATIENCE, || {
                let log = stage
                    .ober
                    .daemon
                    .as_ref()
                    .map(ober_tests::lab::Process::log)
                    .unwrap_or_default();
                let said =
                    |line: &str| line.contains(&path.display().to_string()) && line.contains(what);
                Ok(log.lines().any(said).then_some(()))
            })
            .expect("it is said");
            answered(&stage, &words);
        }
        fs::remove_file(path).expect("remove it");
        fs::write(path, text).expect("write it again");
    }
    let listed = stage.cli(&["acl", "show", "other"]).expect("show");
    assert!(listed.contains("10.77.0.1"), "{listed}");
    stage.cli(&["reload"]).expect("and it is read again");
}
