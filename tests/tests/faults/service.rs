//! The daemon as a service: what its manager hears, when it would end the daemon, and what it keeps for the next one. A socket
//! of the test's own stands in place of systemd's; systemd itself is met in `cargo xtask machine`.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    os::{fd::AsFd, linux::fs::MetadataExt as _},
    time::Duration,
};

use nix::{
    sys::{
        signal::{Signal, kill},
        stat::fstat,
        wait::{WaitPidFlag, waitpid},
    },
    unistd::Pid,
};
use ober_tests::{
    lab::{VIP4, until},
    manager::Manager,
    nodes::one::{SECURE, Settings, Stage},
};

use crate::{CONTENT, PATH, PATIENCE, store};

/// A node whose daemon has a manager, with these variables besides.
fn stage(name: &str, variables: &[(&str, &str)]) -> (Stage, Manager) {
    let mut stage = Stage::new(name, &Settings::default()).expect("build the stage");
    let manager = Manager::new(stage.cluster.lab.directory()).expect("listen");
    stage.ober.environment.push(manager.variable());
    let variables = variables.iter();
    let variables = variables.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    stage.ober.environment.extend(variables);
    (stage, manager)
}

fn place(heard: &[String], begin: &str) -> usize {
    let found = heard.iter().position(|text| text.starts_with(begin));
    found.unwrap_or_else(|| unreachable!("{begin:?} is not in {heard:?}"))
}

#[test]
fn the_service_manager_hears_of_a_start_a_change_and_a_stop_in_their_order() {
    let (mut stage, mut manager) = stage("reports", &[]);
    stage.start().expect("start");
    manager.until("READY=1", PATIENCE).expect("it is ready");
    let status = "STATUS=2 of 2 VIPs announced";
    manager.until(status, PATIENCE).expect("both gates open");
    let heard = std::mem::take(&mut manager.heard);
    let step = place(&heard, "STATUS=starting: step 1 of ");
    assert!(heard[step].contains("\nEXTEND_TIMEOUT_USEC="), "{heard:?}");
    assert!(step < place(&heard, "READY=1"), "{heard:?}");
    assert!(
        place(&heard, "READY=1") < place(&heard, status),
        "{heard:?}"
    );
    assert!(
        !heard.iter().any(|it| it.starts_with("WATCHDOG=1")),
        "it has none: {heard:?}"
    );
    for pid in stage.ober.workers(&stage.cluster.node).expect("workers") {
        let environment = fs::read_to_string(format!("/proc/{pid}/environ")).expect("environ");
        let mut variables = environment.split_terminator('\0');
        assert!(
            variables.all(|it| it.starts_with("OBER_FD_")),
            "{environment}"
        );
    }

    let text = fs::read_to_string(&stage.ober.config).expect("read");
    let other = text.replace("max_connections = 2000", "max_connections = 1900");
    fs::write(&stage.ober.config, other).expect("write");
    stage.cli(&["reload"]).expect("reload");
    manager
        .until("READY=1", PATIENCE)
        .expect("the change is over");
    let heard = std::mem::take(&mut manager.heard);
    let begun = place(&heard, "RELOADING=1\nMONOTONIC_USEC=");
    assert!(begun < place(&heard, "READY=1"), "{heard:?}");
    // A change that is refused before anything is done is none.
    fs::write(&stage.ober.config, text.replace("sample = 1", "sampel = 1")).expect("write");
    let refused = stage.try_cli(&["reload"]).expect("run");
    assert_eq!(refused.status.code(), Some(2));
    fs::write(&stage.ober.config, text).expect("write");
    stage.cli(&["disable", &VIP4.to_string()]).expect("disable");
    let status = format!("STATUS=1 of 2 VIPs announced; {VIP4}: ");
    manager.until(&status, PATIENCE).expect("the reason");
    let heard = std::mem::take(&mut manager.heard);
    assert!(
        !heard.iter().any(|it| it.starts_with("RELOADING=1")),
        "{heard:?}"
    );

    stage.ober.stop().expect("stop");
    manager.until("STOPPING=1", PATIENCE).expect("it stops");
}

/// The threads of a process that have this name.
fn threads(pid: u32, name: &str) -> Vec<Pid> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("its threads");
    let number = |entry: fs::DirEntry| {
        let comm = fs::read_to_string(entry.path().join("comm")).ok()?;
        let number = entry.file_name().to_str()?.parse().ok()?;
        (comm.trim() == name).then(|| Pid::from_raw(number))
    };
    tasks.flatten().filter_map(number).collect()
}

