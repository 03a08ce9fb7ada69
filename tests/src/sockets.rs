//! The sockets of another process, as the kernel sees them: `pidfd_getfd` borrows each descriptor, because no table
//! under `/proc` and no netlink message tells on which CPU a socket's packets arrive.

use std::{
    fs,
    io::Error,
    mem::size_of,
    net::SocketAddr,
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
};

use anyhow::{Context, Result};
use nix::sys::socket::{SockaddrStorage, getpeername};

/// A connection of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connected {
    pub peer: SocketAddr,
    /// `SO_INCOMING_CPU`: where its last packet was received.
    pub cpu: u32,
}

/// Every TCP connection a process has open. Connections that end meanwhile are left out.
pub fn connections(pid: i32) -> Result<Vec<Connected>> {
    let process = pidfd_open(pid).with_context(|| format!("open process {pid}"))?;
    let directory = format!("/proc/{pid}/fd");
    let entries = fs::read_dir(&directory).with_context(|| format!("read {directory}"))?;
    let sockets = entries
        .flatten()
        .filter(|entry| {
            fs::read_link(entry.path())
                .is_ok_and(|link| link.to_string_lossy().starts_with("socket:"))
        })
        .filter_map(|entry| entry.file_name().to_str()?.parse::<RawFd>().ok());
    Ok(sockets
        .filter_map(|number| connected(&process, number))
        .collect())
}

fn connected(process: &OwnedFd, number: RawFd) -> Option<Connected> {
    let socket = pidfd_getfd(process, number).ok()?;
    let peer: SockaddrStorage = getpeername(socket.as_raw_fd()).ok()?;
    let peer = peer
        .as_sockaddr_in()
        .map(|v4| SocketAddr::new(v4.ip().into(), v4.port()))
        .or_else(|| {
            peer.as_sockaddr_in6()
                .map(|v6| SocketAddr::new(v6.ip().into(), v6.port()))
        })?;
    Some(Connected {
        peer,
        cpu: incoming_cpu(&socket).ok()?,
    })
}

/// A descriptor of a process; readable when it has ended.
pub fn pidfd_open(pid: i32) -> Result<OwnedFd, Error> {
    // SAFETY: the call takes two integers and returns a new descriptor or -1.
    owned(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })
}

fn pidfd_getfd(process: &OwnedFd, number: RawFd) -> Result<OwnedFd, Error> {
    // SAFETY: the call takes three integers, the first a descriptor that is open here, and returns a new descriptor or -1.
    owned(unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), number, 0) })
}

fn owned(answer: libc::c_long) -> Result<OwnedFd, Error> {
    match RawFd::try_from(answer) {
        // SAFETY: the kernel has just made this descriptor and nothing else uses it.
        Ok(number) if number >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(number) }),
        _ => Err(Error::last_os_error()),
    }
}

fn incoming_cpu(socket: &OwnedFd) -> Result<u32, Error> {
    let (mut cpu, mut length) = (
        0_u32,
        libc::socklen_t::try_from(size_of::<u32>()).unwrap_or(4),
    );
    // SAFETY: both pointers are to locals of the sizes given, which live through the call.
    let answer = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_INCOMING_CPU,
            (&raw mut cpu).cast(),
            &raw mut length,
        )
    };
    if answer == 0 {
        Ok(cpu)
    } else {
        Err(Error::last_os_error())
    }
}
