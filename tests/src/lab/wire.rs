//! A test's own frames, sent unchanged onto a link of the laboratory.

use std::{
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

use anyhow::{Context, Result};
use nix::net::if_::if_nametoindex;

/// The address of the card that [`seal`] sends frames to.
pub const CARD: &str = "02:00:00:00:00:01";

/// A packet socket at one end of a link.
#[derive(Debug)]
pub struct Wire {
    socket: OwnedFd,
    to: libc::sockaddr_ll,
}

impl Wire {
    /// Opens it in the network namespace of this thread.
    pub fn new(interface: &str) -> Result<Self> {
        // SAFETY: a system call with three integers.
        let socket =
            unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        if socket < 0 {
            return Err(io::Error::last_os_error()).context("open a packet socket");
        }
        // SAFETY: the kernel has just made this descriptor for us.
        let socket = unsafe { OwnedFd::from_raw_fd(socket) };
        // SAFETY: integers, for which zero is valid.
        let mut to: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        to.sll_family = u16::try_from(libc::AF_PACKET)?;
        to.sll_ifindex = i32::try_from(if_nametoindex(interface)?)?;
        Ok(Self { socket, to })
    }

    /// # Panics
    /// When the kernel does not take the frame: the test that sends it cannot go on.
    pub fn send(&self, frame: &[u8]) {
        let length = libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>()).unwrap_or(0);
        // SAFETY: both buffers are as long as said and outlive the call.
        let sent = unsafe {
            libc::sendto(
                self.socket.as_raw_fd(),
                frame.as_ptr().cast(),
                frame.len(),
                0,
                (&raw const self.to).cast(),
                length,
            )
        };
        assert_eq!(
            usize::try_from(sent),
            Ok(frame.len()),
            "send a frame: {}",
            io::Error::last_os_error()
        );
    }
}

/// Sets the destination of the frame to [`CARD`], the node's card, and the checksum of an IPv4 header, without which the kernel
/// drops it.
pub fn seal(bytes: &mut [u8]) {
    if let Some(address) = bytes.get_mut(..6) {
        address.copy_from_slice(&[2, 0, 0, 0, 0, 1]);
    }
    let mut at = 12;
    while let Some([0x81, 0x00] | [0x88, 0xa8]) = bytes.get(at..at + 2) {
        at += 4;
    }
    if bytes.get(at..at + 2) != Some(&[8, 0]) {
        return;
    }
    let start = at + 2;
    let words = bytes.get(start).map_or(0, |first| usize::from(first & 15));
    let Some(header) = bytes
        .get_mut(start..start + 4 * words)
        .filter(|_| words >= 5)
    else {
        return;
    };
    header[10..12].fill(0);
    let checksum = checksum(header);
    header[10..12].copy_from_slice(&checksum);
}

/// RFC 1071, of bytes in which the checksum's own are zero.
pub fn checksum(bytes: &[u8]) -> [u8; 2] {
    let pairs = bytes.chunks(2);
    let words = pairs.map(|pair| u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
    let mut sum: u32 = words.map(u32::from).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!u16::try_from(sum).unwrap_or(u16::MAX)).to_be_bytes()
}
