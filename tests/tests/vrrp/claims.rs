//! What neighbours are told of the addresses, as they hear it.

use std::{
    io::ErrorKind,
    net::IpAddr,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use ober_tests::lab::{Host, until};
use ober_user::{
    sockopt::packet_address,
    vrrp::{
        Mac, Pace,
        neighbour::{advertisement_claim, arp_claim},
    },
};
use socket2::{Domain, Socket, Type};

use crate::segment::{Node, SOON, Segment, VIP4, VIP6, config};

const EVERYTHING: u16 = 3;

/// Everything that comes in by an interface of a host.
struct Ear(Socket);

impl Ear {
    fn on(host: &Host, interface: &str) -> Result<Self> {
        let socket = host.run(|| -> Result<Socket> {
            let index = nix::net::if_::if_nametoindex(interface)?;
            let socket = Socket::new(Domain::PACKET, Type::RAW, None)?;
            socket.bind(&packet_address(index, EVERYTHING))?;
            socket.set_read_timeout(Some(Duration::from_millis(100)))?;
            Ok(socket)
        })??;
        Ok(Self(socket))
    }

    /// Claims of these addresses until there are so many, and the MAC each names.
    fn hears(&self, count: usize, of: &[IpAddr]) -> Result<Vec<(IpAddr, Mac)>> {
        let (mut heard, began) = (Vec::new(), Instant::now());
        while heard.len() < count {
            ensure!(
                began.elapsed() < SOON,
                "{} of {count}: {heard:?}",
                heard.len()
            );
            heard.extend(self.next()?.filter(|(address, _)| of.contains(address)));
        }
        Ok(heard)
    }

    fn next(&self) -> Result<Option<(IpAddr, Mac)>> {
        let mut frame = [0; 256];
        let length = match std::io::Read::read(&mut &self.0, &mut frame) {
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let advertisement = frame[12..14] == [0x86, 0xdd] && (frame[20], frame[54]) == (58, 136);
        Ok(if frame[12..14] == [8, 6] {
            arp_claim(&frame[..length])
        } else if advertisement {
            advertisement_claim(&frame[54..length])
        } else {
            None
        })
    }
}

/// A second link between node 1 and the client, `eth1` on either side.
fn second_link(segment: &Segment) -> Result<()> {
    let (node, client) = (&segment.nodes[0], &segment.client);
    node.ip(&[
        format!(
            "link add eth1 address 02:00:00:00:77:01 type veth peer name eth1 netns {}",
            client.pid()
        ),
        "link set eth1 up".to_owned(),
    ])?;
    client.ip(&["link set eth1 up"])
}

#[test]
fn claims_keep_their_interval_and_go_out_by_further_interfaces_too() -> Result<()> {
    let segment = Segment::new("vrrp-claims", 1)?;
    second_link(&segment)?;
    let (near, far) = (
        Ear::on(&segment.client, "eth0")?,
        Ear::on(&segment.client, "eth1")?,
    );
    let more = "10.77.0.101".parse()?;
    let mut config = config(1, 2, VIP4, 254);
    config.instances[0].vips.push(more);
    config.instances[0].excluded.push(VIP6);
    config.garp.repeat = 3;
    config.garp.delay = Duration::ZERO;
    config.pace = Pace {
        arp: Duration::from_millis(200),
        advertisement: Duration::ZERO,
    };
    config.garp_interfaces = vec!["eth1".to_owned()];
    let began = Instant::now();
    let mut node = Node::start(&segment.nodes[0], &config)?;
    // 2 addresses, 3 times.
    let heard = far.hears(6, &[VIP4, more])?;
    // Five intervals after 300 ms until there is a master.
    let took = began.elapsed();
    ensure!(took >= Duration::from_millis(1300), "{took:?}");
    let there = |(_, mac): &(IpAddr, Mac)| mac.to_string() == "02:00:00:00:77:01";
    ensure!(heard.iter().all(there), "{heard:?}");
    let one = heard.iter().filter(|(address, _)| *address == more).count();
    ensure!(one == 3, "{heard:?}");
    let here = segment.mac(1)?;
    let heard = near.hears(9, &[VIP4, more, VIP6])?;
    ensure!(
        heard.iter().all(|(_, mac)| mac.to_string() == here),
        "{heard:?}"
    );
    until("both are counted", SOON, || {
        Ok((node.status().claims_sent == 18).then_some(()))
    })?;

    // A reload takes the further interface and the interval away, and disturbs nothing.
    let before = node.status().transitions.len();
    config.garp_interfaces.clear();
    config.pace = Pace::default();
    node.configure(&segment.nodes[0], &config)?;
    ensure!(node.status().transitions.len() == before);
    node.gate(VIP4, false);
    node.wait_state("initialize")?;
    node.gate(VIP4, true);
    near.hears(9, &[VIP4, more, VIP6])?;
    let (mut late, heard) = (Vec::new(), Instant::now());
    while heard.elapsed() < Duration::from_millis(300) {
        late.extend(far.next()?);
    }
    ensure!(late.is_empty(), "{late:?}");
    Ok(())
}
