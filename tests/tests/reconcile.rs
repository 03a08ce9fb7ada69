//! Changes that others make by hand on a running node are set right within `node.reconcile`, logged and counted; servers join
//! and leave in the running workers.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "what the helpers of a test expect is part of the test"
)]

use std::{
    collections::BTreeSet,
    io::{Read, Write},
    net::{IpAddr, SocketAddr},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Result;
use aya::programs::links::PinnedLink;
use nix::sys::signal::Signal;
use ober_common::flow::service_table;
use ober_programs::{BPFTOOL, CP, Command, IP, Program};
use ober_tests::{
    lab::{BPFFS, Process, VIP4, VIP6, client4, program, storage4, until},
    load::{Ask, Plan},
    nodes::one::{Settings, Stage},
    pattern::Pattern,
};
use ober_user::{
    api::status::Status,
    dataplane::{self, Maps, access},
    names::entries::Entries,
    system::fact::Fact,
};

const PATH: &str = "/drift/object";
const CONTENT: Pattern = Pattern::new(11, 10_000);
const SOON: Duration = Duration::from_secs(30);

/// A node that compares itself twice a second, with an object in the store.
fn serving(name: &str, settings: &Settings) -> Stage {
    let mut stage = Stage::new(name, settings).expect("build the stage");
    change(&stage, "sample = 1", "sample = 1\nreconcile = \"500ms\"");
    stage.start().expect("start");
    let client = stage.secure(VIP4);
    stage.cluster.clients[0]
        .tokio(async || {
            client.create_bucket("drift").await?;
            client.put(PATH, CONTENT).await
        })
        .expect("enter the client")
        .expect("store an object");
    stage
}

fn change(stage: &Stage, from: &str, to: &str) {
    let text = std::fs::read_to_string(&stage.ober.config).expect("read the configuration");
    assert!(text.contains(from), "{from} is not in {text}");
    std::fs::write(&stage.ober.config, text.replace(from, to)).expect("write it");
}

fn worker(stage: &Stage, worker: usize, command: &str) -> Result<String> {
    let run = stage.cluster.lab.directory().join("run");
    let mut socket = UnixStream::connect(run.join(format!("worker-{worker}.sock")))?;
    socket.set_read_timeout(Some(SOON))?;
    writeln!(socket, "{command}")?;
    let mut text = String::new();
    socket.read_to_string(&mut text)?;
    Ok(text)
}

fn pins(stage: &Stage) -> PathBuf {
    let lab = &stage.cluster.lab;
    PathBuf::from(BPFFS).join("ober").join(lab.instance())
}

fn pids(status: &Status) -> Vec<Option<i32>> {
    status.workers.iter().map(|worker| worker.pid).collect()
}

/// Waits until this many more things of a kind were set right than in `before`.
fn mended(stage: &Stage, before: &Status, what: &str, count: u64) {
    let wanted = before.reconcile.mended[what] + count;
    let mut last = 0;
    let all = until("a mended node", SOON, || {
        last = stage.status()?.reconcile.mended[what];
        Ok((last >= wanted).then_some(()))
    });
    all.unwrap_or_else(|error| panic!("{what}: {last} of {wanted}: {error:#}"));
}

/// Both VIPs serve a client anew.
fn serves(stage: &Stage) {
    for vip in [VIP4, VIP6] {
        let client = stage.secure(vip);
        until("an answer", SOON, || {
            let got = stage.cluster.clients[0].tokio(async || client.get(PATH, CONTENT).await)?;
            Ok(got.is_ok().then_some(()))
        })
        .unwrap_or_else(|error| panic!("{vip}: {error:#}"));
    }
}

fn run(stage: &Stage, program: &Program, words: &str) {
    let mut command = program.args(words.split(' '));
    stage.cluster.node.output(&mut command).expect("it works");
}

#[test]
fn servers_programs_and_addresses_changed_by_hand_are_set_right_and_counted() {
    let stage = serving("drift-hand", &Settings::default());
    until("a first pass", SOON, || Ok(stage.status()?.reconcile.last)).expect("it ends");
    let before = stage.status().expect("status");
    assert!(
        before.reconcile.mended.values().all(|count| *count == 0),
        "nothing is otherwise at first: {:?}",
        before.reconcile
    );
    let states = || worker(&stage, 1, "show servers state rgw").expect("ask");
    let state = states();
    let name = state
        .lines()
        .nth(2)
        .and_then(|line| line.split(' ').nth(3))
        .expect("a server");
    worker(
        &stage,
        1,
        &format!("set server rgw/{name} addr 10.9.9.9 port 9"),
    )
    .expect("tell");
    worker(&stage, 1, &format!("set server rgw/{name} weight 9")).expect("tell");
    mended(&stage, &before, "server", 2);
    assert!(states().contains(&storage4().to_string()), "{}", states());
    run(&stage, &IP, &format!("address del {VIP4}/32 dev lo"));
    mended(&stage, &before, "address", 1);
    let links: Vec<PathBuf> = std::fs::read_dir(pins(&stage))
        .expect("the pins")
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.to_string_lossy().contains("link_"))
        .collect();
    for link in &links {
        run(
            &stage,
            &BPFTOOL,
            &format!("link detach pinned {}", link.display()),
        );
    }
    mended(&stage, &before, "program", links.len() as u64);
    serves(&stage);
    let after = stage.status().expect("status");
    assert_eq!(pids(&after), pids(&before), "no worker is replaced");
    let shown = stage.cli(&["status"]).expect("status");
    assert!(
        shown.contains("set right since the start: address 1"),
        "{shown}"
    );
    let log = stage.ober.daemon.as_ref().expect("it runs").log();
    assert!(
        log.contains("weight 9") && log.contains("10.9.9.9"),
        "{log}"
    );
    let metrics = stage
        .cluster
        .node
        .run(scrape)
        .expect("enter")
        .expect("scrape");
    assert!(
        metrics.contains("ober_drift_mended_total{what=\"address\"} 1"),
        "{metrics}"
    );
}

