//! Files without a name: another process gets them as descriptors, and they disappear when the last process that holds them
//! ends.

use std::{
    fs::File,
    io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::FileExt as _,
    },
};

use nix::sys::memfd::{MFdFlags, memfd_create};

/// A file with this content, positioned at its beginning.
pub fn file(content: &[u8]) -> io::Result<OwnedFd> {
    let file = File::from(memfd_create("ober", MFdFlags::MFD_CLOEXEC)?);
    file.write_all_at(content, 0)?;
    Ok(file.into())
}

/// The path by which a process finds a descriptor that it has under the same number.
pub fn path(fd: &impl AsRawFd) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_memory_file_is_read_by_its_path_from_the_beginning_each_time() {
        let fd = file(b"secret\n").unwrap();
        for _ in 0..2 {
            assert_eq!(std::fs::read_to_string(path(&fd)).unwrap(), "secret\n");
        }
    }
}
