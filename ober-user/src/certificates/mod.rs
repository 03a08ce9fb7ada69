//! Certificates: from files on disk to copies in the run directory, which the workers read or get while they serve.
//!
//! ```text
//! files, directories -> directory -> system/pem -> copies (kept when a file is unusable) -> HAProxy at its start
//!        ^-- watch (inotify)         haproxy/certificates <-+ (what a worker has, what it lacks) -> its command socket
//! placeholder   the certificate of a listener that has none yet
//! ```
//! `acme/` orders certificates from an authority, and writes them as files.
//!
//! HAProxy never reads an operator's file, so a file that is broken, even for a moment, cannot reach it.

pub mod acme;
pub mod copies;
mod directory;
mod placeholder;
pub mod watch;

use std::path::{Path, PathBuf};

pub use crate::system::pem::{
    bundle::{Bundle, Error},
    facts::{CertificateFacts, Dates},
};

/// The files behind a path that a configuration names: the file itself, or the certificates in a directory.
pub fn files(path: &Path) -> Vec<PathBuf> {
    if !path.is_dir() {
        return vec![path.to_owned()];
    }
    let found = directory::in_directory(path).unwrap_or_default().files;
    let meant = |file: &PathBuf| {
        !matches!(
            Bundle::read(file),
            Err(Error::NoKey { .. } | Error::NoCertificate { .. })
        )
    };
    found.into_iter().filter(meant).collect()
}
