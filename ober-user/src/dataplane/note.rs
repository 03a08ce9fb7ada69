//! The note beside the pin of an interface's link: the features of the interface when its driver was last asked, and
//! why the program is generic. The BPF file system holds no regular files, so the note is the target text of a symbolic
//! link, which lives as long as the pins.

use std::{
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::link;
use crate::dataplane::interface::{Asked, refusal::WhyGeneric};

const NOTE: &str = "about_";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    pub asked: Asked,
    pub why_generic: Option<WhyGeneric>,
}

pub(super) fn path(home: &Path, interface: &str) -> PathBuf {
    home.join(format!("{NOTE}{}", link::escape(interface)))
}

pub(super) fn is_note(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| name.to_string_lossy().starts_with(NOTE))
}

/// `None`: there is no note, or it cannot be read, such as one of an earlier version.
pub(super) fn read(home: &Path, interface: &str) -> Option<Note> {
    let text = fs::read_link(path(home, interface)).ok()?;
    serde_json::from_str(text.to_str()?).ok()
}

pub(super) fn write(home: &Path, interface: &str, note: &Note) -> io::Result<()> {
    let (path, text) = (path(home, interface), serde_json::to_string(note)?);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => symlink(text, path),
    }
}
