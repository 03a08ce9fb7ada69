//! `uninstall` of a node in service, where neither systemd nor a package is. What it would remove of this machine lies below mounts
//! that no other process sees.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::Path,
    time::{Duration, Instant},
};

use ober_programs::{Command, IP, MOUNT, SETPRIV, SH, UNSHARE};
use ober_tests::{
    lab::{BPFFS, VIP4},
    mounts,
    nodes::one::{OPEN, Settings, Stage},
};

use crate::Ran;

const SOON: Duration = Duration::from_secs(10);

fn stage(name: &str) -> Stage {
    let mut stage = Stage::new(name, &Settings::default()).unwrap();
    stage.start().unwrap();
    stage
}

/// Runs these on the node, one after the other, with directories of the test in the place of this machine's own: the same ones each
/// time.
fn run(stage: &Stage, first: &[Command], commands: &[Command]) -> Ran {
    let lab = stage.cluster.lab.directory();
    for part in ["upper", "work", "var"] {
        std::fs::create_dir_all(lab.join(part)).unwrap();
    }
    let overlay = format!(
        "lowerdir=/etc,upperdir={0}/upper,workdir={0}/work",
        lab.display()
    );
    let mounts = [
        MOUNT.args(["-t", "overlay", "-o", &overlay, "overlay", "/etc"]),
        mounts::bind(&lab.join("var"), "/var/lib".as_ref()),
        mounts::memory("size=1m,mode=0755", "/var/cache".as_ref()),
        mounts::memory("size=1m,mode=0755", "/run".as_ref()),
    ];
    let all: Vec<&Command> = mounts.iter().chain(first).chain(commands).collect();
    let mut command = UNSHARE.before(["--mount"], &SH.in_turn(&all));
    let output = stage.cluster.node.try_output(&mut command);
    output.unwrap().into()
}

fn uninstall(stage: &Stage, more: &[&str]) -> Command {
    let words = [&["uninstall", "-y", "--drain", "1s"], more].concat();
    stage.ober.ober(&words).unwrap()
}

/// The processes of its workers.
fn workers(stage: &Stage) -> Vec<String> {
    let run = format!("{}/run/worker-", stage.cluster.lab.directory().display());
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|it| std::fs::read_to_string(it.path().join("cmdline")).ok());
    lines.filter(|line| line.contains(&run)).collect()
}

fn pins(stage: &Stage) -> bool {
    Path::new(BPFFS)
        .join("ober")
        .join(stage.cluster.lab.instance())
        .exists()
}

fn nothing_is_left(stage: &Stage) {
    assert_eq!(workers(stage), Vec::<String>::new());
    assert!(!pins(stage), "pins are left");
    let shown = stage
        .cluster
        .node
        .output(&mut IP.args(["address", "show", "dev", "lo"]));
    let shown = String::from_utf8(shown.unwrap().stdout).unwrap();
    assert!(!shown.contains(&VIP4.to_string()), "{shown}");
}

#[test]
fn a_node_whose_daemon_is_dead_is_taken_off_whole_and_a_second_run_finds_nothing_left() {
    let mut stage = stage("uninstall");
    assert_eq!(workers(&stage).len(), 2);
    // A daemon that nothing of this machine started is the operator's to stop.
    run(&stage, &[], &[uninstall(&stage, &[])])
        .says(1, &["its daemon is running", "stop it first"]);
    assert!(pins(&stage) && workers(&stage).len() == 2);
    stage.kill().unwrap();
    // Not root: nothing is done.
    let nobody = [
        "--reuid",
        "65534",
        "--clear-groups",
        "--inh-caps=-all",
        "--bounding-set=-all",
    ];
    let stranger = SETPRIV.before(nobody, &uninstall(&stage, &[]));
    run(&stage, &[], &[stranger]).says(1, &["not enough privileges"]);
    assert!(pins(&stage));
    // Without a word of the operator neither.
    let asks = stage.ober.ober(&["uninstall"]).unwrap();
    run(&stage, &[], &[asks]).says(2, &["end the workers of", "`-y` makes them"]);
    assert!(pins(&stage));
    // Nor where its configuration is not known: it would filter on, with nothing left to take it off.
    let unknown = crate::ober("uninstall", &["-y", "--config", "/nowhere/ober.toml"]);
    let instance = stage.cluster.lab.instance();
    run(&stage, &[], &[unknown]).says(1, &["failed: see that no other instance", instance]);
    assert!(pins(&stage) && workers(&stage).len() == 2);
    let setup = crate::ober("backend-setup", &["--vip", "192.0.2.200", "-y"]);
    let whole = run(&stage, &[], &[setup, uninstall(&stage, &[])]);
    whole.says(
        0,
        &[
            "systemd does not run here",
            "done: end the workers of",
            "done: put back what `backend-setup` changed",
            "no package of Herr Ober is installed",
        ],
    );
    nothing_is_left(&stage);
    let shown = run(&stage, &[], &[IP.args(["address", "show", "dev", "lo"])]);
    assert!(!shown.out.contains("192.0.2.200"), "{shown:?}");
    let again = run(&stage, &[], &[uninstall(&stage, &["--json"])]);
    again.says(0, &[r#""failed":null"#]);
    let answer: serde_json::Value = serde_json::from_str(&again.out).unwrap();
    let steps = answer["steps"].as_array().unwrap();
    assert!(steps.iter().all(|it| it["done"] == true), "{answer:#}");
}

#[test]
fn a_worker_that_does_not_end_is_killed_when_its_time_is_over() {
    let mut stage = stage("uninstall-busy");
    let client = || TcpStream::connect(SocketAddr::new(VIP4, OPEN)).unwrap();
    let mut upload = stage.cluster.clients[0].run(client).unwrap();
    // One answer first: then the connection is a worker's, which has half a request of it.
    upload
        .write_all(b"GET / HTTP/1.1\r\nHost: s3.test\r\n\r\n")
        .unwrap();
    upload.set_read_timeout(Some(SOON)).unwrap();
    upload.read_exact(&mut [0; 12]).unwrap();
    let half =
        b"PUT /faults/half HTTP/1.1\r\nHost: s3.test\r\nContent-Length: 20\r\n\r\nfirst half";
    upload.write_all(half).unwrap();
    stage.kill().unwrap();
    let since = Instant::now();
    run(&stage, &[], &[uninstall(&stage, &[])]).says(0, &["done: end the workers of"]);
    assert!(
        since.elapsed() > Duration::from_secs(1),
        "nothing was waited for"
    );
    nothing_is_left(&stage);
}

#[test]
fn without_the_file_system_of_the_pins_the_rest_is_taken_off() {
    let mut stage = stage("uninstall-bpffs");
    stage.kill().unwrap();
    let gone = mounts::memory("size=1m", BPFFS.as_ref());
    run(&stage, &[gone], &[uninstall(&stage, &[])]).says(0, &["done: end the workers of"]);
    assert_eq!(workers(&stage), Vec::<String>::new());
    // When it is back, so are the pins; the next run takes them off.
    assert!(pins(&stage));
    run(&stage, &[], &[uninstall(&stage, &[])]).says(0, &[]);
    nothing_is_left(&stage);
}
