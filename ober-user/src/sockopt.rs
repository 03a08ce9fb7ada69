//! Socket options the standard library and socket2 do not have. All of their `unsafe` is here.

use std::{
    io,
    os::fd::{AsFd, AsRawFd as _},
};

/// Packets the kernel dropped that were for this socket: by its filter, or because its queue was full.
pub(crate) fn drops(socket: &impl AsFd) -> io::Result<u32> {
    /// `SK_MEMINFO_VARS` and `SK_MEMINFO_DROPS` of `linux/sock_diag.h`.
    const VARS: usize = 9;
    let mut info = [0_u32; VARS];
    let mut length = libc::socklen_t::try_from(size_of_val(&info)).map_err(io::Error::other)?;
    // SAFETY: the kernel writes at most `length` bytes of plain numbers.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    let [.., drops] = info;
    if result == 0 {
        Ok(drops)
    } else {
        Err(io::Error::last_os_error())
    }
}
