//! The sockets for advertisements and claims. None of them waits to send.

use std::{
    io::{self, IoSlice, IoSliceMut},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6},
    os::fd::AsRawFd as _,
};

use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn, SockaddrIn6, SockaddrStorage,
    cmsg_space, recvmsg, sendmsg,
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::unix::AsyncFd;

use super::{
    super::{neighbour, packet::PROTOCOL},
    interface::Interface,
};
use crate::{
    protocols::filter::{self, Block},
    system::sockopt,
};

/// 224.0.0.18, RFC 9568 section 5.1.1.2.
pub(super) const GROUP4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 18);
/// `ff02::12`, RFC 9568 section 5.1.2.2.
pub(super) const GROUP6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12);
/// Bytes; longer than an advertisement of 255 addresses.
pub(super) const LARGEST: usize = 8192;

/// Bytes; room for a few packets.
const LEAST_ROOM: usize = 4096;

/// Sends and receives the advertisements of one family.
#[derive(Debug)]
pub(super) struct Raw {
    socket: AsyncFd<Socket>,
    attached: filter::Attached,
    six: bool,
    interface: u32,
}

/// A received datagram; the payload is at this range of the buffer.
#[derive(Debug)]
pub(super) struct Datagram {
    pub(super) from: IpAddr,
    pub(super) to: IpAddr,
    pub(super) ttl: u8,
    pub(super) payload: std::ops::Range<usize>,
}

impl Raw {
    /// Must be called inside a runtime. `group`: join the multicast group too.
    pub(super) fn open(interface: &Interface, six: bool, group: bool) -> io::Result<Self> {
        let domain = if six { Domain::IPV6 } else { Domain::IPV4 };
        let protocol = Protocol::from(i32::from(PROTOCOL));
        let socket = Socket::new(domain, Type::RAW.nonblocking(), Some(protocol))?;
        socket.bind_device(Some(interface.name.as_bytes()))?;
        let ttl = u32::from(neighbour::TTL);
        if six {
            socket.set_unicast_hops_v6(ttl)?;
            socket.set_multicast_hops_v6(ttl)?;
            socket.set_multicast_loop_v6(false)?;
            socket.set_multicast_all_v6(false)?;
            socket.set_tclass_v6(u32::from(neighbour::PRECEDENCE))?;
            socket.set_recv_hoplimit_v6(true)?;
            sockopt::receive_packet_info6(&socket)?;
            if group {
                socket.join_multicast_v6(&GROUP6, interface.index)?;
            }
        } else {
            socket.set_ttl_v4(ttl)?;
            socket.set_multicast_ttl_v4(ttl)?;
            socket.set_multicast_loop_v4(false)?;
            socket.set_multicast_all_v4(false)?;
            socket.set_tos_v4(u32::from(neighbour::PRECEDENCE))?;
            if group {
                let index = socket2::InterfaceIndexOrAddress::Index(interface.index);
                socket.join_multicast_v4_n(&GROUP4, &index)?;
            }
        }
        Ok(Self {
            socket: sockopt::watched(socket)?,
            attached: filter::Attached::default(),
            six,
            interface: interface.index,
        })
    }

    /// A small buffer: this socket is read seldom, and a flood must not take much memory.
    pub(super) fn little_room(&self) -> io::Result<()> {
        self.socket.get_ref().set_recv_buffer_size(LEAST_ROOM)
    }

    /// The first of these programs that the kernel has room for selects the packets.
    pub(super) fn filter(&self, programs: &[Block]) -> io::Result<()> {
        let touched = self.attached.attach(self.socket.get_ref(), programs);
        touched.map(drop)
    }

