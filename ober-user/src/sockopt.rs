//! Socket options the standard library and socket2 do not have. All of their `unsafe` is here.

use std::{
    io,
    net::IpAddr,
    os::fd::{AsFd, AsRawFd as _},
};

use socket2::{SockAddr, SockAddrStorage};

/// Bytes of a key, as the kernel has room for it.
const LONGEST_KEY: usize = libc::TCP_MD5SIG_MAXKEYLEN;

/// `struct tcp_md5sig` of linux/tcp.h.
#[repr(C)]
struct Md5 {
    address: SockAddrStorage,
    flags: u8,
    prefix_length: u8,
    key_length: u16,
    interface: i32,
    key: [u8; LONGEST_KEY],
}

fn set<T>(socket: &impl AsFd, level: libc::c_int, name: libc::c_int, value: &T) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of::<T>()).map_err(io::Error::other)?;
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: `value` is a live value of the given length, and the kernel only reads it.
    let result = unsafe { libc::setsockopt(fd, level, name, (&raw const *value).cast(), length) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Signs every segment from and to `peer` (RFC 2385), on a connecting or on a listening socket; an empty key ends it.
pub fn md5(socket: &impl AsFd, peer: IpAddr, key: &[u8]) -> io::Result<()> {
    let mut md5 = Md5 {
        address: SockAddr::from(std::net::SocketAddr::new(peer, 0)).as_storage(),
        flags: 0,
        prefix_length: 0,
        key_length: u16::try_from(key.len()).map_err(io::Error::other)?,
        interface: 0,
        key: [0; LONGEST_KEY],
    };
    let room = md5.key.get_mut(..key.len());
    room.ok_or_else(|| io::Error::other("the key is too long"))?
        .copy_from_slice(key);
    set(socket, libc::IPPROTO_TCP, libc::TCP_MD5SIG, &md5)
}

/// The kernel drops what comes in with a smaller TTL or hop limit (RFC 5082).
pub fn least_ttl(socket: &impl AsFd, v6: bool, ttl: u8) -> io::Result<()> {
    let ttl = libc::c_int::from(ttl);
    if v6 {
        /// linux/in6.h
        const IPV6_MINHOPCOUNT: libc::c_int = 73;
        set(socket, libc::IPPROTO_IPV6, IPV6_MINHOPCOUNT, &ttl)
    } else {
        set(socket, libc::IPPROTO_IP, libc::IP_MINTTL, &ttl)
    }
}

/// Accepted connections of this listening socket remember their first packet.
pub fn save_syn(socket: &impl AsFd) -> io::Result<()> {
    let on: libc::c_int = 1;
    set(socket, libc::IPPROTO_TCP, libc::TCP_SAVE_SYN, &on)
}

/// The TTL or hop limit of the first packet of an accepted connection, once; `None`: it was not saved.
pub fn saved_ttl(socket: &impl AsFd) -> io::Result<Option<u8>> {
    // The longest headers of IPv6 that are saved, and more.
    let mut packet = [0u8; 512];
    let mut length = libc::socklen_t::try_from(packet.len()).map_err(io::Error::other)?;
    let fd = socket.as_fd().as_raw_fd();
    let (level, name) = (libc::IPPROTO_TCP, libc::TCP_SAVED_SYN);
    // SAFETY: the kernel writes at most `length` bytes into `packet`, and how many into `length`.
    let result =
        unsafe { libc::getsockopt(fd, level, name, packet.as_mut_ptr().cast(), &raw mut length) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    let saved = packet.get(..length as usize).unwrap_or_default();
    Ok(match saved.first().map(|first| first >> 4) {
        Some(4) => saved.get(8).copied(),
        Some(6) => saved.get(7).copied(),
        _ => None,
    })
}
