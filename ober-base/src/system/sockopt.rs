//! Socket options that the standard library and socket2 lack. All of their `unsafe` is here.

use std::{
    io,
    net::IpAddr,
    os::fd::{AsFd, AsRawFd as _},
};

use socket2::{SockAddr, SockAddrStorage, Socket};
use tokio::io::unix::AsyncFd;

/// Bytes of the longest key that the kernel accepts.
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

/// Signs every segment from and to `peer` (RFC 2385), on a connecting or a listening socket; an empty key ends it.
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

/// The kernel drops packets that arrive with a smaller TTL or hop limit (RFC 5082).
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

/// Packets for this socket that the kernel dropped: by its filter, or because its queue was full.
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

/// The address to bind a packet socket to or to send to: an interface and an Ethernet type (0: receives nothing).
pub fn packet_address(interface: u32, ether_type: u16) -> SockAddr {
    #[expect(clippy::cast_possible_truncation, reason = "it is 17")]
    const FAMILY: libc::sa_family_t = libc::AF_PACKET as libc::sa_family_t;
    #[expect(clippy::cast_possible_truncation, reason = "it is 20")]
    const LENGTH: libc::socklen_t = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: the storage is large and aligned enough for any address, and all zeros are a valid one of this type.
    let address = unsafe { storage.view_as::<libc::sockaddr_ll>() };
    address.sll_family = FAMILY;
    address.sll_protocol = ether_type.to_be();
    address.sll_ifindex = interface.cast_signed();
    // SAFETY: the fields were filled in above, and `LENGTH` is the size of this address type.
    unsafe { SockAddr::new(storage, LENGTH) }
}

/// `PACKET_IGNORE_OUTGOING`, Linux 4.20: a packet socket does not receive what its own machine sends.
pub fn ignore_outgoing(socket: &Socket) -> io::Result<()> {
    let on: libc::c_int = 1;
    set(socket, libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, &on)
}

/// `ICMP6_FILTER`, RFC 3542 section 3.2: an `ICMPv6` socket receives this type alone.
pub fn only_icmp6(socket: &Socket, kind: u8) -> io::Result<()> {
    const ICMP6_FILTER: libc::c_int = 1;
    // A set bit blocks its type.
    let mut filter = [u32::MAX; 8];
    if let Some(word) = filter.get_mut(usize::from(kind / 32)) {
        *word &= !(1 << (kind % 32));
    }
    set(socket, libc::IPPROTO_ICMPV6, ICMP6_FILTER, &filter)
}

/// Registers a socket with the runtime. Must be called inside a runtime.
pub fn watched(socket: Socket) -> io::Result<AsyncFd<Socket>> {
    // SAFETY: the socket owns its descriptor and keeps it open as long as it is registered.
    Ok(unsafe { AsyncFd::register(socket) }?)
}

/// `IPV6_RECVPKTINFO`: each datagram comes with the address that it was sent to.
pub fn receive_packet_info6(socket: &Socket) -> io::Result<()> {
    let on: libc::c_int = 1;
    set(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, &on)
}

/// Accepted connections of this listening socket remember their first packet.
pub fn save_syn(socket: &impl AsFd) -> io::Result<()> {
    let on: libc::c_int = 1;
    set(socket, libc::IPPROTO_TCP, libc::TCP_SAVE_SYN, &on)
}

/// The TTL or hop limit of the first packet of an accepted connection, readable once; `None`: it was not saved.
pub fn saved_ttl(socket: &impl AsFd) -> io::Result<Option<u8>> {
    // Longer than the longest IPv6 headers that the kernel saves.
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
