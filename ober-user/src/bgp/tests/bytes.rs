//! Bytes and structs, both ways; and bytes that are neither.

use std::{fs, path::PathBuf, sync::LazyLock};

use ipnet::IpNet;
use netgauze_bgp_pkt::{BgpMessage, wire::deserializer::BgpParsingContext};
use netgauze_parse_utils::{reader::SliceReader, traits::ParseFromWithOneInput as _};
use proptest::prelude::*;

use super::*;
use crate::bgp::message::{Attributes, Judged, NextHop, Refresh, Terms, Update, judge};

fn attributes() -> Attributes {
    Attributes {
        path: vec![65001],
        next_hop: NextHop::V4(OURS),
        med: Some(100),
        local_pref: None,
        communities: Communities {
            plain: [0xffff_0000, 0xfde9_0064].into(),
            extended: [0x0002_fde9_0000_0064].into(),
            large: [[65001, 1, 2]].into(),
        },
        four_octet_as: true,
    }
}

fn announce(attributes: Attributes, prefixes: &[&str]) -> Message {
    Message::Update(Update::Announce {
        attributes: Arc::new(attributes),
        prefixes: prefixes
            .iter()
            .map(|prefix| prefix.parse().unwrap())
            .collect(),
    })
}

fn withdraw(prefix: &str, extended: bool) -> Message {
    let prefixes = vec![prefix.parse().unwrap()];
    Message::Update(Update::Withdraw { prefixes, extended })
}

/// Everything we say, at least once.
fn everything() -> Vec<Message> {
    let v6 = |link_local: Option<&str>| NextHop::V6 {
        global: "2001:db8::1".parse().unwrap(),
        link_local: link_local.map(|text| text.parse().unwrap()),
    };
    let with = |next_hop| Attributes {
        next_hop,
        ..attributes()
    };
    let path = vec![4_200_000_000, 65001];
    let narrow = Attributes {
        four_octet_as: false,
        path,
        ..attributes()
    };
    let internal = Attributes {
        path: vec![],
        local_pref: Some(0),
        ..attributes()
    };
    vec![
        Message::Open(their_open()),
        Message::Open(Open {
            asn: 4_200_000_000,
            ..their_open()
        }),
        Message::Keepalive,
        Message::Notification(Notification::shutdown("bye")),
        Message::Notification(Notification::BFD_DOWN),
        Message::Refresh(Family::Ipv6, Refresh::Request),
        Message::Refresh(Family::Ipv4, Refresh::Begin),
        announce(
            attributes(),
            &["192.0.2.10/32", "198.51.100.0/24", "0.0.0.0/0"],
        ),
        announce(with(v6(None)), &["2001:db8::10/128"]),
        announce(with(v6(Some("fe80::1"))), &["2001:db8::10/128"]),
        announce(with(v6(Some("fe80::1"))), &["192.0.2.10/32"]),
        announce(narrow, &["192.0.2.10/32"]),
        announce(internal, &["192.0.2.10/32"]),
        withdraw("192.0.2.10/32", false),
        withdraw("192.0.2.10/32", true),
        withdraw("2001:db8::10/128", true),
        Message::Update(Update::EndOfRib(Family::Ipv4)),
        Message::Update(Update::EndOfRib(Family::Ipv6)),
    ]
}

#[test]
fn what_is_written_is_read_again() {
    for message in everything() {
        let read = received(&message);
        assert_eq!(read.kind(), message.kind());
        match (message, read) {
            (Message::Open(sent), Received::Open(open)) => assert_eq!(open, sent),
            (Message::Notification(sent), Received::Notification(read)) => assert_eq!(read, sent),
            (Message::Refresh(family, which), read) => {
                assert_eq!(read, Received::Refresh(Some(family), which));
            }
            (Message::Keepalive, read) => assert_eq!(read, Received::Keepalive),
            (Message::Update(sent), Received::Update(update)) => {
                let (announced, withdrawn, wide) = match sent {
                    Update::Announce {
                        attributes,
                        prefixes,
                    } => (prefixes, vec![], attributes.four_octet_as),
                    Update::Withdraw { prefixes, .. } => (vec![], prefixes, true),
                    Update::EndOfRib(_) => (vec![], vec![], true),
                };
                let malformed = [].into();
                assert_eq!(
                    judge(&update, terms(wide, true)),
                    Ok(Judged {
                        announced,
                        withdrawn,
                        malformed
                    })
                );
            }
            (message, read) => panic!("{message:?} became {read:?}"),
        }
    }
}

