//! A start that brings other programs or other maps puts them in force while traffic flows.
#![expect(
    clippy::expect_used,
    reason = "what the helpers of a test expect is part of the test"
)]

use std::{
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use nix::sys::signal::Signal;
use ober_programs::ETHTOOL;
use ober_tests::{
    client::Client,
    lab::{BPFFS, VIP4, until},
    load::Plan,
    nodes::one::{OPEN, SECURE, Settings, Stage},
    pattern::Pattern,
};
use ober_user::{api::status::Status, haproxy::Stage as WorkerStage};
use socket2::{Domain, Protocol, Socket, Type};

const PATH: &str = "/replace/object";
const CONTENT: Pattern = Pattern::new(11, 20_000);

fn serving(name: &str) -> (Stage, Status) {
    let mut stage = Stage::new(name, &Settings::default()).expect("build the stage");
    let status = stage.start().expect("start the daemon");
    let client = stage.secure(VIP4);
    stage.cluster.clients[0]
        .tokio(async || {
            client.create_bucket("replace").await?;
            client.put(PATH, CONTENT).await
        })
        .expect("enter the client")
        .expect("store an object");
    (stage, status)
}

/// Kills the daemon and starts it again with a line added to `[node]` or a table at the end, under load.
fn restart_under_load(stage: &mut Stage, node: &str, tables: &str) -> Status {
    let plan = |client| Plan {
        connections: 2,
        ..Plan::get(client, PATH, CONTENT)
    };
    let host = &stage.cluster.clients[0];
    let secure = plan(stage.secure(VIP4)).start(host).expect("TLS load");
    let open = plan(stage.open(VIP4)).start(host).expect("plain load");
    let text = std::fs::read_to_string(&stage.ober.config)
        .expect("read the configuration")
        .replace("sample = 1\n", &format!("sample = 1\n{node}\n"));
    std::fs::write(&stage.ober.config, text + tables).expect("write the configuration");
    stage.kill().expect("kill the daemon");
    let status = stage.start().expect("start it again");
    let enough = secure.done() + 20;
    until("more requests", Duration::from_secs(20), || {
        Ok((secure.done() > enough).then_some(()))
    })
    .expect("traffic goes on");
    for load in [secure, open] {
        let report = load.finish().expect("finish");
        let tally = report.tally();
        let failures = report.failures(3);
        let lookups = stage.service(VIP4, OPEN).expect("counters").lookups;
        assert!(
            tally.ok > 0 && tally.failed() == 0,
            "{tally}: {failures:?}; the socket lookup since: {lookups:?}"
        );
    }
    status
}

fn program(status: &Status, name: &str) -> u32 {
    let mut programs = status.data_plane.programs.iter();
    let found = programs.find(|program| program.name == name);
    found.expect("the program is pinned").id
}

fn map(status: &Status, name: &str) -> (u32, u32) {
    let mut maps = status.data_plane.maps.iter();
    let found = maps.find(|map| map.name == name);
    found
        .map(|map| (map.id, map.entries))
        .expect("the map is pinned")
}

fn denied(stage: &Stage) -> u64 {
    let count = stage.verdict(VIP4, OPEN, "denied").expect("counters");
    count.packets
}

/// Every frame that the driver ran a program on is in one cell: none is missing, none is in two.
fn exactly_once(stage: &Stage) {
    let counted = || -> anyhow::Result<u64> {
        let services = stage.counters()?.services;
        let verdicts = services
            .iter()
            .flat_map(|service| service.verdicts.values());
        Ok(verdicts.map(|count| count.packets).sum())
    };
    let ran = || -> anyhow::Result<u64> {
        let output = stage
            .cluster
            .node
            .output(&mut ETHTOOL.args(["-S", "in0"]))?;
        let text = String::from_utf8(output.stdout)?;
        let values = text.lines().filter_map(|line| line.trim().split_once(": "));
        let packets =
            values.filter(|(name, _)| name.ends_with("_xdp_packets") && name.starts_with("rx_"));
        Ok(packets
            .filter_map(|(_, value)| value.parse::<u64>().ok())
            .sum())
    };
    // Packets come in while one of the two is read: at rest they are the same.
    let mut last = (0, 0);
    let same = until("both counts at rest", Duration::from_secs(20), || {
        last = (counted()?, ran()?);
        Ok((last.0 == last.1 && last.0 > 1000).then_some(()))
    });
    assert!(same.is_ok(), "counted {}, run on {}", last.0, last.1);
}

fn knock(stage: &Stage) {
    let client = stage
        .open(VIP4)
        .limits(Duration::from_millis(500), Duration::from_secs(5));
    let answer = stage.cluster.clients[1].tokio(async || client.connect().await.map(drop));
    assert!(
        answer.expect("enter the client").is_err(),
        "the unlisted client got in"
    );
}

#[test]
fn a_changed_program_replaces_the_old_one_in_its_link_and_its_log_reaches_the_daemons() {
    let (mut stage, before) = serving("log");
    let after = restart_under_load(&mut stage, "packet_log = true", "");
    for name in ["ober", "ober_lookup"] {
        assert_ne!(
            program(&before, name),
            program(&after, name),
            "{name} is another"
        );
    }
    assert_eq!(map(&before, "pages"), map(&after, "pages"), "the maps stay");
    assert!(after.data_plane.adopted);
    // A first fragment too short to show its ports, to the VIP.
    let sent = stage.cluster.clients[1].run(send_short_fragment);
    sent.expect("enter the client").expect("send it");
    let daemon = stage.ober.daemon.as_ref().expect("it runs");
    until("a line about it", Duration::from_secs(5), || {
        Ok(daemon.log().contains("malformed packet of").then_some(()))
    })
    .expect("the packet log reaches the daemon's");
    knock(&stage);
    assert!(denied(&stage) > 0);
}

/// Sends the fragment by a raw socket: the kernel fills in the source and the checksum.
fn send_short_fragment() -> std::io::Result<usize> {
    let IpAddr::V4(vip) = VIP4 else {
        unreachable!()
    };
    let header = [0x45, 0, 0, 22, 0, 1, 0x20, 0, 64, 6, 0, 0, 0, 0, 0, 0];
    let packet = [&header[..], &vip.octets(), b"xx"].concat();
    let raw = Some(Protocol::from(libc::IPPROTO_RAW));
    let socket = Socket::new(Domain::IPV4, Type::RAW, raw)?;
    socket.send_to(&packet, &SocketAddr::new(VIP4, 0).into())
}

#[test]
fn maps_of_another_size_are_filled_and_put_in_force_without_a_failed_request() {
    let (mut stage, before) = serving("resize");
    knock(&stage);
    let first = denied(&stage);
    assert!(first > 0);
    let after = restart_under_load(&mut stage, "", "\n[limits]\nipv4_pages = 77\n");
    assert!(!after.data_plane.adopted);
    assert_eq!(map(&after, "pages").1, 77);
    assert_ne!(map(&before, "pages").0, map(&after, "pages").0);
    knock(&stage);
    assert!(denied(&stage) > first, "what was counted stays counted");
    exactly_once(&stage);
    let pins = Path::new(BPFFS).join("ober");
    let instance = stage.cluster.lab.instance();
    let mut left: Vec<_> = std::fs::read_dir(&pins)
        .expect("read the pins")
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with(instance))
        .collect();
    left.sort();
    assert_eq!(left, [instance.to_owned()], "nothing is left beside");
    let explained = stage
        .cli(&[
            "flow",
            "explain",
            "10.77.0.11:40000",
            &format!("{VIP4}:{SECURE}"),
        ])
        .expect("explain a flow");
    assert!(explained.contains("worker"), "{explained}");
}

