//! Sockets with the options of a neighbour, and the addresses by which it reaches this node.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6},
    os::fd::AsFd,
    time::Duration,
};

use ipnet::IpNet;
use nix::{ifaddrs::InterfaceAddress, net::if_::if_nametoindex};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::{
    protocols::bgp::{
        configured::{Hops, Neighbour, Password},
        rib::NextHops,
    },
    system::sockopt,
};

/// Class selector 6: routing protocols (RFC 2474 section 4.2.2.2).
const NETWORK_CONTROL: u32 = 48 << 2;
const BACKLOG: i32 = 64;
/// After this silence the kernel probes the other end; after as long again without an answer the connection ends.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// How long what was sent may go without an answer where there is no hold time. The kernel does not probe meanwhile, and by
/// itself it would send again for a quarter of an hour. It looks at this limit when it sends again, which may be a minute late.
const UNANSWERED: Duration = Duration::from_secs(2 * KEEPALIVE.as_secs());

/// The TTL of sent packets; `None`: the kernel's default.
fn ttl(hops: Hops) -> Option<u8> {
    match hops {
        Hops::Link => Some(1),
        Hops::Any => None,
        Hops::Within(most) => Some(most),
        Hops::Secure(_) => Some(u8::MAX),
    }
}

/// The least TTL of received packets, RFC 5082 section 3: 255 less the routers on the path.
fn least_ttl(hops: Hops) -> Option<u8> {
    match hops {
        Hops::Secure(most) => Some(u8::MAX - (most - 1)),
        Hops::Link | Hops::Any | Hops::Within(_) => None,
    }
}

/// Options of both connecting and accepted sockets.
fn prepare(raw: &impl AsFd, neighbour: &Neighbour) -> io::Result<()> {
    let socket = SockRef::from(raw);
    let v6 = neighbour.address.is_ipv6();
    if let Some(ttl) = ttl(neighbour.hops) {
        if v6 {
            socket.set_unicast_hops_v6(ttl.into())?;
        } else {
            socket.set_ttl_v4(ttl.into())?;
        }
    }
    if let Some(ttl) = least_ttl(neighbour.hops) {
        sockopt::least_ttl(raw, v6, ttl)?;
    }
    if v6 {
        socket.set_tclass_v6(NETWORK_CONTROL)?;
    } else {
        socket.set_tos_v4(NETWORK_CONTROL)?;
    }
    socket.set_tcp_nodelay(true)?;
    // Without a hold time, only these probes notice a silent neighbour that has lost its power.
    let alive = TcpKeepalive::new()
        .with_time(KEEPALIVE)
        .with_interval(KEEPALIVE / 3)
        .with_retries(3);
    socket.set_tcp_keepalive(&alive)?;
    let hold_time = Some(neighbour.hold_time).filter(|hold_time| !hold_time.is_zero());
    socket.set_tcp_user_timeout(Some(hold_time.unwrap_or(UNANSWERED)))
}

/// An address with its interface, where it means nothing without.
fn place(neighbour: &Neighbour, address: IpAddr, port: u16) -> io::Result<SocketAddr> {
    let IpAddr::V6(v6) = address else {
        return Ok(SocketAddr::new(address, port));
    };
    let link = match &neighbour.interface {
        Some(name) if v6.is_unicast_link_local() => if_nametoindex(name.as_str())?,
        _ => 0,
    };
    Ok(SocketAddrV6::new(v6, port, 0, link).into())
}

/// Is this a source address of the neighbour?
pub(super) fn comes_from(neighbour: &Neighbour, peer: SocketAddr) -> bool {
    match (place(neighbour, neighbour.address, 0), peer) {
        (Ok(SocketAddr::V6(place)), SocketAddr::V6(peer)) => {
            place.scope_id() == 0 || place.scope_id() == peer.scope_id()
        }
        _ => true,
    }
}

