//! FRR: zebra (which puts routes into the host's kernel), bgpd and bfdd, spoken to through vtysh.

use std::{
    fs,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, bail};
use nix::unistd::{Group, User, chown};
use ober_programs::{BFDD, BGPD, Program, VTYSH, ZEBRA};

use crate::lab::{Host, Lab, Process, until};

/// FRR refuses to run under an account that is not in the group of its terminals.
const ACCOUNT: &str = "frr";
/// Generous: a daemon is there in a tenth of a second when the machine is idle.
const PATIENCE: Duration = Duration::from_secs(20);

/// A program of FRR's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Daemon {
    Zebra,
    Bgpd,
    Bfdd,
}

impl Daemon {
    /// In the order they are started: the others connect to zebra.
    const ALL: [Self; 3] = [Self::Zebra, Self::Bgpd, Self::Bfdd];

    const fn program(self) -> &'static Program {
        match self {
            Self::Zebra => &ZEBRA,
            Self::Bgpd => &BGPD,
            Self::Bfdd => &BFDD,
        }
    }

    fn name(self) -> &'static str {
        self.program().name()
    }
}

/// One router. Every daemon is killed when it is dropped.
#[derive(Debug)]
pub struct Frr {
    directory: PathBuf,
    daemons: Vec<(Daemon, Process)>,
}

impl Frr {
    /// Starts zebra, bgpd and bfdd in `host` and gives them `config`, written as in `frr.conf`. At most one a host.
    pub fn start(lab: &Lab, host: &Host, config: &str) -> Result<Self> {
        let directory = lab.directory().join(format!("frr-{}", host.name()));
        fs::create_dir(&directory)
            .with_context(|| format!("create FRR's directory {}", directory.display()))?;
        fs::write(directory.join("vtysh.conf"), "")?;
        let user = User::from_name(ACCOUNT)?.context("there is no user frr; install frr")?;
        let group = Group::from_name(ACCOUNT)?.context("there is no group frr; install frr")?;
        chown(&directory, Some(user.uid), Some(group.gid))?;
        let mut frr = Self {
            directory,
            daemons: Vec::new(),
        };
        // Zebra must run before the others look for it: they look again only after ten seconds.
        for daemon in Daemon::ALL {
            frr.launch(host, daemon)?;
            frr.answers(daemon)?;
        }
        frr.configure(config)?;
        Ok(frr)
    }

    /// Starts a daemon that was killed. It has no configuration then: call [`Frr::configure`] again.
    pub fn restart(&mut self, host: &Host, daemon: Daemon) -> Result<()> {
        // The old process must end first: the new one would find its process number and socket in use.
        self.daemons.retain(|(other, _)| *other != daemon);
        self.launch(host, daemon)?;
        self.answers(daemon)
    }

    /// The process of a daemon: to stop, to kill, to read its log.
    pub fn daemon(&mut self, daemon: Daemon) -> Result<&mut Process> {
        let found = self.daemons.iter_mut().find(|(other, _)| *other == daemon);
        let (_, process) = found.with_context(|| format!("{} is not running", daemon.name()))?;
        Ok(process)
    }

    /// Lines as in `frr.conf` or after `configure terminal`, added to what is configured.
    pub fn configure(&self, lines: &str) -> Result<()> {
        let file = self.directory.join("lines");
        fs::write(&file, lines)?;
        self.vtysh(&["-f".as_ref(), file.as_path()])
            .with_context(|| format!("configure FRR with:\n{lines}"))?;
        Ok(())
    }

    /// The answer of one command, as text.
    pub fn command(&self, command: &str) -> Result<String> {
        self.vtysh(&[Path::new("-c"), Path::new(command)])
    }

    /// The answer of a `show` command in JSON; ` json` is added to it.
    pub fn show(&self, what: &str) -> Result<serde_json::Value> {
        let text = self.command(&format!("show {what} json"))?;
        serde_json::from_str(&text).with_context(|| format!("FRR's answer to show {what}: {text}"))
    }

