//! The findings about interfaces.

use super::{super::interfaces, *};
use crate::{
    config::{Steer, XdpMode},
    dataplane::{
        Occupant,
        interface::{
            Features, Linux,
            refusal::{Cause, WhyGeneric},
            virtio::Virtio,
        },
    },
    system::{
        fact::Fact,
        netlink::{ethtool::Queues, netdev::Xdp},
    },
};

fn with_xdp(mode: XdpMode) -> Config {
    let mut config = config("");
    config.node.xdp = mode;
    config
}

fn features() -> Features {
    Features {
        name: "eth1".into(),
        index: 2,
        driver: Some("virtio_net".into()),
        mtu: 1500,
        queues: Some(Queues { now: 4, most: 8 }),
        linux: Some(Linux(6, 12)),
        ..Features::default()
    }
}

fn interface() -> interfaces::InterfaceFacts {
    interfaces::InterfaceFacts {
        name: "eth1".into(),
        features: Some(features()),
        attached: Fact::No,
        others: vec![],
        native: None,
        why_generic: None,
        runs: None,
        sample: None,
    }
}

/// The same with other features.
fn of(
    facts: &interfaces::InterfaceFacts,
    change: impl FnOnce(&mut Features),
) -> interfaces::InterfaceFacts {
    but(facts, |it| {
        if let Some(features) = &mut it.features {
            change(features);
        }
    })
}

fn attached(native: bool) -> interfaces::InterfaceFacts {
    but(&interface(), |it| {
        (it.attached, it.native) = (Fact::Yes, Some(native));
    })
}

/// The finding about the interface itself.
#[track_caller]
fn of_xdp(rows: Vec<(&Config, interfaces::InterfaceFacts, Verdict, &str)>) {
    for (config, facts, verdict, words) in rows {
        let findings = interfaces::judge(config, &[facts], None);
        worst(&findings[..1], verdict, "eth1", words);
    }
}

fn driver(name: Option<&str>) -> interfaces::InterfaceFacts {
    of(&interface(), |it| it.driver = name.map(ToOwned::to_owned))
}

#[test]
fn doctor_requires_each_interface_to_exist_without_a_foreign_program() {
    let absent = but(&interface(), |it| it.features = None);
    let mute = but(&absent, |it| {
        it.attached = Fact::Unasked("Too many open files".into());
    });
    let taken = |link| {
        but(&interface(), |it| {
            it.others = vec![Occupant {
                program: 9,
                name: "xdp_pass".into(),
                generic: false,
                link,
            }];
        })
    };
    let auto = with_xdp(XdpMode::Auto);
    of_xdp(vec![
        (&auto, absent, Failed, "no such interface"),
        (&auto, mute, Warning, "Too many open files"),
        (
            &auto,
            taken(None),
            Failed,
            "take it off with `ip link set eth1 xdp off`",
        ),
        (
            &auto,
            taken(Some(5)),
            Failed,
            "take it off with `bpftool link detach id 5`",
        ),
    ]);
}

#[test]
fn doctor_names_the_reason_why_a_driver_does_not_run_xdp() {
    let refused = but(&attached(false), |it| {
        let words = "Underlying driver does not support XDP in native mode";
        it.why_generic = Some(WhyGeneric {
            since: 1_700_000_000,
            cause: Cause::Refused {
                errno: libc::EOPNOTSUPP,
                words: Some(words.into()),
            },
        });
    });
    let blind = of(&interface(), |it| it.virtio = Some(Virtio::with(&[7, 8])));
    let of_features = of(&driver(Some("new_driver")), |it| it.xdp = Some(Xdp::new(3)));
    let denied = of(&driver(Some("vmxnet3")), |it| it.xdp = Some(Xdp::new(0)));
    let old = driver(Some("r8169"));
    let [auto, native, generic] = [XdpMode::Auto, XdpMode::Native, XdpMode::Generic].map(with_xdp);
    of_xdp(vec![
        (
            &auto,
            interface(),
            GOOD,
            "virtio_net, 4 queues, MTU 1500, which has native XDP",
        ),
        (&auto, attached(true), GOOD, "MTU 1500, native XDP"),
        (
            &auto,
            attached(false),
            Warning,
            "the reason was not kept; `ober-user reload`",
        ),
        (
            &auto,
            refused,
            Warning,
            "XDP in native mode (Operation not supported",
        ),
        (&generic, attached(false), GOOD, "as configured"),
        (
            &auto,
            old.clone(),
            Warning,
            "is not known to have native XDP",
        ),
        (&auto, driver(None), Warning, "an unknown driver"),
        (&native, old, Failed, "node.xdp"),
        (
            &auto,
            of_features,
            GOOD,
            "new_driver, 4 queues, MTU 1500, which has native XDP",
        ),
        (&native, denied, Failed, "the driver has no native XDP"),
        (&auto, blind.clone(), Warning, "turn `mrg_rxbuf` on"),
        (&native, blind, Failed, "guest_tso4, guest_tso6"),
    ]);
}

#[test]
fn doctor_requires_that_the_program_sees_all_packets_and_the_driver_drops_none() {
    let sampled = |received, counted, runs| {
        but(&attached(true), |it| {
            it.sample = Some(interfaces::Sample { received, counted });
            it.runs = runs;
        })
    };
    let auto = with_xdp(XdpMode::Auto);
    for (facts, verdict, words) in [
        (sampled(1000, 990, None), GOOD, "the programs counted 990"),
        (
            sampled(9, 0, None),
            GOOD,
            "too few packets have come in to say",
        ),
        (sampled(1000, 0, None), Failed, "saw none of them"),
        (sampled(0, 0, Some(false)), Failed, "meet none of them"),
        (
            sampled(1000, 0, Some(true)),
            GOOD,
            "the program meets the packets",
        ),
    ] {
        let findings = interfaces::judge(&auto, &[facts], None);
        worst(&findings[1..2], verdict, "eth1 counters", words);
    }
    let node = |steering, drops| interfaces::Node {
        steering,
        why: Some("eth1 is a veth".into()),
        unexplained_drops: drops,
    };
    let mut asked = with_xdp(XdpMode::Auto);
    asked.node.steer = Steer::Cpu;
    for (config, node, verdict, object, words) in [
        (
            &auto,
            node(false, 0),
            GOOD,
            "",
            "on the CPU they come in by: eth1 is a veth",
        ),
        (
            &asked,
            node(false, 0),
            Warning,
            "steering",
            "eth1 is a veth",
        ),
        (
            &auto,
            node(true, 3),
            Failed,
            "driver drops",
            "dropped 3 packets at XDP",
        ),
    ] {
        let findings = interfaces::judge(config, &[attached(true)], Some(&node));
        worst(&findings[1..], verdict, object, words);
    }
}

#[test]
fn doctor_names_each_interface_that_reaches_clients_without_a_program_once() {
    let way = |interface: &str, address: &str| bypass::Bypass {
        interface: interface.into(),
        list: "frontend-http".into(),
        address: address.parse().unwrap(),
    };
    let all = [
        way("eth2", "10.0.0.1"),
        way("eth2", "10.0.0.2"),
        way("eth3", "10.1.0.1"),
    ];
    let findings = bypass::judge(&all);
    assert_eq!(findings.len(), 2);
    worst(
        &findings,
        Warning,
        "eth2",
        "10.0.0.1 of list frontend-http is reached by it",
    );
}