    pub(super) fn send(&self, source: IpAddr, to: IpAddr, bytes: &[u8]) -> io::Result<()> {
        let fd = self.socket.get_ref().as_raw_fd();
        let data = [IoSlice::new(bytes)];
        let flags = MsgFlags::MSG_DONTWAIT;
        let index = self.interface;
        match (source, to) {
            (IpAddr::V4(source), IpAddr::V4(to)) => {
                let info = libc::in_pktinfo {
                    ipi_ifindex: index.cast_signed(),
                    ipi_spec_dst: libc::in_addr {
                        s_addr: u32::from_ne_bytes(source.octets()),
                    },
                    ipi_addr: libc::in_addr { s_addr: 0 },
                };
                let to = SockaddrIn::from(SocketAddrV4::new(to, 0));
                sendmsg(
                    fd,
                    &data,
                    &[ControlMessage::Ipv4PacketInfo(&info)],
                    flags,
                    Some(&to),
                )?;
            }
            (IpAddr::V6(source), IpAddr::V6(to)) => {
                let info = libc::in6_pktinfo {
                    ipi6_addr: libc::in6_addr {
                        s6_addr: source.octets(),
                    },
                    ipi6_ifindex: index,
                };
                let to = SockaddrIn6::from(SocketAddrV6::new(to, 0, 0, index));
                sendmsg(
                    fd,
                    &data,
                    &[ControlMessage::Ipv6PacketInfo(&info)],
                    flags,
                    Some(&to),
                )?;
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => {}
        }
        Ok(())
    }

    /// The next datagram. Loses nothing when dropped before it is ready.
    pub(super) async fn receive(&self, buffer: &mut [u8]) -> io::Result<Datagram> {
        loop {
            let mut ready = self.socket.readable().await?;
            let got = ready.try_io(|socket| {
                let fd = socket.as_raw_fd();
                if self.six {
                    receive6(fd, buffer)
                } else {
                    receive4(socket.get_ref(), buffer)
                }
            });
            match got {
                Ok(Ok(Some(datagram))) => return Ok(datagram),
                Ok(Err(error)) => return Err(error),
                // Incomplete, or nothing there after all.
                Ok(Ok(None)) | Err(_) => {}
            }
        }
    }
}

/// A raw IPv4 socket returns the IP header too.
fn receive4(mut socket: &Socket, buffer: &mut [u8]) -> io::Result<Option<Datagram>> {
    let length = io::Read::read(&mut socket, buffer)?;
    let read = |at: usize| -> Option<Ipv4Addr> {
        let octets: [u8; 4] = buffer.get(at..at + 4)?.try_into().ok()?;
        Some(octets.into())
    };
    let header = buffer
        .first()
        .map_or(0, |first| usize::from(first & 0xf) * 4);
    let (Some(from), Some(to), Some(&ttl)) = (read(12), read(16), buffer.get(8)) else {
        return Ok(None);
    };
    Ok((header >= 20 && header <= length).then_some(Datagram {
        from: from.into(),
        to: to.into(),
        ttl,
        payload: header..length,
    }))
}

/// A raw IPv6 socket returns the fields of the header as control messages.
fn receive6(fd: i32, buffer: &mut [u8]) -> io::Result<Option<Datagram>> {
    let mut control = vec![0; cmsg_space::<libc::in6_pktinfo>() + cmsg_space::<libc::c_int>()];
    let mut data = [IoSliceMut::new(buffer)];
    let flags = MsgFlags::MSG_DONTWAIT;
    let got = recvmsg::<SockaddrStorage>(fd, &mut data, Some(&mut control), flags)?;
    let (mut to, mut ttl) = (None, None);
    for message in got.cmsgs()? {
        if let ControlMessageOwned::Ipv6PacketInfo(info) = message {
            to = Some(Ipv6Addr::from(info.ipi6_addr.s6_addr));
        } else if let ControlMessageOwned::Ipv6HopLimit(hops) = message {
            ttl = u8::try_from(hops).ok();
        }
    }
    let from = got
        .address
        .and_then(|it| it.as_sockaddr_in6().map(SockaddrIn6::ip));
    let (Some(from), Some(to), Some(ttl)) = (from, to, ttl) else {
        return Ok(None);
    };
    Ok(Some(Datagram {
        from: from.into(),
        to: to.into(),
        ttl,
        payload: 0..got.bytes,
    }))
}

/// Sends whole Ethernet frames.
#[derive(Debug)]
pub(super) struct Frames {
    socket: Socket,
    interface: u32,
}

impl Frames {
    pub(super) fn open(interface: &Interface) -> io::Result<Self> {
        // Protocol 0: nothing is received.
        let socket = Socket::new(Domain::PACKET, Type::RAW.nonblocking(), None)?;
        Ok(Self {
            socket,
            interface: interface.index,
        })
    }

    pub(super) fn send(&self, frame: &[u8]) -> io::Result<()> {
        self.send_by(self.interface, frame)
    }

    /// Sends by another interface.
    pub(super) fn send_by(&self, interface: u32, frame: &[u8]) -> io::Result<()> {
        let to = sockopt::packet_address(interface, 0);
        self.socket.send_to(frame, &to).map(drop)
    }
}

/// Receives claims of addresses: a packet socket for ARP alone, or a raw socket for neighbour advertisements.
#[derive(Debug)]
pub(super) struct Claims {
    socket: AsyncFd<Socket>,
    attached: filter::Attached,
}

impl Claims {
    pub(super) fn arp(interface: &Interface) -> io::Result<Self> {
        let socket = Socket::new(Domain::PACKET, Type::RAW.nonblocking(), None)?;
        sockopt::ignore_outgoing(&socket)?;
        socket.bind(&sockopt::packet_address(interface.index, neighbour::ARP))?;
        Ok(Self {
            socket: sockopt::watched(socket)?,
            attached: filter::Attached::default(),
        })
    }

    pub(super) fn advertisements(interface: &Interface) -> io::Result<Self> {
        let kind = Type::RAW.nonblocking();
        let socket = Socket::new(Domain::IPV6, kind, Some(Protocol::ICMPV6))?;
        sockopt::only_icmp6(&socket, neighbour::ADVERTISEMENT)?;
        socket.bind_device(Some(interface.name.as_bytes()))?;
        Ok(Self {
            socket: sockopt::watched(socket)?,
            attached: filter::Attached::default(),
        })
    }

    /// Receives what the program takes from now on.
    pub(super) fn filter(&self, program: Block) -> io::Result<()> {
        let touched = self.attached.attach(self.socket.get_ref(), &[program]);
        touched.map(drop)
    }

    pub(super) async fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut ready = self.socket.readable().await?;
            let mut read = |mut socket: &Socket| io::Read::read(&mut socket, buffer);
            if let Ok(got) = ready.try_io(|socket| read(socket.get_ref())) {
                return got;
            }
        }
    }
}