/// As a package manager does it: writes a file beside, and renames it.
fn upgrade(program: &Path) {
    let beside = program.with_extension("new");
    std::fs::copy(program, &beside).expect("copy it");
    std::fs::rename(beside, program).expect("rename it over");
}

/// A node whose HAProxy is a file of its own.
fn with_own_haproxy(name: &str) -> (Stage, PathBuf, String) {
    let (stage, _) = serving(name);
    let program = stage.cluster.lab.directory().join("haproxy");
    std::fs::copy(ober_programs::HAPROXY.path(), &program).expect("copy HAProxy");
    let text = std::fs::read_to_string(&stage.ober.config).expect("read the configuration");
    let own = format!("[workers]\nhaproxy = \"{}\"\n", program.display());
    let text = text.replace("[workers]\n", &own);
    std::fs::write(&stage.ober.config, &text).expect("write");
    stage.cli(&["reload"]).expect("reload");
    assert_eq!(outdated(&stage), [""; 0]);
    (stage, program, text)
}

/// The files that workers run and that were replaced since.
fn outdated(stage: &Stage) -> Vec<String> {
    let workers = stage.status().expect("status").workers;
    workers
        .into_iter()
        .flat_map(|worker| worker.outdated)
        .collect()
}

#[test]
fn an_upgraded_haproxy_is_reported_until_the_workers_run_it_even_over_a_daemon_restart() {
    let (mut stage, program, text) = with_own_haproxy("upgrade");
    upgrade(&program);
    let names = vec![program.display().to_string(); 2];
    let wait_for_notice = |stage: &Stage| {
        until("a word about it", Duration::from_secs(30), || {
            Ok((outdated(stage) == names).then_some(()))
        })
        .expect("the upgrade is noticed");
    };
    wait_for_notice(&stage);
    let status = stage.cli(&["status"]).expect("status");
    assert!(
        status.contains("runs what was replaced on disk since"),
        "{status}"
    );
    let doctor = stage.try_cli(&["doctor"]).expect("doctor").stdout;
    let doctor = String::from_utf8_lossy(&doctor);
    assert!(
        doctor.contains("runs what was replaced on disk since"),
        "{doctor}"
    );
    stage.kill().expect("kill the daemon");
    stage
        .start()
        .expect("start it again: the workers are adopted");
    wait_for_notice(&stage);
    let other = text.replace("max_connections = 2000", "max_connections = 1900");
    std::fs::write(&stage.ober.config, other).expect("write");
    stage
        .cli(&["reload"])
        .expect("reload: the workers are replaced");
    assert_eq!(outdated(&stage), [""; 0]);
}

