//! What is tried on the machine, thinnest first. A check gets a machine of its own, out of a snapshot; it returns what it
//! counted and measured.

mod backend;
mod beside;
mod bootstrapped;
mod broken;
mod faults;
mod firewalls;
mod forms;
mod install;
mod life;
mod readme;
mod reboot;
mod remove;
mod restart;
mod units;
mod upgraded;

use super::node::Node;
use super::packages::Packages;
use anyhow::{Result, ensure};

/// The machine that a check begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begin {
    /// Debian, without a package of ours.
    Bare,
    /// With the package installed and a VIP served.
    Serving,
}

pub(super) struct Check {
    pub(super) name: &'static str,
    /// The law, for `--list`.
    pub(super) law: &'static str,
    pub(super) begin: Begin,
    /// Also one of the quick ones.
    pub(super) quick: bool,
    pub(super) run: fn(&mut Node, &Packages) -> Result<String>,
}

/// A text has these words.
fn says(text: &str, words: &str) -> Result<()> {
    ensure!(text.contains(words), "{words:?} is not in {text:?}");
    Ok(())
}

#[cfg(test)]
pub(super) use {beside::options, readme::commands};

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "install",
        law: "the package installs without a failure, waits for a configuration, and then serves",
        begin: Begin::Bare,
        quick: true,
        run: install::install,
    },
    Check {
        name: "units",
        law: "systemd finds nothing wrong with the units, and their exposure is 4.0 at most",
        begin: Begin::Serving,
        quick: false,
        run: units::units,
    },
    Check {
        name: "restart",
        law: "a restart of the daemon cuts no download and fails no request",
        begin: Begin::Serving,
        quick: true,
        run: restart::restart,
    },
    Check {
        name: "kill",
        law: "a daemon that is killed is started again, and no client notices",
        begin: Begin::Serving,
        quick: false,
        run: restart::kill,
    },
    Check {
        name: "upgrade",
        law: "an upgrade of the package cuts no download and fails no request",
        begin: Begin::Serving,
        quick: false,
        run: restart::upgrade,
    },
    Check {
        name: "broken",
        law: "a daemon that starts with a broken file serves as before and says so; the mended file comes into force",
        begin: Begin::Serving,
        quick: false,
        run: broken::broken,
    },
    Check {
        name: "ober-start",
        law: "`ober start` refuses a broken file, waits until the VIPs are announced, and says which are not",
        begin: Begin::Serving,
        quick: false,
        run: life::start,
    },
    Check {
        name: "ober-stop",
        law: "`ober stop` lets transfers end, ends on time, and leaves nothing that serves",
        begin: Begin::Serving,
        quick: false,
        run: life::stop,
    },
    Check {
        name: "ober-restart",
        law: "`ober restart` refuses a broken file and costs no client a request",
        begin: Begin::Serving,
        quick: false,
        run: life::restart,
    },
    Check {
        name: "ober-logs",
        law: "`ober logs` finds the daemon's lines by part and VIP",
        begin: Begin::Serving,
        quick: false,
        run: life::logs,
    },
    Check {
        name: "remove",
        law: "a removed package leaves no process, program, pin or address, and keeps the configuration",
        begin: Begin::Serving,
        quick: true,
        run: remove::remove,
    },
    Check {
        name: "purge",
        law: "a purged package leaves no file of ours",
        begin: Begin::Serving,
        quick: false,
        run: remove::purge,
    },
    Check {
        name: "chain",
        law: "a chain of nftables that drops a VIP is found, and gets rules when it is named to bootstrap",
        begin: Begin::Serving,
        quick: false,
        run: firewalls::chain,
    },
    Check {
        name: "firewalld",
        law: "bootstrap has firewalld let the VIPs' packets pass, ssh stays, and an undo leaves it as before",
        begin: Begin::Serving,
        quick: false,
        run: firewalls::firewalld,
    },
    Check {
        name: "ufw",
        law: "bootstrap has ufw let the VIPs' packets pass, ssh stays, and an undo leaves it as before",
        begin: Begin::Serving,
        quick: false,
        run: firewalls::ufw,
    },
    Check {
        name: "tarball",
        law: "the archive's install.sh installs, upgrades under load without a failure, and removes every file of ours",
        begin: Begin::Bare,
        quick: false,
        run: forms::tarball,
    },
    Check {
        name: "rpm",
        law: "the rpm installs, is upgraded under load without a failure, and is removed",
        begin: Begin::Bare,
        quick: false,
        run: forms::rpm,
    },
    Check {
        name: "uninstall",
        law: "one command takes package, bootstrap's changes, processes and programs off, and leaves HAProxy",
        begin: Begin::Serving,
        quick: false,
        run: remove::uninstall,
    },
    Check {
        name: "upgraded",
        law: "`upgrade` cuts no download and fails no request, and puts the old package back where the new one does not serve",
        begin: Begin::Serving,
        quick: false,
        run: upgraded::upgraded,
    },
    Check {
        name: "backend",
        law: "a storage server takes packets for VIPs out of tunnels and answers for none, also after a restart; an undo restores",
        begin: Begin::Bare,
        quick: false,
        run: backend::backend,
    },
    Check {
        name: "reboot",
        law: "a machine that restarts serves again by itself",
        begin: Begin::Serving,
        quick: false,
        run: reboot::reboot,
    },
    Check {
        name: "frozen",
        law: "a machine whose kernel stands still is restarted by the watchdog and serves again",
        begin: Begin::Serving,
        quick: false,
        run: reboot::frozen,
    },
    Check {
        name: "bootstrap",
        law: "a dry run changes nothing, a second run has nothing to do, and an undo leaves files and settings as before",
        begin: Begin::Serving,
        quick: false,
        run: bootstrapped::bootstrapped,
    },
    Check {
        name: "reexec",
        law: "systemd that executes itself anew ends no process of ours and fails no request",
        begin: Begin::Serving,
        quick: false,
        run: faults::reexec,
    },
    Check {
        name: "late",
        law: "a daemon that starts without its interface waits for it, says so, and serves when it comes",
        begin: Begin::Serving,
        quick: false,
        run: faults::late,
    },
    Check {
        name: "oom",
        law: "a worker that the kernel kills for its memory is replaced, and the daemon goes on",
        begin: Begin::Serving,
        quick: false,
        run: faults::oom,
    },
    Check {
        name: "full",
        law: "a full disk loses no list and stops no service, and is said",
        begin: Begin::Serving,
        quick: false,
        run: faults::full,
    },
    Check {
        name: "haproxy",
        law: "a HAProxy that was replaced on disk is shown, and `restart --workers` puts it in service without a failure",
        begin: Begin::Serving,
        quick: false,
        run: faults::haproxy,
    },
    Check {
        name: "readme",
        law: "the four commands of README, as they stand there, lead from a bare machine to a VIP that is served",
        begin: Begin::Bare,
        quick: false,
        run: readme::readme,
    },
    Check {
        name: "nm",
        law: "NetworkManager leaves the daemon's interface and its VIPs alone, and no client notices it",
        begin: Begin::Serving,
        quick: false,
        run: beside::network_manager,
    },
    Check {
        name: "podman",
        law: "the container image serves with the rights that its unit gives it, and ends when it is asked to",
        begin: Begin::Bare,
        quick: false,
        run: beside::container,
    },
];
