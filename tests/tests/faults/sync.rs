//! Servers and lists that are changed together, where a part of it is refused.

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    path::PathBuf,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use ober_tests::{
    lab::{client4, storage4},
    nodes::one::{Settings, Stage},
};

use crate::Refusal;

fn run(stage: &Stage) -> PathBuf {
    stage.cluster.lab.directory().join("run")
}

/// How many servers the first worker asks. Those that are to leave are in maintenance until they are idle.
fn servers(stage: &Stage) -> usize {
    let mut socket = UnixStream::connect(run(stage).join("worker-0.sock")).expect("connect");
    writeln!(socket, "show servers state rgw").expect("ask");
    let mut text = String::new();
    socket.read_to_string(&mut text).expect("an answer");
    let fields = text.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let asked = |fields: &Vec<&str>| fields.get(1) == Some(&"rgw") && fields.get(6) == Some(&"0");
    fields.filter(asked).count()
}

fn on_disk(stage: &Stage) -> Vec<String> {
    let state = stage.cluster.lab.directory().join("state");
    let files = ["backends/rgw.json", "lists/frontend-http.json"].map(|file| state.join(file));
    files.into_iter().flat_map(fs::read_to_string).collect()
}

#[test]
fn servers_and_lists_change_together_in_every_worker_or_not_at_all() {
    let mut stage = Stage::new("together", &Settings::default()).expect("build the stage");
    let status = stage.start().expect("start");
    let one = format!("{}:9000", storage4());
    let (both, listed) = (format!("{one},{}:9001", storage4()), client4(1).to_string());
    let sync = |servers: &str| {
        let words = [
            "acl",
            "sync",
            "--backend-http",
            servers,
            "--frontend-http",
            &listed,
        ];
        stage.try_cli(&words).expect("run")
    };
    assert!(sync(&one).status.success());
    let before = (servers(&stage), on_disk(&stage));
    assert_eq!(before.0, 1);
    // The list cannot be kept once the workers have their servers.
    let beside = stage
        .cluster
        .lab
        .directory()
        .join("state/lists")
        .join("frontend-http.0.stdin.new");
    fs::create_dir(&beside).expect("make a directory");
    let input = stage
        .cluster
        .lab
        .write("input", "10.1.0.0/16\n")
        .expect("write");
    let words = [
        "acl",
        "sync",
        "--backend-http",
        &both,
        "--frontend-http",
        "-",
    ];
    let mut command = stage.ober.ober(&words).expect("ober-user");
    command.stdin(fs::File::open(input).expect("open"));
    let refusal = stage.cluster.node.try_output(&mut command).expect("run");
    Refusal::from(refusal).says(1, &["keep list frontend-http"]);
    assert_eq!((servers(&stage), on_disk(&stage)), before);
    fs::remove_dir(&beside).expect("remove it");
    // The second worker neither answers nor can be replaced: it has no log.
    let pid = status
        .workers
        .get(1)
        .and_then(|it| it.pid)
        .expect("a second worker");
    let log = run(&stage).join("worker-1.log");
    let away = run(&stage).join("away");
    fs::rename(&log, &away).expect("take the log away");
    fs::create_dir(&log).expect("make a directory");
    kill(Pid::from_raw(pid), Signal::SIGSTOP).expect("stop it");
    let refusal = Refusal::from(sync(&both));
    kill(Pid::from_raw(pid), Signal::SIGCONT).expect("let it go on");
    refusal.says(1, &["worker 1", "some keep those they had"]);
    assert_eq!(
        (servers(&stage), on_disk(&stage)),
        before,
        "{}",
        refusal.words
    );
    fs::remove_dir(&log).expect("remove the directory");
    fs::rename(&away, &log).expect("put the log back");
    let done = sync(&both);
    assert!(done.status.success(), "{done:?}");
    assert_eq!(servers(&stage), 2);
}
