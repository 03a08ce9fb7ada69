//! What workers still have that finish: `status` shows it, and so does `detach` while it waits for them.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    os::fd::AsFd as _,
    process::Stdio,
    time::{Duration, SystemTime},
};

use ober_tests::{
    lab::{VIP4, until},
    nodes::one::{OPEN, Settings, Stage},
    terminal,
};
use ober_user::api::status::Finishing;

use crate::store;

const SOON: Duration = Duration::from_secs(30);
/// How long the workers may finish: as long as the test needs, and no longer than a test may take.
const DRAIN: &str = "5m";
const UPLOADS: usize = 3;

/// Uploads of which most is missing: no worker can end before they are whole.
fn begin_uploads(stage: &Stage) -> Vec<TcpStream> {
    let begin = |number| {
        let mut stream = TcpStream::connect(SocketAddr::new(VIP4, OPEN)).expect("connect");
        stream.set_read_timeout(Some(SOON)).expect("limit the wait");
        let head = format!(
            "PUT /faults/half-{number} HTTP/1.1\r\nHost: s3.test\r\nContent-Length: 20\r\n\r\nfirst half"
        );
        stream.write_all(head.as_bytes()).expect("send the half");
        stream
    };
    stage.cluster.clients[0]
        .run(|| (0..UPLOADS).map(begin).collect())
        .expect("enter the client")
}

fn finish(mut upload: TcpStream) {
    upload.write_all(b"other half").expect("send the rest");
    let mut answer = String::new();
    BufReader::new(upload)
        .read_line(&mut answer)
        .expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

/// The processes that finish, once they have all uploads between them and no process that has none is left.
fn finishing(stage: &Stage) -> Vec<Finishing> {
    until("the old workers have the uploads alone", SOON, || {
        let workers = stage.status()?.workers;
        let pids: Vec<i32> = workers.iter().flat_map(|it| it.draining.clone()).collect();
        let found: Vec<Finishing> = workers.into_iter().flat_map(|it| it.finishing).collect();
        anyhow::ensure!(
            found.iter().map(|it| it.pid).collect::<Vec<_>>() == pids,
            "{pids:?} {found:?}"
        );
        let counts: Option<Vec<usize>> = found.iter().map(|it| it.connections).collect();
        let all = counts
            .is_some_and(|counts| !counts.contains(&0) && counts.iter().sum::<usize>() == UPLOADS);
        anyhow::ensure!(all, "{found:?}");
        Ok(Some(found))
    })
    .expect("they finish")
}

/// `detach` on a terminal shows what is left. It is ended while it waits; the signal that it sent to the workers stays in force.
fn shown_on_a_terminal(stage: &Stage, words: &str) {
    let (mut ours, theirs) = terminal::open().expect("a terminal");
    let mut detach = stage.ober.ober(&["detach"]).expect("ober-user");
    detach.env("TERM", "xterm").stdout(Stdio::null());
    let errors = theirs.as_fd().try_clone_to_owned().expect("a second end");
    detach.stderr(errors);
    let run = || detach.spawn().expect("start it");
    let mut running = stage.cluster.node.run(run).expect("enter the node");
    drop(detach);
    drop(theirs);
    let (mut said, mut piece) = (Vec::new(), [0; 4096]);
    while !String::from_utf8_lossy(&said).contains(words) {
        let text = String::from_utf8_lossy(&said);
        let length = ours.read(&mut piece).unwrap_or_default();
        assert!(
            length > 0 && said.len() < 1 << 20,
            "{words} is not in {text:?}"
        );
        said.extend(&piece[..length]);
    }
    running.kill().expect("end it");
    running.wait().expect("it ends");
}

#[test]
fn status_and_detach_show_how_many_connections_finishing_workers_still_have_and_since_when() {
    let mut stage = Stage::new("finishing", &Settings::default()).expect("build the stage");
    let text = fs::read_to_string(&stage.ober.config).expect("read the configuration");
    let text = text.replace("[workers]", &format!("[workers]\ndrain = \"{DRAIN}\""));
    fs::write(&stage.ober.config, &text).expect("write it");
    stage.start().expect("start");
    store(&stage);
    let uploads = begin_uploads(&stage);
    // No worker finishes so far.
    let workers = stage.status().expect("status").workers;
    assert!(workers.iter().all(|it| it.finishing.is_empty()));
    let began = SystemTime::UNIX_EPOCH.elapsed().expect("a clock").as_secs();
    fs::write(&stage.ober.config, text.replace("= 2000", "= 1999")).expect("write it");
    stage.cli(&["reload"]).expect("reload");
    let before = finishing(&stage);
    assert!(before.iter().all(|it| it.since >= began), "{before:?}");
    let shown = stage.cli(&["status"]).expect("status");
    for it in &before {
        let line = format!("process {} finishes, since ", it.pid);
        assert!(shown.contains(&line), "{line} is not in {shown}");
    }
    assert!(shown.contains("it still has "), "{shown}");
    // The next daemon knows it too.
    stage.kill().expect("kill the daemon");
    stage.start().expect("start again");
    assert_eq!(finishing(&stage), before);
    stage.ober.stop().expect("stop");
    let words = format!("{UPLOADS} connections of {} worker", before.len());
    shown_on_a_terminal(&stage, &words);
    let mut detach = stage.spawn_cli(&["detach"]).expect("detach");
    let line = until("a line of what it waits for", SOON, || {
        let log = detach.log();
        let line = log.lines().find(|line| line.contains(&words));
        Ok(line.map(str::to_owned))
    })
    .expect("a line");
    assert!(
        line.contains(" left, ") && line.contains("at most 5m 0s"),
        "{line}"
    );
    // One line is enough without a terminal.
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(detach.log().lines().count(), 1, "{}", detach.log());
    uploads.into_iter().for_each(finish);
    assert!(detach.wait(SOON).expect("it ends").success());
    assert!(detach.log().contains("detached"), "{}", detach.log());
}
