//! A daemon without a free descriptor cannot probe, which proves nothing about what it would have probed.

use std::{fs, time::Duration};

use nix::libc;
use ober_tests::{
    lab::{Process, VIP4, until},
    nodes::one::Settings,
};
use ober_user::announce::gate::State;

use crate::{SOON, change, get, log, serving};

/// Long enough for every gate to ask many times, and for `fall` of them.
const WHILE: Duration = Duration::from_secs(8);

/// Sets the soft limit on open files of another process. Returns what it was.
fn limit(process: u32, files: u64) -> u64 {
    let pid = libc::pid_t::try_from(process).expect("a process");
    let prlimit = |new: Option<libc::rlimit>| {
        let mut old = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        let new = new.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        // SAFETY: both are null or such structures, which outlive the call.
        let answer = unsafe { libc::prlimit(pid, libc::RLIMIT_NOFILE, new, &raw mut old) };
        assert_eq!(answer, 0, "{}", std::io::Error::last_os_error());
        old
    };
    let old = prlimit(None);
    prlimit(Some(libc::rlimit {
        rlim_cur: files,
        ..old
    }));
    old.rlim_cur
}

#[test]
fn a_daemon_out_of_open_files_withdraws_no_vip_and_logs_what_it_could_not_ask() {
    let stage = serving("shortage", &Settings::default());
    change(
        &stage,
        "[backends.rgw.check]\n",
        "[gate]\nrise = 1\nfall = 1\ninterval = \"500ms\"\nfast_interval = \"200ms\"\ndisable_file = \"disabled\"\n\n\
         [backends.rgw.check]\ninterval = \"500ms\"\n",
    );
    stage.cli(&["reload"]).expect("reload");
    let up = || -> anyhow::Result<Option<()>> {
        let gates = stage.status()?.gate;
        let all = !gates.is_empty() && gates.iter().all(|gate| gate.state == State::Up);
        Ok(all.then_some(()))
    };
    until("open gates", SOON, up).expect("they open");
    let before = stage.status().expect("status");
    let daemon = stage
        .ober
        .daemon
        .as_ref()
        .map(Process::pid)
        .expect("it runs");
    let open = fs::read_dir(format!("/proc/{daemon}/fd"))
        .expect("look")
        .count();
    // Below the number of open files: none can be opened, whatever is closed meanwhile.
    let allowed = limit(daemon, u64::try_from(open / 2).expect("a number"));
    std::thread::sleep(WHILE);
    limit(daemon, allowed);
    let client = stage.secure(VIP4);
    until("an answer", SOON, || {
        Ok(get(&stage, &client).is_ok().then_some(()))
    })
    .expect("it serves");
    let after = stage.status().expect("status");
    for (before, after) in before.gate.iter().zip(&after.gate) {
        assert_eq!(after.state, State::Up, "{after:?}");
        assert_eq!(before.transitions, after.transitions, "{:?}", after.history);
    }
    let servers = after.backends.values().flat_map(|backend| &backend.servers);
    assert!(
        servers.clone().count() > 0 && servers.clone().all(|server| server.state.name() == "up")
    );
    let said = log(&stage);
    assert!(
        said.contains("could not be asked") && said.contains("Too many open files"),
        "{said}"
    );
    assert!(!said.contains("server is down"), "{said}");
}
