//! A program that a person works with in a terminal, such as an editor.

use std::{
    ffi::OsStr,
    io,
    path::Path,
    process::{Command, ExitStatus},
};

/// Runs a program for the person who started this command, and waits for its end. It works in their place: it has their
/// account, environment, terminal and working directory.
#[expect(
    clippy::disallowed_methods,
    reason = "an editor needs what a child of the daemon must not have"
)]
pub fn interactive<A: AsRef<OsStr>>(
    program: &Path,
    arguments: impl IntoIterator<Item = A>,
) -> io::Result<ExitStatus> {
    Command::new(program).args(arguments).status()
}
