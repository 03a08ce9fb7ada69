//! Certificates: files on disk to copies in the run directory to the workers, while they serve.
//!
//! ```text
//! files, directories -> found -> system/pem -> copies (kept when a file is no good) -> HAProxy at its start
//!        ^-- watch (inotify)         haproxy/certificates <-+ (what a worker has, what it lacks) -> its command socket
//! placeholder   what a listener shows while it has no certificate
//! ```
//! `acme/` has an authority issue certificates, and puts them where files are.
//!
//! HAProxy never reads an administrator's file: a file that is broken for a moment, or for good, cannot reach it.

pub mod acme;
pub mod copies;
mod found;
mod placeholder;
pub mod watch;

use std::path::{Path, PathBuf};

pub use crate::system::pem::{
    bundle::{Bundle, Error},
    facts::{Dates, Facts},
};

/// The files behind a path that a configuration names: itself, or what is meant in a directory.
pub fn files(path: &Path) -> Vec<PathBuf> {
    if !path.is_dir() {
        return vec![path.to_owned()];
    }
    let found = found::in_directory(path).unwrap_or_default().files;
    let meant = |file: &PathBuf| {
        !matches!(
            Bundle::read(file),
            Err(Error::NoKey { .. } | Error::NoCertificate { .. })
        )
    };
    found.into_iter().filter(meant).collect()
}
