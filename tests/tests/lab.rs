//! The laboratory itself, before anything is proven in it.
#![expect(
    clippy::expect_used,
    reason = "what the helpers of a test expect is part of the test"
)]

use std::{
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use ober_programs::{Command, SH, SLEEP};
use ober_tests::{
    client::{Client, Failure},
    lab::{self, Cluster, Lab, Shape, VIP4, VIP6, client4, until},
    load::{Plan, Tally},
    nodes::one::{Settings, Stage},
    pattern::Pattern,
    sockets::connections,
};

#[test]
fn objects_pass_through_a_plain_haproxy_byte_for_byte_over_both_families_with_and_without_tls() {
    let stage = Stage::new("plain", &Settings::default()).expect("build the stage");
    let haproxy = stage.start_plain().expect("start HAProxy");
    let (cluster, server) = (&stage.cluster, &stage.storage);
    let clients = [
        stage.secure(VIP4),
        stage.secure(VIP6),
        stage.open(VIP4),
        stage.open(VIP6),
    ];
    let keys = cluster.clients[0]
        .tokio(async || {
            clients[0].create_bucket("lab").await?;
            for (number, client) in (0..).zip(&clients) {
                let content = Pattern::new(number, 1_000_003 * number);
                let mut connection = client.connect().await?;
                connection.put(&format!("/lab/o{number}"), content).await?;
                connection.head(&format!("/lab/o{number}")).await?;
                connection.get(&format!("/lab/o{number}"), content).await?;
                let other = Pattern::new(number + 9, content.length + 1);
                assert!(matches!(connection.get(&format!("/lab/o{number}"), other).await, Err(Failure::Wrong { .. })));
            }
            let mut connection = clients[0].connect().await?;
            assert!(matches!(connection.head("/lab/none").await, Err(Failure::Status { status, .. }) if status == 404));
            connection.list("lab").await
        })
        .expect("enter the client")
        .expect("every request is served");
    assert_eq!(keys, ["o0", "o1", "o2", "o3"]);
    for client in ["10.77.0.11", "fd77::11"] {
        assert!(
            server.log().contains(client),
            "the server sees {client}:\n{}",
            server.log()
        );
    }
    load_is_counted_honestly(cluster, &clients[0]);
    connections_are_found_in_the_workers(cluster, &clients[0], &haproxy);
}

fn load_is_counted_honestly(cluster: &Cluster, client: &Client) {
    let content = Pattern::new(1, 1_000_003);
    let plan = Plan {
        requests: 40,
        ..Plan::get(client.clone(), "/lab/o1", content)
    };
    let report = plan
        .clone()
        .start(&cluster.clients[1])
        .expect("start")
        .wait()
        .expect("finish");
    assert_eq!(
        report.tally(),
        Tally {
            ok: 40,
            ..Tally::default()
        },
        "{:?}",
        report.failures(3)
    );
    let nobody = Plan {
        client: Client::plain(SocketAddr::new(VIP4, 81)),
        requests: 3,
        ..plan.clone()
    };
    let report = nobody
        .start(&cluster.clients[1])
        .expect("start")
        .wait()
        .expect("finish");
    assert_eq!(
        report.tally(),
        Tally {
            refused: 3,
            ..Tally::default()
        }
    );
    let wrong = Plan::get(client.clone(), "/lab/o1", Pattern::new(2, 1_000_003));
    let wrong = Plan {
        requests: 2,
        keep_alive: true,
        ..wrong
    };
    let report = wrong
        .start(&cluster.clients[1])
        .expect("start")
        .wait()
        .expect("finish");
    assert_eq!(
        report.tally(),
        Tally {
            wrong: 2,
            ..Tally::default()
        }
    );
}

fn connections_are_found_in_the_workers(
    cluster: &Cluster,
    client: &Client,
    workers: &[lab::Process],
) {
    cluster.clients[1]
        .tokio(async || {
            let mut held = Vec::new();
            for _ in 0..5 {
                let mut connection = client.connect().await.expect("connect");
                connection.head("/lab/o0").await.expect("served");
                held.push(connection);
            }
            let found = workers
                .iter()
                .flat_map(|worker| {
                    connections(i32::try_from(worker.pid()).expect("small"))
                        .expect("read its sockets")
                })
                .filter(|connection| connection.peer.ip() == client4(1));
            assert_eq!(found.count(), held.len());
        })
        .expect("enter the client");
}

#[test]
fn laboratories_with_the_same_addresses_run_side_by_side() {
    let build = || {
        Cluster::new(
            "twin",
            Shape {
                clients: 1,
                queues: 2,
            },
        )
        .expect("build")
    };
    let (left, right) = (build(), build());
    for cluster in [&left, &right] {
        let listener = cluster
            .node
            .run(|| TcpListener::bind("10.77.0.1:7000"))
            .expect("enter the node")
            .expect("the address is free in each");
        cluster.clients[0]
            .run(|| {
                TcpStream::connect_timeout(
                    &"10.77.0.1:7000".parse().expect("address"),
                    Duration::from_secs(2),
                )
            })
            .expect("enter the client")
            .expect("connect");
        listener.accept().expect("accept");
    }
}

#[test]
fn all_processes_and_files_of_a_host_end_with_it_even_orphans() {
    let lab = Lab::new("drop").expect("make a laboratory");
    let host = lab.host("h").expect("make a host");
    let orphan = "set -m; sleep 600 >/dev/null 2>&1 & echo $!";
    let output = host.output(&mut SH.script(orphan, &[&SLEEP])).expect("run");
    let orphan: i32 = String::from_utf8_lossy(&output.stdout)
        .trim()
        .parse()
        .expect("a process number");
    let process = host.spawn(&mut SLEEP.args(["600"])).expect("start");
    let child = i32::try_from(process.pid()).expect("small");
    let directory = lab.directory().to_owned();
    assert!(directory.is_dir());
    let alive = |pid| kill(Pid::from_raw(pid), None::<Signal>).is_ok();
    assert!(alive(orphan) && alive(child));
    let thrown = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _in_order = (process, host, lab);
        std::panic::resume_unwind(Box::new("a failing test"));
    }));
    assert!(thrown.is_err());
    assert!(!alive(child));
    until("the end of the orphan", Duration::from_secs(2), || {
        Ok((!alive(orphan)).then_some(()))
    })
    .expect("it ended");
    assert!(!directory.exists());
}

