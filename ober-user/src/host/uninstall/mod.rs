//! What there is of Herr Ober on this machine, and the steps that take it off again.
//!
//! ```text
//! mod    what is looked at, and the steps that follow from it, as data
//! make   the steps that change files and packages; those that ask a daemon or its workers are the command's
//! ```
//! A step finds what an earlier run has done, so that one that failed half way is run again. What no step names stays.

mod make;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeSet,
    fmt,
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::{
    Error, Host,
    platform::Platform,
    record::{Author, Record},
};
use crate::config;

pub use make::{make, none_left};

const PROGRAM: &str = "/usr/bin/ober-user";
/// The table of what `install.sh` installed.
const TABLE: &str = "/usr/share/ober/FILES";
/// The directories that it made.
const MADE: &str = "/usr/share/ober/DIRECTORIES";
const STATE: &str = "/var/lib/ober";
/// Packages that lead back from an upgrade.
const CACHE: &str = "/var/cache/ober";
const CONFIGURATION: &str = "/etc/ober";
/// What processes have while they run.
const RUN: &str = "/run/ober";
/// A directory an instance: its programs, maps and links.
const PINS: &str = "/sys/fs/bpf/ober";
const UNIT: &str = "ober.service";

/// What brought the program here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Owner {
    Deb(String),
    Rpm(String),
    /// `install.sh`, which left a table of its files.
    Table,
    /// It was copied here, or was taken off already.
    Nothing,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Stop these units of systemd.
    Stop {
        units: Vec<String>,
        disable: bool,
    },
    /// Dismiss the workers, take programs, pins and VIPs of the instance of this configuration off.
    Detach(PathBuf),
    /// See that no instance runs here of which no configuration is known: what follows would leave it alone in the kernel.
    NoneLeft,
    /// Remove what the program reads and may write in the directory of the configuration.
    RemoveConfiguration,
    /// Put back what this command changed.
    Undo {
        #[serde(skip)]
        author: Author,
        command: &'static str,
        /// Without the accounts and directories that the configuration needs.
        but_users: bool,
    },
    Package {
        owner: Owner,
        keep: bool,
    },
    Files,
    /// Lists, history, records, and what processes had.
    RemoveState,
}

impl fmt::Display for Step {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stop { units, .. } => write!(out, "stop {}", units.join(", ")),
            Self::Detach(path) => write!(
                out,
                "end the workers of {}, take its programs off the interfaces and remove its VIPs",
                path.display()
            ),
            Self::NoneLeft => write!(out, "see that no other instance in {PINS} runs here"),
            Self::RemoveConfiguration => write!(
                out,
                "remove {CONFIGURATION}/*.toml, *.toml.old and config.d; keys and certificates there stay"
            ),
            Self::Undo {
                command, but_users, ..
            } => {
                write!(out, "put back what `{command}` changed")?;
                let users = if *but_users {
                    ", but for the account and the directory of the configuration"
                } else {
                    ""
                };
                out.write_str(users)
            }
            Self::Package {
                owner: Owner::Deb(name) | Owner::Rpm(name),
                keep,
            } => {
                write!(
                    out,
                    "{} the package {name}",
                    if *keep { "remove" } else { "purge" }
                )
            }
            Self::Package { .. } => out.write_str("no package is removed"),
            Self::Files => write!(out, "remove the files that {TABLE} names"),
            Self::RemoveState => write!(
                out,
                "remove {STATE}, {CACHE} and {RUN}: lists, history, records"
            ),
        }
    }
}

/// What there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    pub systemd: bool,
    /// Units that systemd knows of ours.
    pub units: Vec<String>,
    /// Configurations of instances that may have left something in the kernel: stopped ones filter and serve too.
    pub instances: Vec<PathBuf>,
    /// Directories with a configuration, with state or with pins.
    pub directories: Vec<&'static str>,
    /// Commands that have changed something.
    pub changed: Vec<Author>,
    pub owner: Owner,
    pub program: bool,
    pub haproxy: bool,
}

/// `main`: the configuration that the operator names, or the usual one.
pub async fn look<M: Platform>(host: &Host<M>, main: &Path) -> Result<Facts, Error> {
    let systemd = host.machine.exists("/run/systemd/system");
    let units = if systemd {
        units(host).await
    } else {
        Vec::new()
    };
    let mut changed = Vec::new();
    for author in Author::ALL {
        if !Record::read(&host.root, author)?.entries().is_empty() {
            changed.push(author);
        }
    }
    Ok(Facts {
        systemd,
        instances: instances(host, &units, main)?,
        directories: directories(host)?,
        units,
        changed,
        owner: owner(host).await,
        program: host.root.exists(PROGRAM),
        haproxy: host.root.exists("/usr/sbin/haproxy") || host.root.exists("/usr/bin/haproxy"),
    })
}

async fn units<M: Platform>(host: &Host<M>) -> Vec<String> {
    let words = [
        "systemctl",
        "list-units",
        "--all",
        "--plain",
        "--no-legend",
        UNIT,
        "ober@*.service",
    ];
    let said = host.ask(&words).await.unwrap_or_default();
    let known = said.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let name = words.next()?;
        // One that is not there is listed where another names it.
        (words.next()? != "not-found").then(|| name.to_owned())
    });
    known.collect()
}

