//! Programs on an interface that are not ours.

use std::fmt;

use aya::programs::loaded_links;

use super::{kernel, load};
use crate::system::netlink::{links, question::Refusal};

/// A program that is attached to an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Occupant {
    pub program: u32,
    /// Empty when it is not known.
    pub name: String,
    pub generic: bool,
    /// The link that holds it; `None`: it was attached by netlink.
    pub link: Option<u32>,
}

impl Occupant {
    /// A hint for messages when the program has the same name as ours.
    pub(super) fn lost(&self) -> &'static str {
        if self.name == load::XDP {
            "; it is called as Herr Ober's own: another instance runs on this interface, or the BPF file system with the \
             pins of this one was mounted anew"
        } else {
            ""
        }
    }

    /// The command by which the operator removes it.
    pub fn off(&self, interface: &str) -> String {
        match self.link {
            Some(link) => format!("bpftool link detach id {link}"),
            None if self.generic => format!("ip link set {interface} xdpgeneric off"),
            None => format!("ip link set {interface} xdp off"),
        }
    }
}

impl fmt::Display for Occupant {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = if self.generic { "generic" } else { "native" };
        write!(out, "id {}", self.program)?;
        if !self.name.is_empty() {
            write!(out, ", `{}`", self.name)?;
        }
        write!(out, ", {mode}")?;
        match self.link {
            Some(link) => write!(out, ", held by link {link}"),
            None => write!(out, ", attached by netlink"),
        }
    }
}

/// The programs on the interface with this number.
pub fn occupants(index: u32) -> Result<Vec<Occupant>, Refusal> {
    let all = links::all()?;
    let here = all.into_iter().filter(|link| link.index == index);
    let describe = |attached: links::Attached| {
        let by = |link: &aya::programs::links::LinkInfo| link.program_id() == attached.program;
        Occupant {
            program: attached.program,
            name: kernel::program_name(attached.program).unwrap_or_default(),
            generic: attached.generic,
            link: loaded_links().flatten().find(by).map(|link| link.id()),
        }
    };
    Ok(here.flat_map(|link| link.xdp).map(describe).collect())
}
