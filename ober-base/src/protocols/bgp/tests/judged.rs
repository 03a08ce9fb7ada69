//! The results of a neighbour's UPDATE: which routes count, and what ends the session.

use std::sync::LazyLock;

use super::*;
use crate::protocols::bgp::message::{Judged, Terms, judge};

/// The terms of a session with both families.
pub(super) fn terms(wide: bool, internal: bool) -> Terms<'static> {
    static BOTH: LazyLock<BTreeSet<Family>> = LazyLock::new(both);
    Terms {
        wide,
        internal,
        families: &BOTH,
    }
}

/// An UPDATE from behind the header, in hexadecimal digits.
fn judge_hex(digits: &str, terms: Terms<'_>) -> Result<Judged, (u8, u8)> {
    let digits: String = digits.split_whitespace().collect();
    let bytes: Vec<u8> = (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
        .collect();
    judge(&update(&bytes), terms).map_err(|refusal| (refusal.code, refusal.subcode))
}

#[test]
fn routes_of_a_family_that_was_not_negotiated_are_ignored() {
    let only_v4 = BTreeSet::from([Family::Ipv4]);
    let v4 = Terms {
        families: &only_v4,
        ..terms(true, false)
    };
    for (what, digits) in [
        ("End-of-RIB of IPv4 multicast", "0000 0006 800f03 0001 02"),
        ("the same, with a long length", "0000 0007 900f0003 0001 02"),
        ("withdrawn IPv4 multicast", "0000 0008 800f05 0001 02 080b"),
        (
            "IPv4 multicast",
            "0000 000e 800e0b 0001 02 04 0a090002 00 080b",
        ),
        ("AFI 99", "0000 0006 800f03 0063 01"),
        ("SAFI 250", "0000 0006 800f03 0001 fa"),
        ("AFI and SAFI 0", "0000 0006 800f03 0000 00"),
        ("BGP-LS", "0000 0006 800f03 4004 47"),
        (
            "BGP-LS that reaches nothing",
            "0000 000a 800e07 4004 47 00 00 ffff",
        ),
        ("VPN", "0000 0006 800f03 0001 80"),
        ("EVPN", "0000 0006 800f03 0019 46"),
        ("flowspec", "0000 0006 800f03 0001 85"),
        ("a lone family", "0000 0006 800e03 0019 46"),
        (
            "IPv6 unicast, not agreed on here",
            "0000 0006 800f03 0002 01",
        ),
        (
            "IPv6 unicast that is garbage",
            "0000 0008 800e05 0002 01 ff ff",
        ),
    ] {
        assert_eq!(judge_hex(digits, v4), Ok(Judged::default()), "{what}");
    }
    // Beside routes of an agreed family, which count.
    let mixed = "0000 001a 400101 00 400206 0201 0000fdea 400304 0a090002 800f03 0001 02 080b";
    let judged = judge_hex(mixed, v4).unwrap();
    assert_eq!(judged.announced, ["11.0.0.0/8".parse().unwrap()]);
    assert_eq!(judged.malformed, BTreeSet::new());
    // Errors in a family that was agreed on remain errors, and so do those in an attribute that names no family.
    for (what, digits) in [
        (
            "IPv6 unicast that is garbage",
            "0000 0008 800e05 0002 01 ff ff",
        ),
        ("too short for a family", "0000 0005 800f02 0001"),
        ("routes twice", "0000 000c 800f03 0001 02 800f03 0001 02"),
    ] {
        let (code, _) = judge_hex(digits, terms(true, false)).unwrap_err();
        assert_eq!(code, 3, "{what}");
    }
}

#[test]
fn a_malformed_attribute_in_an_update_without_reachable_routes_ends_the_session() {
    for (what, digits) in [
        ("a bad ORIGIN", "0000 0004 40010107"),
        ("and a withdrawn prefix", "0004 18c63364 0004 40010107"),
        ("an ORIGIN that overruns (FRR 22563)", "0000 0004 40012000"),
        (
            "a bad MED beside End-of-RIB",
            "0000 000a 80040161 800f03 000201",
        ),
        ("half an attribute", "0000 0001 40"),
    ] {
        let (code, _) = judge_hex(digits, terms(true, false)).unwrap_err();
        assert_eq!(code, 3, "{what}");
    }
    // A discarded attribute has no effect even then, and an UPDATE that announces prefixes loses its routes alone.
    let discarded = judge_hex("0000 0006 400503 000001", terms(true, false)).unwrap();
    assert_eq!(discarded.malformed, BTreeSet::from([5]));
    let reaches = judge_hex("0000 0004 40010107 080b", terms(true, false)).unwrap();
    assert_eq!(reaches.withdrawn.len(), 1);
    // The same with a family that was not agreed on.
    let elsewhere = "0000 0012 40010107 800e0b 0001 02 04 0a090002 00 080b";
    assert!(judge_hex(elsewhere, terms(true, false)).is_ok());
}

#[test]
fn an_internal_neighbours_route_without_next_hop_is_treated_as_withdrawn() {
    let digits = "0000 000d 400101 00 4002 06 0201 0000fe35 18cb0071";
    for internal in [false, true] {
        let judged = judge_hex(digits, terms(true, internal)).unwrap();
        assert_eq!(
            judged.malformed,
            BTreeSet::from([3]),
            "internal: {internal}"
        );
        assert!(judged.announced.is_empty() && judged.withdrawn.len() == 1);
    }
}

/// What RFC 7606 makes of attributes before the prefix 11.0.0.0/8: types of wrong attributes, and does the prefix count as
/// announced?
fn judged(attributes: &[u8]) -> Result<(Vec<u8>, bool), (u8, u8)> {
    let mut bytes = vec![0, 0, 0, u8::try_from(attributes.len()).unwrap()];
    bytes.extend(attributes);
    bytes.extend([8, 11]);
    let judged = judge(&update(&bytes), terms(true, false))
        .map_err(|refusal| (refusal.code, refusal.subcode))?;
    assert_eq!(judged.announced.len() + judged.withdrawn.len(), 1);
    Ok((
        judged.malformed.into_iter().collect(),
        !judged.announced.is_empty(),
    ))
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn a_malformed_attribute_withdraws_its_routes_and_keeps_the_session() {
    const ORIGIN: &[u8] = &[0x40, 1, 1, 0];
    const PATH: &[u8] = &[0x40, 2, 6, 2, 1, 0, 0, 0xfd, 0xea];
    const HOP: &[u8] = &[0x40, 3, 4, 10, 0, 0, 2];
    let and = |more: &[u8]| [ORIGIN, PATH, HOP, more].concat();
    for (what, attributes, answer) in [
        ("nothing wrong", and(&[]), Ok((vec![], true))),
        ("no ORIGIN", [PATH, HOP].concat(), Ok((vec![1], false))),
        ("no AS_PATH", [ORIGIN, HOP].concat(), Ok((vec![2], false))),
        ("no NEXT_HOP", [ORIGIN, PATH].concat(), Ok((vec![3], false))),
        (
            "an ORIGIN of 3",
            [&[0x40, 1, 1, 3], PATH, HOP].concat(),
            Ok((vec![1], false)),
        ),
        (
            "a long ORIGIN",
            [&[0x40, 1, 2, 0, 0], PATH, HOP].concat(),
            Ok((vec![1], false)),
        ),
        (
            "a short NEXT_HOP",
            [ORIGIN, PATH, &[0x40, 3, 3, 10, 0, 0]].concat(),
            Ok((vec![3], false)),
        ),
        (
            "an AS_PATH cut off",
            [ORIGIN, &[0x40, 2, 6, 2, 2, 0, 0, 0xfd, 0xea], HOP].concat(),
            Ok((vec![2], false)),
        ),
        (
            "a short MED",
            and(&[0x80, 4, 3, 0, 0, 1]),
            Ok((vec![4], false)),
        ),
        (
            "three octets of communities",
            and(&[0xc0, 8, 3, 0, 0, 1]),
            Ok((vec![8], false)),
        ),
        (
            "LOCAL_PREF of an external neighbour is dropped",
            and(&[0x40, 5, 3, 0, 0, 1]),
            Ok((vec![5], true)),
        ),
        (
            "ATOMIC_AGGREGATE with a value is dropped",
            and(&[0x40, 6, 1, 0]),
            Ok((vec![6], true)),
        ),
        (
            "AGGREGATOR of the wrong length is dropped",
            and(&[0xc0, 7, 5, 0, 0, 0, 0, 0]),
            Ok((vec![7], true)),
        ),
        (
            "an optional attribute of an unknown type",
            and(&[0xc0, 250, 2, 1, 2]),
            Ok((vec![], true)),
        ),
        // RFC 4271 section 6.3: RFC 7606 does not revise it.
        (
            "a well-known attribute of an unknown type",
            and(&[0x40, 250, 2, 1, 2]),
            Err((3, 2)),
        ),
        (
            "another one, of B11",
            and(&[0x40, 0xc8, 3, 0, 1, 2]),
            Err((3, 2)),
        ),
        (
            "MP_REACH_NLRI that is none",
            and(&[0x80, 14, 2, 0, 2]),
            Err((3, 5)),
        ),
    ] {
        let got = judged(&attributes);
        match (&got, &answer) {
            // The subcode of an attribute that cannot be read does not matter.
            (Err((code, _)), Err((expected, 5))) => assert_eq!(code, expected, "{what}"),
            _ => assert_eq!(got, answer, "{what}"),
        }
    }
    // Prefixes that cannot be read end the session.
    let broken = update(&[0, 0, 0, 0, 33, 1, 2, 3, 4]);
    let refusal = judge(&broken, terms(true, false)).unwrap_err();
    assert_eq!((refusal.code, refusal.subcode), (3, 10));
}
