//! The data plane in the daemon: loads or adopts the programs and maps, attaches and pins them, and fills the maps. The
//! pins are in `<bpffs>/ober/<instance>/` and outlive this process.
//!
//! ```text
//! load, carry, room           programs and maps: adopted, or made anew and replaced; the directories of the pins
//! attach, attached, link, kernel, note, words, occupant, lost, pinned   the program at each interface
//! interface/                  the properties of an interface, and what follows for XDP and steering
//! maps, memory                the maps: by system calls, and mapped into memory
//! services, table, switches   the table of services; the other settings of the programs
//! rings, rendezvous           the worker of each ring slot; workers, their CPUs and sockets
//! access/                     access lists as pages, lines and prefixes
//! counters, events, losses    counters, sampled drops, steered packets that were lost
//! arrivals                    do new connections get from XDP to a socket?
//! flow, facts                 a flow followed through the maps; the kernel's facts about programs and maps
//! ```
//! A start never leaves a mixture of old and new in force. Pinned maps of the wanted shape are adopted and changed by
//! differences. Otherwise fresh maps are made in `<instance>+next`, filled, and put in force by replacing the program
//! in each link; then the directories are renamed.

pub mod access;
pub mod arrivals;
mod attach;
mod attached;
mod carry;
pub mod counters;
pub mod events;
pub mod facts;
pub mod flow;
pub mod interface;
mod kernel;
mod link;
mod load;
mod losses;
mod lost;
pub mod maps;
pub mod memory;
mod note;
mod occupant;
mod pinned;
pub mod rendezvous;
mod rings;
mod room;
mod services;
mod switches;
mod table;
mod words;

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

pub use attach::Attached;
pub use link::native;
pub use load::{OBJECT, Plane, key};
pub use losses::counted as losses_counted;
pub use maps::Maps;
pub use note::Note;
pub use occupant::{Occupant, occupants};
pub use pinned::{PinnedLinks, holds, index, looks_up};
pub use room::{ensure_bpffs, is_bpffs};
pub use services::{Wanted, ip};
pub use switches::Switches;

use crate::config::paths::pins;

/// A kernel program ends well within this time. A part of a map that programs can no longer find may be used again
/// after it.
pub const GRACE: Duration = Duration::from_millis(10);

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("use {path} for pins: {source}; mount the BPF file system there: mount -t bpf -o mode=0700 bpf {path}", path = .path.display())]
    Bpffs { path: PathBuf, source: io::Error },
    #[error("make the directory of pins {path}: {source}", path = .path.display())]
    Pins { path: PathBuf, source: io::Error },
    #[error(
        "use {path} for pins: {why}; see who made it, and take it away (`rm -r {path}`) or make it root's alone \
         (`chown root {path}; chmod 0700 {path}`)",
        path = .path.display()
    )]
    NotOurs { path: PathBuf, why: String },
    #[error("load the kernel programs: {source}; Linux 6.1 or newer with CONFIG_BPF_SYSCALL is needed", source = chain(.source))]
    Load { source: Box<aya::EbpfError> },
    #[error("load the kernel program {name}: {source}", source = chain(.source))]
    Program {
        name: &'static str,
        source: Box<aya::programs::ProgramError>,
    },
    #[error("open map {name} in {directory}: {source}; is `ober-user run` or has it been running on this instance?", directory = .directory.display())]
    OpenMap {
        name: &'static str,
        directory: PathBuf,
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("write map {name}: {source}")]
    Write {
        name: &'static str,
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("attach XDP to {interface}: {reason}")]
    Attach { interface: String, reason: String },
    #[error(
        "attach XDP to {interface} in its driver: {words}; {advice}; or set node.xdp = \"auto\", which takes generic XDP then"
    )]
    Refused {
        interface: String,
        words: String,
        advice: String,
    },
    #[error(
        "attach XDP to {interface}: another program is attached ({occupant}); take it off with `{off}`, or leave {interface} \
         out of node.interfaces{lost}",
        lost = occupant.lost()
    )]
    Taken {
        interface: String,
        occupant: Occupant,
        off: String,
    },
    #[error("attach the socket lookup to this network namespace: {reason}")]
    AttachLookup { reason: String },
    #[error(
        "put the services into the kernel: {count} of them are more than {limit}; remove VIPs or listeners"
    )]
    TooManyServices { count: usize, limit: usize },
    #[error(
        "put the services into the kernel: no seed without collisions in {tries} tries; report the list of services"
    )]
    NoSeed { tries: u32 },
    #[error("remove the pins in {path}: {source}", path = .path.display())]
    Remove { path: PathBuf, source: io::Error },
}

/// An error with its causes on one line; aya keeps the important part in the source.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

/// The note beside the pin of an interface's link, in this directory of pins.
pub fn note(pins: &Path, interface: &str) -> Option<Note> {
    note::read(pins, interface)
}

/// Refuses directories of pins that other users may write to.
pub fn judge_room(bpffs: &Path, instance: &str) -> Result<(), Error> {
    room::judge(bpffs, &pins(bpffs, instance))
}

/// Detaches every program of the instance and removes its pins.
pub fn detach(bpffs: &Path, instance: &str) -> Result<(), Error> {
    for directory in [
        pins(bpffs, instance),
        beside(&pins(bpffs, instance), NEXT),
        beside(&pins(bpffs, instance), OLD),
    ] {
        remove_pins(&directory)?;
    }
    Ok(())
}

/// Does one of the instance's directories of pins exist?
pub fn pinned(bpffs: &Path, instance: &str) -> bool {
    let home = pins(bpffs, instance);
    [home.clone(), beside(&home, NEXT), beside(&home, OLD)]
        .iter()
        .any(|place| place.exists())
}

/// Are links pinned in the directory?
pub(crate) fn attaches(directory: &Path) -> bool {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .any(|path| link::is_link(&path))
}

const NEXT: &str = "+next";
const OLD: &str = "+old";

fn beside(directory: &Path, mark: &str) -> PathBuf {
    let mut name = directory.as_os_str().to_owned();
    name.push(mark);
    name.into()
}

/// Removes a directory of pins. Links go first, so that programs stop before their maps are removed.
pub(crate) fn remove_pins(directory: &Path) -> Result<(), Error> {
    let error = |source| Error::Remove {
        path: directory.into(),
        source,
    };
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(error(source)),
    };
    let mut paths = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<io::Result<Vec<_>>>()
        .map_err(error)?;
    paths.sort_by_key(|path| !link::is_link(path));
    for path in paths {
        let removed = if path.is_dir() {
            fs::remove_dir(path)
        } else if link::is_link(&path) {
            link::take_off(&path)
        } else {
            fs::remove_file(path)
        };
        removed.map_err(error)?;
    }
    fs::remove_dir(directory).map_err(error)
}