#[test]
fn workers_are_replaced_one_at_a_time_by_the_upgraded_haproxy_while_transfers_go_on() {
    const LARGE: Pattern = Pattern::new(5, 24 << 20);
    let (stage, program, _) = with_own_haproxy("renew");
    let host = &stage.cluster.clients[0];
    let client = stage.secure(VIP4);
    let put = host.tokio(async || client.put("/replace/large", LARGE).await);
    put.expect("enter the client").expect("store it");
    upgrade(&program);
    let before = stage.status().expect("status").workers;
    let slow = client.paced(Some(4 << 20));
    let downloads = Plan {
        connections: 2,
        requests: 2,
        ..Plan::get(slow, "/replace/large", LARGE)
    };
    let downloads = downloads.start(host).expect("start the downloads");
    let load = Plan::get(stage.secure(VIP4), PATH, CONTENT).start(host);
    let load = load.expect("start the load");
    let some = until("requests", Duration::from_secs(20), || {
        Ok((load.done() > 20).then_some(()))
    });
    some.expect("it serves");
    let mut restart = stage.spawn_cli(&["restart", "--workers"]).expect("restart");
    let mut most = 0;
    let end = loop {
        let workers = stage.status().expect("status").workers;
        let busy = workers
            .iter()
            .filter(|it| it.state == WorkerStage::Replacing);
        most = most.max(busy.count());
        assert!(workers.iter().all(|it| it.in_ring), "{workers:?}");
        if let Some(end) = restart.ended().expect("ask how it goes") {
            break end;
        }
    };
    assert!(end.success(), "{}", restart.tail());
    assert_eq!(restart.log(), "worker 0: replaced\nworker 1: replaced\n");
    assert!(most <= 1, "{most} at once");
    assert_eq!(
        downloads.done() + downloads.failed(),
        0,
        "they were to last longer"
    );
    let after = stage.status().expect("status").workers;
    for (old, new) in before.iter().zip(&after) {
        assert_ne!(old.pid, new.pid);
        assert_eq!(new.outdated.len(), 0, "{new:?}");
        assert_eq!(new.restarts, 0, "it was asked for");
    }
    let downloads = downloads.wait().expect("finish");
    let tally = downloads.none_failed().expect("the downloads are whole");
    assert_eq!(tally.ok, 2);
    load.finish()
        .expect("finish")
        .none_failed()
        .expect("requests");

    // An upgrade that does not start costs nothing.
    std::fs::remove_file(&program).expect("remove it");
    std::fs::copy(ober_programs::SLEEP.path(), &program).expect("copy what is no HAProxy");
    let refused = stage.try_cli(&["restart", "--workers"]).expect("restart");
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8_lossy(&refused.stdout).into_owned();
    assert!(said.starts_with("worker 0: failed: it ended"), "{said}");
    assert!(said.ends_with("worker 1: not tried\n"), "{said}");
    let still = stage.status().expect("status").workers;
    for (old, new) in after.iter().zip(&still) {
        assert_eq!(old.pid, new.pid);
    }
}

