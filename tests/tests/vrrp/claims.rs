//! The claims of addresses that neighbours receive.

use std::{
    io::ErrorKind,
    net::IpAddr,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use ober_programs::BRIDGE;
use ober_tests::lab::{Host, until};
use ober_user::{
    protocols::vrrp::{
        Mac, Pace,
        neighbour::{advertisement_claim, arp_claim},
    },
    system::sockopt::packet_address,
};
use socket2::{Domain, Socket, Type};

use crate::segment::{Node, SOON, Segment, VIP4, VIP6, config};

const EVERYTHING: u16 = 3;

/// Every frame that comes in by an interface of a host.
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

    /// Claims of these addresses until there are `count`, and the MAC each names.
    fn hears(&self, count: usize, of: &[IpAddr]) -> Result<Vec<(IpAddr, String)>> {
        let (mut heard, began) = (Vec::new(), Instant::now());
        while heard.len() < count {
            ensure!(
                began.elapsed() < SOON,
                "{} of {count}: {heard:?}",
                heard.len()
            );
            let claim = self.next()?.filter(|(address, _)| of.contains(address));
            heard.extend(claim.map(|(address, mac)| (address, mac.to_string())));
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

const FURTHER: &str = "02:00:00:00:77:01";

/// A second interface of node 1, on the same switch.
fn second_interface(segment: &Segment) -> Result<()> {
    let (node, switch) = (&segment.nodes[0], &segment.switch);
    switch.ip(&[
        format!(
            "link add n1b type veth peer name eth1 address {FURTHER} netns {}",
            node.pid()
        ),
        "link set n1b master br0 up".to_owned(),
    ])?;
    node.ip(&["link set eth1 up"])?;
    until("its port forwards", SOON, || {
        let mut command = BRIDGE.command();
        let port = switch.output(command.args(["link", "show", "dev", "n1b"]))?;
        let forwards = String::from_utf8(port.stdout)?.contains("state forwarding");
        Ok(forwards.then_some(()))
    })
}

#[test]
fn claims_keep_their_interval_and_go_out_by_further_interfaces_too() -> Result<()> {
    let segment = Segment::new("vrrp-claims", 1)?;
    second_interface(&segment)?;
    let ear = Ear::on(&segment.client, "eth0")?;
    let more = "10.77.0.101".parse()?;
    let vips = [VIP4, more, VIP6];
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
    let mut heard = ear.hears(18, &vips)?;
    // Two IPv4 addresses claimed three times are five intervals of 200 ms, after the 300 ms until there is a master.
    let took = began.elapsed();
    ensure!(took >= Duration::from_millis(1300), "{took:?}");
    let mut wanted = Vec::new();
    for vip in vips {
        for mac in [FURTHER.to_owned(), segment.mac(1)?] {
            wanted.extend(std::iter::repeat_n((vip, mac), 3));
        }
    }
    heard.sort();
    wanted.sort();
    ensure!(heard == wanted, "{heard:?}");
    let status = node.status();
    ensure!(
        status.conflicts == 0,
        "its own are no stranger's: {status:?}"
    );

    // A reload takes the further interface and the interval away, and changes nothing else.
    config.garp_interfaces.clear();
    config.pace = Pace::default();
    node.configure(&segment.nodes[0], &config)?;
    ensure!(node.status().transitions.len() == status.transitions.len());
    node.gate(VIP4, false);
    node.wait_state("initialize")?;
    node.gate(VIP4, true);
    let heard = ear.hears(9, &vips)?;
    ensure!(heard.iter().all(|(_, mac)| mac != FURTHER), "{heard:?}");
    Ok(())
}