fn names(directory: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

#[test]
fn a_program_whose_pin_is_removed_while_its_link_is_held_open_is_not_taken_for_foreign() {
    let stage = serving("drift-unpinned", &Settings::default());
    until("a first pass", SOON, || Ok(stage.status()?.reconcile.last)).expect("it ends");
    let before = stage.status().expect("status");
    let (home, node) = (pins(&stage), &stage.cluster.node);
    let index = node
        .run(|| dataplane::index("in0"))
        .expect("enter the node")
        .expect("ask for in0");
    let pin = home.join("link_xdp_native_in0");
    // Holds the link, as the kernel or the gates' watch may do for a moment.
    let mut pinned = dataplane::PinnedLinks::new(&home);
    assert_eq!(pinned.holds("in0", index), Fact::Yes);
    std::fs::remove_file(&pin).expect("remove the pin");
    std::thread::sleep(Duration::from_secs(1));
    drop(pinned);
    mended(&stage, &before, "program", 1);
    assert!(pin.exists(), "native as before");
    serves(&stage);
    let log = stage.ober.daemon.as_ref().expect("it runs").log();
    for word in ["another program is attached", "bpftool link detach"] {
        assert!(!log.contains(word), "{word}: {log}");
    }
}

#[test]
fn removed_pins_are_made_again_for_the_same_maps() {
    let mut stage = serving("drift-pins", &Settings::default());
    until("a first pass", SOON, || Ok(stage.status()?.reconcile.last)).expect("it ends");
    let home = pins(&stage);
    let all = names(&home);
    for pin in ["PAGES", "ober", ""] {
        let removed = match pin {
            "" => std::fs::remove_dir_all(&home),
            pin => std::fs::remove_file(home.join(pin)),
        };
        removed.expect("remove pins");
        until("all pins", SOON, || Ok((names(&home) == all).then_some(())))
            .unwrap_or_else(|error| panic!("{:?} of {all:?}: {error:#}", names(&home)));
    }
    until("attached programs", SOON, || {
        let interfaces = stage.status()?.data_plane.interfaces;
        let attached = interfaces.iter().all(|it| it.attached == Some(true));
        Ok(attached.then_some(()))
    })
    .expect("the programs are attached");
    serves(&stage);
    // The new pins are of the maps that the daemon uses: the next daemon goes on with them.
    stage.kill().expect("kill the daemon");
    assert!(stage.start().expect("start").data_plane.adopted);
    serves(&stage);
}

#[test]
fn an_xdp_link_without_its_pin_is_pinned_again() {
    let stage = serving("drift-links", &Settings::default());
    until("a first pass", SOON, || Ok(stage.status()?.reconcile.last)).expect("it ends");
    let home = pins(&stage);
    let all = names(&home);
    let links: Vec<_> = all
        .iter()
        .filter(|name| name.starts_with("link_"))
        .collect();
    assert_eq!(links.len(), 2, "{all:?}");
    for name in links {
        let pin = home.join(name);
        // As where another file system is mounted over the pins: the link lives on.
        let held = PinnedLink::from_pin(&pin).expect("open the link");
        std::fs::remove_file(&pin).expect("remove its pin");
        until("all pins", SOON, || Ok((names(&home) == all).then_some(())))
            .unwrap_or_else(|error| panic!("{:?} of {all:?}: {error:#}", names(&home)));
        // No other program was in the way, and no second link was made.
        drop(held);
        until("a healthy node", SOON, || {
            Ok(stage.status()?.healthy.then_some(()))
        })
        .expect(name);
        serves(&stage);
    }
}

fn scrape() -> Result<String> {
    let mut socket = std::net::TcpStream::connect(("127.0.0.1", 8404))?;
    socket.write_all(b"GET /metrics HTTP/1.0\r\nhost: localhost\r\n\r\n")?;
    let mut text = String::new();
    socket.read_to_string(&mut text)?;
    Ok(text)
}

#[test]
fn maps_edited_by_hand_are_set_right_and_counted() {
    // A hundred thousand addresses of which no two are neighbours.
    let odd: Vec<String> = (0..100).map(|half| (half * 2 + 1).to_string()).collect();
    let scattered = format!("10.[8-11].[0-255].[{}]", odd.join(","));
    let settings = Settings {
        listed: vec![client4(0).to_string(), "fd00:77::1".into(), scattered],
        ..Settings::default()
    };
    let stage = serving("drift-maps", &settings);
    let before = stage.status().expect("status");
    let mut maps = Maps::open(&pins(&stage)).expect("the pinned maps");
    let list = before.lists[0].number;
    access::replace(&mut maps, list, &Entries::default()).expect("empty the list");
    mended(&stage, &before, "list", 1);
    let checked = stage.cli(&["acl", "check", "10.8.9.7"]).expect("ask");
    assert!(checked.contains("frontend-http"), "{checked}");
    let node = maps.node.at(0).as_ptr();
    // SAFETY: this process maps the node, whose words are written whole.
    unsafe { (&raw mut (*node).sample).write_volatile(8) };
    // SAFETY: as above; the bits of the VIPs are gone, so no client is served.
    unsafe { (*node).vips.fill(0) };
    mended(&stage, &before, "services", 1);
    mended(&stage, &before, "switch", 1);
    serves(&stage);
    let service = maps.services()[0];
    let table = service_table(maps.node.read(0).seed);
    // SAFETY: mapped as long as `maps` lives; the daemon changes the other table.
    let slots = unsafe { &mut (*maps.tables.at(table).as_ptr()).slots };
    for slot in slots.iter_mut().filter(|slot| slot.index == service.index) {
        slot.used = 0;
    }
    mended(&stage, &before, "services", 2);
    serves(&stage);
    let service = maps.services()[0];
    let mut ring = maps.ring(&service);
    ring.slots.fill(0);
    for place in [service.index * 2, service.index * 2 + 1] {
        maps.rings
            .fill(usize::try_from(place).expect("small"), &ring);
    }
    mended(&stage, &before, "ring", 1);
    serves(&stage);
    let last = stage.status().expect("status").reconcile.last;
    let after = until("a pass in peace", SOON, || {
        let status = stage.status()?;
        Ok((status.reconcile.last > last.map(|last| last + 1)).then_some(status))
    })
    .expect("it ends");
    println!(
        "a pass over {} entries: {} us",
        after.lists[0].count, after.reconcile.microseconds
    );
    assert_eq!(after.reconcile.failures, 0);
}

/// Another S3 server with a copy of the objects: two on one directory would meet in their temporary files.
fn storage(stage: &Stage, port: u16) -> Process {
    let address = SocketAddr::new(storage4(), port);
    let mut command = Command::own(program("s3-server").expect("s3-server"));
    let directory = stage.cluster.lab.directory();
    let root = directory.join(format!("objects-{port}"));
    let objects = directory.join("objects");
    run(
        stage,
        &CP,
        &format!("-r {} {}", objects.display(), root.display()),
    );
    command.arg(address.to_string()).arg(root);
    let server = stage.cluster.storage.spawn(&mut command).expect("start it");
    until("a listening S3 server", SOON, || {
        Ok(server.log().contains("listening on").then_some(()))
    })
    .expect("it listens");
    server
}

#[test]
fn twenty_joins_and_leaves_under_tls_load_cut_no_connection_and_replace_no_worker() {
    let stage = &mut serving("drift-joins", &Settings::default());
    let _more = [9001, 9002].map(|port| storage(stage, port));
    let before = stage.status().expect("status");
    let client = stage.secure(VIP4);
    let load = Plan {
        connections: 4,
        ..Plan::get(client.clone(), PATH, CONTENT)
    };
    let uploads = Plan {
        ask: Ask::Put {
            path: "/drift/large".to_owned(),
            content: Pattern::new(5, 24 << 20),
        },
        connections: 3,
        ..load.clone()
    };
    let load = load
        .start(&stage.cluster.clients[0])
        .expect("start the load");
    let uploads = uploads
        .start(&stage.cluster.clients[1])
        .expect("start the uploads");
    let node: IpAddr = storage4();
    let sets = [
        format!("\"{node}:9000\", \"{node}:9001\", \"{node}:9002\""),
        format!("\"{node}:9002\""),
    ];
    let mut has = format!("\"{node}:9000\"");
    for round in 0..20 {
        let next = &sets[round % 2];
        change(
            stage,
            &format!("servers = [{has}]"),
            &format!("servers = [{next}]"),
        );
        let said = stage.cli(&["reload"]).expect("reload");
        assert!(
            said.contains("worker 0: changed while it runs")
                && said.contains("worker 1: changed while it runs"),
            "round {round}: {said}"
        );
        has.clone_from(next);
        std::thread::sleep(Duration::from_millis(200));
    }
    let (load, uploads) = (
        load.finish().expect("finish"),
        uploads.finish().expect("finish"),
    );
    println!("{}; uploads: {}", load.tally(), uploads.tally());
    assert_eq!(load.tally().failed(), 0, "{:?}", load.failures(3));
    assert_eq!(uploads.tally().failed(), 0, "{:?}", uploads.failures(3));
    assert!(load.tally().ok > 100 && uploads.tally().ok > 2);
    let after = stage.status().expect("status");
    assert_eq!(pids(&after), pids(&before), "the same processes");
    assert!(
        after.reconcile.mended.values().all(|count| *count == 0),
        "{:?}",
        after.reconcile
    );
    until("nobody but the one that stays", SOON, || {
        let servers = worker(stage, 0, "show servers state rgw")?;
        Ok((servers.lines().filter(|line| line.contains("rgw")).count() == 1).then_some(()))
    })
    .expect("who left is deleted");
    what_was_told_outlives_worker_and_daemon(stage, &before);
}

/// The names of the servers, by what `show servers state` answers.
fn named(states: &str) -> Vec<String> {
    let lines = states.lines().filter(|line| line.contains(" rgw "));
    lines
        .map(|line| line.split(' ').nth(3).unwrap_or_default().to_owned())
        .collect()
}

/// kill -9 of a worker, then of the daemon.
fn what_was_told_outlives_worker_and_daemon(stage: &mut Stage, before: &Status) {
    let killed = before.workers[0].pid.expect("it runs");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(killed), Signal::SIGKILL).expect("kill");
    until("its successor", SOON, || {
        let worker = &stage.status()?.workers[0];
        Ok((worker.pid != Some(killed) && worker.in_ring).then_some(()))
    })
    .expect("it comes");
    let servers = worker(stage, 0, "show servers state rgw").expect("ask");
    assert!(
        servers.contains(" 9002 ") && !servers.contains(" 9000 "),
        "{servers}"
    );
    let before = stage.status().expect("status");
    stage.kill().expect("kill the daemon");
    let adopted = stage.start().expect("start again");
    assert_eq!(
        pids(&adopted),
        pids(&before),
        "no worker is replaced for what it was told"
    );
    let again = worker(stage, 0, "show servers state rgw").expect("ask");
    let (old, new) = (named(&servers), named(&again));
    assert_eq!(new, old, "a server keeps its name over a restart");
    serves(stage);
}
