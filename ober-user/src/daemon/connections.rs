//! The connections of clients to the VIPs, all workers together.

use std::{collections::BTreeSet, net::IpAddr};

use tokio::task::spawn_blocking;

use crate::{config::Config, protocols::vrrp::configured::Vrrp, system::netlink::connections};

/// The connections that count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    All,
    /// Those that a stop waits for. One to a VIP that VRRP moves cannot outlive a stop, since the VIP leaves this node at its
    /// beginning.
    Waited,
}

/// How many there are; `None`: the kernel does not say.
pub async fn count(config: &Config, which: Which) -> Option<usize> {
    let places = places(config, which);
    spawn_blocking(move || counted(&places))
        .await
        .ok()
        .flatten()
}

fn places(config: &Config, which: Which) -> BTreeSet<(u16, IpAddr)> {
    let shared: BTreeSet<IpAddr> = config.vrrp.iter().flat_map(Vrrp::vips).collect();
    let listeners = config.vip_listeners();
    let places = listeners.map(|it| (it.listener.port.get(), it.vip));
    let counts = |vip: &IpAddr| which == Which::All || !shared.contains(vip);
    places.filter(|(_, vip)| counts(vip)).collect()
}

fn counted(places: &BTreeSet<(u16, IpAddr)>) -> Option<usize> {
    let ports: BTreeSet<(u16, bool)> = places
        .iter()
        .map(|(port, vip)| (*port, vip.is_ipv6()))
        .collect();
    let mut count = 0;
    for (port, six) in ports {
        let found = connections::of_port(port, six).ok()?;
        let ours = found
            .iter()
            .filter(|it| places.contains(&(port, it.local.ip())));
        count += ours.count();
    }
    Some(count)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn the_connections_of_clients_to_a_vip_count_and_those_to_other_addresses_do_not() {
        let vip: IpAddr = [127, 0, 9, 1].into();
        let listener = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let client = TcpStream::connect((vip, port)).unwrap();
        let other = TcpStream::connect(("127.0.9.2", port)).unwrap();
        assert_eq!(counted(&[(port, vip)].into()), Some(1));
        assert_eq!(counted(&BTreeSet::new()), Some(0));
        drop((client, other));
    }
}
