//! The pinned links of an instance, for a caller that checks them repeatedly.

use std::{
    collections::BTreeMap,
    fs, io,
    os::{fd::OwnedFd, linux::fs::MetadataExt as _},
    path::{Path, PathBuf},
};

use super::{kernel, link, load};
use crate::system::fact::Fact;

/// The most names of programs that are kept. Each restart of the daemon may bring two more.
const REMEMBERED: usize = 16;
/// How often a link is read again because its program was replaced meanwhile: a start replaces it once, and asking a
/// driver again replaces it twice.
const EXCHANGES: usize = 8;

/// A link is opened once and stays open while its pin is the same, so that a check needs no new descriptor. When the
/// pin is gone, the descriptor is closed at the next check, so that it does not keep the link alive.
#[derive(Debug)]
pub struct PinnedLinks {
    home: PathBuf,
    open: BTreeMap<PathBuf, Opened>,
    /// Names of the programs that were found in links, by their ids.
    programs: BTreeMap<u32, String>,
}

#[derive(Debug)]
struct Opened {
    inode: u64,
    link: OwnedFd,
}

impl PinnedLinks {
    /// `home`: where the links are pinned.
    pub fn new(home: &Path) -> Self {
        Self {
            home: home.to_owned(),
            open: BTreeMap::new(),
            programs: BTreeMap::new(),
        }
    }

    /// Does our socket lookup run in this network namespace?
    pub fn looks_up(&mut self) -> Fact {
        let pin = link::lookup_pin(&self.home);
        Fact::of(self.runs(&pin, load::LOOKUP, 0))
    }

    /// Is our program attached to the interface with this number? `None`: there is none of that name.
    pub fn holds(&mut self, interface: &str, index: Option<u32>) -> Fact {
        let Some(index) = index else {
            return Fact::No;
        };
        let mut fact = Fact::No;
        for native in [true, false] {
            let pin = link::xdp_pin(&self.home, interface, native);
            match Fact::of(self.runs(&pin, load::XDP, index)) {
                Fact::No => {}
                Fact::Yes => return Fact::Yes,
                unasked @ Fact::Unasked(_) => fact = unasked,
            }
        }
        fact
    }

    fn runs(&mut self, pin: &Path, program: &str, interface: u32) -> io::Result<bool> {
        let mut again = 0..EXCHANGES;
        loop {
            let Some(link) = self.open(pin)? else {
                return Ok(false);
            };
            let info = kernel::info(link)?;
            if !info.holds(interface)? {
                return Ok(false);
            }
            match self.name(info.program) {
                Ok(name) => return Ok(name == program),
                // The program was replaced and has gone since the link was read: the link has another one now.
                Err(error) if error.kind() == io::ErrorKind::NotFound && again.next().is_some() => {
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn open(&mut self, pin: &Path) -> io::Result<Option<&OwnedFd>> {
        // Closes every link whose pin is gone, not only this one: a caller that finds one gone may not ask for the others.
        self.open
            .retain(|pin, it| fs::metadata(pin).is_ok_and(|data| data.st_ino() == it.inode));
        let inode = match fs::metadata(pin) {
            Ok(data) => data.st_ino(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        if !self.open.contains_key(pin) {
            let link = kernel::open(pin)?;
            self.open.insert(pin.to_owned(), Opened { inode, link });
        }
        Ok(self.open.get(pin).map(|it| &it.link))
    }

    fn name(&mut self, program: u32) -> io::Result<&str> {
        if !self.programs.contains_key(&program) {
            let name = kernel::program_name(program)?;
            if self.programs.len() >= REMEMBERED {
                self.programs.clear();
            }
            self.programs.insert(program, name);
        }
        Ok(self.programs.get(&program).map_or("", String::as_str))
    }
}

/// The number of an interface of this network namespace; `None`: there is none of that name.
pub fn index(interface: &str) -> io::Result<Option<u32>> {
    match nix::net::if_::if_nametoindex(interface) {
        Ok(index) => Ok(Some(index)),
        Err(nix::Error::ENODEV | nix::Error::ENXIO) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// Is our program attached to the interface? For a caller that asks once.
pub fn holds(home: &Path, interface: &str) -> Fact {
    match index(interface) {
        Ok(index) => PinnedLinks::new(home).holds(interface, index),
        Err(error) => Fact::of(Err(error)),
    }
}

/// Does our socket lookup run in this network namespace? For a caller that asks once.
pub fn looks_up(home: &Path) -> Fact {
    PinnedLinks::new(home).looks_up()
}
