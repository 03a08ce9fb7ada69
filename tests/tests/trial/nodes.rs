//! VRRP with keepalived as the other node. This node must never send anything.

use std::time::Duration;

use ober_programs::IP;
use ober_tests::{
    ingress::Ingress,
    lab::until,
    peers::{Keepalived, keepalived::Router},
};

use crate::bench::{Bench, OTHER, ask};

const VIP: &str = "192.0.2.10";

fn keepalived(bench: &Bench, version: u8, vip: &str) -> Keepalived {
    let router = Router {
        interface: "eth0".to_owned(),
        version,
        vrid: 51,
        priority: 150,
        interval: Duration::from_secs(1),
        vips: vec![vip.parse().expect("an address")],
        source: OTHER.parse().expect("an address"),
        peers: vec!["10.9.0.1".parse().expect("an address")],
        preempt: true,
        more: String::new(),
    };
    let started = Keepalived::start(&bench.lab, &bench.other, &router).expect("keepalived");
    until("keepalived is master", Duration::from_secs(20), || {
        let mut ip = IP.command();
        let output = bench.other.output(ip.args(["-o", "addr"]))?;
        let text = String::from_utf8(output.stdout)?;
        Ok(text.contains(&format!(" {vip}/")).then_some(()))
    })
    .expect("it is");
    started
}

fn ober(bench: &Bench, more: &str) -> Ingress {
    let lines = format!(
        "[vrrp]\ninterface = 'eth0'\nsource = ['10.9.0.1']\npeers = ['{OTHER}']\n{more}\n\
         [[vrrp.instances]]\nvips = ['{VIP}']\nvrid = 51\npriority = 200\n"
    );
    bench.config(None, "10.9.0.9:80", &lines)
}

#[test]
fn test_vrrp_hears_the_master_and_does_not_take_over_from_it() {
    let bench = Bench::new("trial-vrrp");
    let keepalived = keepalived(&bench, 3, VIP);
    let found = ask(&bench.node, &ober(&bench, ""), &["test", "vrrp"]);
    found.says(
        "vrrp",
        "ok",
        "10.9.0.2 is master with priority 150, every 1s",
        "",
    );
    assert_eq!(found.one("vrrp")["object"], "VRID 51 (IPv4)");
    // Our priority is higher: had this node spoken, keepalived would have given way.
    assert!(
        !keepalived.log().contains("higher priority"),
        "{}",
        keepalived.log()
    );
    let mut ip = IP.command();
    let addresses = bench
        .node
        .output(ip.args(["-o", "addr"]))
        .expect("addresses");
    assert!(!String::from_utf8_lossy(&addresses.stdout).contains(VIP));
}

#[test]
fn a_duplicate_vrid_and_another_version_are_named() {
    let bench = Bench::new("trial-vrid");
    let _other = keepalived(&bench, 3, "192.0.2.99");
    ask(&bench.node, &ober(&bench, ""), &["test", "vrrp"]).says(
        "vrrp",
        "failed",
        "uses this VRID for other addresses: 192.0.2.99",
        "another VRID",
    );
    let bench = Bench::new("trial-vrrp-2");
    let _old = keepalived(&bench, 2, VIP);
    ask(&bench.node, &ober(&bench, ""), &["test", "vrrp"]).says(
        "vrrp",
        "failed",
        "speaks version 2, configured is 3",
        "`version = 2`",
    );
}

#[test]
fn peers_that_are_silent_are_a_failure_and_another_pace_is_a_warning() {
    let bench = Bench::new("trial-vrrp-none");
    let quick = "advertisement_interval = '100ms'";
    let found = ask(&bench.node, &ober(&bench, quick), &["test", "vrrp"]);
    found.says(
        "vrrp",
        "failed",
        "none of the peers is heard",
        "IP protocol 112",
    );
    let _other = keepalived(&bench, 3, VIP);
    let found = ask(
        &bench.node,
        &ober(&bench, "advertisement_interval = '2s'"),
        &["test", "vrrp"],
    );
    found.says(
        "vrrp",
        "warning",
        "every 1s, configured is 2s",
        "advertisement_interval",
    );
}
