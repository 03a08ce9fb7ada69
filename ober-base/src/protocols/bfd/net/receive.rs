//! The receiving sockets: one for each family and port, shared by all sessions.

use std::{
    collections::BTreeMap,
    io::{self, IoSliceMut},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::AsRawFd as _,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt,
};
use socket2::{Protocol, Socket, Type};
use tokio::{io::Interest, net::UdpSocket, task::JoinHandle};

use super::{
    super::{Hops, Settings},
    Error,
    family::Family,
    lock,
    table::{Datagram, Table},
};
use crate::{
    machine::realtime::Budget,
    protocols::filter::{self, Block},
};

/// Packets read in a row before other tasks of the thread run.
const BATCH: u32 = 32;
/// Bytes of packets waiting to be read: room for some thousands, so that a flood does not displace a neighbour's packets before
/// this thread runs. The default of 208 KiB is full after 277 packets.
const WAITING: usize = 4 << 20;
/// Bytes; more than the control messages of any packet.
const ROOM: usize = 256;

/// A receiving socket and its task; both end when this is dropped.
#[derive(Debug)]
pub(super) struct Receiver {
    pub(super) family: Family,
    pub(super) hops: Hops,
    socket: Arc<UdpSocket>,
    attached: filter::Attached,
    senders: Senders,
    table: Arc<Mutex<Table>>,
    task: Option<JoinHandle<()>>,
}

/// The accepted sources, each with the least TTL of its packets. Packets are checked here again when the kernel had no room for
/// every source.
type Senders = Arc<Mutex<Arc<BTreeMap<IpAddr, u8>>>>;

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.iter().for_each(JoinHandle::abort);
    }
}

impl Receiver {
    /// Must be called inside the runtime that receives. Accepts no peer yet.
    pub(super) fn open(
        family: Family,
        hops: Hops,
        table: Arc<Mutex<Table>>,
        budget: Budget,
    ) -> Result<Self, Error> {
        let socket = open(family, hops).map_err(|source| Error::Receive {
            family,
            port: hops.port(),
            source,
        })?;
        let socket = Arc::new(socket);
        let senders = Senders::default();
        lock(&table).watch(&socket);
        let ear = Ear {
            socket: Arc::clone(&socket),
            hops,
            senders: Arc::clone(&senders),
            table: Arc::clone(&table),
            budget,
        };
        Ok(Self {
            family,
            hops,
            socket,
            attached: filter::Attached::default(),
            senders,
            table,
            task: Some(tokio::spawn(ear.receive())),
        })
    }

    /// Does the session receive on this socket?
    pub(super) fn serves(&self, settings: &Settings) -> bool {
        self.family == Family::of(settings.peer) && settings.mode.ports().contains(&self.hops)
    }

    /// Accepts packets from these sources only.
    pub(super) fn hear(&self, senders: BTreeMap<IpAddr, u8>) {
        let six = self.family == Family::Ipv6;
        let programs = filter::senders(six, &senders);
        // The lock is never held across a wait.
        let mut known = self.senders.lock().unwrap_or_else(PoisonError::into_inner);
        *known = Arc::new(senders);
        if let Err(error) = self.attached.attach(&*self.socket, &programs) {
            let port = self.hops.port();
            tracing::warn!(
                %error, port,
                "have the kernel drop BFD packets that are from no peer; they are dropped later, at the cost of the \
                 real-time thread: raise net.core.optmem_max"
            );
        }
    }

    /// Returns when the port is free again.
    pub(super) async fn close(mut self) {
        lock(&self.table).unwatch(&self.socket);
        if let Some(task) = self.task.take() {
            task.abort();
            // An error is the expected abort.
            task.await.unwrap_or_default();
        }
    }
}

/// The receiving task's state.
struct Ear {
    socket: Arc<UdpSocket>,
    hops: Hops,
    senders: Senders,
    table: Arc<Mutex<Table>>,
    budget: Budget,
}

fn open(family: Family, hops: Hops) -> io::Result<UdpSocket> {
    let socket = Socket::new(family.domain(), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    // Needs CAP_NET_ADMIN; the socket works without it.
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
    // Accepts no peer before the sessions are known.
    filter::attach(&socket, &[Block::discard()])?;
    socket.bind(&SocketAddr::new(family.any(), hops.port()).into())?;
    UdpSocket::from_std(socket.into())
}

impl Ear {
    async fn receive(self) {
        loop {
            match self.batch().await {
                Ok(()) => self.budget.spend().await,
                Err(error) => {
                    tracing::error!(%error, port = self.hops.port(), "receive BFD packets");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
            tokio::task::yield_now().await;
        }
    }

    async fn batch(&self) -> io::Result<()> {
        self.socket.readable().await?;
        let senders = {
            let known = self.senders.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(&known)
        };
        for _ in 0..BATCH {
            let one = || one(&self.socket, self.hops, &senders, &self.table);
            match self.socket.try_io(Interest::READABLE, one) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn one(
    socket: &UdpSocket,
    hops: Hops,
    senders: &BTreeMap<IpAddr, u8>,
    table: &Mutex<Table>,
) -> io::Result<()> {
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
    if let (Some(source), Some(bytes)) = (source, room.get(..length))
        && senders.contains_key(&source)
    {
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
