//! Files that have no name: another process gets them as descriptors, and when both have ended nothing of them is left.

use std::{
    fs::File,
    io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::FileExt as _,
    },
};

use nix::sys::memfd::{MFdFlags, memfd_create};

/// One with this content, read from its beginning.
pub fn file(content: &[u8]) -> io::Result<OwnedFd> {
    let file = File::from(memfd_create("ober", MFdFlags::MFD_CLOEXEC)?);
    file.write_all_at(content, 0)?;
    Ok(file.into())
}

/// Where who has it under the same number finds it.
pub fn path(fd: &impl AsRawFd) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_it_is_found_by_its_path_from_the_beginning_each_time() {
        let fd = file(b"secret\n").unwrap();
        for _ in 0..2 {
            assert_eq!(std::fs::read_to_string(path(&fd)).unwrap(), "secret\n");
        }
    }
}
