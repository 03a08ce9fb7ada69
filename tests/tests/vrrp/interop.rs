//! keepalived 2.2 as the neighbour, one test for a cell of the matrix.

use std::time::Duration;

use anyhow::Result;
use ober_tests::peers::{Keepalived, keepalived::Router};

use crate::segment::{Node, Segment, VIP4, address, config};

fn keepalived(vip: std::net::IpAddr, priority: u8) -> Router {
    let six = vip.is_ipv6();
    Router {
        interface: "eth0".to_owned(),
        version: 3,
        vrid: 51,
        priority,
        interval: Duration::from_millis(100),
        vips: vec![vip],
        source: address(2, six),
        peers: vec![address(1, six)],
        preempt: true,
        more: String::new(),
    }
}

#[test]
fn the_higher_priority_is_master_and_the_lower_one_takes_over_when_it_is_killed() -> Result<()> {
    let segment = Segment::new("vrrp-kill", 2)?;
    let ours = Node::start(&segment.nodes[0], &config(1, 2, VIP4, 150))?;
    segment.wait_holder(1, VIP4)?;
    let mut theirs = Keepalived::start(&segment.lab, &segment.nodes[1], &keepalived(VIP4, 200))?;
    segment.wait_holder(2, VIP4)?;
    theirs.kill()?;
    ours.wait_state("master")?;
    eprintln!("{:?}", ours.status());
    eprintln!("{}", theirs.log());
    Ok(())
}