#[test]
fn another_library_reads_the_same() {
    for message in everything() {
        let wide = !matches!(&message, Message::Update(Update::Announce { attributes, .. }) if !attributes.four_octet_as);
        let bytes = message.encode().unwrap();
        let mut context = BgpParsingContext::asn2_default();
        context.set_asn4(wide);
        let read = BgpMessage::parse(&mut SliceReader::new(&bytes), &mut context);
        let read = read.unwrap_or_else(|error| panic!("{message:?}: {error:?}"));
        let text = format!("{read:?}");
        let expected: Vec<String> = match &message {
            Message::Open(open) => vec![format!("{}", open.asn), "10.0.0.2".into()],
            Message::Update(Update::Announce {
                attributes,
                prefixes,
            }) => {
                let hop = match attributes.next_hop {
                    NextHop::V4(hop) => vec![hop.to_string()],
                    NextHop::V6 { global, link_local } => {
                        let link_local = link_local.map(|it| it.to_string());
                        [global.to_string()].into_iter().chain(link_local).collect()
                    }
                };
                let prefixes = prefixes.iter().map(IpNet::to_string);
                let path = attributes.path.iter().map(u32::to_string);
                prefixes.chain(hop).chain(path).collect()
            }
            Message::Update(Update::Withdraw { prefixes, .. }) => {
                prefixes.iter().map(IpNet::to_string).collect()
            }
            Message::Update(Update::EndOfRib(_)) => {
                let BgpMessage::Update(update) = &read else {
                    panic!("{text}")
                };
                assert!(update.end_of_rib().is_some());
                vec![]
            }
            Message::Keepalive | Message::Notification(_) | Message::Refresh(..) => vec![],
        };
        for part in expected {
            assert!(text.contains(&part), "{part} in {text}");
        }
    }
}

#[test]
fn an_announcement_has_the_bytes_of_the_standard() {
    let plain = Attributes {
        med: None,
        communities: Communities::default(),
        ..attributes()
    };
    let bytes = announce(plain, &["192.0.2.10/32"]).encode().unwrap();
    let body = [
        0, 0, // nothing withdrawn
        0, 20, // attributes
        0x40, 1, 1, 0, // ORIGIN: IGP
        0x40, 2, 6, 2, 1, 0, 0, 0xfd, 0xe9, // AS_PATH: a sequence of one
        0x40, 3, 4, 10, 0, 0, 1, // NEXT_HOP
        32, 192, 0, 2, 10,
    ];
    assert_eq!(bytes[..16], [0xff; 16]);
    assert_eq!(bytes[16..19], [0, 19 + 29, 2]);
    assert_eq!(bytes[19..], body);
}

#[test]
fn a_header_that_is_none_is_answered_as_the_standard_says() {
    let header = |length: u16, kind: u8| {
        let mut bytes = vec![0xff; 16];
        bytes.extend(length.to_be_bytes());
        bytes.push(kind);
        bytes
    };
    for (bytes, answer) in [
        (
            b"GET / HTTP/1.1\r\n".to_vec(),
            Err(Notification::bare(1, 1)),
        ),
        // A wrong byte is told at once, not after the nineteenth.
        (vec![0xff, 0xff, 0], Err(Notification::bare(1, 1))),
        (vec![], Ok(None)),
        (vec![0xff; 18], Ok(None)),
        (header(19, 4), Ok(Some(19))),
        (header(20, 4), Err(Notification::with(1, 2, [0, 20]))),
        (header(18, 4), Err(Notification::with(1, 2, [0, 18]))),
        (header(4097, 2), Err(Notification::with(1, 2, [16, 1]))),
        (header(28, 1), Err(Notification::with(1, 2, [0, 28]))),
        (header(22, 2), Err(Notification::with(1, 2, [0, 22]))),
        (header(20, 3), Err(Notification::with(1, 2, [0, 20]))),
        (header(4096, 2), Ok(Some(4096))),
        (header(19, 6), Err(Notification::with(1, 3, [6]))),
        (header(19, 0), Err(Notification::with(1, 3, [0]))),
    ] {
        assert_eq!(frame(&bytes), answer, "{bytes:02x?}");
    }
    // RFC 7313 section 5.
    let mut refresh = header(22, 5);
    refresh.extend([0, 1, 0]);
    assert_eq!(
        decode(&refresh),
        Err(Notification::with(7, 1, refresh.clone()))
    );
}

/// An OPEN with these optional parameters, the length octets and all.
fn open(version: u8, parameters: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0xff; 16];
    let length = u16::try_from(28 + parameters.len()).unwrap();
    bytes.extend(length.to_be_bytes());
    bytes.extend([1, version, 0xfd, 0xea, 0, 90, 10, 0, 0, 2]);
    bytes.extend(parameters);
    bytes
}

