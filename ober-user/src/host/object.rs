//! What bootstrap and backend-setup look at, change and put back, and the states of it. Looking and putting back know no part: what
//! was recorded is enough to undo it.

use std::{fmt, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::{
    Error, Host,
    backend::{self, setup::Vip},
    parts::{self, firewall::managers::Opening},
    platform::Platform,
};

/// A thing that has a state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Object {
    File(PathBuf),
    Directory(PathBuf),
    /// A setting of the running kernel.
    Sysctl(String),
    /// The queueing discipline of an interface.
    Qdisc(String),
    /// An account with its group.
    Account(String),
    /// What systemd feeds the hardware watchdog within.
    Watchdog,
    /// A package of the distribution. It is not recorded and stays when bootstrap is undone.
    Package(String),
    /// A rule of nftables, and its chain as family/table/name.
    Rule {
        chain: String,
        rule: String,
    },
    /// A rule of a firewall's own manager.
    Opening(Opening),
    /// A VIP of a storage server, which is on `lo`.
    Vip(Vip),
    /// Whether an interface is up.
    Link(String),
    /// A module of the kernel.
    Module(String),
    /// A unit of systemd: whether a start of the machine starts it.
    Unit(String),
}

impl Object {
    /// The place of its kind when changes are undone: what others depend on goes last.
    pub(super) fn rank(&self) -> u8 {
        match self {
            // systemd stops and forgets a unit by its file.
            Self::Unit(_) => 0,
            // Before the settings that keep this server from answering for it.
            Self::Vip(_) => 1,
            // Its interfaces go with it, and their settings.
            Self::Module(_) => 2,
            Self::Link(_) => 3,
            Self::File(_) => 4,
            Self::Sysctl(_) => 5,
            // A default queueing discipline is made by the setting in force.
            Self::Qdisc(_) => 6,
            Self::Directory(_) => 7,
            // systemd reads its files, which are as they were by then.
            Self::Watchdog | Self::Rule { .. } | Self::Opening(_) | Self::Package(_) => 8,
            Self::Account(_) => 9,
        }
    }

    /// Is it gone with the interface that it belonged to? Then there is nothing to put back.
    pub(super) fn is_gone(&self, found: &State) -> bool {
        matches!(self, Self::Sysctl(_) | Self::Link(_)) && found.is_absent()
    }
}

impl fmt::Display for Object {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) | Self::Directory(path) => path.display().fmt(out),
            Self::Sysctl(key) => key.fmt(out),
            Self::Qdisc(interface) => write!(out, "queueing discipline of {interface}"),
            Self::Account(name) => write!(out, "account {name}"),
            Self::Watchdog => out.write_str("watchdog of systemd"),
            Self::Package(name) => write!(out, "package {name}"),
            Self::Rule { chain, rule } => write!(out, "rule `{rule}` in {chain}"),
            Self::Opening(opening) => opening.fmt(out),
            Self::Vip(vip) => write!(out, "VIP {vip} on lo"),
            Self::Link(name) => write!(out, "interface {name}"),
            Self::Module(name) => write!(out, "module {name}"),
            Self::Unit(name) => name.fmt(out),
        }
    }
}

/// Owner and permissions of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rights {
    pub mode: u32,
    /// By name, since an account gets its number when it is made; a number that has no name is written as such.
    pub user: String,
    pub group: String,
}

impl Rights {
    pub fn of_root(mode: u32) -> Self {
        Self::of_group(mode, "root")
    }

    /// Root's, and readable by a group.
    pub fn of_group(mode: u32, group: &str) -> Self {
        Self {
            mode,
            user: "root".to_owned(),
            group: group.to_owned(),
        }
    }
}

impl fmt::Display for Rights {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "mode {:04o} of {}:{}",
            self.mode, self.user, self.group
        )
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    Absent,
    File {
        text: String,
        rights: Rights,
    },
    Directory(Rights),
    Value(String),
    /// What bootstrap never makes and never replaces, such as a symbolic link in the place of a file.
    Other(String),
    /// What keeps it does not answer, and why. It is not taken for absent.
    Unknown(String),
}

