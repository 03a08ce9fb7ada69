//! Servers changed in running workers: what clients notice, what the next process and the next daemon find, and how the pool
//! treats changes that others made.

use std::{
    io::{BufReader, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    num::NonZeroU32,
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use ober_user::{
    backends::server::Server,
    config::Balance,
    haproxy::{Pool, Preview, ask, command_socket},
};

use crate::lab::{Lab, Load, Message, addresses, connect, connect_from, get, server};

const PATIENCE: Duration = Duration::from_secs(15);

fn pids(pool: &Pool) -> Vec<i32> {
    let workers = pool.snapshot();
    workers.iter().map(|worker| worker.pid.unwrap()).collect()
}

/// Storage servers that answer with their name and close.
fn storages(names: &[&'static str]) -> Vec<Server> {
    let one = |name: &&'static str| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (at, name) = (listener.local_addr().unwrap(), *name);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let request = Message::read(&mut BufReader::new(&stream));
                if matches!(request, Ok(Some(_))) {
                    let head = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length:";
                    let _gone = write!(stream, "{head} {}\r\n\r\n{name}", name.len());
                }
            }
        });
        server(name, at)
    };
    names.iter().map(one).collect()
}

/// `name address weight limit` of every server of a worker that is not in maintenance.
async fn held(lab: &Lab, worker: usize) -> Vec<String> {
    let cli = command_socket(&lab.config.node.run, worker);
    let answer = ask(&cli, "show stat storage 4 -1").await.unwrap();
    let mut lines = answer.lines().filter(|line| !line.is_empty());
    let heads: Vec<&str> = lines.next().unwrap().split(',').collect();
    let cell = |line: &str, name: &str| {
        let at = heads
            .iter()
            .position(|head| head.trim_start_matches("# ") == name);
        line.split(',').nth(at.unwrap()).unwrap().to_owned()
    };
    let one = |line: &str| {
        ["svname", "addr", "uweight", "slim"]
            .map(|name| cell(line, name))
            .join(" ")
    };
    lines
        .filter(|line| cell(line, "status") != "MAINT")
        .map(one)
        .collect()
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !holds().await {
        assert!(began.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// An upload of `size` MiB that takes 150 ms for each; the server's answer.
fn upload(at: SocketAddr, size: usize) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut stream = connect(at).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let length = size << 20;
        write!(
            stream,
            "PUT /big HTTP/1.1\r\nHost: s3.test\r\nContent-Length: {length}\r\n\r\n"
        )
        .unwrap();
        for _ in 0..size {
            stream.write_all(&vec![7; 1 << 20]).unwrap();
            thread::sleep(Duration::from_millis(150));
        }
        let answer = Message::read(&mut BufReader::new(stream)).unwrap().unwrap();
        String::from_utf8(answer.body).unwrap()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_join_and_leave_twenty_times_under_load_without_a_new_process_or_a_cut_connection()
{
    let mut lab = Lab::new(2);
    let (mut pool, _events) = lab.start().await;
    let (before, sockets) = (pids(&pool), addresses(&pool, 80));
    let storage = lab.servers["storage"][0].addr;
    let load = Load::on(&sockets);
    let uploads: Vec<_> = sockets.iter().map(|at| upload(*at, 12)).collect();
    for round in 0..20 {
        // `disk-1` stays; `even` and `odd` take turns, and the one that leaves still has uploads of the round before.
        let names = ["disk-1", ["even", "odd"][round % 2]];
        let servers = names.map(|name| server(name, storage)).into();
        lab.servers.insert("storage".to_owned(), servers);
        let preview = pool.preview(&lab.config, &lab.servers).await.unwrap();
        assert!(
            preview
                .iter()
                .all(|(_, it)| matches!(it, Preview::Live(commands) if !commands.is_empty())),
            "{preview:?}"
        );
        let report = pool.reload(&lab.config, &lab.servers).await.unwrap();
        assert_eq!(
            (report.changed_live, report.failed),
            (vec![0, 1], vec![]),
            "round {round}"
        );
        pool.sweep(PATIENCE).await;
        tokio::time::sleep(Duration::from_millis(80)).await;
    }
    for upload in uploads {
        assert!(
            upload
                .join()
                .unwrap()
                .contains(&format!("bytes={}", 12 << 20))
        );
    }
    let answered = load.all_answered();
    println!("{answered} requests over 20 changes");
    assert!(answered > 100);
    assert_eq!(pids(&pool), before, "the same processes");
    assert_eq!(addresses(&pool, 80), sockets, "on the same sockets");
    let report = pool.reload(&lab.config, &lab.servers).await.unwrap();
    assert_eq!(report.unchanged, [0, 1], "they have what they were told");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_leaves_finishes_its_upload_and_is_gone_afterwards() {
    let mut lab = Lab::new(1);
    let (mut pool, _events) = lab.start().await;
    let at = addresses(&pool, 80)[0];
    let storage = lab.servers["storage"][0].addr;
    let upload = upload(at, 8);
    thread::sleep(Duration::from_millis(300));
    lab.servers
        .insert("storage".to_owned(), storages(&["next"]));
    assert_eq!(
        pool.reload(&lab.config, &lab.servers)
            .await
            .unwrap()
            .changed_live,
        [0]
    );
    pool.sweep(PATIENCE).await;
    assert_eq!(
        get(at, "/").unwrap(),
        "next",
        "new requests go to who is left"
    );
    let cli = command_socket(&lab.config.node.run, 0);
    let there = async || {
        ask(&cli, "show servers state storage")
            .await
            .unwrap()
            .contains("disk-1")
    };
    assert!(there().await, "it has an upload");
    assert!(
        upload
            .join()
            .unwrap()
            .contains(&format!("bytes={}", 8 << 20))
    );
    until("it is deleted", async || {
        pool.sweep(PATIENCE).await;
        !there().await
    })
    .await;
    // A server that came back is like any other.
    lab.servers
        .insert("storage".to_owned(), vec![server("disk-1", storage)]);
    assert_eq!(
        pool.reload(&lab.config, &lab.servers)
            .await
            .unwrap()
            .changed_live,
        [0]
    );
    assert!(get(at, "/back").unwrap().contains("/back"));
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_of_a_removed_server_are_ended_when_its_time_to_finish_is_over() {
    let mut lab = Lab::new(1);
    let (mut pool, _events) = lab.start().await;
    let mut client = connect(addresses(&pool, 80)[0]).unwrap();
    write!(
        client,
        "PUT /long HTTP/1.1\r\nHost: s3.test\r\nContent-Length: 1000000\r\n\r\nx"
    )
    .unwrap();
    thread::sleep(Duration::from_millis(200));
    lab.servers
        .insert("storage".to_owned(), storages(&["next"]));
    assert_eq!(
        pool.reload(&lab.config, &lab.servers)
            .await
            .unwrap()
            .changed_live,
        [0]
    );
    let cli = command_socket(&lab.config.node.run, 0);
    until("it is deleted", async || {
        pool.sweep(Duration::ZERO).await;
        !ask(&cli, "show servers state storage")
            .await
            .unwrap()
            .contains("disk-1")
    })
    .await;
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut rest = Vec::new();
    let _reset_or_answered = client.read_to_end(&mut rest);
}

#[tokio::test(flavor = "multi_thread")]
async fn live_changes_of_weight_limit_and_address_survive_a_worker_crash_and_a_new_daemon() {
    let mut lab = Lab::new(2);
    lab.config.backends.get_mut("storage").unwrap().balance = Balance::Weight;
    let mut servers = storages(&["a", "b"]);
    lab.servers.insert("storage".to_owned(), servers.clone());
    let (mut pool, mut events) = lab.start().await;
    let (_, _) = (events.recv().await, events.recv().await);
    let before = pids(&pool);
    servers[0].terms.weight = 7;
    servers[1].terms.max_connections = NonZeroU32::new(40);
    servers[1].addr = storages(&["moved"])[0].addr;
    lab.servers.insert("storage".to_owned(), servers.clone());
    let report = pool.reload(&lab.config, &lab.servers).await.unwrap();
    assert_eq!(
        (report.changed_live, pids(&pool)),
        (vec![0, 1], before.clone())
    );
    let wanted = [
        format!("a {} 7 ", servers[0].addr),
        format!("b {} 1 20", servers[1].addr),
    ];
    assert_eq!(held(&lab, 0).await, wanted);
    assert_eq!(held(&lab, 1).await, wanted);
    kill(Pid::from_raw(before[0]), Signal::SIGKILL).unwrap();
    assert!(!events.recv().await.unwrap().in_ring);
    assert!(events.recv().await.unwrap().in_ring);
    assert_eq!(
        held(&lab, 0).await,
        wanted,
        "who comes after it has the new servers"
    );
    let before = pids(&pool);
    // As after kill -9 of the daemon: the workers stay as they are.
    drop(pool);
    let (pool, _events) = lab.start().await;
    assert_eq!(
        pids(&pool),
        before,
        "no worker is replaced for a change that it has taken already"
    );
    drop(pool);
    servers[0].terms.weight = 3;
    lab.servers.insert("storage".to_owned(), servers.clone());
    let (mut pool, _events) = lab.start().await;
    until(
        "the new daemon tells what changed while there was none",
        async || held(&lab, 1).await[0] == format!("a {} 3 ", servers[0].addr),
    )
    .await;
    assert_eq!(pids(&pool), before);
    let report = pool.reload(&lab.config, &lab.servers).await.unwrap();
    assert_eq!(report.unchanged, [0, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_returns_under_the_next_daemon_replaces_its_leaving_entry() {
    let mut lab = Lab::new(2);
    let both = storages(&["stays", "leaves"]);
    lab.servers.insert("storage".to_owned(), both.clone());
    let (mut pool, _events) = lab.start().await;
    let before = pids(&pool);
    lab.servers
        .insert("storage".to_owned(), vec![both[0].clone()]);
    let report = pool.reload(&lab.config, &lab.servers).await.unwrap();
    assert_eq!(report.changed_live, [0, 1]);
    // As after kill -9 of the daemon: the server that was put into maintenance has not been deleted.
    drop(pool);
    let moved = storages(&["leaves"]);
    let servers = vec![both[0].clone(), moved[0].clone()];
    lab.servers.insert("storage".to_owned(), servers.clone());
    let (pool, _events) = lab.start().await;
    assert_eq!(pids(&pool), before, "both are told");
    for worker in [0, 1] {
        let held = held(&lab, worker).await;
        let wanted = servers
            .iter()
            .map(|server| format!("{} {} 1 ", server.name, server.addr));
        assert_eq!(held, wanted.collect::<Vec<_>>());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_refuses_a_command_is_replaced_and_the_others_get_the_command() {
    let mut lab = Lab::new(2);
    let (mut pool, _events) = lab.start().await;
    let before = pids(&pool);
    let storage = lab.servers["storage"][0].addr;
    // Another administrator has already added this server, and it serves.
    let cli = command_socket(&lab.config.node.run, 1);
    for command in [
        "add server storage/disk-2 127.0.0.1:9",
        "enable server storage/disk-2",
    ] {
        ask(&cli, command).await.unwrap();
    }
    let servers = ["disk-1", "disk-2"].map(|name| server(name, storage));
    lab.servers.insert("storage".to_owned(), servers.into());
    let report = pool.reload(&lab.config, &lab.servers).await.unwrap();
    assert_eq!((report.changed_live, report.replaced), (vec![0], vec![1]));
    assert_eq!(pids(&pool)[0], before[0]);
    assert_ne!(pids(&pool)[1], before[1]);
    assert_eq!(held(&lab, 1).await.len(), 2);
    get(addresses(&pool, 80)[1], "/").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_changes_in_a_worker_are_set_right_once_and_reported() {
    let mut lab = Lab::new(1);
    lab.config.backends.get_mut("storage").unwrap().balance = Balance::Weight;
    lab.servers
        .insert("storage".to_owned(), storages(&["a", "b", "c", "d"]));
    let (mut pool, _events) = lab.start().await;
    assert!(
        pool.reconcile().await.is_empty(),
        "nothing is otherwise at first"
    );
    let (wanted, pid) = (held(&lab, 0).await, pids(&pool));
    let cli = command_socket(&lab.config.node.run, 0);
    for command in [
        "set server storage/a addr 127.0.0.9 port 9",
        "set server storage/b weight 9",
        "set maxconn server storage/b 3",
        "set server storage/c state drain",
        "disable server storage/d",
        "del server storage/d",
        "add server storage/x 127.0.0.1:9",
        "enable server storage/x",
    ] {
        ask(&cli, command).await.unwrap();
    }
    let reconciled: Vec<_> = pool
        .reconcile()
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    let mut found: Vec<_> = reconciled
        .iter()
        .map(|reconciled| format!("{}: {}", reconciled.server, reconciled.found))
        .collect();
    found.sort();
    assert_eq!(
        found,
        [
            "storage/a in worker 0: address 127.0.0.9 port 9",
            "storage/b in worker 0: maxconn 3",
            "storage/b in worker 0: weight 9",
            "storage/c in worker 0: out of service",
            "storage/d in worker 0: no such server",
            "storage/x in worker 0: a server that is not configured",
        ]
    );
    let mut has = held(&lab, 0).await;
    has.sort();
    assert_eq!(has, wanted);
    assert!(pool.reconcile().await.is_empty(), "and nothing afterwards");
    until("the stranger is deleted", async || {
        pool.sweep(PATIENCE).await;
        !ask(&cli, "show servers state storage")
            .await
            .unwrap()
            .contains(" x ")
    })
    .await;
    assert_eq!(pids(&pool), pid);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_change_that_cannot_be_undone_live_replaces_the_worker() {
    let mut lab = Lab::new(1);
    lab.config.backends.get_mut("storage").unwrap().balance = Balance::IpHash;
    lab.servers
        .insert("storage".to_owned(), storages(&["a", "b"]));
    let (mut pool, _events) = lab.start().await;
    let (before, cli) = (pids(&pool), command_socket(&lab.config.node.run, 0));
    ask(&cli, "disable server storage/b; del server storage/b")
        .await
        .unwrap();
    assert_eq!(pool.reconcile().await.len(), 1);
    until("another process", async || {
        pids(&pool) != before && held(&lab, 0).await.len() == 2
    })
    .await;
    lab.servers
        .insert("storage".to_owned(), storages(&["a", "b", "c"]));
    let preview = pool.preview(&lab.config, &lab.servers).await.unwrap();
    assert!(
        matches!(&preview[0].1, Preview::Replace { why } if why.contains("iphash")),
        "{preview:?}"
    );
    assert_eq!(
        pool.reload(&lab.config, &lab.servers)
            .await
            .unwrap()
            .replaced,
        [0]
    );
}

/// The server that answers a client from this address of the loopback network.
fn served(last: u8, at: SocketAddr) -> String {
    let mut stream = connect_from(Ipv4Addr::new(127, 1, 1, last).into(), at).unwrap();
    write!(stream, "GET / HTTP/1.0\r\n\r\n").unwrap();
    let answer = Message::read(&mut BufReader::new(stream)).unwrap().unwrap();
    String::from_utf8(answer.body).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn with_iphash1_only_the_clients_of_a_removed_server_move_and_they_return_with_it() {
    let mut lab = Lab::new(1);
    lab.config.backends.get_mut("storage").unwrap().balance = Balance::IpHash1;
    let all = storages(&["a", "b", "c", "d"]);
    lab.servers.insert("storage".to_owned(), all.clone());
    let (mut pool, _events) = lab.start().await;
    let at = addresses(&pool, 80)[0];
    let of_all = || (1..200).map(|last| served(last, at)).collect::<Vec<_>>();
    let before = of_all();
    lab.servers.insert("storage".to_owned(), all[1..].to_vec());
    assert_eq!(
        pool.reload(&lab.config, &lab.servers)
            .await
            .unwrap()
            .changed_live,
        [0]
    );
    let without = of_all();
    for (before, after) in before.iter().zip(&without) {
        assert!(
            before == after || (before == "a" && after != "a"),
            "{before} to {after}"
        );
    }
    // A server that is deleted and added again takes the same places on the hash circle.
    let cli = command_socket(&lab.config.node.run, 0);
    until("it is deleted", async || {
        pool.sweep(PATIENCE).await;
        !ask(&cli, "show servers state storage")
            .await
            .unwrap()
            .contains(" a ")
    })
    .await;
    lab.servers.insert("storage".to_owned(), all);
    assert_eq!(
        pool.reload(&lab.config, &lab.servers)
            .await
            .unwrap()
            .changed_live,
        [0]
    );
    assert_eq!(of_all(), before);
}
