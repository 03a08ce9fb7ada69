//! The unit of an instance, and what systemd is asked to do with it.

use std::path::{Path, PathBuf};

use clap::Args;

use super::Error as CommandError;
use crate::{
    config,
    system::{child::Child, manager},
};

/// Bytes of what `systemctl` writes.
const MOST: usize = 64 << 10;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{attempt}: systemd does not manage this machine; {instead}")]
    NoSystemd {
        attempt: &'static str,
        instead: &'static str,
    },
    #[error("{command}: {why}; see `journalctl -u {unit}` and `systemctl status {unit}`")]
    Refused {
        command: String,
        why: String,
        unit: String,
    },
    #[error(
        "stop instance {instance}: `systemctl stop {unit}` has ended, and a daemon still answers: something else runs it; end \
         that, then `ober-user detach`"
    )]
    Another { instance: String, unit: String },
    #[error(
        "stop instance {instance}: its daemon is process {pid}, and {unit} runs {runs}: something else runs it, and nothing was \
         changed; name its unit with --unit (`systemctl status {pid}` shows it), or end it with SIGTERM, then `ober-user detach`"
    )]
    Other {
        instance: String,
        pid: i32,
        unit: String,
        runs: String,
    },
}

#[derive(Debug, Args)]
pub(super) struct UnitName {
    /// The unit that runs the daemon, if it is none of the package's
    #[arg(long, value_name = "UNIT", value_parser = written)]
    unit: Option<String>,
}

impl UnitName {
    /// The unit of the instance that the configuration at `path` describes.
    pub(super) fn service(&self, path: &Path) -> Result<Service, CommandError> {
        let own = || of(path).map_err(CommandError::Usage);
        let unit = self.unit.clone().map_or_else(own, Ok)?;
        Ok(Service { unit })
    }
}

/// Reads the name of a unit; `ober` is short for `ober.service`.
fn written(text: &str) -> Result<String, String> {
    if text.is_empty() || text.starts_with('-') || text.contains('/') {
        return Err("the name of a unit such as ober.service is wanted".to_owned());
    }
    let end = if text.contains('.') { "" } else { ".service" };
    Ok(format!("{text}{end}"))
}

/// The unit of our package that reads this file.
fn of(path: &Path) -> Result<String, String> {
    let path: PathBuf = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let main = Path::new(config::MAIN);
    if path == main {
        return Ok("ober.service".to_owned());
    }
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.:".contains(letter);
    let name = path.file_stem().and_then(|name| name.to_str());
    let is_toml = path.extension().is_some_and(|end| end == "toml");
    match name.filter(|name| is_toml && name.chars().all(plain)) {
        Some(name) if path.parent() == main.parent() => Ok(format!("ober@{name}.service")),
        _ => Err(format!(
            "no unit of the package reads {path}: ober.service reads {main}, ober@NAME.service reads NAME.toml beside it; name \
             the unit with --unit, or start the daemon with `ober-user run --config {path}`",
            path = path.display(),
            main = main.display()
        )),
    }
}

/// How the daemon that reads this file is started, as a command.
pub(super) fn start(path: &Path) -> String {
    match of(path) {
        Ok(unit) => format!("systemctl start {unit}"),
        Err(_) => command(path, "run"),
    }
}

/// A command of ours about the configuration at this path.
pub(super) fn command(path: &Path, words: &str) -> String {
    if path == Path::new(config::MAIN) {
        return format!("ober-user {words}");
    }
    format!("ober-user --config {} {words}", path.display())
}

/// A unit that runs a daemon.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) unit: String,
}

impl Service {
    /// The process that systemd knows as the unit's; `None`: the unit does not run.
    pub(super) async fn main_pid(&self) -> Result<Option<i32>, Error> {
        let shown = self.said(&["show", "-P", "MainPID"]).await?;
        Ok(shown.trim().parse().ok().filter(|pid| *pid > 0))
    }

    /// Has `systemctl` do something with the unit, and waits until it is done. When the future is dropped, `systemctl` is killed;
    /// what it has asked systemd to do goes on.
    pub(super) async fn order(&self, words: &[&str]) -> Result<(), Error> {
        self.said(words).await.map(drop)
    }

    async fn said(&self, words: &[&str]) -> Result<String, Error> {
        let refused = |why| Error::Refused {
            command: format!("systemctl {} {}", words.join(" "), self.unit),
            why,
            unit: self.unit.clone(),
        };
        let systemctl = Child::of_root(Path::new("systemctl"));
        let words = words.iter().copied().chain([self.unit.as_str()]);
        let done = systemctl.arguments(words).output(MOST).await;
        let ended = done.map_err(|error| refused(error.to_string()))?;
        if ended.exit.success() {
            return Ok(String::from_utf8_lossy(&ended.out).into_owned());
        }
        let errors = String::from_utf8_lossy(&ended.errors);
        let errors = errors.split_whitespace().collect::<Vec<_>>().join(" ");
        Err(refused(format!("{} ({errors})", ended.exit)))
    }
}

/// Refuses an attempt that only systemd can make.
pub(super) fn require_systemd(attempt: &'static str, instead: &'static str) -> Result<(), Error> {
    if manager::runs_this_machine() {
        Ok(())
    } else {
        Err(Error::NoSystemd { attempt, instead })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_has_the_unit_that_reads_its_file() {
        for (path, unit) in [
            ("/etc/ober/ober.toml", "ober.service"),
            ("/etc/ober/lab-2.toml", "ober@lab-2.service"),
            ("/etc/ober/./lab.toml", "ober@lab.service"),
        ] {
            assert_eq!(of(Path::new(path)).as_deref(), Ok(unit), "{path}");
        }
        for path in [
            "/root/ober.toml",
            "/etc/ober/old/ober.toml",
            "/etc/ober/ober.toml.old",
            "/etc/ober/a b.toml",
            "ober.toml",
        ] {
            let refused = of(Path::new(path)).unwrap_err();
            assert!(refused.contains("--unit"), "{refused}");
        }
    }

    #[test]
    fn a_command_names_the_configuration_that_it_is_about() {
        for (path, option) in [
            (config::MAIN, ""),
            ("/etc/ober/lab.toml", "--config /etc/ober/lab.toml "),
            ("/root/a.toml", "--config /root/a.toml "),
        ] {
            let path = Path::new(path);
            assert_eq!(command(path, "reload"), format!("ober-user {option}reload"));
            let starts = match of(path) {
                Ok(unit) => format!("systemctl start {unit}"),
                Err(_) => format!("ober-user {option}run"),
            };
            assert_eq!(start(path), starts);
        }
    }

    #[test]
    fn the_name_of_a_unit_is_written_with_its_kind_or_without() {
        for (text, unit) in [
            ("ober-lab", "ober-lab.service"),
            ("ober@a.service", "ober@a.service"),
        ] {
            assert_eq!(written(text).as_deref(), Ok(unit));
        }
        for text in ["", "--now", "a/b.service"] {
            assert!(written(text).is_err(), "{text}");
        }
    }
}