/// Connects. All options that protect the connection are set before its first packet.
pub(super) async fn dial(neighbour: Neighbour) -> io::Result<TcpStream> {
    let to = place(&neighbour, neighbour.address, neighbour.port)?;
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    if let Some(mss) = neighbour.mss {
        socket.set_tcp_mss(mss.into())?;
    }
    prepare(&socket, &neighbour)?;
    if let Some(password) = &neighbour.password {
        sockopt::md5(&socket, neighbour.address, password.0.as_bytes())?;
    }
    if let Some(interface) = &neighbour.interface {
        socket.bind_device(Some(interface.as_bytes()))?;
    }
    if let Some(source) = neighbour.source {
        socket.bind(&place(&neighbour, source, 0)?.into())?;
    }
    TcpSocket::from_std_stream(socket.into()).connect(to).await
}

/// Sets the options of an accepted connection. The kernel could not check the TTL of earlier packets, so that of the first one
/// is checked here.
pub(super) fn accepted(stream: &TcpStream, neighbour: &Neighbour) -> io::Result<()> {
    prepare(stream, neighbour)?;
    let Some(least) = least_ttl(neighbour.hops) else {
        return Ok(());
    };
    match sockopt::saved_ttl(stream)? {
        Some(ttl) if ttl >= least => Ok(()),
        ttl => {
            let ttl = ttl.map_or("unknown".to_owned(), |ttl| ttl.to_string());
            let reason = format!("it came from further away than ttl_security allows: TTL {ttl}");
            Err(io::Error::other(reason))
        }
    }
}

/// A socket bound to a listening address. The address need not exist yet.
pub(super) fn bound(at: SocketAddr) -> io::Result<Socket> {
    let socket = blank(at.is_ipv4())?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    // A neighbour that checks the TTL does so from the first answer on.
    if at.is_ipv6() {
        socket.set_freebind_v6(true)?;
        socket.set_unicast_hops_v6(u8::MAX.into())?;
    } else {
        socket.set_freebind_v4(true)?;
        socket.set_ttl_v4(u8::MAX.into())?;
    }
    sockopt::save_syn(&socket)?;
    socket.bind(&at.into())?;
    Ok(socket)
}