    /// From now on bgpd logs the routes that it receives and the sessions that end, to the microsecond.
    pub fn log_updates(&self) -> Result<()> {
        self.configure(
            "log stdout debugging\nlog timestamp precision 6\ndebug bgp updates in\n\
             debug bgp neighbor-events\n",
        )
    }

    /// How long after `began`, and within a minute, bgpd logged the first line with all of these words.
    pub fn logged(&self, began: SystemTime, words: &[&str]) -> Result<Duration> {
        let bgpd = self.daemons.iter().find(|(it, _)| *it == Daemon::Bgpd);
        let (_, bgpd) = bgpd.context("bgpd is not running")?;
        let began = began.duration_since(UNIX_EPOCH)?.as_secs_f64();
        let after = bgpd
            .log()
            .lines()
            .filter(|line| words.iter().all(|word| line.contains(word)))
            .filter_map(logged_at)
            .map(|at| (at - began).rem_euclid(QUARTER))
            .filter(|after| *after < 60.0)
            .min_by(f64::total_cmp)
            .with_context(|| format!("bgpd logged no line with {words:?}:\n{}", bgpd.tail()))?;
        Ok(Duration::from_secs_f64(after))
    }

    fn vtysh(&self, arguments: &[&Path]) -> Result<String> {
        let output = VTYSH
            .command()
            .arg("--vty_socket")
            .arg(&self.directory)
            .arg("--config_dir")
            .arg(&self.directory)
            .args(arguments)
            .output()
            .context("run vtysh")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        // vtysh reports a refused command on standard output with `-c`, on standard error with `-f`.
        if !output.status.success() || text.starts_with("% ") {
            let errors = String::from_utf8_lossy(&output.stderr);
            bail!("vtysh {arguments:?}: {}: {errors}{text}", output.status);
        }
        Ok(text)
    }

    fn launch(&mut self, host: &Host, daemon: Daemon) -> Result<()> {
        let name = daemon.name();
        let at = |file: &str| self.directory.join(file);
        let mut command = daemon.program().command();
        command
            .args(["-f", "/dev/null", "-A", "127.0.0.1", "-P", "0"])
            .args(["-u", ACCOUNT, "-g", ACCOUNT])
            .args(["--log", "stdout", "--log-level", "info"])
            .arg("--vty_socket")
            .arg(&self.directory)
            .arg("-z")
            .arg(at("zserv.api"))
            .arg("-i")
            .arg(at(&format!("{name}.pid")));
        if daemon == Daemon::Bfdd {
            command.arg("--bfdctl").arg(at("bfdd.sock"));
        }
        let process = host.spawn(&mut command)?;
        self.daemons.push((daemon, process));
        Ok(())
    }

    fn answers(&mut self, daemon: Daemon) -> Result<()> {
        let socket = self.directory.join(format!("{}.vty", daemon.name()));
        let process = self.daemon(daemon)?;
        until(
            &format!("FRR's {} answers", daemon.name()),
            PATIENCE,
            || {
                if let Some(status) = process.ended()? {
                    bail!("it ended with {status}:\n{}", process.tail());
                }
                Ok(Some(UnixStream::connect(&socket)?))
            },
        )?;
        Ok(())
    }
}

/// Seconds of a quarter of an hour: a time zone is whole quarters from any other, so within a quarter all clocks show the same.
const QUARTER: f64 = 900.0;

/// The seconds of a line of the log since the last full quarter of an hour: `2026/11/25 09:14:59.902145 BGP: ...`.
fn logged_at(line: &str) -> Option<f64> {
    let time = line.split(' ').nth(1)?;
    let (_, time) = time.split_once(':')?;
    let (minutes, seconds) = time.split_once(':')?;
    Some(minutes.parse::<f64>().ok()? * 60.0 + seconds.parse::<f64>().ok()?)
}
