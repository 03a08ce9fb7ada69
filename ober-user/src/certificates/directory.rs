//! Finds the files of certificates in a directory.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

/// certbot's name for a chain; its key is `privkey.pem`.
const CHAIN: &str = "fullchain.pem";

/// Files and directories, sorted by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) files: BTreeSet<PathBuf>,
    /// Directories directly below, each with a certificate.
    pub(super) directories: BTreeSet<PathBuf>,
}

/// Only `fullchain.pem` if there is one; otherwise `*.pem`, `*.crt` and `*.cer`, and the `fullchain.pem` of every
/// directory directly below, as in certbot's `live`. Hidden names are skipped: Kubernetes keeps the real files behind
/// one.
pub(super) fn in_directory(directory: &Path) -> io::Result<Found> {
    let chain = directory.join(CHAIN);
    if chain.is_file() {
        return Ok(Found {
            files: BTreeSet::from([chain]),
            directories: BTreeSet::new(),
        });
    }
    let mut found = Found::default();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let hidden = path
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if hidden {
            continue;
        }
        if path.is_dir() {
            let chain = path.join(CHAIN);
            found.directories.insert(path);
            if chain.is_file() {
                found.files.insert(chain);
            }
        } else if path
            .extension()
            .is_some_and(|end| end == "pem" || end == "crt" || end == "cer")
        {
            found.files.insert(path);
        }
    }
    Ok(found)
}
