//! Bytes and structs, in both directions.

use ipnet::IpNet;
use netgauze_bgp_pkt::{BgpMessage, wire::deserializer::BgpParsingContext};
use netgauze_parse_utils::{reader::SliceReader, traits::ParseFromWithOneInput as _};

use super::{judged::terms, *};
use crate::protocols::bgp::message::{Attributes, Judged, NextHop, Refresh, Update, judge};

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

/// Every message that this node sends, at least once.
pub(super) fn everything() -> Vec<Message> {
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
fn every_message_decodes_to_what_was_encoded() {
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
fn another_bgp_library_decodes_the_same_messages() {
    for message in everything() {
        let wide = !matches!(&message, Message::Update(Update::Announce { attributes, .. }) if !attributes.four_octet_as);
        let bytes = message.encode().unwrap();
        let mut context = BgpParsingContext::asn2_default();
        context.set_asn4(wide);
        let read = BgpMessage::parse(&mut SliceReader::new(&bytes), &mut context)
            .unwrap_or_else(|error| panic!("{message:?}: {error:?}"));
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
fn a_malformed_header_is_answered_with_the_standards_error() {
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
        // A wrong byte is reported at once, not after the nineteenth.
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

/// An OPEN with these optional parameters, including their length octets.
fn open(version: u8, parameters: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0xff; 16];
    let length = u16::try_from(28 + parameters.len()).unwrap();
    bytes.extend(length.to_be_bytes());
    bytes.extend([1, version, 0xfd, 0xea, 0, 90, 10, 0, 0, 2]);
    bytes.extend(parameters);
    bytes
}

#[test]
fn optional_parameters_of_an_open_are_read_only_within_its_length() {
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
    // Unknown capabilities are ignored.
    assert_eq!(read(&[6, 2, 4, 199, 2, 1, 2]), Ok((65002, 1)));
    // RFC 4271 section 6.2: names the supported version.
    let version = decode(&open(3, &[0]));
    assert_eq!(version, Err(Notification::with(2, 1, [0, 4])));
}

#[test]
fn the_data_of_a_notification_is_cut_to_the_maximum_length() {
    // A ROUTE-REFRESH of 4076 bytes: RFC 7313 section 5 wants it returned whole, RFC 4271 section 4.1 has room for less.
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
fn a_neighbours_shutdown_text_is_escaped_to_one_line() {
    let text = b"a\nWARN x \x1b[2J\xc2\x9b";
    let mut data = vec![u8::try_from(text.len()).unwrap()];
    data.extend(text);
    let said = Notification::with(6, 2, data).to_string();
    assert!(
        said.ends_with("(6/2): a\\nWARN x \\u{1b}[2J\\u{9b}"),
        "{said}"
    );
}
