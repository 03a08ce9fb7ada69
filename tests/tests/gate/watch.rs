//! What the watcher of the gates sees of a real node: links, addresses, programs and the disable file.

use std::{collections::BTreeSet, net::IpAddr, path::Path, time::Duration};

use ober_tests::{
    lab::{BPFFS, Host, Lab},
    plane::{LIMITS, config},
};
use ober_user::{
    announce::gate::{
        News,
        watch::{self, Disabled, FactWatch, WatchedFacts},
    },
    config::{paths::pins, sections::gate::Interfaces},
    dataplane::{Plane, detach},
};
use tokio::{
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
    time::timeout,
};

const PATIENCE: Duration = Duration::from_secs(10);
const VIP: &str = "192.0.2.10";
const VIP6: &str = "2001:db8::10";

/// Two interfaces, each with something at its other end.
fn node(lab: &Lab) -> Host {
    let host = lab.host("node").expect("a host");
    let lines = [
        "link add in0 type veth peer name out0",
        "link add in1 type veth peer name out1",
    ];
    host.ip(&lines).expect("interfaces");
    let interfaces = ["in0", "out0", "in1", "out1"];
    let up = interfaces.map(|name| format!("link set {name} up"));
    host.ip(&up).expect("up");
    host.until_up(&interfaces).expect("they come up");
    host
}

fn sight(lab: &Lab) -> WatchedFacts {
    WatchedFacts {
        interfaces: vec!["in0".into(), "in1".into()],
        need: Interfaces::Any,
        pins: pins(Path::new(BPFFS), lab.instance()),
        disable_file: Some(lab.directory().join("disable")),
        pace: Duration::from_mins(1),
    }
}

/// The watcher and its news that have not been read yet.
struct Watcher {
    facts: UnboundedReceiver<News>,
    _watch: FactWatch,
}

impl Watcher {
    async fn start(sight: WatchedFacts) -> Self {
        let (tell, facts) = unbounded_channel();
        let tell = move |news| tell.send(news).unwrap_or_default();
        let watch = watch::start(sight, tell).await.expect("watch");
        Self {
            facts,
            _watch: watch,
        }
    }

    async fn next(&mut self) -> News {
        let next = timeout(PATIENCE, self.facts.recv()).await;
        next.expect("in time").expect("the watcher lives")
    }

    async fn all_at_first(&mut self) -> [News; 4] {
        [
            self.next().await,
            self.next().await,
            self.next().await,
            self.next().await,
        ]
    }

    /// Waits until the addresses are as they must be: link-local ones come and go in between.
    async fn address(&mut self, ip: &str, there: bool) {
        let ip: IpAddr = ip.parse().expect("an address");
        loop {
            if let News::Addresses(all) = self.next().await
                && all.contains(&ip) == there
            {
                return;
            }
        }
    }

    async fn interface(&mut self, up: bool) {
        while self.next().await != News::Interface(up) {}
    }
}

#[test]
fn the_watcher_reports_added_and_removed_addresses_and_counts_them_only_on_a_link_that_is_up() {
    let lab = Lab::new("gate-addresses").expect("a laboratory");
    let host = node(&lab);
    host.ip(&[format!("addr add {VIP}/32 dev lo")])
        .expect("add");
    let steps = async || {
        let mut watcher = Watcher::start(sight(&lab)).await;
        let [interface, program, addresses, file] = watcher.all_at_first().await;
        assert_eq!(interface, News::Interface(true));
        assert_eq!(program, News::Program(false));
        assert_eq!(file, News::File(Disabled::None));
        let News::Addresses(all) = addresses else {
            unreachable!("addresses come third")
        };
        let loopback: BTreeSet<IpAddr> = [VIP, "127.0.0.1", "::1"]
            .map(|ip| ip.parse().expect("an address"))
            .into();
        assert!(all.is_superset(&loopback), "{all:?}");
        host.ip(&[format!("addr del {VIP}/32 dev lo")])
            .expect("del");
        watcher.address(VIP, false).await;
        host.ip(&[format!("addr add {VIP6}/128 dev in1 nodad")])
            .expect("add");
        watcher.address(VIP6, true).await;
        // The address is twice on this node: it is still there when one of the two goes.
        host.ip(&[format!("addr add {VIP}/32 dev in0")])
            .expect("add");
        watcher.address(VIP, true).await;
        host.ip(&["link set in0 down"]).expect("down");
        watcher.address(VIP, false).await;
        host.ip(&[format!("addr add {VIP}/32 dev in1")])
            .expect("add");
        watcher.address(VIP, true).await;
        host.ip(&["link del in1"]).expect("del");
        watcher.address(VIP, false).await;
    };
    host.tokio(steps).expect("enter the host");
}

