//! Slurm hostlists and what access lists add to them: addresses, ranges, prefixes, `@file` and `-`.
//!
//! The law: an expression that `scontrol show hostnames` accepts expands here to the same names in the same order, without
//! duplicates. That includes quirks (the order of a product of three brackets, a blank in a bracket counting as a padding
//! digit), because a list must mean here what it means to Slurm. Where scontrol is wrong the expression is refused instead, and
//! each place says so. Text after a bracket (`rgw[01-08].internal`), which scontrol refuses, works.
//!
//! Nothing here opens a file: streams come through [`Sources`], on this machine from [`disk`].
//!
//! ```text
//! parse -> terms -> expand (names and items) -> fold (back to an expression)
//! stream   lists and files line by line     servers   hosts with a port     anchor   paths made absolute
//! ```
//! It never expands more than its caller's cap allows.

mod anchor;
pub mod disk;
mod error;
mod expand;
mod fold;
mod parse;
pub mod servers;
mod stream;
#[cfg(test)]
mod tests;

use std::{
    collections::HashSet,
    io::{self, BufRead},
    net::{IpAddr, Ipv4Addr},
    path::Path,
};

pub use anchor::{Unreadable, anchor};
pub use error::{Error, Fault, FaultPosition, Origin};
pub use fold::fold;
use ipnet::IpNet;
use parse::{Grammar, Term};
pub use servers::{Server, expand_servers};

pub use crate::names::notation::Host;

/// One thing an expression stands for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Item {
    /// Still to be resolved.
    Name(String),
    Addr(IpAddr),
    Prefix(IpNet),
    /// Both ends included; `first < last`.
    Range {
        first: Ipv4Addr,
        last: Ipv4Addr,
    },
}

/// How many names or addresses may still be produced. A prefix counts as one, a range as its addresses; duplicates count,
/// because their cost is paid before they are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cap {
    limit: u64,
    used: u64,
    /// How the user can raise a limit that is too low.
    advice: &'static str,
}

impl Cap {
    pub fn new(limit: usize) -> Self {
        Self::after(limit, 0)
    }

    /// A cap of which `used` is spent already.
    pub fn after(limit: usize, used: u64) -> Self {
        Self {
            limit: u64::try_from(limit).unwrap_or(u64::MAX),
            used,
            advice: "use a prefix, or raise limits.expansion",
        }
    }

    /// The same where another setting than `limits.expansion` sets the limit.
    #[must_use]
    pub fn advising(self, advice: &'static str) -> Self {
        Self { advice, ..self }
    }

    /// What has been produced under this cap so far.
    pub fn used(&self) -> u64 {
        self.used
    }

    /// Takes `size` from what is left, or fails.
    fn spend(&mut self, size: u64) -> Result<(), Fault> {
        let used = self.used.saturating_add(size);
        if used > self.limit {
            return Err(Fault::TooMany {
                size: used,
                limit: self.limit,
                advice: self.advice,
            });
        }
        self.used = used;
        Ok(())
    }
}

impl Default for Cap {
    fn default() -> Self {
        Self::new(1_000_000)
    }
}

/// Opens `@file` and `-`.
pub trait Sources {
    fn open(&mut self, path: &Path) -> io::Result<Box<dyn BufRead + '_>>;
    fn stdin(&mut self) -> io::Result<Box<dyn BufRead + '_>>;
}

/// For expressions that may not name a stream, such as those sent to the daemon over its socket.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoSources;

impl Sources for NoSources {
    fn open(&mut self, _: &Path) -> io::Result<Box<dyn BufRead + '_>> {
        Err(io::Error::other(
            "files are read by the command, not here; pass their contents",
        ))
    }

    fn stdin(&mut self) -> io::Result<Box<dyn BufRead + '_>> {
        Err(io::Error::other(
            "there is no standard input here; pass its contents",
        ))
    }
}

/// For expressions that are only checked: the content of the files they name is not.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unread;

impl Sources for Unread {
    fn open(&mut self, _: &Path) -> io::Result<Box<dyn BufRead + '_>> {
        Ok(Box::new(io::empty()))
    }

    fn stdin(&mut self) -> io::Result<Box<dyn BufRead + '_>> {
        Err(io::Error::other(
            "it belongs to a command; write the names here, or @FILE",
        ))
    }
}

/// Receives the parsed terms; the walk over expressions and files is the same for all.
trait Sink {
    /// An IPv4 literal on a line of its own: the fast path, for files with a million of them.
    fn v4(&mut self, addr: Ipv4Addr);
    fn term(&mut self, term: &Term<'_>) -> Result<(), Fault>;
}

/// The text of standard input, for a process that cannot read it: what is no text is refused as it would be in a file.
pub fn stdin_text(bytes: Vec<u8>) -> Result<String, Error> {
    stream::text(bytes, &error::Origin::Stdin)
}

/// Calls `each` for every item, in order, duplicates included, and takes their number from `cap`.
///
/// No item is stored, so a file of any length costs no memory. An error in the expression itself comes before the first item;
/// one in a file may come after some of its items, which the caller must then discard.
pub fn visit(
    expr: &str,
    cap: &mut Cap,
    sources: &mut dyn Sources,
    each: impl FnMut(Item),
) -> Result<(), Error> {
    stream::walk(
        expr,
        Grammar::Clients,
        cap,
        sources,
        &mut expand::Items(each),
    )
}

/// Every item of `expr`, in order, duplicates dropped.
pub fn expand(expr: &str, mut cap: Cap, sources: &mut dyn Sources) -> Result<Vec<Item>, Error> {
    let mut items = Vec::new();
    visit(expr, &mut cap, sources, |item| items.push(item))?;
    drop_duplicates(&mut items);
    Ok(items)
}

/// Every name of `expr` as text, in order, duplicates dropped: what `scontrol show hostnames` prints.
///
/// Addresses and prefixes stay as written; only `a.b.c.d-e.f.g.h` becomes its addresses.
pub fn names(expr: &str, mut cap: Cap, sources: &mut dyn Sources) -> Result<Vec<String>, Error> {
    let mut names = every_name(expr, &mut cap, sources)?;
    drop_duplicates(&mut names);
    Ok(names)
}

/// [`names`] with the duplicates, for lists that are paired by position.
pub(crate) fn every_name(
    expr: &str,
    cap: &mut Cap,
    sources: &mut dyn Sources,
) -> Result<Vec<String>, Error> {
    let mut names = Vec::new();
    stream::walk(
        expr,
        Grammar::Clients,
        cap,
        sources,
        &mut expand::Names(&mut names),
    )?;
    Ok(names)
}

/// Keeps the first of equal ones. The set borrows from the list: a second copy of a million names would need more memory than
/// it.
fn drop_duplicates<T: Eq + std::hash::Hash>(list: &mut Vec<T>) {
    let mut seen = HashSet::with_capacity(list.len());
    let fresh: Vec<bool> = list.iter().map(|item| seen.insert(item)).collect();
    let mut fresh = fresh.into_iter();
    list.retain(|_| fresh.next().unwrap_or(true));
}