/// Lets neighbours connect.
pub(super) fn listen(socket: Socket) -> io::Result<TcpListener> {
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// An unbound socket of that family.
pub(super) fn blank(v4: bool) -> io::Result<Socket> {
    let domain = if v4 { Domain::IPV4 } else { Domain::IPV6 };
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    if !v4 {
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

/// The longest segment that connections of this socket send and ask for. Segments are agreed on before the neighbour is known,
/// so it is the least of all neighbours; without any, as the path allows.
pub(super) fn clamp(listener: &impl AsFd, v4: bool, neighbours: &[Neighbour]) -> io::Result<()> {
    let here = neighbours.iter().filter(|it| it.address.is_ipv4() == v4);
    let least = here.filter_map(|it| it.mss).min();
    SockRef::from(listener).set_tcp_mss(least.unwrap_or_default().into())
}

/// Connections of this neighbour to a listening socket are signed with the password; without one they are not signed.
pub(super) fn sign(
    listener: &impl AsFd,
    v4: bool,
    neighbour: IpAddr,
    password: Option<&Password>,
) -> io::Result<()> {
    // Neighbours of the other family cannot connect here, and the kernel would refuse their addresses.
    if neighbour.is_ipv4() != v4 {
        return Ok(());
    }
    let Some(password) = password else {
        return match sockopt::md5(listener, neighbour, &[]) {
            // There was no password.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            // A kernel without signatures has no password to remove.
            Err(error) if error.raw_os_error() == Some(libc::ENOPROTOOPT) => Ok(()),
            result => result,
        };
    };
    sockopt::md5(listener, neighbour, password.0.as_bytes())
}

/// An address of this node.
struct Own {
    interface: String,
    prefix: IpNet,
}

impl Own {
    fn read(entry: InterfaceAddress) -> Option<Self> {
        let ip = |storage: &nix::sys::socket::SockaddrStorage| {
            let v4 = storage.as_sockaddr_in().map(|it| IpAddr::V4(it.ip()));
            v4.or_else(|| storage.as_sockaddr_in6().map(|it| IpAddr::V6(it.ip())))
        };
        let address = ip(entry.address.as_ref()?)?;
        let mask = ip(entry.netmask.as_ref()?)?;
        Some(Self {
            interface: entry.interface_name,
            prefix: IpNet::with_netmask(address, mask).ok()?,
        })
    }

    fn all() -> io::Result<Vec<Self>> {
        Ok(nix::ifaddrs::getifaddrs()?.filter_map(Self::read).collect())
    }

    fn address(&self) -> IpAddr {
        self.prefix.addr()
    }

    /// VIPs are host addresses; a node's own address mostly is not.
    fn is_host(&self) -> bool {
        self.prefix.prefix_len() == self.prefix.max_prefix_len()
    }
}

/// The addresses by which a neighbour reaches this node, seen from a connection with it.
pub(super) fn next_hops(stream: &TcpStream, neighbour: &Neighbour) -> io::Result<NextHops> {
    let local = stream.local_addr()?.ip();
    let all = Own::all()?;
    let here = all.iter().find(|own| own.address() == local);
    let link: Vec<&Own> = here.map_or(Vec::new(), |here| {
        all.iter()
            .filter(|own| own.interface == here.interface)
            .collect()
    });
    let v4 = |own: &&&Own| own.address().is_ipv4();
    let global =
        |own: &&&Own| matches!(own.address(), IpAddr::V6(it) if !it.is_unicast_link_local());
    let set = |v4: bool| {
        neighbour
            .next_hops
            .iter()
            .copied()
            .find(|it| it.is_ipv4() == v4)
    };
    let own = |wanted: &dyn Fn(&&&Own) -> bool| {
        let here = Some(local).filter(|_| here.as_ref().is_some_and(|it| wanted(&it)));
        here.or_else(|| {
            let network = link.iter().filter(wanted).find(|own| !own.is_host());
            network.map(|own| own.address())
        })
    };
    // RFC 2545 section 3 requires it on a shared link. But a neighbour that has no link-local address here may not know the
    // link: FRR, until it learns of its interfaces, drops such routes for good.
    let link_local = only_v6(local).filter(std::net::Ipv6Addr::is_unicast_link_local);
    Ok(NextHops {
        v4: set(true).or_else(|| own(&v4)).and_then(only_v4),
        v6: set(false).or_else(|| own(&global)).and_then(only_v6),
        link_local: link_local.filter(|_| set(false).is_none()),
        prefer_v6: local.is_ipv6() && set(true).is_none(),
    })
}

fn only_v4(address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}

fn only_v6(address: IpAddr) -> Option<Ipv6Addr> {
    match address {
        IpAddr::V6(address) => Some(address),
        IpAddr::V4(_) => None,
    }
}

/// The highest IPv4 address of this node, preferably not a host address, since VIPs are host addresses.
pub(super) fn router_id() -> io::Result<Option<Ipv4Addr>> {
    let all = Own::all()?;
    let usable = all.iter().filter(|own| !own.address().is_loopback());
    let best = usable.filter_map(|own| Some((!own.is_host(), only_v4(own.address())?)));
    Ok(best.max().map(|(_, address)| address))
}

/// Pause after a failed accept.
pub(super) const BREATH: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::protocols::bgp::connection::Remote;

    /// External, directly connected, without a hold time.
    fn neighbour(address: IpAddr) -> Neighbour {
        Neighbour {
            address,
            port: 179,
            remote: Remote::External,
            local_as: 65001,
            passive: false,
            password: None,
            hops: Hops::Link,
            source: None,
            interface: None,
            hold_time: Duration::ZERO,
            keepalive: None,
            connect_retry: Duration::from_secs(1),
            delay_open: Duration::ZERO,
            families: BTreeSet::new(),
            extended_next_hop: false,
            next_hops: Vec::new(),
            mss: None,
            max_prefixes: None,
            bfd: None,
        }
    }

    #[test]
    fn tcp_keepalive_probes_a_neighbour_without_a_hold_time() {
        for (address, v4) in [("192.0.2.254", true), ("2001:db8::254", false)] {
            let socket = blank(v4).unwrap();
            prepare(&socket, &neighbour(address.parse().unwrap())).unwrap();
            assert!(socket.keepalive().unwrap());
            assert_eq!(socket.tcp_keepalive_time().unwrap(), KEEPALIVE);
            let (interval, retries) = (
                socket.tcp_keepalive_interval().unwrap(),
                socket.tcp_keepalive_retries().unwrap(),
            );
            assert_eq!(interval * retries, KEEPALIVE);
            assert_eq!(socket.tcp_user_timeout().unwrap(), Some(2 * KEEPALIVE));
        }
    }
}
