//! One row for each situation, with the facts that were found in it.

use super::*;
use crate::{
    dataplane::interface::virtio::Virtio,
    system::netlink::{ethtool::Queues, netdev::Xdp},
};

fn nic(driver: &str) -> Features {
    Features {
        name: "eth0".into(),
        driver: Some(driver.into()),
        mtu: 1500,
        queues: Some(Queues { now: 4, most: 8 }),
        linux: Some(Linux(6, 12)),
        ..Features::default()
    }
}

fn made_of(kind: &str, below: &[&str]) -> Features {
    Features {
        kind: Some(kind.into()),
        below: below.iter().map(|name| (*name).to_owned()).collect(),
        ..nic(kind)
    }
}

fn refused(errno: i32) -> Cause {
    Cause::Refused { errno, words: None }
}

/// Checks that the advice of each row contains these words.
#[track_caller]
fn advised(rows: Vec<(Cause, Features, &str)>) {
    for (cause, features, words) in rows {
        let said = advice(&cause, &features);
        assert!(said.contains(words), "{cause:?} of {features:?}: {said}");
    }
}

const NOT: i32 = libc::EOPNOTSUPP;
const INVALID: i32 = libc::EINVAL;
const FULL: i32 = libc::ENOSPC;

fn linux(linux: Linux, features: Features) -> Features {
    Features {
        linux: Some(linux),
        ..features
    }
}

fn jumbo(driver: &str) -> Features {
    Features {
        mtu: 9000,
        ..nic(driver)
    }
}

#[test]
fn advice_for_virtio_names_every_offload_that_stands_in_the_way_and_the_largest_mtu() {
    let virtio = |features: &[u32]| Features {
        virtio: Some(Virtio::with(features)),
        ..nic("virtio_net")
    };
    let large = |features| Features {
        mtu: 9000,
        ..virtio(features)
    };
    advised(vec![
        // The checksum too, which stays on when only the others are turned off.
        (
            refused(NOT),
            virtio(&[1, 7, 8, 15]),
            "guest_csum, guest_tso4, guest_tso6",
        ),
        (refused(NOT), virtio(&[1, 15]), "`ctrl_guest_offloads`"),
        (
            refused(INVALID),
            linux(Linux(6, 1), large(&[2, 15])),
            "4064 or less, or take Linux 6.3 or newer",
        ),
        (Cause::Blind, virtio(&[7, 10]), "guest_tso4, guest_ufo"),
        (Cause::Blind, large(&[]), "set an MTU of 1500 (it is 9000)"),
    ]);
    // Since Linux 5.13 queues are never the reason.
    for cause in [refused(NOT), refused(INVALID), refused(FULL), Cause::Blind] {
        let said = advice(&cause, &virtio(&[1, 7, 8, 15]));
        assert!(!said.contains("queue"), "{cause:?}: {said}");
    }
}

#[test]
fn advice_depends_on_the_driver_and_its_error() {
    let with = |features: Features, now, most| Features {
        queues: Some(Queues { now, most }),
        ..features
    };
    let merging = Features {
        large_receive: Some("eth0".into()),
        ..nic("bnxt_en")
    };
    advised(vec![
        (refused(FULL), nic("veth"), "`ethtool -L eth0 rx N`"),
        (refused(libc::ERANGE), nic("veth"), "MTU of its other end"),
        (
            refused(INVALID),
            with(nic("ena"), 8, 8),
            "`ethtool -L eth0 combined 4`",
        ),
        (
            refused(INVALID),
            with(jumbo("gve"), 16, 16),
            "`ethtool -L eth0 combined 8`",
        ),
        (
            refused(INVALID),
            with(jumbo("ena"), 4, 8),
            "the MTU of 9000 may be too large",
        ),
        (refused(INVALID), merging, "`ethtool -K eth0 lro off`"),
        (
            refused(INVALID),
            jumbo("ice"),
            "the MTU of 9000 may be too large",
        ),
        (refused(FULL), nic("i40e"), "queues to spare"),
        (refused(libc::ENOMEM), nic("mlx5_core"), "no memory"),
        (refused(libc::EBUSY), nic("i40e"), "was busy"),
        (refused(libc::EIO), nic("i40e"), "dmesg"),
        (
            Cause::Unseen { packets: 64 },
            nic("i40e"),
            "report the driver (i40e)",
        ),
    ]);
}

