//! Links: what ties a program to an interface or a network namespace. A pinned link is updated in place, so there is
//! no moment without a program; a new one is made only where none is.

use std::{
    collections::BTreeSet,
    fs, io,
    os::fd::{AsFd as _, BorrowedFd},
    path::{Path, PathBuf},
};

use aya::programs::{ProgramInfo, SkLookup, links::FdLink, loaded_programs};

use super::{Error, chain, facts, kernel, lost, note};
use crate::file;

const LOOKUP: &str = "link_lookup";
/// A directory among the pins: the programs write the packet log.
pub(super) const LOG_MARK: &str = "packet_log";
const NATIVE: &str = "link_xdp_native_";
const GENERIC: &str = "link_xdp_generic_";

/// The pin of an interface's link; its name keeps the mode, which the kernel's link does not tell. File names on the
/// BPF file system hold no dots; interface names may (`eth0.100`).
pub(super) fn xdp_pin(home: &Path, interface: &str, native: bool) -> PathBuf {
    let mode = if native { NATIVE } else { GENERIC };
    home.join(format!("{mode}{}", escape(interface)))
}

/// An interface's name as a part of a file name there.
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

/// Attaches the socket lookup to this network namespace, or replaces the program that is there.
pub(super) fn lookup(home: &Path, program: &mut SkLookup) -> Result<(), Error> {
    let error = |reason: String| Error::AttachLookup { reason };
    let pin = lookup_pin(home);
    let info = program.info().map_err(|cause| error(chain(&cause)))?;
    if !pin.exists()
        && let Some(link) = lost::link(&info, 0)
    {
        kernel::pin(&link, &pin).map_err(|cause| error(cause.to_string()))?;
    }
    if replace(
        home,
        &pin,
        &info,
        program.fd().map_err(|cause| error(chain(&cause)))?.as_fd(),
        0,
    )
    .map_err(|cause| error(cause.to_string()))?
    {
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

/// Replaces the program in the pinned link, if that link still holds on. `false`: there is none.
pub(super) fn replace(
    home: &Path,
    pin: &Path,
    fresh: &ProgramInfo,
    program: BorrowedFd<'_>,
    interface: u32,
) -> io::Result<bool> {
    if !pin.exists() {
        return Ok(false);
    }
    let link = kernel::open(pin)?;
    let info = kernel::info(&link)?;
    if !info.holds(interface)? {
        fs::remove_file(pin)?;
        return Ok(false);
    }
    let running = loaded(info.program);
    // The pin of a program that must go is gone already.
    let pinned = |running: &ProgramInfo| {
        facts::programs(home)
            .iter()
            .any(|pinned| pinned.id == running.id())
    };
    let same = |running: &ProgramInfo| alike(running, fresh) && pinned(running);
    if !running.is_some_and(|running| same(&running)) {
        kernel::update(&link, program)?;
    }
    Ok(true)
}

/// The loaded program with this number.
pub(super) fn loaded(id: u32) -> Option<ProgramInfo> {
    loaded_programs()
        .flatten()
        .find(|program| program.id() == id)
}

/// The program behind a pinned link.
pub(super) fn behind(pin: &Path) -> Option<ProgramInfo> {
    loaded(kernel::info(&kernel::open(pin).ok()?).ok()?.program)
}

/// Do both do the same on the same maps? The tag leaves the maps out, so those are compared too.
pub(super) fn alike(one: &ProgramInfo, other: &ProgramInfo) -> bool {
    one.tag() == other.tag() && maps(one) == maps(other)
}

/// The pinned maps a program uses. The log's map and the read-only data are made anew with every load.
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

/// The links of a directory with the programs they run, so that a change can be undone.
pub(super) struct Links(Vec<(PathBuf, ProgramInfo)>);

impl Links {
    pub(super) fn read(home: &Path) -> Self {
        let entries = fs::read_dir(home).into_iter().flatten().flatten();
        let running = |path: PathBuf| behind(&path).map(|program| (path, program));
        Self(
            entries
                .map(|entry| entry.path())
                .filter(|path| is_link(path))
                .filter_map(running)
                .collect(),
        )
    }

    /// Gives every link the program it had, and removes those that were not there. A link whose interface has one of
    /// the other mode by now stays as it is: the program runs.
    pub(super) fn put_back(&self, home: &Path) -> io::Result<()> {
        for (path, program) in &self.0 {
            if other_mode(path).is_some_and(|other| other.exists()) {
                continue;
            }
            let link = kernel::open(path)?;
            if kernel::info(&link)?.program != program.id() {
                let program = program.fd().map_err(io::Error::other)?;
                kernel::update(&link, program.as_fd())?;
            }
        }
        let known = |path: &PathBuf| self.0.iter().any(|(old, _)| old == path);
        for entry in fs::read_dir(home)? {
            let path = entry?.path();
            let was_there = known(&path) || other_mode(&path).is_some_and(|other| known(&other));
            if is_link(&path) && !was_there {
                take_off(&path)?;
            }
        }
        Ok(())
    }
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

/// Ends a pinned link. Its last descriptor alone would end it too, but at some later time, and until then the interface
/// is busy for whoever attaches next.
pub(super) fn take_off(pin: &Path) -> io::Result<()> {
    kernel::detach(&kernel::open(pin)?)?;
    fs::remove_file(pin)
}

/// Takes the program off every interface but the named ones.
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

/// Moves every link pin, and what is noted beside it, to another directory of the same file system.
pub(super) fn move_all(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        if let (true, Some(name)) = (is_link(&path) || note::is_note(&path), path.file_name()) {
            fs::rename(&path, to.join(name))?;
        }
    }
    Ok(())
}
