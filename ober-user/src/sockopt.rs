//! Socket options the standard library and socket2 do not have. All of their `unsafe` is here.

use std::{io, mem, os::fd::AsRawFd as _};

use socket2::{SockAddr, SockAddrStorage, Socket};
use tokio::io::unix::AsyncFd;

/// Where a packet socket is bound or sends to: an interface and an Ethernet type (0: receives nothing).
pub fn packet_address(interface: u32, ether_type: u16) -> SockAddr {
    #[expect(clippy::cast_possible_truncation, reason = "it is 17")]
    const FAMILY: libc::sa_family_t = libc::AF_PACKET as libc::sa_family_t;
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: the storage is large and aligned enough for any address, and all zeros are a valid one of this type.
    let address = unsafe { storage.view_as::<libc::sockaddr_ll>() };
    address.sll_family = FAMILY;
    address.sll_protocol = ether_type.to_be();
    address.sll_ifindex = interface.cast_signed();
    // SAFETY: it was filled in above, as long as is said here.
    unsafe { SockAddr::new(storage, size_of_option::<libc::sockaddr_ll>()) }
}

/// `PACKET_IGNORE_OUTGOING`, Linux 4.20: a packet socket is not told of what its own machine sends.
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

/// A socket the runtime waits for. Must be called inside one.
pub fn watched(socket: Socket) -> io::Result<AsyncFd<Socket>> {
    // SAFETY: it owns its descriptor and keeps it open as long as it is registered.
    Ok(unsafe { AsyncFd::register(socket) }?)
}

/// `IPV6_RECVPKTINFO`: with each datagram comes the address it was sent to.
pub fn receive_packet_info6(socket: &Socket) -> io::Result<()> {
    let on: libc::c_int = 1;
    set(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, &on)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "what the kernel takes is small"
)]
const fn size_of_option<T>() -> libc::socklen_t {
    mem::size_of::<T>() as libc::socklen_t
}

fn set<T>(socket: &Socket, level: libc::c_int, name: libc::c_int, value: &T) -> io::Result<()> {
    let length = size_of_option::<T>();
    // SAFETY: the kernel reads `length` bytes at `value`, which is as long.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            std::ptr::from_ref(value).cast(),
            length,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
