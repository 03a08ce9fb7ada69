//! TCP connections that end on this node, and closing them in the kernel (`sock_diag(7)`).

use std::net::SocketAddr;

use netlink_packet_sock_diag::{
    AF_INET, AF_INET6, IPPROTO_TCP, SOCK_DESTROY, SOCK_DIAG_BY_FAMILY,
    inet::{ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags},
};
use rtnetlink::packet_core::{Emitable, Parseable as _};

use super::question::{Family, Refusal, Want, ask};

/// One connection, as this node sees it.
#[derive(Clone, Debug)]
pub struct Connection {
    pub local: SocketAddr,
    pub remote: SocketAddr,
    /// The number of its socket in `/proc/PID/fd`; 0: no process has it any more.
    pub inode: u32,
    family: u8,
    id: SocketId,
}

/// The connections to a port of this node, of one address family: all in which data may still be sent or received, including
/// those whose handshake is under way.
pub fn of_port(port: u16, six: bool) -> Result<Vec<Connection>, Refusal> {
    let mut id = if six {
        SocketId::new_v6()
    } else {
        SocketId::new_v4()
    };
    id.source_port = port;
    let family = if six { AF_INET6 } else { AF_INET };
    let request = InetRequest {
        family,
        protocol: IPPROTO_TCP,
        extensions: ExtensionFlags::empty(),
        states: StateFlags::all() - StateFlags::LISTEN - StateFlags::TIME_WAIT - StateFlags::CLOSE,
        socket_id: id,
    };
    let answers = ask(
        Family::Sockets,
        SOCK_DIAG_BY_FAMILY,
        Want::All,
        &bytes(&request),
    )?;
    let read = |payload: &Vec<u8>| {
        let InetResponse { header, .. } = InetResponse::parse(payload).ok()?;
        let id = header.socket_id;
        Some(Connection {
            local: SocketAddr::new(id.source_address.to_canonical(), id.source_port),
            remote: SocketAddr::new(id.destination_address.to_canonical(), id.destination_port),
            inode: header.inode,
            family,
            id,
        })
    };
    Ok(answers.iter().filter_map(read).collect())
}

impl Connection {
    /// Closes it at once: the kernel sends a RST, and the local program gets an error from the socket. A connection that is
    /// gone already is no error. Needs `CAP_NET_ADMIN` and a kernel with `CONFIG_INET_DIAG_DESTROY`.
    pub fn end(&self) -> Result<(), Refusal> {
        let request = InetRequest {
            family: self.family,
            protocol: IPPROTO_TCP,
            extensions: ExtensionFlags::empty(),
            states: StateFlags::all(),
            socket_id: self.id.clone(),
        };
        match ask(Family::Sockets, SOCK_DESTROY, Want::Done, &bytes(&request)) {
            Err(gone) if gone.errno == libc::ENOENT => Ok(()),
            ended => ended.map(drop),
        }
    }
}

fn bytes(request: &InetRequest) -> Vec<u8> {
    let mut bytes = vec![0; request.buffer_len()];
    request.emit(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv6Addr, TcpListener, TcpStream};

    use super::*;

    #[test]
    fn the_connections_of_a_port_are_known_over_both_families() {
        for address in [[127, 0, 0, 1].into(), Ipv6Addr::LOCALHOST.into()] {
            let listener = TcpListener::bind(SocketAddr::new(address, 0)).unwrap();
            let at = listener.local_addr().unwrap();
            let client = TcpStream::connect(at).unwrap();
            let found = of_port(at.port(), at.is_ipv6()).unwrap();
            let ends: Vec<_> = found.iter().map(|it| (it.local, it.remote)).collect();
            assert_eq!(ends, [(at, client.local_addr().unwrap())]);
        }
    }
}
