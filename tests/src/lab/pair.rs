//! Two nodes on one switch, which share the VIPs: a client beside them, a storage host behind both.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::Result;

use super::{
    Host, Lab,
    cluster::{client, ingress, switch},
    fabric::{behind, storage},
};

/// The address of a node on the switch, counted from 0.
pub const fn member4(node: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 77, 0, 1 + node))
}

/// The topology. Hosts are dropped first, the laboratory last.
#[derive(Debug)]
pub struct Pair {
    pub client: Host,
    pub nodes: [Host; 2],
    pub storage: Host,
    pub switch: Host,
    pub lab: Lab,
}

impl Pair {
    pub fn new(name: &str) -> Result<Self> {
        let lab = Lab::new(name)?;
        let (switch, storage) = (switch(&lab)?, storage(&lab)?);
        let node = |number: u8| -> Result<Host> {
            let host = lab.host(&format!("node{number}"))?;
            ingress(&switch, &host, 1, number)?;
            behind(&storage, &host, number)?;
            Ok(host)
        };
        let client = client(&lab, &switch, 0)?;
        // VIPs that move are on the link itself: no router is between them and the client.
        client.ip(&["route add 10.77.9.0/24 dev cl0"])?;
        Ok(Self {
            nodes: [node(0)?, node(1)?],
            client,
            storage,
            switch,
            lab,
        })
    }
}