#[test]
fn a_laboratory_whose_process_is_killed_leaves_nothing_behind() {
    if let Some(directory) = std::env::var_os("OBER_LAB_VICTIM") {
        let lab = Lab::new("victim").expect("make a laboratory");
        let host = lab.host("h").expect("make a host");
        let sleeper = host.spawn(&mut SLEEP.args(["600"])).expect("start");
        let facts = format!("{} {}", sleeper.pid(), lab.directory().display());
        let ready = Path::new(&directory).join("ready");
        std::fs::write(ready.with_extension("new"), facts).expect("write");
        std::fs::rename(ready.with_extension("new"), ready).expect("rename");
        std::thread::sleep(Duration::from_mins(10));
    }
    let scratch = tempfile::tempdir().expect("make a directory");
    let mut victim = Command::again()
        .expect("own path")
        .args([
            "--exact",
            "a_laboratory_whose_process_is_killed_leaves_nothing_behind",
        ])
        .env("OBER_LAB_VICTIM", scratch.path())
        .spawn()
        .expect("start the victim");
    let facts = until("the victim's laboratory", Duration::from_secs(10), || {
        Ok(Some(std::fs::read_to_string(scratch.path().join("ready"))?))
    })
    .expect("it is built");
    let (pid, directory) = facts.split_once(' ').expect("two facts");
    let pid = Pid::from_raw(pid.parse().expect("a process number"));
    assert!(Path::new(directory).is_dir() && kill(pid, None::<Signal>).is_ok());
    victim.kill().expect("kill the victim");
    victim.wait().expect("wait for it");
    let began = Instant::now();
    until("a clean machine", Duration::from_secs(5), || {
        Ok((kill(pid, None::<Signal>).is_err() && !Path::new(directory).exists()).then_some(()))
    })
    .expect("the laboratory cleaned up");
    assert!(began.elapsed() < Duration::from_secs(5));
}
