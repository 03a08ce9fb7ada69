//! Hostlist expressions, and the files they name.

use std::{
    io::{self, BufRead, Cursor},
    num::NonZeroU16,
    path::Path,
};

use ober_user::names::hostlist::{Cap, NoSources, Sources, expand_servers, names, visit};

/// Most names of an expression: a short one can stand for any number of them.
pub(crate) const MOST: usize = 64;
const PORT: NonZeroU16 = NonZeroU16::new(9000).unwrap();

/// Every file has the same content and names no other.
struct Only<'b>(&'b [u8]);

impl Sources for Only<'_> {
    fn open(&mut self, _: &Path) -> io::Result<Box<dyn BufRead + '_>> {
        Ok(Box::new(Cursor::new(self.0)))
    }

    fn stdin(&mut self) -> io::Result<Box<dyn BufRead + '_>> {
        Ok(Box::new(Cursor::new(self.0)))
    }
}

pub(crate) fn expression(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let mut cap = Cap::new(MOST);
    let mut seen = 0;
    if visit(text, &mut cap, &mut NoSources, |_| seen += 1).is_ok() {
        // A prefix is one item; a range in an expression is one item of many addresses.
        assert!(seen <= cap.used());
    }
    if let Ok(names) = names(text, Cap::new(MOST), &mut NoSources) {
        assert!(names.len() <= MOST);
    }
    if let Ok(servers) = expand_servers(text, PORT, Cap::new(MOST), &mut NoSources) {
        assert!(servers.len() <= MOST);
    }
}

pub(crate) fn file(bytes: &[u8]) {
    let mut cap = Cap::new(MOST);
    let mut seen = 0;
    // Refused or not: neither a panic nor more than the cap.
    let read = visit("@list", &mut cap, &mut Only(bytes), |_| seen += 1);
    assert!(seen <= MOST || read.is_err());
}
