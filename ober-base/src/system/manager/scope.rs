//! Control groups of their own for processes that outlive the daemon. What is in the daemon's control group ends when the
//! service is stopped or restarted.
//!
//! A process is started as everywhere, and systemd is asked to adopt it then: started through systemd, it would not start while
//! D-Bus is dead. So a request that fails costs no more than what a restart of the service would end.

use std::{path::Path, time::Duration};

use nix::sys::signal::Signal;
use tokio::time::{sleep, timeout};

use crate::system::{
    child::{Child, output, process::Pid},
    file,
};

/// A part of systemd's package.
const BUSCTL: &str = "/usr/bin/busctl";
/// Where the scopes are: the unit file of this name limits and counts all of them together.
const SLICE: &str = "ober-workers.slice";
/// How long a process may finish its connections when the machine shuts down. Its VIPs are withdrawn then, so clients of a
/// node without another one to go to could not come back anyway.
const FINISH: Duration = Duration::from_secs(10);
/// How long the request and the move may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks at the control group.
const PACE: Duration = Duration::from_millis(20);
/// Bytes of an answer; it is one object path.
const MOST: usize = 4096;

/// The unit of systemd that this process is the main process of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    name: String,
    /// Its control group.
    group: String,
}

/// Makes scopes; the default makes none.
#[derive(Clone, Debug, Default)]
pub struct Scopes(Option<Unit>);

/// Where the processes of one kind go: each into a scope of its own.
#[derive(Clone, Debug, Default)]
pub struct Place {
    scopes: Scopes,
    /// The process's number follows it in the name of the scope.
    name: String,
    /// For an administrator to read.
    what: String,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("run {BUSCTL}: {0}")]
    Run(#[from] output::Error),
    #[error("{BUSCTL} says: {0}")]
    Refused(String),
    #[error("systemd did not move it within {}s", PATIENCE.as_secs())]
    Late,
}

impl Unit {
    /// The unit of a process, from its `/proc/PID/cgroup`; `None`: it is in no service.
    pub(super) fn of(cgroup: &str) -> Option<Self> {
        let group = group(cgroup)?;
        let name = group.rsplit('/').next()?;
        let service = name.ends_with(".service");
        service.then(|| Self {
            name: name.to_owned(),
            group: group.to_owned(),
        })
    }
}

/// The control group by which systemd knows a process; the format is that of `cgroups(7)`.
fn group(cgroup: &str) -> Option<&str> {
    let by = |begin: &str| cgroup.lines().find_map(|line| line.strip_prefix(begin));
    let legacy = || {
        cgroup
            .lines()
            .find_map(|line| Some(line.split_once(":name=systemd:")?.1))
    };
    // Where both are mounted, systemd counts by the first, and the second may be empty.
    legacy().or_else(|| by("0::"))
}

impl Scopes {
    pub(super) fn new(unit: Option<Unit>) -> Self {
        Self(unit)
    }