fn trace(request: libc::c_uint, thread: Pid) {
    let null = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: none of the requests that are used here reads or writes memory.
    let done = unsafe { libc::ptrace(request, thread.as_raw(), null, null) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
}

/// Stops threads of a process, while `work` is done: they are stuck.
fn while_stuck<T>(threads: &[Pid], work: impl FnOnce() -> T) -> T {
    for &thread in threads {
        trace(libc::PTRACE_SEIZE, thread);
        trace(libc::PTRACE_INTERRUPT, thread);
        waitpid(thread, Some(WaitPidFlag::__WALL)).expect("it stops");
    }
    let done = work();
    for &thread in threads {
        trace(libc::PTRACE_DETACH, thread);
    }
    done
}

/// One thread of the runtime that is stuck in a task is shown by a test of `daemon/watchdog.rs`: from outside a thread can only
/// be stopped where it is, and one that waits for work is as good there as anywhere.
#[test]
fn a_daemon_whose_threads_are_stuck_does_not_feed_the_watchdog() {
    const LIMIT: Duration = Duration::from_secs(2);
    let micros = LIMIT.as_micros().to_string();
    let (mut stage, mut manager) = stage("watchdog", &[("WATCHDOG_USEC", &micros)]);
    stage.start().expect("start");
    manager.until("READY=1", PATIENCE).expect("it is ready");
    let pid = stage.ober.daemon.as_ref().expect("it runs").pid();
    for (name, least) in [("realtime", 1), ("tokio-rt-worker", 2)] {
        let fed = manager.count("WATCHDOG=1", LIMIT * 2).expect("listen");
        assert!(fed >= 2, "{name}: fed {fed} times before");
        let stuck = threads(pid, name);
        assert!(stuck.len() >= least, "{stuck:?}");
        let fed = while_stuck(&stuck, || {
            // The thread that feeds may be before its first look at them.
            std::thread::sleep(LIMIT * 2);
            manager.count("WATCHDOG=1", LIMIT * 2).expect("listen")
        });
        assert_eq!(fed, 0, "{name}: {stuck:?}");
    }
    let fed = manager.count("WATCHDOG=1", LIMIT * 2).expect("listen");
    assert!(fed >= 1, "all threads go on");
    let log = stage.ober.daemon.as_ref().expect("it runs").log();
    assert!(log.contains("stuck; the service manager will end"), "{log}");
}

fn inodes<F: AsFd>(sockets: &BTreeMap<String, F>) -> BTreeMap<String, u64> {
    let inode = |fd: &F| fstat(fd).expect("ask for the inode").st_ino;
    let named = sockets.iter().map(|(name, fd)| (name.clone(), inode(fd)));
    named.collect()
}

/// The inodes of the listening sockets that the workers hold.
fn held(stage: &Stage) -> Vec<u64> {
    let workers = stage.ober.workers(&stage.cluster.node).expect("workers");
    let mut found = Vec::new();
    for pid in workers {
        let environment = fs::read_to_string(format!("/proc/{pid}/environ")).expect("environ");
        for variable in environment.split_terminator('\0') {
            let (_, number) = variable.split_once('=').expect("a variable");
            let fd = format!("/proc/{pid}/fd/{number}");
            found.push(fs::metadata(fd).expect("its socket").st_ino());
        }
    }
    found.sort_unstable();
    found
}

#[test]
fn sockets_and_the_connections_that_wait_in_them_outlive_the_daemon_and_all_workers() {
    let (mut stage, mut manager) = stage("kept", &[]);
    stage.start().expect("start");
    store(&stage);
    manager.until("READY=1", PATIENCE).expect("it is ready");
    let before = inodes(&manager.kept);
    let names: Vec<&str> = before.keys().map(String::as_str).collect();
    let expected = [
        "s3.443.v4.0",
        "s3.443.v4.1",
        "s3.443.v6.0",
        "s3.443.v6.1",
        "s3.80.v4.0",
        "s3.80.v4.1",
        "s3.80.v6.0",
        "s3.80.v6.1",
    ];
    assert_eq!(names, expected);
    let mut sockets: Vec<u64> = before.values().copied().collect();
    sockets.sort_unstable();
    assert_eq!(held(&stage), sockets);

    let workers = stage.ober.workers(&stage.cluster.node).expect("workers");
    stage.kill().expect("kill the daemon");
    for pid in workers {
        kill(Pid::from_raw(pid), Signal::SIGKILL).expect("kill a worker");
        until("the end of a worker", PATIENCE, || {
            Ok((!fs::exists(format!("/proc/{pid}"))?).then_some(()))
        })
        .expect("it ends");
    }
    // It is accepted by no process, and waits.
    let client = stage.secure(VIP4);
    let waiting = std::thread::scope(|scope| {
        let host = &stage.cluster.clients[0];
        let asked = scope.spawn(|| {
            let client = client.limits(PATIENCE, PATIENCE);
            host.tokio(async || client.get(PATH, CONTENT).await)
        });
        let address = SocketAddr::new(VIP4, SECURE);
        let waits = until("a connection without a server", PATIENCE, || {
            let there = host.run(|| connected(address))??;
            Ok(there.then_some(()))
        });
        waits.expect("the kernel takes it");
        manager.listen().expect("listen");
        manager.heard.clear();
        let command = stage.ober.ober(&["run"]).expect("ober-user");
        let mut command = manager.start(&command).expect("the shell");
        let status = stage.ober.start_by(&stage.cluster.node, &mut command);
        status.expect("start again");
        asked.join().expect("the client")
    });
    waiting.expect("enter the client").expect("it is answered");
    assert_eq!(held(&stage), sockets, "the same sockets");

    manager.until("READY=1", PATIENCE).expect("it is ready");
    manager.heard.clear();
    let text = fs::read_to_string(&stage.ober.config).expect("read");
    let listener = "[[services.listeners]]\nport = 80\naccess = \"frontend-http\"\n";
    assert!(text.contains(listener), "{text}");
    fs::write(&stage.ober.config, text.replace(listener, "")).expect("write");
    stage.cli(&["reload"]).expect("reload");
    manager
        .until("READY=1", PATIENCE)
        .expect("the change is over");
    let removed = manager.heard.iter();
    let removed = removed.filter(|text| text.starts_with("FDSTOREREMOVE=1\nFDNAME=s3.80."));
    assert_eq!(removed.count(), 4, "{:?}", manager.heard);
    stage.ober.stop().expect("stop");
}

/// Has a connection of this network namespace to that address been made?
fn connected(address: SocketAddr) -> anyhow::Result<bool> {
    let SocketAddr::V4(address) = address else {
        anyhow::bail!("an IPv4 address is wanted");
    };
    let ip = u32::from_ne_bytes(address.ip().octets());
    let remote = format!(" {ip:08X}:{:04X} 01 ", address.port());
    let table = fs::read_to_string("/proc/thread-self/net/tcp")?;
    Ok(table.contains(&remote))
}
