//! The sending socket of a session.

use std::{
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
};

use socket2::{Protocol, Socket, Type};

use super::{
    super::{Control, Hops, Settings},
    family::Family,
};
use crate::system::hash::Dice;

/// RFC 5881 section 4.
const PORTS: std::ops::RangeInclusive<u16> = 49152..=65535;
/// How many ports are tried before the kernel's refusal is reported.
const TRIES: usize = 32;
/// Class selector 6, network control.
const TRAFFIC_CLASS: u32 = 0xc0;

/// Packets that could not be sent, and the last reason.
#[derive(Clone, Copy, Debug, Default)]
pub struct Failures {
    pub count: u64,
    pub errno: Option<i32>,
}

/// Opened at the first packet and again after a failure, so that the address or interface may appear later or be made anew.
#[derive(Debug)]
pub(super) struct Sender {
    peer: IpAddr,
    local: IpAddr,
    interface: Option<String>,
    dice: Dice,
    /// Reused while it is free, RFC 5881 section 4.
    port: Option<u16>,
    socket: Option<UdpSocket>,
    failures: Failures,
}

impl Sender {
    pub(super) fn new(settings: &Settings, seed: u64) -> Self {
        Self {
            peer: settings.peer,
            local: settings
                .local
                .unwrap_or_else(|| Family::of(settings.peer).any()),
            interface: settings.interface.clone(),
            dice: Dice(seed),
            port: None,
            socket: None,
            failures: Failures::default(),
        }
    }

    pub(super) fn failures(&self) -> Failures {
        self.failures
    }

    /// Never waits: a delayed packet would be as useless as a lost one.
    pub(super) fn send(&mut self, control: &Control, hops: Hops) {
        if let Err(error) = self.try_send(control, hops) {
            self.failures.count += 1;
            self.failures.errno = error.raw_os_error();
            self.socket = None;
        }
    }

    fn try_send(&mut self, control: &Control, hops: Hops) -> io::Result<()> {
        let socket = match self.socket.take() {
            Some(socket) => socket,
            None => self.open()?,
        };
        let to = SocketAddr::new(self.peer, hops.port());
        self.socket.insert(socket).send_to(&control.encode(), to)?;
        Ok(())
    }

    fn open(&mut self) -> io::Result<UdpSocket> {
        let family = Family::of(self.peer);
        let socket = Socket::new(family.domain(), Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        match family {
            Family::Ipv4 => {
                socket.set_ttl_v4(255)?;
                socket.set_tos_v4(TRAFFIC_CLASS)?;
            }
            Family::Ipv6 => {
                socket.set_unicast_hops_v6(255)?;
                socket.set_tclass_v6(TRAFFIC_CLASS)?;
            }
        }
        if let Some(interface) = &self.interface {
            socket.bind_device(Some(interface.as_bytes()))?;
        }
        self.bind(&socket)?;
        Ok(socket.into())
    }

    fn bind(&mut self, socket: &Socket) -> io::Result<()> {
        let span = u64::from(PORTS.end() - PORTS.start()) + 1;
        let mut last = io::ErrorKind::AddrInUse.into();
        for _ in 0..TRIES {
            let drawn = u16::try_from(self.dice.roll() % span).unwrap_or_default();
            let port = self.port.take().unwrap_or(PORTS.start() + drawn);
            match socket.bind(&SocketAddr::new(self.local, port).into()) {
                Ok(()) => {
                    self.port = Some(port);
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => last = error,
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }
}
