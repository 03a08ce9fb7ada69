//! A terminal for a program that behaves otherwise before a person.

use std::{
    fs::File,
    io,
    os::fd::{FromRawFd as _, OwnedFd},
};

use nix::errno::Errno;

/// A new terminal: the end that reads what a program writes, and the end for the program. Once no process holds the latter,
/// reading ends with an error instead of an end of file.
pub fn open() -> io::Result<(File, OwnedFd)> {
    let (mut ours, mut theirs) = (-1, -1);
    // SAFETY: two out parameters; names, modes and sizes are left to the kernel.
    let made = unsafe {
        libc::openpty(
            &raw mut ours,
            &raw mut theirs,
            std::ptr::null_mut(),
            std::ptr::null(),
            std::ptr::null(),
        )
    };
    Errno::result(made)?;
    // SAFETY: both were just opened for us.
    let ends = unsafe { (File::from_raw_fd(ours), OwnedFd::from_raw_fd(theirs)) };
    Ok(ends)
}
