//! Protects the files and the memory of this process before it reads a secret.

use std::fmt::Display;

use nix::sys::{
    prctl::set_dumpable,
    resource::{Resource, setrlimit},
    stat::{Mode, umask},
};

use crate::system::file;

/// Makes files readable for root alone, and this memory unreadable for other users.
pub(crate) fn harden() {
    umask(Mode::from_bits_truncate(0o077));
    try_to("forbid others to read its memory", set_dumpable(false));
}

/// Keeps the memory of this process off disks. Its children inherit the mask of core files, which also holds where core files
/// are piped to a program; the limit does not.
pub(crate) fn leave_no_core() {
    let mask = file::kernel_write("/proc/self/coredump_filter", "0");
    try_to("leave memory out of core files", mask);
    let limit = setrlimit(Resource::RLIMIT_CORE, 0, 0);
    try_to("forbid core files", limit);
}

fn try_to(what: &str, done: Result<(), impl Display>) {
    if let Err(error) = done {
        tracing::warn!(%error, "{what}");
    }
}
