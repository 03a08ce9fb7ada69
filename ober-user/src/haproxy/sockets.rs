//! The listening sockets, which the daemon owns. Each is bound to its own loopback address and port, never to a VIP: a
//! kernel program gives connections to the VIP to these sockets.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    num::NonZeroU16,
    os::fd::{AsFd, AsRawFd, OwnedFd, RawFd},
    sync::Arc,
};

use nix::sys::socket::{getsockopt, sockopt};
use serde::{Deserialize, Serialize};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::{config::Config, system::manager::kept::KeptSockets};

/// The kernel limits this to `net.core.somaxconn`.
pub const BACKLOG: i32 = 65_535;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    V4,
    V6,
}

impl Family {
    /// Is the address of this family?
    pub fn holds(self, addr: IpAddr) -> bool {
        self == Self::of(addr)
    }

    fn of(addr: IpAddr) -> Self {
        match addr {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

/// What a listening socket is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Key {
    pub service: String,
    pub port: NonZeroU16,
    pub family: Family,
}

/// The sockets a worker needs, in the order in which its configuration numbers them.
pub fn keys(config: &Config) -> Vec<Key> {
    let mut keys = Vec::new();
    for service in &config.services {
        for listener in &service.listeners {
            for family in [Family::V4, Family::V6] {
                if service.vips.iter().any(|vip| Family::of(*vip) == family) {
                    keys.push(Key {
                        service: service.name.clone(),
                        port: listener.port,
                        family,
                    });
                }
            }
        }
    }
    keys
}

/// A listening socket for the SOCKMAP.
#[derive(Clone, Debug)]
pub struct Listening {
    pub worker: usize,
    pub service: String,
    pub port: NonZeroU16,
    pub family: Family,
    fd: Arc<OwnedFd>,
}

impl Listening {
    pub(super) fn new(worker: usize, key: &Key, fd: &Arc<OwnedFd>) -> Self {
        Self {
            worker,
            service: key.service.clone(),
            port: key.port,
            family: key.family,
            fd: Arc::clone(fd),
        }
    }

    /// The loopback address it is bound to.
    pub fn address(&self) -> io::Result<SocketAddr> {
        let addr = SockRef::from(&self.fd).local_addr()?;
        addr.as_socket()
            .ok_or_else(|| io::Error::from(io::ErrorKind::AddrNotAvailable))
    }
}

impl AsRawFd for Listening {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

/// The sockets of one worker.
pub(super) type Set = BTreeMap<Key, Arc<OwnedFd>>;

/// Every wanted socket: those in `have` are kept, the others are made.
pub(super) fn complete(wanted: &[Key], have: &Set) -> io::Result<Set> {
    let socket = |key: &Key| match have.get(key) {
        Some(fd) => Ok(Arc::clone(fd)),
        None => listen(key.family).map(Arc::new),
    };
    wanted
        .iter()
        .map(|key| Ok((key.clone(), socket(key)?)))
        .collect()
}

fn listen(family: Family) -> io::Result<OwnedFd> {
    let (domain, ip) = match family {
        Family::V4 => (Domain::IPV4, IpAddr::V4(Ipv4Addr::LOCALHOST)),
        Family::V6 => (Domain::IPV6, IpAddr::V6(Ipv6Addr::LOCALHOST)),
    };
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    if family == Family::V6 {
        socket.set_only_v6(true)?;
    }
    socket.bind(&SocketAddr::new(ip, 0).into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// The name under which the manager keeps a worker's socket.
pub(super) fn kept_name(worker: usize, key: &Key) -> String {
    let family = match key.family {
        Family::V4 => "v4",
        Family::V6 => "v6",
    };
    format!("{}.{}.{family}.{worker}", key.service, key.port)
}

/// The sockets of a worker that the manager kept from an earlier daemon.
pub(super) fn given(wanted: &[Key], worker: usize, kept: &KeptSockets) -> Set {
    let socket = |key: &Key| {
        let fd = kept.given(&kept_name(worker, key))?;
        is_listening(&fd, key.family).then(|| (key.clone(), fd))
    };
    wanted.iter().filter_map(socket).collect()
}

/// Is a descriptor that was taken from a worker, or that the manager kept, the listening socket that it was?
pub(super) fn is_listening(fd: &impl AsFd, family: Family) -> bool {
    let listens = getsockopt(fd, sockopt::AcceptConn).unwrap_or(false);
    let ip = SockRef::from(fd)
        .local_addr()
        .ok()
        .and_then(|addr| addr.as_socket());
    listens && ip.is_some_and(|addr| Family::of(addr.ip()) == family)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(port: u16, family: Family) -> Key {
        Key {
            service: "s3".into(),
            port: NonZeroU16::new(port).unwrap(),
            family,
        }
    }

    #[test]
    fn an_existing_socket_is_kept_and_a_missing_one_listens_on_its_own_loopback_port() {
        let (v4, v6) = (key(443, Family::V4), key(443, Family::V6));
        let first = complete(std::slice::from_ref(&v4), &Set::new()).unwrap();
        let both = complete(&[v4.clone(), v6.clone()], &first).unwrap();
        assert_eq!(both[&v4].as_raw_fd(), first[&v4].as_raw_fd());
        assert!(is_listening(&both[&v4], Family::V4));
        assert!(is_listening(&both[&v6], Family::V6));
        assert!(!is_listening(&both[&v6], Family::V4));
        let address = Listening::new(0, &v6, &both[&v6]).address().unwrap();
        assert_eq!(address.ip(), IpAddr::V6(Ipv6Addr::LOCALHOST));
    }

    #[test]
    fn a_file_is_not_a_listening_socket() {
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(!is_listening(&file, Family::V4));
    }
}
