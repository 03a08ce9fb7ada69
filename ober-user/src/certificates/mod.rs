//! Certificates: files on disk to copies in the run directory to the workers, while they serve.
//!
//! ```text
//! files, directories -> found, bundle, facts -> shelf (copies, kept when a file is no good) -> HAProxy at its start
//!        ^-- watch (inotify)                       +-> workers (what one has, what it lacks) -> its command socket
//! ```
//! `acme` has the authority issue what is to be issued, and puts it where files are.
//!
//! HAProxy never reads an administrator's file: a file that is broken for a moment, or for good, cannot reach it.

pub mod acme;
mod bundle;
mod facts;
mod found;
mod placeholder;
pub mod shelf;
pub mod watch;
pub mod workers;

pub use bundle::{Bundle, Error};
pub use facts::{Dates, Facts};

#[cfg(test)]
pub(crate) use bundle::tests::chain_and_key;
