//! Links, which attach a program to an interface or a network namespace. A pinned link is updated in place, so there is
//! no moment without a program; a new one is made only where there is none.

use std::{
    collections::BTreeSet,
    fs::{self, DirEntry},
    io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use aya::programs::{ProgramInfo, SkLookup, links::FdLink, loaded_programs};

use super::{Error, chain, facts, kernel, lost, note};
use crate::system::file;

const LOOKUP: &str = "link_lookup";
/// A directory among the pins. While it exists, the pinned programs write the packet log.
pub(super) const LOG_MARK: &str = "packet_log";
const NATIVE: &str = "link_xdp_native_";
const GENERIC: &str = "link_xdp_generic_";

/// The pin of an interface's link. Its name holds the mode, which the kernel does not report for a link. File names on
/// the BPF file system have no dots; interface names may (`eth0.100`).
pub(super) fn xdp_pin(home: &Path, interface: &str, native: bool) -> PathBuf {
    let mode = if native { NATIVE } else { GENERIC };
    home.join(format!("{mode}{}", escape(interface)))
}

/// An interface's name as a part of a file name on the BPF file system.
pub(super) fn escape(interface: &str) -> String {
    interface.replace('%', "%25").replace('.', "%2e")
}

/// The pin of the link to the network namespace.
pub(super) fn lookup_pin(home: &Path) -> PathBuf {
    home.join(LOOKUP)
}

pub(super) fn is_link(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| name.to_string_lossy().starts_with("link_"))
}

/// Attaches the socket lookup to this network namespace, or replaces the program in its link.
pub(super) fn lookup(home: &Path, program: &mut SkLookup) -> Result<(), Error> {
    let error = |reason: String| Error::AttachLookup { reason };
    let pin = lookup_pin(home);
    let info = program.info().map_err(|cause| error(chain(&cause)))?;
    if !pin.exists()
        && let Some(link) = lost::link(&info, 0)
    {
        kernel::pin(&link, &pin).map_err(|cause| error(cause.to_string()))?;
    }
    let fresh = program.fd().map_err(|cause| error(chain(&cause)))?;
    if let Some(link) = held(&pin, 0).map_err(|cause| error(cause.to_string()))? {
        let replaced = replace(home, &link, &info, fresh.as_fd());
        replaced.map_err(|cause| error(cause.to_string()))?;
        return Ok(());
    }
    let namespace = file::open("/proc/thread-self/ns/net".as_ref(), file::Kind::Own)
        .map_err(|cause| error(cause.to_string()))?;
    let id = program
        .attach(namespace)
        .map_err(|cause| error(chain(&cause)))?;
    let link: FdLink = program
        .take_link(id)
        .map_err(|cause| error(chain(&cause)))?
        .into();
    link.pin(&pin).map_err(|cause| error(chain(&cause)))?;
    Ok(())
}

/// The pinned link, if it still attaches its program; otherwise its pin is removed. `interface`: the number of the
/// interface now.
pub(super) fn held(pin: &Path, interface: u32) -> io::Result<Option<OwnedFd>> {
    if !pin.exists() {
        return Ok(None);
    }
    let link = kernel::open(pin)?;
    if kernel::info(&link)?.holds(interface)? {
        return Ok(Some(link));
    }
    fs::remove_file(pin)?;
    Ok(None)
}

/// What [`replace`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Replaced {
    /// The link's program does the same and stays.
    Alike,
    Exchanged,
}

/// Replaces the program in a link, unless it does the same and is pinned.
pub(super) fn replace(
    home: &Path,
    link: &OwnedFd,
    fresh: &ProgramInfo,
    program: BorrowedFd<'_>,
) -> io::Result<Replaced> {
    let running = loaded(kernel::info(link)?.program);
    // `Plane::mark_log` and `Plane::pin_programs` remove the pin of a program that must be replaced.
    let pinned = |running: &ProgramInfo| {
        facts::programs(home)
            .iter()
            .any(|pinned| pinned.id == running.id())
    };
    let same = |running: &ProgramInfo| alike(running, fresh) && pinned(running);
    if running.is_some_and(|running| same(&running)) {
        return Ok(Replaced::Alike);
    }
    kernel::update(link, program)?;
    Ok(Replaced::Exchanged)
}

/// The loaded program with this id.
pub(super) fn loaded(id: u32) -> Option<ProgramInfo> {
    loaded_programs()
        .flatten()
        .find(|program| program.id() == id)
}

/// The program behind a pinned link.
pub(super) fn behind(pin: &Path) -> Option<ProgramInfo> {
    loaded(kernel::info(&kernel::open(pin).ok()?).ok()?.program)
}

/// Do both programs do the same on the same maps? The tag does not cover the maps, so those are compared too.
pub(super) fn alike(one: &ProgramInfo, other: &ProgramInfo) -> bool {
    one.tag() == other.tag() && maps(one) == maps(other)
}

/// The pinned maps a program uses. The map of the packet log and that of the read-only data are not pinned: each load
/// makes them anew.
fn maps(program: &ProgramInfo) -> BTreeSet<u32> {
    program
        .map_ids()
        .ok()
        .flatten()
        .unwrap_or_default()
        .into_iter()
        .filter(|id| is_pinned_map(*id))
        .collect()
}