#[test]
fn a_device_without_native_xdp_is_not_blamed_on_its_mtu() {
    let by_kernel = Features {
        xdp: Some(Xdp::new(0)),
        ..nic("e1000e")
    };
    let parts = ["eth0", "eth1"];
    advised(vec![
        (
            refused(NOT),
            by_kernel,
            "e1000e has no native XDP in this kernel",
        ),
        (
            refused(NOT),
            jumbo("e1000e"),
            "e1000e has no native XDP in this kernel",
        ),
        (
            refused(NOT),
            linux(Linux(6, 1), nic("vmxnet3")),
            "vmxnet3 runs XDP itself since Linux 6.6",
        ),
        (
            refused(NOT),
            made_of("bridge", &parts),
            "attach to its ports instead (`eth0`, `eth1`",
        ),
        (
            refused(NOT),
            made_of("vlan", &parts[..1]),
            "attach to what it is made of (`eth0`",
        ),
        (
            refused(NOT),
            made_of("bond", &parts),
            "/proc/net/bonding/eth0",
        ),
    ]);
}

#[test]
fn the_kernels_report_on_xdp_support_goes_before_the_drivers_name() {
    let with_bits = |bits| Features {
        xdp: Some(Xdp::new(bits)),
        ..nic("igb")
    };
    assert_eq!(has_native(&with_bits(3)), Some(true));
    assert_eq!(has_native(&with_bits(0)), Some(false));
    for (driver, linux, known) in [
        ("igb", Linux(6, 1), Some(true)),
        ("vmxnet3", Linux(6, 1), Some(false)),
        ("vmxnet3", Linux(6, 6), Some(true)),
        ("r8169", Linux(6, 1), None),
    ] {
        let features = Features {
            linux: Some(linux),
            ..nic(driver)
        };
        assert_eq!(has_native(&features), known, "{driver} {linux}");
    }
}

#[test]
fn a_driver_is_asked_again_unless_its_answer_cannot_have_changed() {
    let without = Features {
        xdp: Some(Xdp::new(0)),
        ..nic("e1000e")
    };
    let (before, after) = (
        without.asked(),
        Features {
            mtu: 9000,
            ..without.clone()
        }
        .asked(),
    );
    let why_generic = |cause| WhyGeneric { since: 0, cause };
    let not = why_generic(refused(libc::EOPNOTSUPP));
    assert!(is_hopeless(&not, &before, &before, &without));
    assert!(
        !is_hopeless(&not, &before, &after, &without),
        "the interface changed"
    );
    let unknown = Features {
        xdp: None,
        ..without.clone()
    };
    assert!(
        !is_hopeless(&not, &before, &before, &unknown),
        "an old kernel does not tell"
    );
    for errno in [libc::ENOSPC, libc::EINVAL, libc::ENOMEM] {
        assert!(!is_hopeless(
            &why_generic(refused(errno)),
            &before,
            &before,
            &without
        ));
    }
    let unseen = why_generic(Cause::Unseen { packets: 64 });
    assert!(!is_hopeless(&unseen, &before, &before, &without));
}

#[test]
fn the_reason_for_generic_xdp_stored_beside_a_pin_is_read_back() {
    let words = Some("veth: \"Peer MTU\"".to_owned());
    for cause in [
        Cause::Refused { errno: 34, words },
        Cause::Blind,
        Cause::Unseen { packets: 70 },
    ] {
        let why_generic = WhyGeneric {
            since: 1_700_000_000,
            cause,
        };
        let text = serde_json::to_string(&why_generic).unwrap();
        assert_eq!(
            serde_json::from_str::<WhyGeneric>(&text).unwrap(),
            why_generic,
            "{text}"
        );
    }
}
