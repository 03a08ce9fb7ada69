//! What this machine should be like, part by part, and how it is made so: `bootstrap` and its `--undo`, and the tables that
//! `doctor` judges by.
//!
//! ```text
//! wants     what the configuration needs of the machine       part     names and order of the parts
//! object    what is looked at, changed and put back           plan     changes and remarks, as data
//! record    what was there before: bootstrap.json             root     files below a directory
//! platform  kernel settings and commands (with `root` the only files that reach out)
//! parts/    a file a part: look at facts, and from facts and wants, without I/O, changes and remarks
//! bootstrap, undo    the way through the parts, and back
//! backend/  what a storage server needs, made of the same: backend-setup
//! upgrade/, uninstall/  newer packages and the way back; all of it off this machine
//! ```
//! It never overwrites a file of the administrator, and never changes anything before what was there is on disk.

pub mod backend;
pub mod bootstrap;
pub mod object;
pub mod part;
pub mod parts;
pub mod plan;
pub mod platform;
pub mod record;
pub mod root;
#[cfg(test)]
mod tests;
pub mod undo;
pub mod uninstall;
pub mod upgrade;
pub mod wants;

use std::{io, path::PathBuf};

use crate::system::store;
use platform::{Live, Platform};
use root::Root;

/// A machine, or the image of one.
#[derive(Debug)]
pub struct Host<M> {
    pub root: Root,
    pub machine: M,
}

impl Host<Live> {
    /// The machine that this program runs on.
    pub fn here() -> Self {
        Self {
            root: Root::default(),
            machine: Live { running: true },
        }
    }

    /// An image below a directory: it has files alone, no kernel and no processes.
    pub fn image(root: PathBuf) -> Self {
        Self {
            root: Root::below(root),
            machine: Live { running: false },
        }
    }
}

impl<M: Platform> Host<M> {
    /// Does systemd run here? In an image nothing runs, and it is expected to.
    pub fn has_systemd(&self) -> bool {
        !self.machine.is_running() || self.machine.exists("/run/systemd/system")
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{attempt} {path}: {source}; {}", remedy(source), path = .path.display())]
    File {
        attempt: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error(
        "set {key} to {value}: {source}; is this process root, and is the kernel's setting its to change?"
    )]
    Setting {
        key: String,
        value: String,
        source: io::Error,
    },
    #[error("run `{command}`: {why}")]
    Command { command: String, why: String },
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(
        "{}: it is damaged ({why}); what was there before the changes of `{author}` is not known any more: move the file away, \
         and look after what it names by hand",
        path.display()
    )]
    Record {
        author: &'static str,
        path: PathBuf,
        why: String,
    },
    #[error(
        "{object}: it was changed to {wanted} and reads {found} now; does another program look after it?"
    )]
    ReadBack {
        object: String,
        wanted: String,
        found: String,
    },
    #[error(
        "this machine was changed by another program meanwhile; nothing was done, run it again"
    )]
    Meanwhile,
    #[error(
        "{directory} still has instances of which no configuration is known here: {names}; name the configuration \
         (`ober-user --config FILE uninstall`), or take them off with `ober-user detach --instance NAME`, and run it again"
    )]
    Instances {
        names: String,
        directory: &'static str,
    },
    #[error("another `bootstrap` or `backend-setup` runs ({} is locked); wait until it has ended", .0.display())]
    Locked(PathBuf),
}

fn remedy(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::ReadOnlyFilesystem => "make the file system writable and run it again",
        io::ErrorKind::StorageFull => "make room and run it again",
        io::ErrorKind::DirectoryNotEmpty => {
            "there is something in it that was not made by this command"
        }
        io::ErrorKind::PermissionDenied => "run it as root",
        _ => "look at its directory",
    }
}