#[test]
fn a_reload_opens_and_closes_ports_and_a_bad_configuration_changes_nothing() {
    let (stage, before) = serving("ports");
    let text = std::fs::read_to_string(&stage.ober.config).expect("read the configuration");
    let host = &stage.cluster.clients[1];
    let load = Plan::get(stage.secure(VIP4), PATH, CONTENT)
        .start(host)
        .expect("TLS load");
    let listener = "[backends.rgw]\n";
    let added = format!("[[services.listeners]]\nport = 8080\naccess = \"open\"\n\n{listener}");
    let other = Client::plain(SocketAddr::new(VIP4, 8080))
        .limits(Duration::from_millis(500), Duration::from_secs(5));
    let get = || host.tokio(async || other.get(PATH, CONTENT).await);

    std::fs::write(&stage.ober.config, text.replace(listener, &added)).expect("write");
    stage.cli(&["reload"]).expect("reload");
    assert_eq!(
        get().expect("enter the client"),
        Ok(()),
        "the new port serves"
    );

    let bad = text.replace("cpus = ", "cpsu = ");
    std::fs::write(&stage.ober.config, bad).expect("write");
    let refused = stage.try_cli(&["reload"]).expect("reload");
    assert_eq!(refused.status.code(), Some(2));
    let daemon = stage.ober.daemon.as_ref().expect("it runs");
    let refused = nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(daemon.pid().cast_signed()),
        Signal::SIGHUP,
    );
    assert_eq!(refused, Ok(()));
    until("a word about the bad file", Duration::from_secs(5), || {
        Ok(daemon.log().contains("cpsu").then_some(()))
    })
    .expect("the daemon says why");
    assert_eq!(
        get().expect("enter the client"),
        Ok(()),
        "it serves as before"
    );

    std::fs::write(&stage.ober.config, &text).expect("write");
    stage.cli(&["reload"]).expect("reload");
    assert!(
        get().expect("enter the client").is_err(),
        "the port is closed"
    );
    let after = stage.status().expect("status");
    assert_eq!(
        before.services, after.services,
        "services keep their places"
    );
    let report = load.finish().expect("finish");
    report.none_failed().expect("requests");
}

#[test]
fn a_reload_that_gives_a_service_another_list_never_opens_it() {
    let (stage, _) = serving("relist");
    let text = std::fs::read_to_string(&stage.ober.config).expect("read the configuration");
    let write = |list: &str, connections: u32| {
        let text = text
            .replace(
                "access = \"frontend-http\"",
                &format!("access = \"{list}\""),
            )
            .replace(
                "max_connections = 2000",
                &format!("max_connections = {connections}"),
            );
        let table = format!("\n[lists.{list}]\nsources = [\"10.77.0.11\"]\n");
        std::fs::write(&stage.ober.config, text + &table).expect("write the configuration");
    };
    write("alpha", 2000);
    stage.cli(&["reload"]).expect("reload");
    // Another limit of connections makes the reload replace the workers, which takes a while.
    write("beta", 1900);
    let mut reload = stage.spawn_cli(&["reload"]).expect("reload");
    let stranger = stage
        .open(VIP4)
        .limits(Duration::from_millis(30), Duration::from_secs(5));
    let mut tries = 0;
    let end = loop {
        let answer = stage.cluster.clients[1].tokio(async || stranger.connect().await.map(drop));
        assert!(
            answer.expect("enter the client").is_err(),
            "the stranger got in"
        );
        tries += 1;
        if let Some(end) = reload.ended().expect("ask how it goes") {
            break end;
        }
    };
    assert!(
        end.success() && tries > 3,
        "{end}, {tries} tries: {}",
        reload.tail()
    );
    let listed = stage.open(VIP4);
    let answer = stage.cluster.clients[0].tokio(async || listed.get(PATH, CONTENT).await);
    assert_eq!(
        answer.expect("enter the client"),
        Ok(()),
        "the listed client is served"
    );
}
