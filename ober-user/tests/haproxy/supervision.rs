//! Crashes, reloads, adoption: what happens to the workers, and what their clients notice.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufReader, Read, Write},
    os::fd::AsRawFd as _,
    path::PathBuf,
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use nix::{
    sched::{CpuSet, sched_getaffinity},
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use ober_programs::Command;
use ober_user::haproxy::{Error, Listening, Pool, Stage, WorkerEvent, worker::Exit};
use tokio::sync::mpsc::unbounded_channel;

use crate::lab::{Lab, Load, Message, PLAIN, addresses, connect, get, given, listener, service};

fn end(pid: i32) {
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
}

fn pids(pool: &Pool) -> Vec<i32> {
    pool.snapshot()
        .iter()
        .map(|worker| worker.pid.unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_worker_runs_on_its_cpu_and_not_in_the_group_of_the_daemon() {
    let lab = Lab::new(2);
    let (pool, mut events) = lab.start().await;
    let mut heard = [events.recv().await.unwrap(), events.recv().await.unwrap()];
    heard.sort_by_key(|event| event.worker);
    assert_eq!(
        heard,
        [0, 1].map(|worker| WorkerEvent {
            worker,
            in_ring: true
        })
    );
    for (snapshot, cpu) in pool.snapshot().iter().zip(&lab.config.workers.cpus) {
        let pid = Pid::from_raw(snapshot.pid.unwrap());
        let mut only = CpuSet::new();
        only.set(usize::try_from(*cpu).unwrap()).unwrap();
        assert_eq!(sched_getaffinity(pid).unwrap(), only);
        assert_eq!(nix::unistd::getpgid(Some(pid)).unwrap(), pid);
        assert_eq!(
            (snapshot.stage, snapshot.cpu, snapshot.restarts),
            (Stage::Running, Some(*cpu), 0)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_worker_leaves_the_ring_at_once_and_who_connects_meanwhile_is_answered_by_its_successor()
 {
    let lab = Lab::new(2);
    let (pool, mut events) = lab.start().await;
    let (_, _) = (events.recv().await, events.recv().await);
    let at = addresses(&pool, 80)[1];
    let mut took = Vec::new();
    for round in 1..=5 {
        let killed = Instant::now();
        end(pids(&pool)[1]);
        assert_eq!(
            events.recv().await,
            Some(WorkerEvent {
                worker: 1,
                in_ring: false
            })
        );
        took.push(killed.elapsed());
        let waiting: Vec<_> = (0..5)
            .map(|_| thread::spawn(move || get(at, "/while-away")))
            .collect();
        assert_eq!(
            events.recv().await,
            Some(WorkerEvent {
                worker: 1,
                in_ring: true
            })
        );
        for client in waiting {
            assert!(client.join().unwrap().unwrap().contains("/while-away"));
        }
        let snapshot = &pool.snapshot()[1];
        assert_eq!(
            (snapshot.restarts, snapshot.last_exit),
            (round, Some(Exit::Signal(9)))
        );
        assert_eq!(
            pool.snapshot()[0].restarts,
            0,
            "the other one is not touched"
        );
    }
    took.sort();
    println!("kill -9 to event: {took:?}");
    // Other work on the machine can delay a single round, so the fastest counts.
    assert!(
        took[0] <= Duration::from_millis(10),
        "the fastest of {took:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_under_load_refuses_and_resets_nobody() {
    let mut lab = Lab::new(2);
    let (mut pool, _events) = lab.start().await;
    let before = pids(&pool);
    let sockets = addresses(&pool, 80);
    let load = Load::on(&sockets);
    for round in 0..5 {
        lab.config.workers.max_connections = 500 + round;
        let report = pool.reload(&lab.config, &lab.servers).await.unwrap();
        assert_eq!(report.replaced, [0, 1]);
        assert_eq!(report.failed, []);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let answered = load.all_answered();
    println!("{answered} requests over 5 reloads");
    assert!(answered > 100);
    assert_eq!(addresses(&pool, 80), sockets, "the same sockets");
    assert!(pids(&pool).iter().all(|pid| !before.contains(pid)));
    let report = pool.reload(&lab.config, &lab.servers).await.unwrap();
    assert_eq!(
        (report.unchanged, report.replaced),
        (vec![0, 1], vec![]),
        "nothing changed, nothing replaced"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_worker_answers_what_it_was_asked_before_it_ends() {
    let mut lab = Lab::new(1);
    let (mut pool, _events) = lab.start().await;
    let at = addresses(&pool, 80)[0];
    let old = pids(&pool)[0];
    // Takes longer than a reload does on a busy machine.
    let slow = thread::spawn(move || get(at, "/slow/longer"));
    tokio::time::sleep(Duration::from_millis(200)).await;
    lab.config.workers.max_connections = 500;
    pool.reload(&lab.config, &lab.servers).await.unwrap();
    assert_eq!(pool.snapshot()[0].draining, [old]);
    assert!(slow.join().unwrap().unwrap().contains("/slow"));
    let gone = async {
        while !pool.snapshot()[0].draining.is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), gone)
        .await
        .unwrap();
    assert_eq!(lab.processes(), pids(&pool));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_of_a_replaced_worker_gets_one_more_answer() {
    let mut lab = Lab::new(1);
    let (mut pool, _events) = lab.start().await;
    let mut client = BufReader::new(connect(addresses(&pool, 80)[0]).unwrap());
    let mut ask = || {
        let request = b"GET /again HTTP/1.1\r\nHost: s3.test\r\n\r\n";
        client.get_mut().write_all(request).unwrap();
        Message::read(&mut client).unwrap().unwrap()
    };
    assert_eq!(ask().all("connection"), Vec::<&str>::new());
    lab.config.workers.max_connections = 500;
    assert_eq!(
        pool.reload(&lab.config, &lab.servers)
            .await
            .unwrap()
            .replaced,
        [0]
    );
    tokio::time::sleep(Duration::from_millis(300)).await;
    let answer = ask();
    assert_eq!(
        (answer.first.as_str(), answer.all("connection")),
        ("HTTP/1.1 200 OK", vec!["close"])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_replaces_no_worker_and_one_that_breaks_stops_no_reload() {
    let mut lab = Lab::new(1);
    let (mut pool, _events) = lab.start().await;
    let made = rcgen::generate_simple_self_signed(["s3.test".to_owned()]).unwrap();
    fs::write(
        lab.dir.path().join("s3.pem"),
        made.cert.pem() + &made.signing_key.serialize_pem(),
    )
    .unwrap();
    let report = pool.reload(&lab.config, &lab.servers).await.unwrap();
    assert_eq!((report.unchanged, report.replaced), (vec![0], vec![]));
    fs::write(lab.dir.path().join("s3.pem"), "not a certificate").unwrap();
    lab.config.workers.max_connections = 500;
    let report = pool.reload(&lab.config, &lab.servers).await.unwrap();
    assert_eq!(report.replaced, [0], "with the certificate before that");
}

#[tokio::test(flavor = "multi_thread")]
async fn listeners_and_workers_come_and_go_with_a_reload() {
    let mut lab = Lab::new(1);
    let (mut pool, _events) = lab.start().await;
    let kept = addresses(&pool, 80);
    let more = vec![listener(80, PLAIN), listener(8080, PLAIN)];
    lab.config.services = vec![service("s3", &["192.0.2.1"], more)];
    lab.config.workers.cpus = vec![0, 0];
    assert_eq!(
        pool.reload(&lab.config, &lab.servers)
            .await
            .unwrap()
            .replaced,
        [0, 1]
    );
    assert_eq!(pool.sockets().len(), 4);
    assert_eq!(addresses(&pool, 80)[0], kept[0]);
    for at in addresses(&pool, 8080) {
        get(at, "/").unwrap();
    }
    lab.config.workers.cpus = vec![0];
    let report = pool.reload(&lab.config, &lab.servers).await.unwrap();
    assert_eq!((report.unchanged, report.stopped), (vec![0], vec![1]));
    assert_eq!(pool.sockets().len(), 2);
    assert_eq!(pool.ready(Duration::from_secs(1)).await, 1);
    lab.config.workers.cpus = vec![0, 0];
    assert_eq!(
        pool.reload(&lab.config, &lab.servers)
            .await
            .unwrap()
            .replaced,
        [1]
    );
    get(addresses(&pool, 80)[1], "/").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_that_run_as_root_are_named_until_the_last_of_them_has_finished() {
    // As an older daemon started workers: without an account of their own.
    let mut lab = Lab::new(1);
    let (first, _events) = lab.start().await;
    let old = pids(&first)[0];
    assert_eq!(first.snapshot()[0].as_root(), [old]);
    let at = addresses(&first, 80)[0];
    first.leave().await;
    // The worker cannot finish before this request is whole.
    let mut client = connect(at).unwrap();
    client
        .write_all(b"GET / HTTP/1.1\r\nHost: s3\r\nConnection: close\r\n")
        .unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    lab.config.workers.user = Some("nobody".to_owned());
    lab.config.workers.group = Some("nogroup".to_owned());
    let (second, _events) = lab.start().await;
    let replaced = async {
        while second.snapshot()[0].draining != [old] {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), replaced)
        .await
        .unwrap();
    assert_eq!(second.snapshot()[0].as_root(), [old]);
    client.write_all(b"\r\n").unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let gone = async {
        while !second.snapshot()[0].as_root().is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), gone)
        .await
        .unwrap();
    assert_ne!(pids(&second), [old]);
    get(addresses(&second, 80)[0], "/").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_configuration_says_haproxys_words_and_changes_nothing() {
    let mut lab = Lab::new(2);
    let (mut pool, _events) = lab.start().await;
    let before = pool.snapshot();
    let good = lab.config.clone();
    let files = || fs::read_dir(&good.node.run).unwrap().count();
    let had = files();
    lab.config.workers.user = Some("nobody-of-that-name".to_owned());
    let error = pool.reload(&lab.config, &lab.servers).await.unwrap_err();
    lab.config.clone_from(&good);
    assert!(matches!(error, Error::Refused { .. }), "{error}");
    let Error::Refused { file, words } = error else {
        return;
    };
    assert!(
        words.contains("nobody-of-that-name") && words.contains("[ALERT]"),
        "{words}"
    );
    assert!(
        fs::read_to_string(&file)
            .unwrap()
            .contains("frontend s3:443"),
        "kept for reading"
    );
    assert_eq!(files(), had + 1);
    assert_eq!(pool.snapshot(), before);
    get(addresses(&pool, 80)[0], "/").unwrap();
    lab.config.workers.haproxy = PathBuf::from("/nowhere/haproxy");
    let error = pool.reload(&lab.config, &lab.servers).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("/nowhere/haproxy; `apt-get install haproxy`"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_passes_the_check_but_does_not_run_is_dropped_and_the_old_process_stays()
 {
    let mut lab = Lab::new(2);
    let (mut pool, _events) = lab.start().await;
    let before = pids(&pool);
    // No machine has CPU 1000, and HAProxy's check does not look.
    lab.config.workers.cpus = vec![1000, 0];
    let error = pool.reload(&lab.config, &lab.servers).await.unwrap_err();
    assert!(
        matches!(error, Error::NotServing { worker: 0, .. }),
        "{error}"
    );
    assert!(error.to_string().contains("on CPU 1000"), "{error}");
    assert_eq!(pids(&pool), before);
    get(addresses(&pool, 80)[0], "/").unwrap();
    lab.config.workers.cpus = vec![0, 0];
    pool.reload(&lab.config, &lab.servers).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_daemon_takes_the_workers_over_and_no_client_notices() {
    let mut lab = Lab::new(2);
    lab.config.workers.user = Some("nobody".to_owned());
    lab.config.workers.group = Some("nogroup".to_owned());
    let (first, _events) = lab.start().await;
    let (before, sockets) = (pids(&first), addresses(&first, 80));
    let load = Load::on(&sockets);
    first.leave().await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let (second, mut events) = lab.start().await;
    assert_eq!(pids(&second), before);
    assert_eq!(addresses(&second, 80), sockets);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(load.all_answered() > 50);
    let (_, _) = (events.recv().await, events.recv().await);
    // Supervision goes on with the sockets that came from the first daemon.
    end(before[0]);
    assert_eq!(
        events.recv().await,
        Some(WorkerEvent {
            worker: 0,
            in_ring: false
        })
    );
    let waiting = thread::spawn(move || get(sockets[0], "/adopted"));
    assert_eq!(
        events.recv().await,
        Some(WorkerEvent {
            worker: 0,
            in_ring: true
        })
    );
    assert!(waiting.join().unwrap().is_ok());
    // Adoption works again, of one worker adopted before and of one started since; after a crash just as well.
    let before = pids(&second);
    second.leave().await;
    let (third, _events) = lab.start().await;
    assert_eq!(pids(&third), before);
    drop(third);
    let (fourth, _events) = lab.start().await;
    assert_eq!(pids(&fourth), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_changed_between_two_daemons_is_brought_in_by_a_reload() {
    let mut lab = Lab::new(1);
    let (first, _events) = lab.start().await;
    let (before, sockets) = (pids(&first), addresses(&first, 80));
    let load = Load::on(&sockets);
    first.leave().await;
    lab.config.workers.max_connections = 900;
    let (second, _events) = lab.start().await;
    let replaced = async {
        while pids(&second) == before {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), replaced)
        .await
        .unwrap();
    assert_eq!(addresses(&second, 80), sockets);
    assert!(load.all_answered() > 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_record_that_can_be_believed_the_old_worker_finishes_and_a_new_one_serves() {
    let lab = Lab::new(1);
    for content in ["{ torn", "{\"serving\":null,\"leaving\":[]}"] {
        let (first, _events) = lab.start().await;
        let before = pids(&first);
        first.leave().await;
        fs::write(lab.config.node.run.join("worker-0.json"), content).unwrap();
        let (mut second, _events) = lab.start().await;
        assert_ne!(pids(&second), before);
        get(addresses(&second, 80)[0], "/").unwrap();
        let both = lab.processes();
        assert_eq!(
            both.len(),
            2,
            "the old one serves on until the start is done"
        );
        second.retire_strays();
        let gone = async {
            while lab.processes() != pids(&second) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), gone)
            .await
            .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_answers_what_was_asked_ends_every_process_and_leaves_no_record() {
    let lab = Lab::new(2);
    let (pool, mut events) = lab.start().await;
    let (_, _) = (events.recv().await, events.recv().await);
    let at = addresses(&pool, 80)[0];
    let sockets = inodes(&pool);
    assert!(!sockets.is_empty() && listening().is_superset(&sockets));
    let slow = thread::spawn(move || get(at, "/slow"));
    tokio::time::sleep(Duration::from_millis(200)).await;
    pool.stop_all(Duration::from_secs(5)).await;
    assert!(slow.join().unwrap().is_ok());
    assert!(!events.recv().await.unwrap().in_ring && !events.recv().await.unwrap().in_ring);
    assert_eq!(lab.processes(), Vec::<i32>::new());
    let left = fs::read_dir(&lab.config.node.run).unwrap();
    let mut left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["empty", "worker-0.log", "worker-1.log"]);
    // A program that another test starts holds every descriptor of this process until its exec.
    let gone = async {
        while !listening().is_disjoint(&sockets) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let gone = tokio::time::timeout(Duration::from_secs(10), gone).await;
    gone.expect("the sockets go with the pool");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_haproxy_nothing_starts_and_the_error_says_what_to_install() {
    let mut lab = Lab::new(1);
    lab.config.workers.haproxy = PathBuf::from("/nowhere/haproxy");
    let (ring, _events) = unbounded_channel();
    let error = Pool::start(&lab.config, &lab.servers, ring)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Missing { .. }), "{error}");
}

/// The inodes of the pool's sockets. An address is no proof: another process can get the port as soon as it is free.
fn inodes(pool: &Pool) -> BTreeSet<u64> {
    let inode = |socket: Listening| {
        let link = fs::read_link(format!("/proc/self/fd/{}", socket.as_raw_fd())).unwrap();
        let name = link.display().to_string();
        let number = name.strip_prefix("socket:[").unwrap().strip_suffix(']');
        number.unwrap().parse().unwrap()
    };
    pool.sockets().into_iter().map(inode).collect()
}

/// The inodes of all sockets that listen in this network namespace.
fn listening() -> BTreeSet<u64> {
    let tables = ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"];
    let texts = tables.map(|table| fs::read_to_string(table).unwrap());
    let lines = texts.iter().flat_map(|text| text.lines().skip(1));
    let inode = |line: &str| {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        (words[3] == "0A").then(|| words[9].parse().unwrap())
    };
    lines.filter_map(inode).collect()
}

/// Environment variable: the laboratory in which the test below plays the daemon until it is killed.
const GIFT: &str = "OBER_TEST_GIFT";

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_serves_in_the_laboratory_it_is_given() {
    let gift = std::env::var(GIFT).ok();
    let lab = Lab::new(2);
    let (config, servers) = given(gift.as_ref().unwrap_or(&lab.gift()));
    let (ring, _events) = unbounded_channel();
    let pool = Pool::start(&config, &servers, ring).await.unwrap();
    assert_eq!(pool.ready(Duration::from_secs(10)).await, 2);
    get(addresses(&pool, 80)[1], "/").unwrap();
    if gift.is_some() {
        fs::write(config.node.run.join("up"), "").unwrap();
        // The other test kills this process sooner; the limit ends it when that test fails.
        tokio::time::sleep(Duration::from_secs(30)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_survive_the_death_of_their_daemon_and_are_supervised_by_the_next_one() {
    let lab = Lab::new(2);
    let name = "supervision::a_daemon_serves_in_the_laboratory_it_is_given";
    let mut daemon = Command::again()
        .unwrap()
        .args(["--exact", name])
        .env(GIFT, lab.gift())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let up = async {
        while !lab.config.node.run.join("up").exists() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), up)
        .await
        .unwrap();
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    let mut survivors = lab.processes();
    let (pool, mut events) = lab.start().await;
    let mut adopted = pids(&pool);
    adopted.sort_unstable();
    survivors.sort_unstable();
    assert_eq!(adopted, survivors);
    let load = Load::on(&addresses(&pool, 80));
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(load.all_answered() > 20);
    let (_, _) = (events.recv().await, events.recv().await);
    end(pids(&pool)[0]);
    assert_eq!(
        events.recv().await,
        Some(WorkerEvent {
            worker: 0,
            in_ring: false
        })
    );
    assert_eq!(
        events.recv().await,
        Some(WorkerEvent {
            worker: 0,
            in_ring: true
        })
    );
    assert_eq!(
        pool.snapshot()[0].last_exit,
        Some(Exit::Unknown),
        "only a parent is told"
    );
    get(addresses(&pool, 80)[0], "/").unwrap();
}