#[test]
fn the_watcher_reports_at_once_an_interface_that_goes_down_loses_its_carrier_or_vanishes() {
    let lab = Lab::new("gate-links").expect("a laboratory");
    let host = node(&lab);
    let steps = async || {
        let one = WatchedFacts {
            interfaces: vec!["in0".into()],
            ..sight(&lab)
        };
        let mut watcher = Watcher::start(one).await;
        for (bad, good) in [
            ("link set in0 down", "link set in0 up"),
            ("link set out0 down", "link set out0 up"),
        ] {
            watcher.interface(true).await;
            host.ip(&[bad]).expect(bad);
            watcher.interface(false).await;
            host.ip(&[good]).expect(good);
        }
        watcher.interface(true).await;
        host.ip(&["link del in0"]).expect("del");
        watcher.interface(false).await;
    };
    host.tokio(steps).expect("enter the host");
}

#[test]
fn one_good_interface_is_enough_unless_all_are_required() {
    let lab = Lab::new("gate-any").expect("a laboratory");
    let host = node(&lab);
    let steps = async || {
        let all = WatchedFacts {
            need: Interfaces::All,
            ..sight(&lab)
        };
        let (mut any, mut all) = (Watcher::start(sight(&lab)).await, Watcher::start(all).await);
        any.all_at_first().await;
        all.interface(true).await;
        host.ip(&["link set in0 down"]).expect("down");
        all.interface(false).await;
        host.ip(&["link set in1 down"]).expect("down");
        any.interface(false).await;
    };
    host.tokio(steps).expect("enter the host");
}

#[test]
fn the_watcher_checks_programs_and_the_disable_file_repeatedly() {
    let lab = Lab::new("gate-looks").expect("a laboratory");
    let host = node(&lab);
    let steps = async || {
        let mut watcher = Watcher::start(WatchedFacts {
            pace: Duration::from_millis(20),
            ..sight(&lab)
        })
        .await;
        watcher.all_at_first().await;
        let mut plane = Plane::load(&config(lab.instance(), LIMITS), [1, 2]).expect("load");
        let both = ["in0".to_owned(), "in1".to_owned()];
        plane.attach(&both).expect("attach");
        while watcher.next().await != News::Program(true) {}
        // An interface that is down needs no program; one that is up does.
        host.ip(&["link set in1 down"]).expect("down");
        plane.attach(&both[..1]).expect("attach");
        host.ip(&["link set in1 up"]).expect("up");
        while watcher.next().await != News::Program(false) {}
        plane.attach(&both).expect("attach");
        while watcher.next().await != News::Program(true) {}
        detach(Path::new(BPFFS), lab.instance()).expect("detach");
        while watcher.next().await != News::Program(false) {}
        let file = lab.write("disable", VIP).expect("write");
        let only = Disabled::Only([VIP.parse().expect("an address")].into());
        while watcher.next().await != News::File(only.clone()) {}
        std::fs::remove_file(file).expect("remove");
        while watcher.next().await != News::File(Disabled::None) {}
    };
    host.tokio(steps).expect("enter the host");
}
