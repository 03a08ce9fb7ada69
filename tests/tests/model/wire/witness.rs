//! Raw sockets that receive every TCP and UDP segment and every VRRP message that is delivered on a node, put together if it
//! came in fragments, whether a program listens for it or not.

use std::{
    collections::BTreeSet,
    io::IoSliceMut,
    mem::MaybeUninit,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV6},
    os::fd::AsRawFd,
};

use nix::{
    cmsg_space,
    errno::Errno,
    sys::socket::{
        ControlMessageOwned, MsgFlags, SockaddrIn6, recvmsg, setsockopt,
        sockopt::Ipv6RecvPacketInfo,
    },
};
use ober_common::{
    address::{Address, Ip},
    flow::Flow,
};
use ober_tests::{
    model::address,
    packets::{TCP, UDP, VRRP},
};
use socket2::{Domain, Protocol, Socket, Type};

const KINDS: [u8; 3] = [TCP, UDP, VRRP];
/// Groups to which VRRP sends (RFC 9568 sections 5.1.1.2 and 5.1.2.2).
const GROUP4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 18);
const GROUP6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12);

/// A packet that was delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Arrival {
    pub(super) source: Address,
    destination: Address,
    protocol: u8,
    ports: [u16; 2],
    /// Bytes that IP carried.
    length: usize,
}

impl Arrival {
    pub(super) fn flow(&self) -> Flow {
        Flow {
            client: Ip::from_bytes(self.source),
            vip: Ip::from_bytes(self.destination),
            client_port: self.ports[0],
            port: self.ports[1],
            protocol: self.protocol,
        }
    }

    pub(super) fn is_vrrp(&self) -> bool {
        self.protocol == VRRP
    }

    /// From or to an address of loopback?
    pub(super) fn loops(&self) -> bool {
        [self.source, self.destination]
            .into_iter()
            .any(|address| Ipv6Addr::from(address).to_canonical().is_loopback())
    }

    pub(super) fn to(&self, destination: IpAddr, port: u16) -> bool {
        self.destination == address(destination) && self.ports[1] == port
    }

    fn new(source: IpAddr, destination: IpAddr, protocol: u8, carried: &[u8]) -> Self {
        let port = |at: usize| {
            let bytes = carried.get(at..at + 2).filter(|_| protocol != VRRP);
            bytes.map_or(0, |bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
        };
        Self {
            source: address(source),
            destination: address(destination),
            protocol,
            ports: [port(0), port(2)],
            length: carried.len(),
        }
    }
}

/// The sockets of one node.
pub(super) struct Witness {
    v4: Vec<(u8, Socket)>,
    v6: Vec<(u8, Socket)>,
    buffer: Vec<u8>,
}

impl Witness {
    /// Opens them in the network namespace of this thread.
    pub(super) fn new(interface: u32) -> anyhow::Result<Self> {
        let open = |domain, kind: u8| -> anyhow::Result<(u8, Socket)> {
            let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(i32::from(kind))))?;
            socket.set_nonblocking(true)?;
            socket.set_recv_buffer_size(1 << 20)?;
            if domain == Domain::IPV6 {
                setsockopt(&socket, Ipv6RecvPacketInfo, &true)?;
                socket.join_multicast_v6(&GROUP6, interface)?;
            } else {
                let by = socket2::InterfaceIndexOrAddress::Index(interface);
                socket.join_multicast_v4_n(&GROUP4, &by)?;
            }
            Ok((kind, socket))
        };
        let all = |domain| {
            let sockets = KINDS.map(|kind| open(domain, kind)).into_iter();
            sockets.collect::<anyhow::Result<Vec<_>>>()
        };
        Ok(Self {
            v4: all(Domain::IPV4)?,
            v6: all(Domain::IPV6)?,
            buffer: vec![0; 1 << 16],
        })
    }

    /// All packets that have arrived since the last call.
    pub(super) fn arrivals(&mut self) -> BTreeSet<Arrival> {
        let mut all = BTreeSet::new();
        for (kind, socket) in &self.v4 {
            while let Some(arrival) = hear4(socket, *kind, &mut self.buffer) {
                all.insert(arrival);
            }
        }
        for (kind, socket) in &self.v6 {
            while let Some(arrival) = hear6(socket, *kind, &mut self.buffer) {
                all.insert(arrival);
            }
        }
        all
    }
}

/// An IPv4 raw socket receives the IP header too.
fn hear4(socket: &Socket, kind: u8, buffer: &mut [u8]) -> Option<Arrival> {
    // SAFETY: initialised bytes are valid as `MaybeUninit`, whether the kernel fills them or not.
    let room = unsafe { &mut *(std::ptr::from_mut(buffer) as *mut [MaybeUninit<u8>]) };
    let length = socket.recv(room).ok()?;
    let packet = &buffer[..length];
    let header = 4 * usize::from(packet[0] & 15);
    let word =
        |at: usize| Ipv4Addr::new(packet[at], packet[at + 1], packet[at + 2], packet[at + 3]);
    Some(Arrival::new(
        word(12).into(),
        word(16).into(),
        kind,
        &packet[header..],
    ))
}

/// An IPv6 raw socket receives the bytes after the headers; the kernel adds the destination as control data.
fn hear6(socket: &Socket, kind: u8, buffer: &mut [u8]) -> Option<Arrival> {
    let mut control = cmsg_space!(libc::in6_pktinfo);
    let (length, source, destination) = {
        let mut parts = [IoSliceMut::new(buffer)];
        let flags = MsgFlags::empty();
        let heard =
            recvmsg::<SockaddrIn6>(socket.as_raw_fd(), &mut parts, Some(&mut control), flags);
        let heard = match heard {
            Ok(heard) => heard,
            Err(Errno::EAGAIN) => return None,
            Err(errno) => panic!("hear an IPv6 packet: {errno}"),
        };
        let source = SocketAddrV6::from(heard.address.unwrap());
        let destination = heard.cmsgs().unwrap().find_map(|message| match message {
            ControlMessageOwned::Ipv6PacketInfo(destination) => Some(destination.ipi6_addr.s6_addr),
            _ => None,
        });
        (
            heard.bytes,
            *source.ip(),
            Ipv6Addr::from(destination.unwrap()),
        )
    };
    Some(Arrival::new(
        source.into(),
        destination.into(),
        kind,
        &buffer[..length],
    ))
}
