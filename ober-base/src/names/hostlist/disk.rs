//! Reads `@file` and `-` on this machine: the only part of this module that does I/O.

use std::{
    io::{self, BufRead, BufReader},
    path::Path,
};

use super::Sources;

use crate::system::file;

/// Large enough that a million addresses take some two hundred reads.
const BUFFER: usize = 64 << 10;

/// Files and standard input of this process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk;

impl Sources for Disk {
    fn open(&mut self, path: &Path) -> io::Result<Box<dyn BufRead + '_>> {
        Ok(Box::new(BufReader::with_capacity(
            BUFFER,
            file::open(path, file::Kind::List)?,
        )))
    }

    fn stdin(&mut self) -> io::Result<Box<dyn BufRead + '_>> {
        Ok(Box::new(io::stdin().lock()))
    }
}