impl State {
    /// A file that every account may read.
    pub fn text(text: impl Into<String>) -> Self {
        Self::File {
            text: text.into(),
            rights: Rights::of_root(0o644),
        }
    }

    pub fn value(text: impl Into<String>) -> Self {
        Self::Value(text.into())
    }

    pub fn is_absent(&self) -> bool {
        *self == Self::Absent
    }
}

impl fmt::Display for State {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => out.write_str("absent"),
            Self::File { text, rights } => {
                write!(out, "a file of {} lines, {rights}", text.lines().count())
            }
            Self::Directory(rights) => write!(out, "a directory, {rights}"),
            Self::Value(text) if text.is_empty() => out.write_str("nothing"),
            Self::Value(text) => out.write_str(text),
            Self::Other(what) => out.write_str(what),
            Self::Unknown(why) => write!(out, "not known ({why})"),
        }
    }
}

impl<M: Platform> Host<M> {
    pub async fn look(&self, object: &Object) -> Result<State, Error> {
        match object {
            Object::File(path) => self.root.file(path),
            Object::Directory(path) => self.root.directory(path),
            Object::Sysctl(key) => Ok(self.setting(key)?.map_or(State::Absent, State::Value)),
            Object::Qdisc(interface) => parts::qdisc::state(self, interface).await,
            Object::Account(name) => parts::users::state(self, name),
            Object::Watchdog => Ok(parts::watchdog::state(self).await),
            Object::Package(name) => Ok(parts::packages::state(self, name).await),
            Object::Rule { chain, rule } => Ok(parts::firewall::state(self, chain, rule).await),
            Object::Opening(it) => Ok(parts::firewall::managers::state(self, it).await),
            Object::Vip(vip) => backend::objects::vip(self, *vip).await,
            Object::Link(name) => backend::objects::link(self, name).await,
            Object::Module(name) => Ok(backend::objects::module(self, name)),
            Object::Unit(name) => Ok(backend::objects::unit(self, name).await),
        }
    }

    /// Gives the object this state.
    pub async fn put(&self, object: &Object, state: &State) -> Result<(), Error> {
        match (object, state) {
            (Object::File(path), _) => {
                self.root.put_file(path, state)?;
                backend::objects::read_again(self, path).await
            }
            (Object::Directory(path), _) => self.root.put_directory(path, state),
            (Object::Sysctl(key), State::Value(value)) => self.set(key, value),
            (Object::Qdisc(interface), State::Value(kind)) => {
                parts::qdisc::put(self, interface, kind).await
            }
            (Object::Account(name), _) => parts::users::put(self, name, state).await,
            (Object::Watchdog, _) => parts::watchdog::put(self).await,
            (Object::Package(name), _) => parts::packages::put(self, name, state).await,
            (Object::Rule { chain, rule }, _) => {
                parts::firewall::put(self, chain, rule, state).await
            }
            (Object::Opening(it), _) => parts::firewall::managers::put(self, it, state).await,
            (Object::Vip(vip), _) => backend::objects::put_vip(self, *vip, state).await,
            (Object::Link(name), State::Value(to)) => {
                backend::objects::put_link(self, name, to).await
            }
            (Object::Module(name), _) => backend::objects::put_module(self, name, state).await,
            (Object::Unit(name), _) => backend::objects::put_unit(self, name, state).await,
            // A setting or an interface that is not there cannot be made.
            (Object::Sysctl(_) | Object::Qdisc(_) | Object::Link(_), _) => Ok(()),
        }
    }

    /// A setting of the kernel; `None`: it has none of this name.
    pub fn setting(&self, key: &str) -> Result<Option<String>, Error> {
        self.machine.setting(key).map_err(|source| Error::File {
            attempt: "read",
            path: super::platform::place(key).into(),
            source,
        })
    }

    fn set(&self, key: &str, value: &str) -> Result<(), Error> {
        self.machine
            .set(key, value)
            .map_err(|source| Error::Setting {
                key: key.to_owned(),
                value: value.to_owned(),
                source,
            })
    }
}