fn is_pinned_map(id: u32) -> bool {
    aya::maps::MapInfo::from_id(id).is_ok_and(|info| {
        info.name_as_str()
            .is_some_and(|name| name != "AYA_LOGS" && !name.starts_with('.'))
    })
}

/// Does the interface's link run in native mode?
pub fn native(home: &Path, interface: &str) -> bool {
    xdp_pin(home, interface, true).exists()
}

/// The links of a directory and their programs before a change, so that it can be undone.
pub(super) struct Links(Vec<Was>);

struct Was {
    pin: PathBuf,
    program: ProgramInfo,
    /// 0: the link to the network namespace.
    interface: u32,
}

impl Links {
    pub(super) fn read(home: &Path) -> Self {
        let entries = fs::read_dir(home).into_iter().flatten().flatten();
        let running = |pin: PathBuf| {
            let info = kernel::info(&kernel::open(&pin).ok()?).ok()?;
            Some(Was {
                pin,
                program: loaded(info.program)?,
                interface: info.interface,
            })
        };
        Self(
            entries
                .map(|entry| entry.path())
                .filter(|path| is_link(path))
                .filter_map(running)
                .collect(),
        )
    }

    /// Gives every interface the program it had, and takes ours off those that had none. A link whose mode has changed
    /// keeps the new mode and gets the old program. A failure at one link does not stop the others; the error names
    /// each link that failed.
    pub(super) fn put_back(&self, home: &Path) -> Result<(), String> {
        let mut failures = Vec::new();
        let mut note = |path: &Path, done: io::Result<()>| {
            if let Err(error) = done {
                failures.push(format!("{}: {error}", path.display()));
            }
        };
        for was in &self.0 {
            note(&was.pin, was.give_back());
        }
        let known = |path: &PathBuf| self.0.iter().any(|was| was.pin == *path);
        let entries: Vec<DirEntry> = match fs::read_dir(home) {
            Ok(entries) => entries.flatten().collect(),
            Err(error) => {
                note(home, Err(error));
                Vec::new()
            }
        };
        for path in entries.iter().map(DirEntry::path) {
            let was_there = known(&path) || other_mode(&path).is_some_and(|other| known(&other));
            if is_link(&path) && !was_there {
                note(&path, take_off(&path));
            }
        }
        if failures.is_empty() {
            Ok(())
        } else {
            Err(failures.join("; "))
        }
    }
}

impl Was {
    /// Puts the old program into the link that the interface has now, or makes the link anew.
    fn give_back(&self) -> io::Result<()> {
        let fd = self.program.fd().map_err(io::Error::other)?;
        let other = other_mode(&self.pin).filter(|other| other.exists());
        if other.is_none() && self.interface != 0 && !self.pin.exists() {
            let native = is_native(&self.pin);
            let link = kernel::attach_xdp(fd.as_fd(), self.interface, native)?;
            return kernel::pin(&link, &self.pin);
        }
        if let Some(other) = &other {
            tracing::warn!(
                link = %other.display(),
                "the interface keeps the XDP mode that it has by now, with the program that it had; a start or a reload asks \
                 its driver again"
            );
        }
        let link = kernel::open(other.as_deref().unwrap_or(&self.pin))?;
        if kernel::info(&link)?.program != self.program.id() {
            kernel::update(&link, fd.as_fd())?;
        }
        Ok(())
    }
}

fn is_native(pin: &Path) -> bool {
    let name = pin.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| name.starts_with(NATIVE))
}

/// The pin that the same interface has in the other mode.
fn other_mode(pin: &Path) -> Option<PathBuf> {
    let name = pin.file_name()?.to_str()?;
    let other = if let Some(interface) = name.strip_prefix(NATIVE) {
        format!("{GENERIC}{interface}")
    } else {
        format!("{NATIVE}{}", name.strip_prefix(GENERIC)?)
    };
    Some(pin.with_file_name(other))
}

/// Ends a pinned link. Closing its last descriptor would end it too, but later, and until then the kernel refuses
/// another attachment to the interface.
pub(super) fn take_off(pin: &Path) -> io::Result<()> {
    kernel::detach(&kernel::open(pin)?)?;
    fs::remove_file(pin)
}

/// Removes the links and notes of all interfaces but these.
pub(super) fn remove_others(home: &Path, interfaces: &[String]) -> Result<(), Error> {
    let error = |source| Error::Remove {
        path: home.into(),
        source,
    };
    let pins = |interface: &String| {
        let links = [true, false].map(|native| xdp_pin(home, interface, native));
        links.into_iter().chain([note::path(home, interface)])
    };
    let keep: Vec<_> = interfaces.iter().flat_map(pins).collect();
    for entry in fs::read_dir(home).map_err(error)? {
        let path = entry.map_err(error)?.path();
        let ours = path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("link_xdp_"));
        if ours && !keep.contains(&path) {
            take_off(&path).map_err(error)?;
        } else if note::is_note(&path) && !keep.contains(&path) {
            fs::remove_file(&path).map_err(error)?;
        }
    }
    Ok(())
}

/// Moves every link's pin and note to another directory of the same file system.
pub(super) fn move_all(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        if let (true, Some(name)) = (is_link(&path) || note::is_note(&path), path.file_name()) {
            fs::rename(&path, to.join(name))?;
        }
    }
    Ok(())
}
