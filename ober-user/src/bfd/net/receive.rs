//! The sockets that receive: one for each family and port, for all sessions together.

use std::{
    fmt,
    io::{self, IoSliceMut},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::AsRawFd as _,
    sync::{Arc, Mutex},
    time::Duration,
};

use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt,
};
use socket2::{Domain, Protocol, SockFilter, Socket, Type};
use tokio::{io::Interest, net::UdpSocket, task::JoinHandle};

use super::{
    Error, Hops, lock,
    table::{Datagram, Table},
};

/// Packets read in a row before others on the thread have their turn.
const BATCH: usize = 32;
/// Bytes of packets that may wait to be read: some thousands, so that a flood does not push a neighbour's packets out
/// before this thread has its turn. The usual 208 KiB are full after 277.
const WAITING: usize = 4 << 20;
/// More than any packet says of itself.
const ROOM: usize = 256;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    Ipv4,
    Ipv6,
}

impl Family {
    pub(super) const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::Ipv4,
            IpAddr::V6(_) => Self::Ipv6,
        }
    }

    pub(super) const fn any(self) -> IpAddr {
        match self {
            Self::Ipv4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Self::Ipv6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        }
    }

    pub(super) const fn domain(self) -> Domain {
        match self {
            Self::Ipv4 => Domain::IPV4,
            Self::Ipv6 => Domain::IPV6,
        }
    }

    /// Where the TTL or hop limit stands in the header.
    const fn ttl_at(self) -> u32 {
        match self {
            Self::Ipv4 => 8,
            Self::Ipv6 => 7,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Ipv4 => "IPv4",
            Self::Ipv6 => "IPv6",
        })
    }
}

/// A socket and its task; dropped, both end.
#[derive(Debug)]
pub(super) struct Receiver {
    pub(super) family: Family,
    pub(super) hops: Hops,
    task: JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Receiver {
    /// Inside the runtime that is to receive.
    pub(super) fn open(
        family: Family,
        hops: Hops,
        table: Arc<Mutex<Table>>,
    ) -> Result<Self, Error> {
        let socket = open(family, hops).map_err(|source| Error::Receive {
            family,
            port: hops.port(),
            source,
        })?;
        let socket = Arc::new(socket);
        lock(&table).watch(Arc::clone(&socket));
        Ok(Self {
            family,
            hops,
            task: tokio::spawn(receive(socket, hops, table)),
        })
    }
}

fn open(family: Family, hops: Hops) -> io::Result<UdpSocket> {
    let socket = Socket::new(family.domain(), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    // A matter of CAP_NET_ADMIN, and no reason to do without the socket.
    if let Err(error) = setsockopt(&socket, sockopt::RcvBufForce, &WAITING) {
        tracing::warn!(%error, "enlarge the buffer of a BFD socket; a flood may cost neighbours' packets");
    }
    match family {
        Family::Ipv4 => {
            setsockopt(&socket, sockopt::Ipv4RecvTtl, &true)?;
            setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
        }
        Family::Ipv6 => {
            socket.set_only_v6(true)?;
            setsockopt(&socket, sockopt::Ipv6RecvHopLimit, &true)?;
            setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
        }
    }
    match hops {
        Hops::Single => socket.attach_filter(&only_from_the_link(family))?,
        // Sessions differ in what they demand.
        Hops::Multi => {}
    }
    socket.bind(&SocketAddr::new(family.any(), hops.port()).into())?;
    UdpSocket::from_std(socket.into())
}

/// RFC 5881 section 5 in the kernel. `IP_MINTTL` would say the same, but Linux heeds it for TCP alone.
fn only_from_the_link(family: Family) -> [SockFilter; 4] {
    const LOAD_BYTE: u16 = 0x30;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    /// `SKF_NET_OFF`: counted from the network header.
    const NETWORK_HEADER: u32 = 0xfff0_0000;
    [
        SockFilter::new(LOAD_BYTE, 0, 0, NETWORK_HEADER + family.ttl_at()),
        SockFilter::new(JUMP_IF_EQUAL, 0, 1, 255),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
        SockFilter::new(RETURN, 0, 0, 0),
    ]
}

async fn receive(socket: Arc<UdpSocket>, hops: Hops, table: Arc<Mutex<Table>>) {
    loop {
        if let Err(error) = batch(&socket, hops, &table).await {
            tracing::error!(%error, port = hops.port(), "receive BFD packets");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        tokio::task::yield_now().await;
    }
}

async fn batch(socket: &UdpSocket, hops: Hops, table: &Mutex<Table>) -> io::Result<()> {
    socket.readable().await?;
    for _ in 0..BATCH {
        match socket.try_io(Interest::READABLE, || one(socket, hops, table)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn one(socket: &UdpSocket, hops: Hops, table: &Mutex<Table>) -> io::Result<()> {
    let mut room = [0; ROOM];
    let mut ancillary = nix::cmsg_space!(libc::in6_pktinfo, libc::c_int);
    let mut slices = [IoSliceMut::new(&mut room)];
    let message = recvmsg::<SockaddrStorage>(
        socket.as_raw_fd(),
        &mut slices,
        Some(&mut ancillary),
        MsgFlags::MSG_DONTWAIT,
    )?;
    let (mut ttl, mut interface, mut destination) = (0, 0, None);
    for item in message.cmsgs()? {
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "the kernel tells what was asked for"
        )]
        match item {
            ControlMessageOwned::Ipv4Ttl(value) | ControlMessageOwned::Ipv6HopLimit(value) => {
                ttl = u8::try_from(value).unwrap_or_default();
            }
            ControlMessageOwned::Ipv4PacketInfo(info) => {
                let to = Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr));
                (interface, destination) = (info.ipi_ifindex.cast_unsigned(), Some(to.into()));
            }
            ControlMessageOwned::Ipv6PacketInfo(info) => {
                let to = Ipv6Addr::from(info.ipi6_addr.s6_addr);
                (interface, destination) = (info.ipi6_ifindex, Some(to.into()));
            }
            _ => {}
        }
    }
    let source = message.address.as_ref().and_then(source);
    let length = message.bytes;
    if let (Some(source), Some(bytes)) = (source, room.get(..length)) {
        lock(table).deliver(&Datagram {
            source,
            destination,
            interface,
            ttl,
            hops,
            bytes,
        });
    }
    Ok(())
}

fn source(address: &SockaddrStorage) -> Option<IpAddr> {
    let four = address.as_sockaddr_in().map(|four| four.ip().into());
    four.or_else(|| address.as_sockaddr_in6().map(|six| six.ip().into()))
}