#[test]
fn optional_parameters_are_believed_only_as_far_as_they_are_there() {
    let read = |parameters: &[u8]| match decode(&open(4, parameters)) {
        Ok(Received::Open(open)) => Ok((open.asn, open.capabilities.families.len())),
        Ok(other) => panic!("{other:?}"),
        Err(refusal) => Err((refusal.code, refusal.subcode, refusal.data)),
    };
    assert_eq!(read(&[0]), Ok((65002, 1)));
    // RFC 9072: the long form, with a capability in it and without.
    assert_eq!(
        read(&[255, 255, 0, 9, 2, 0, 6, 65, 4, 0, 1, 0, 0]),
        Ok((65536, 1))
    );
    assert_eq!(read(&[255, 255, 0, 0]), Ok((65002, 1)));
    // Lengths beyond the message: the class of CVE-2022-40302 and CVE-2022-43681.
    for parameters in [
        &[255, 255][..],
        &[255, 255, 0],
        &[255, 255, 0, 9, 2, 0],
        &[255, 255, 0xff, 0xff, 2, 0xff, 0xff],
        &[6, 2, 4, 65, 9, 0, 1],
        &[5, 2, 4, 65, 4, 0],
        &[1, 2],
        &[200, 2, 2, 2, 0],
    ] {
        assert!(
            matches!(read(parameters), Err((2, 0, _))),
            "{parameters:?}: {:?}",
            read(parameters)
        );
    }
    // An optional parameter that is no capability.
    assert_eq!(read(&[3, 1, 1, 0]), Err((2, 4, vec![])));
    // Capabilities nobody knows are nobody's business.
    assert_eq!(read(&[6, 2, 4, 199, 2, 1, 2]), Ok((65002, 1)));
    // RFC 4271 section 6.2: the version we speak.
    let version = decode(&open(3, &[0]));
    assert_eq!(version, Err(Notification::with(2, 1, [0, 4])));
}

/// Of a session with both families.
pub(super) fn terms(wide: bool, internal: bool) -> Terms<'static> {
    static BOTH: LazyLock<BTreeSet<Family>> = LazyLock::new(both);
    Terms {
        wide,
        internal,
        families: &BOTH,
    }
}

