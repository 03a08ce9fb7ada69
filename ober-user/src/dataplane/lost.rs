//! Links of this instance that exist although they have lost their pins: another BPF file system was mounted over
//! theirs, or the pin was removed while a process holds a descriptor. A link is ours when its program does the same as
//! ours on our maps.

use std::os::fd::OwnedFd;

use aya::programs::{ProgramInfo, links::LinkInfo, loaded_links};

use super::{kernel, link};

/// The link that attaches such a program to the interface with this number; 0: to our network namespace.
pub(super) fn link(fresh: &ProgramInfo, interface: u32) -> Option<OwnedFd> {
    let ours = |link: &LinkInfo| {
        let running = link::loaded(link.program_id());
        running.is_some_and(|running| link::alike(&running, fresh))
    };
    let holds = |link: &OwnedFd| {
        let info = kernel::info(link);
        info.and_then(|info| info.holds(interface)).unwrap_or(false)
    };
    let links = loaded_links().flatten().filter(ours);
    // A link that has ended meanwhile cannot be opened.
    let mut links = links.filter_map(|link| kernel::open_link(link.id()).ok());
    links.find(holds)
}
