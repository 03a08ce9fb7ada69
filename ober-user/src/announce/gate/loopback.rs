//! A connection to a worker's own socket. HAProxy accepts there only privileged source ports, since access lists do not apply
//! to a connection that does not come through a VIP.

use std::{
    io::{self, ErrorKind},
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    sync::atomic::{AtomicU16, Ordering},
    time::Duration,
};

use socket2::SockRef;
use tokio::net::{TcpSocket, TcpStream};

/// The ports that `bindresvport` takes.
const PORTS: RangeInclusive<u16> = 600..=1023;

/// Where the next search begins, so that connections at the same time do not ask for the same port.
static NEXT: AtomicU16 = AtomicU16::new(0);

/// Connects from a privileged port of the address itself.
pub async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let ports = PORTS.end() - PORTS.start() + 1;
    let mut last = io::Error::from(ErrorKind::AddrInUse);
    for _ in 0..ports {
        let port = PORTS.start() + NEXT.fetch_add(1, Ordering::Relaxed) % ports;
        match from(address.ip(), port, address).await {
            Err(error) if taken(&error) => last = error,
            answer => return answer,
        }
    }
    Err(last)
}

async fn from(source: IpAddr, port: u16, address: SocketAddr) -> io::Result<TcpStream> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    // The other end of an earlier connection may still be in TIME_WAIT.
    socket.set_reuseaddr(true)?;
    // Closing resets the connection and frees its port at once: there are hundreds of ports, and probes never end.
    SockRef::from(&socket).set_linger(Some(Duration::ZERO))?;
    socket.bind(SocketAddr::new(source, port))?;
    socket.connect(address).await
}

/// The port is used by another process, or by a connection to the same address.
fn taken(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::AddrInUse | ErrorKind::AddrNotAvailable
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn concurrent_probe_connections_use_distinct_ports_and_fail_beyond_their_number() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = tokio::net::TcpListener::bind(address).await.unwrap();
            let address = listener.local_addr().unwrap();
            let mut open = Vec::new();
            let mut sources = std::collections::BTreeSet::new();
            for _ in 0..200 {
                let (stream, accepted) = tokio::join!(connect(address), listener.accept());
                let (held, peer) = accepted.unwrap();
                assert!(PORTS.contains(&peer.port()), "{peer}");
                assert_eq!(peer.ip(), address.ip());
                sources.insert(peer.port());
                open.push((stream.unwrap(), held));
            }
            assert_eq!(sources.len(), 200);
        }
    }
}
