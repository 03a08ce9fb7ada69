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
use ober_user::{
    haproxy::{Error, Listening, Pool, Stage, WorkerEvent, worker::Exit},
    system::manager::Manager,
};
use tokio::sync::mpsc::unbounded_channel;

use crate::lab::{Lab, Load, Message, PLAIN, addresses, connect, get, given, listener, service};

mod reload;

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
async fn a_killed_worker_leaves_the_ring_at_once_and_its_successor_answers_waiting_connections() {
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
async fn without_a_credible_record_the_old_worker_finishes_and_a_new_one_serves() {
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
async fn stopping_the_pool_answers_pending_requests_ends_all_processes_and_leaves_no_record() {
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
    let mut left: Vec<_> = fs::read_dir(&lab.config.node.run)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
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
async fn without_haproxy_the_pool_does_not_start_and_the_error_names_the_package() {
    let mut lab = Lab::new(1);
    lab.config.workers.haproxy = PathBuf::from("/nowhere/haproxy");
    let (ring, _events) = unbounded_channel();
    let error = Pool::start(&lab.config, &lab.servers, ring, &Manager::default())
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
async fn a_daemon_serves_in_a_laboratory_passed_by_environment() {
    let gift = std::env::var(GIFT).ok();
    let lab = Lab::new(2);
    let (config, servers) = given(gift.as_ref().unwrap_or(&lab.gift()));
    let (ring, _events) = unbounded_channel();
    let pool = Pool::start(&config, &servers, ring, &Manager::default())
        .await
        .unwrap();
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
    let name = "supervision::a_daemon_serves_in_a_laboratory_passed_by_environment";
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