/// The main configuration, the one that the operator names, those of units, and every other file that a unit could read.
fn instances<M: Platform>(
    host: &Host<M>,
    units: &[String],
    named: &Path,
) -> Result<Vec<PathBuf>, Error> {
    let of_unit = |unit: &String| {
        let name = unit.strip_prefix("ober@")?.strip_suffix(".service")?;
        Some(format!("{name}.toml"))
    };
    let files = host.root.names(CONFIGURATION)?.into_iter();
    let files = files.filter(|name| is_toml(name));
    let beside = units.iter().filter_map(of_unit).chain(files);
    let mut all: BTreeSet<PathBuf> = beside
        .map(|name| Path::new(CONFIGURATION).join(name))
        .collect();
    // An earlier run may have removed the file: the history in the state knows what was in force.
    if host.root.exists(format!("{STATE}/main")) {
        all.insert(config::MAIN.into());
    }
    let named = std::path::absolute(named).unwrap_or_else(|_| named.to_owned());
    if host.root.exists(&named) {
        all.insert(named);
    }
    Ok(all.into_iter().collect())
}

fn is_toml(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|it| it == "toml")
}

fn directories<M: Platform>(host: &Host<M>) -> Result<Vec<&'static str>, Error> {
    let names = host.root.names(CONFIGURATION)?;
    let ours = |name: &String| is_toml(name) || name.ends_with(".toml.old") || name == "config.d";
    let configured = names.iter().any(ours).then_some(CONFIGURATION);
    let state = [STATE, CACHE, RUN, PINS].into_iter();
    let state = state.filter(|it| host.root.exists(it));
    Ok(configured.into_iter().chain(state).collect())
}

async fn owner<M: Platform>(host: &Host<M>) -> Owner {
    let deb = host.ask(&["dpkg-query", "--search", PROGRAM]).await;
    let deb = deb.and_then(|it| Some(it.split_once(':')?.0.to_owned()));
    if let Some(name) = deb {
        return Owner::Deb(name);
    }
    let words = [
        "rpm",
        "--query",
        "--queryformat",
        "%{NAME}",
        "--file",
        PROGRAM,
    ];
    if let Some(name) = host.ask(&words).await {
        return Owner::Rpm(name);
    }
    if host.root.exists(TABLE) {
        Owner::Table
    } else {
        Owner::Nothing
    }
}

/// What is to be done, in this order: what may fail because something still serves comes first, the program last that could do
/// it again.
pub fn steps(facts: &Facts, keep_configuration: bool) -> Vec<Step> {
    let mut steps = Vec::new();
    let has_files = facts.directories.iter().any(|it| *it != PINS);
    if !facts.units.is_empty() {
        steps.push(Step::Stop {
            units: facts.units.clone(),
            // A package forgets its units itself, and would take these for disabled by an administrator when it comes again.
            disable: matches!(facts.owner, Owner::Table | Owner::Nothing),
        });
    }
    steps.extend(facts.instances.iter().cloned().map(Step::Detach));
    if facts.program || !facts.directories.is_empty() || !steps.is_empty() {
        steps.push(Step::NoneLeft);
    }
    if has_files && !keep_configuration {
        // Before bootstrap's directory, which goes only when nothing is in it.
        steps.push(Step::RemoveConfiguration);
    }
    for author in facts.changed.iter().rev() {
        steps.push(Step::Undo {
            author: *author,
            command: author.name(),
            but_users: keep_configuration && *author == Author::Bootstrap,
        });
    }
    if has_files && !keep_configuration {
        // Before the package, whose own script finds by it whether there is anything to detach.
        steps.push(Step::RemoveState);
    }
    match &facts.owner {
        Owner::Deb(_) | Owner::Rpm(_) => steps.push(Step::Package {
            owner: facts.owner.clone(),
            keep: keep_configuration,
        }),
        Owner::Table => steps.push(Step::Files),
        Owner::Nothing => {}
    }
    steps
}

/// What is not done, and why.
pub fn remarks(facts: &Facts, keep_configuration: bool) -> Vec<String> {
    let mut words = Vec::new();
    if !facts.systemd {
        words.push("systemd does not run here: no unit is stopped".to_owned());
    }
    if facts.instances.is_empty() {
        words.push(
            "nothing was ever configured here: there are no workers and programs to take off"
                .to_owned(),
        );
    }
    if facts.owner == Owner::Nothing && facts.program {
        words.push(format!(
            "no package and no table of files has {PROGRAM}: it stays"
        ));
    } else if facts.owner == Owner::Nothing {
        words.push("no package of Herr Ober is installed: there is none to remove".to_owned());
    }
    if facts.haproxy {
        words.push("HAProxy stays installed: other programs may use it".to_owned());
    }
    if keep_configuration {
        words.push(format!("{CONFIGURATION} and {STATE} stay"));
    }
    words
}
