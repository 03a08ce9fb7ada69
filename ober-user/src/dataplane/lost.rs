//! Links of this instance that have lost their pins and are there nevertheless: another BPF file system was mounted over the
//! one that they are in, or the pin was removed while somebody holds a descriptor. Ours is a link whose program uses our
//! maps.

use std::os::fd::OwnedFd;

use aya::programs::{ProgramInfo, links::LinkInfo, loaded_links};

use super::{kernel, link};

/// The link that holds such a program to the interface with this number; 0: to our network namespace.
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
    // One that has ended meanwhile cannot be opened.
    let mut links = links.filter_map(|link| kernel::open_link(link.id()).ok());
    links.find(holds)
}