    /// Does the process end when the service of the daemon is stopped or restarted?
    pub fn ends_with_service(&self, pid: i32) -> bool {
        let Some(unit) = &self.0 else {
            return false;
        };
        // A process that has ended is in no group.
        let text = file::kernel_text(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        group(&text) == Some(unit.group.as_str())
    }

    pub fn place(&self, name: String, what: String) -> Place {
        let scopes = self.clone();
        Place { scopes, name, what }
    }
}

impl Place {
    /// Moves a process out of the control group of the daemon's service, if it is in that.
    pub async fn move_out(&self, pid: Pid) -> Result<(), Error> {
        let stays = || self.scopes.ends_with_service(pid.0);
        let Some(unit) = self.scopes.0.as_ref().filter(|_| stays()) else {
            return Ok(());
        };
        let words = request(unit, pid, &self.name, &self.what);
        let moved = async {
            let ended = Child::tool(Path::new(BUSCTL)).arguments(words);
            let ended = ended.output(MOST).await?;
            if !ended.exit.success() {
                let said = String::from_utf8_lossy(&ended.errors);
                return Err(Error::Refused(said.trim().to_owned()));
            }
            // The answer comes before systemd has moved the process.
            while stays() {
                sleep(PACE).await;
            }
            Ok(())
        };
        timeout(PATIENCE, moved).await.unwrap_or(Err(Error::Late))
    }
}

/// The arguments that have systemd put a process into a scope.
fn request(unit: &Unit, pid: Pid, name: &str, what: &str) -> Vec<String> {
    let scope = format!("{name}-{}.scope", pid.0);
    let number = pid.0.to_string();
    // HAProxy finishes its connections at this signal.
    let signal = (Signal::SIGUSR1 as i32).to_string();
    let finish = FINISH.as_micros().to_string();
    // A name, the signature of its value, the value; an array begins with its length.
    let properties: [&[&str]; 10] = [
        &["Description", "s", what],
        &["Slice", "s", SLICE],
        &["PIDs", "au", "1", &number],
        // At a shutdown units stop in the reverse order: the daemon withdraws, workers finish, the network goes.
        &["Before", "as", "1", &unit.name],
        &["After", "as", "1", "network.target"],
        &["KillSignal", "i", &signal],
        &["TimeoutStopUSec", "t", &finish],
        // A scope whose process was killed leaves nothing behind.
        &["CollectMode", "s", "inactive-or-failed"],
        &["MemoryAccounting", "b", "true"],
        &["CPUAccounting", "b", "true"],
    ];
    let call = [
        "--system",
        &format!("--timeout={}s", PATIENCE.as_secs()),
        "call",
        "org.freedesktop.systemd1",
        "/org/freedesktop/systemd1",
        "org.freedesktop.systemd1.Manager",
        "StartTransientUnit",
        "ssa(sv)a(sa(sv))",
        &scope,
        "fail",
        &properties.len().to_string(),
    ]
    .map(str::to_owned);
    let properties = properties.iter().copied().flatten();
    let properties = properties.map(|word| (*word).to_owned());
    // No other units are started with it.
    call.into_iter()
        .chain(properties)
        .chain(["0".to_owned()])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_is_that_of_the_control_group_in_each_layout_of_the_hierarchies() {
        let unit = |text: &str| Unit::of(text).map(|unit| unit.name);
        let unified = "0::/system.slice/ober.service\n";
        let legacy =
            "5:cpu:/x.service\n1:name=systemd:/system.slice/system-ober.slice/ober@two.service\n";
        let hybrid = "1:name=systemd:/system.slice/ober.service\n0::/\n";
        assert_eq!(unit(unified), Some("ober.service".into()));
        assert_eq!(unit(legacy), Some("ober@two.service".into()));
        assert_eq!(unit(hybrid), Some("ober.service".into()));
        for none in [
            "0::/user.slice/user-0.slice/session-1.scope\n",
            "0::/\n",
            "4:memory:/system.slice/ober.service\n",
            "",
        ] {
            assert_eq!(unit(none), None, "{none}");
        }
    }

    #[test]
    fn a_process_ends_with_the_service_only_where_both_have_one_control_group() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let text = file::kernel_text("/proc/self/cgroup").unwrap();
        let unit = |group: &str| Unit {
            name: "ober.service".into(),
            group: group.into(),
        };
        let same = Scopes::new(Some(unit(group(&text).unwrap())));
        assert!(same.ends_with_service(pid));
        assert!(!same.ends_with_service(i32::MAX), "there is none");
        let other = Scopes::new(Some(unit("/system.slice/ober.service")));
        assert!(!other.ends_with_service(pid));
        assert!(!Scopes::default().ends_with_service(pid));
    }

    #[test]
    fn a_scope_is_asked_for_with_its_order_its_signal_and_its_time() {
        let unit = Unit::of("0::/system.slice/ober@two.service").unwrap();
        let words = request(&unit, Pid(47), "ober-two-worker-0", "Worker 0");
        let expected = "--system --timeout=10s call org.freedesktop.systemd1 /org/freedesktop/systemd1 \
            org.freedesktop.systemd1.Manager StartTransientUnit ssa(sv)a(sa(sv)) ober-two-worker-0-47.scope fail 10 \
            Description s Worker 0 Slice s ober-workers.slice PIDs au 1 47 Before as 1 ober@two.service \
            After as 1 network.target KillSignal i 10 TimeoutStopUSec t 10000000 CollectMode s inactive-or-failed \
            MemoryAccounting b true CPUAccounting b true 0";
        assert_eq!(words.join(" "), expected);
        assert!(words.contains(&"Worker 0".to_owned()), "it is one word");
    }

    #[tokio::test]
    async fn a_process_outside_of_the_service_is_left_where_it_is() {
        let unit = Unit::of("0::/system.slice/ober.service");
        let pid = i32::try_from(std::process::id()).unwrap();
        for scopes in [Scopes::new(unit), Scopes::default()] {
            let place = scopes.place("name".into(), "what".into());
            let done = place.move_out(Pid(pid)).await;
            assert!(done.is_ok(), "{done:?}");
        }
    }
}