/// An UPDATE as it stands behind the header, in hexadecimal digits.
fn judge_hex(digits: &str, terms: Terms<'_>) -> Result<Judged, (u8, u8)> {
    let digits: String = digits.split_whitespace().collect();
    let bytes: Vec<u8> = (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
        .collect();
    judge(&update(&bytes), terms).map_err(|refusal| (refusal.code, refusal.subcode))
}

#[test]
fn routes_of_a_family_that_was_not_agreed_on_are_ignored_whatever_they_say() {
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
    // Beside routes of ours, which count.
    let mixed = "0000 001a 400101 00 400206 0201 0000fdea 400304 0a090002 800f03 0001 02 080b";
    let judged = judge_hex(mixed, v4).unwrap();
    assert_eq!(judged.announced, ["11.0.0.0/8".parse().unwrap()]);
    assert_eq!(judged.malformed, BTreeSet::new());
    // Of a family that was agreed on, what is wrong stays wrong; and so does what names no family at all.
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
fn a_wrong_attribute_in_an_update_that_reaches_nothing_ends_the_session() {
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
    // What RFC 7606 has discarded costs nothing even then, and an UPDATE that reaches something costs its routes alone.
    let discarded = judge_hex("0000 0006 400503 000001", terms(true, false)).unwrap();
    assert_eq!(discarded.malformed, BTreeSet::from([5]));
    let reaches = judge_hex("0000 0004 40010107 080b", terms(true, false)).unwrap();
    assert_eq!(reaches.withdrawn.len(), 1);
    // Of a family that is none of ours, too.
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

#[test]
fn a_notification_never_has_more_data_than_fits() {
    // A ROUTE-REFRESH of 4076 bytes: RFC 7313 section 5 wants it told whole, RFC 4271 section 4.1 has room for less.
    let mut refresh = vec![0xff; 16];
    refresh.extend(4076_u16.to_be_bytes());
    refresh.extend([5, 0, 1, 0, 1]);
    refresh.resize(4076, 0x78);
    for length in [24, 4075, 4076, 4096] {
        let mut frame = refresh.clone();
        frame.resize(length, 0x78);
        frame[16..18].copy_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
        let notification = decode(&frame).unwrap_err();
        assert_eq!((notification.code, notification.subcode), (7, 1));
        let said = Message::Notification(notification).encode().unwrap();
        assert_eq!(said.len(), (21 + length).min(4096));
        assert_eq!(said[21..], frame[..said.len() - 21]);
    }
}

#[test]
fn a_neighbours_reason_is_one_line_whatever_is_in_it() {
    let text = b"a\nWARN x \x1b[2J\xc2\x9b";
    let mut data = vec![u8::try_from(text.len()).unwrap()];
    data.extend(text);
    let said = Notification::with(6, 2, data).to_string();
    assert!(
        said.ends_with("(6/2): a\\nWARN x \\u{1b}[2J\\u{9b}"),
        "{said}"
    );
}

/// What RFC 7606 makes of attributes before the prefix 11.0.0.0/8: attribute types that are wrong, and whether the
/// prefix counts as announced.
fn judged(attributes: &[u8]) -> Result<(Vec<u8>, bool), (u8, u8)> {
    let mut bytes = vec![0, 0, 0, u8::try_from(attributes.len()).unwrap()];
    bytes.extend(attributes);
    bytes.extend([8, 11]);
    let judged = judge(&update(&bytes), terms(true, false));
    let judged = judged.map_err(|refusal| (refusal.code, refusal.subcode))?;
    assert_eq!(judged.announced.len() + judged.withdrawn.len(), 1);
    Ok((
        judged.malformed.into_iter().collect(),
        !judged.announced.is_empty(),
    ))
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn a_wrong_attribute_costs_its_routes_and_not_the_session() {
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
            "an optional attribute nobody knows",
            and(&[0xc0, 250, 2, 1, 2]),
            Ok((vec![], true)),
        ),
        // RFC 4271 section 6.3: RFC 7606 does not revise it.
        (
            "a well-known attribute nobody knows",
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
            // Which subcode a hopeless attribute has is of no consequence.
            (Err((code, _)), Err((expected, 5))) => assert_eq!(code, expected, "{what}"),
            _ => assert_eq!(got, answer, "{what}"),
        }
    }
    // Prefixes that cannot be read end the session.
    let broken = update(&[0, 0, 0, 0, 33, 1, 2, 3, 4]);
    let refusal = judge(&broken, terms(true, false)).unwrap_err();
    assert_eq!((refusal.code, refusal.subcode), (3, 10));
}

fn swallow(bytes: &[u8]) {
    let mut rest = bytes;
    while let Ok(Some(length)) = frame(rest) {
        let Some(whole) = rest.get(..length) else {
            return;
        };
        if let Ok(Received::Update(update)) = decode(whole) {
            for (wide, internal) in [(true, true), (true, false), (false, false)] {
                match judge(&update, terms(wide, internal)) {
                    Ok(judged) => {
                        // A prefix takes at least one byte.
                        assert!(judged.announced.len() + judged.withdrawn.len() <= bytes.len());
                    }
                    Err(refusal) => assert!(refusal.data.len() <= bytes.len() + 8),
                }
            }
        }
        rest = &rest[length..];
    }
}

fn corpus() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/corpus/bgp"))
}

/// `UPDATE=1 cargo test` writes what we say into the corpus anew; what others said stays.
#[test]
fn the_corpus_is_swallowed() {
    if std::env::var_os("UPDATE").is_some() {
        for (number, message) in everything().iter().enumerate() {
            let name = format!("ours-{number:02}-{}.bin", message.kind().name());
            fs::write(corpus().join(name), message.encode().unwrap()).unwrap();
        }
    }
    let files = fs::read_dir(corpus()).unwrap();
    let all: Vec<Vec<u8>> = files
        .map(|file| fs::read(file.unwrap().path()).unwrap())
        .collect();
    assert!(all.len() >= 20);
    for bytes in &all {
        swallow(bytes);
        // And cut off anywhere.
        (0..bytes.len()).for_each(|length| swallow(&bytes[..length]));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn no_bytes_whatever_make_the_decoder_panic(
        kind in 0..7u8,
        body in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        swallow(&body);
        let mut bytes = vec![0xff; 16];
        bytes.extend(u16::try_from(19 + body.len()).unwrap().to_be_bytes());
        bytes.push(kind);
        bytes.extend(body);
        swallow(&bytes);
    }

    #[test]
    fn no_change_to_a_message_makes_the_decoder_panic(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let all = everything();
        let mut bytes = all[which.index(all.len())].encode().unwrap().to_vec();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            // The header stays: behind it is what is of interest.
            if at >= 19 {
                bytes[at] = value;
            }
        }
        swallow(&bytes);
    }
}
