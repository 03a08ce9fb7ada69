//! Two nodes alike, with a sender each; one of them is guarded by the programs.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::{Duration, Instant},
};

use anyhow::Result;
use nix::net::if_::if_nametoindex;
use ober_tests::{
    lab::{
        Host, Lab,
        wire::{Wire, seal},
    },
    packets::{Target, UDP, frame, ip, udp},
};

use super::{
    super::kernel::Kernel,
    witness::{Arrival, Witness},
};

/// The node's own address and that of the sender.
const OWN: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 1);
const SENDER: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 2);
/// The port of a packet that follows a sequence: once it has arrived, all before it have.
const MARK: u16 = 9;
const PATIENCE: Duration = Duration::from_secs(10);

/// Settings that make the kernel accept as much as it can, so that only the programs refuse.
const SYSCTLS: [(&str, &str); 13] = [
    ("net.ipv4.conf.all.rp_filter", "0"),
    ("net.ipv4.conf.in0.rp_filter", "0"),
    ("net.ipv4.conf.all.accept_local", "1"),
    ("net.ipv4.conf.in0.accept_local", "1"),
    ("net.ipv4.conf.in0.route_localnet", "1"),
    ("net.ipv4.conf.all.accept_source_route", "1"),
    ("net.ipv4.conf.in0.accept_source_route", "1"),
    ("net.ipv6.conf.all.accept_source_route", "1"),
    ("net.ipv6.conf.in0.accept_source_route", "1"),
    // Unfinished datagrams are to be dropped soon, and have room until then.
    ("net.ipv4.ipfrag_time", "10"),
    ("net.ipv6.ip6frag_time", "10"),
    ("net.ipv4.ipfrag_high_thresh", "268435456"),
    ("net.ipv6.ip6frag_high_thresh", "268435456"),
];

/// Both of them. Hosts are dropped first, the laboratory last.
pub(super) struct WireNodes {
    pub(super) bare: WireNode,
    pub(super) guarded: WireNode,
    _lab: Lab,
}

/// A node and its sender.
pub(super) struct WireNode {
    witness: Witness,
    wire: Wire,
    mark: u16,
    hosts: [Host; 2],
}

impl WireNodes {
    pub(super) fn new(target: &Target, kernel: &mut Kernel) -> Result<Self> {
        let lab = Lab::new("wire")?;
        let bare = WireNode::new(&lab, "bare", target)?;
        let guarded = WireNode::new(&lab, "guarded", target)?;
        kernel.attach(&guarded.hosts[0])?;
        Ok(Self {
            bare,
            guarded,
            _lab: lab,
        })
    }
}

impl WireNode {
    fn new(lab: &Lab, name: &str, target: &Target) -> Result<Self> {
        let node = lab.host(name)?;
        let sender = lab.host(&format!("{name}-sender"))?;
        sender.ip(&[
            format!("link add out0 type veth peer name in0 netns {}", node.pid()),
            "link set out0 address 02:00:00:00:00:02".to_owned(),
            "link set out0 up".to_owned(),
        ])?;
        let mut lines = vec![
            "link set in0 address 02:00:00:00:00:01".to_owned(),
            "link set in0 up".to_owned(),
            format!("addr add {OWN}/24 dev in0"),
            "addr add fd78::1/64 dev in0 nodad".to_owned(),
            format!("neigh add {SENDER} lladdr 02:00:00:00:00:02 dev in0 nud permanent"),
            "neigh add fd78::2 lladdr 02:00:00:00:00:02 dev in0 nud permanent".to_owned(),
            format!("route add default via {SENDER}"),
            "route add ::/0 via fd78::2".to_owned(),
        ];
        let vips: BTreeSet<IpAddr> = target
            .node
            .services
            .iter()
            .map(|service| Ipv6Addr::from(service.vip).to_canonical())
            .collect();
        lines.extend(vips.iter().map(|vip| format!("addr add {vip} dev lo")));
        node.ip(&lines)?;
        for (key, value) in SYSCTLS {
            node.sysctl(key, value)?;
        }
        let witness = node.run(|| Witness::new(if_nametoindex("in0")?))??;
        let wire = sender.run(|| Wire::new("out0"))??;
        Ok(Self {
            witness,
            wire,
            mark: 0,
            hosts: [node, sender],
        })
    }

    /// Sends the frames; what arrives of them.
    pub(super) fn hear(&mut self, frames: &[Vec<u8>]) -> BTreeSet<Arrival> {
        for frame in frames {
            self.wire.send(frame);
        }
        self.mark = self.mark.wrapping_add(1);
        let mark = udp(self.mark, MARK, b"mark");
        let mut mark = frame(&[], ip(SENDER.into(), OWN.into(), UDP, mark)).bytes;
        seal(&mut mark);
        self.wire.send(&mark);
        let began = Instant::now();
        let mut all = BTreeSet::new();
        loop {
            all.append(&mut self.witness.arrivals());
            let is_mark = |arrival: &Arrival| arrival.to(OWN.into(), MARK);
            if all
                .iter()
                .any(|arrival| is_mark(arrival) && arrival.flow().client_port == self.mark)
            {
                all.retain(|arrival| !is_mark(arrival));
                return all;
            }
            assert!(
                began.elapsed() < PATIENCE,
                "a frame everybody may send does not arrive"
            );
        }
    }
}
