use proptest::prelude::*;

use super::*;

const V4: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(10, 77, 0, 2)),
    IpAddr::V4(Ipv4Addr::new(224, 0, 0, 18)),
];
const V6: [IpAddr; 2] = [
    IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2)),
    IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12)),
];

fn advertisement(version: Version, addresses: &[&str]) -> Advertisement {
    Advertisement {
        version,
        vrid: Vrid(NonZeroU8::new(51).unwrap()),
        priority: 200,
        interval: Interval::new(version, Duration::from_secs(1)).unwrap(),
        addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
    }
}

/// The checksums were computed independently.
#[test]
fn vrrp_advertisements_encode_to_the_expected_bytes_and_decode_from_them() {
    let rows: [(_, _, _, &[u8]); 4] = [
        (
            advertisement(Version::V2, &["10.77.9.1"]),
            Coverage::Message,
            V4,
            &[
                0x21, 51, 200, 1, 0, 1, 0x03, 0x7c, 10, 77, 9, 1, 0, 0, 0, 0, 0, 0, 0, 0,
            ],
        ),
        (
            advertisement(Version::V3, &["10.77.9.1"]),
            Coverage::Message,
            V4,
            &[0x31, 51, 200, 1, 0, 100, 0xf3, 0x18, 10, 77, 9, 1],
        ),
        (
            advertisement(Version::V3, &["10.77.9.1"]),
            Coverage::PseudoHeader,
            V4,
            &[0x31, 51, 200, 1, 0, 100, 0x08, 0x3b, 10, 77, 9, 1],
        ),
        (
            advertisement(Version::V3, &["fd77:9::1"]),
            Coverage::PseudoHeader,
            V6,
            &[
                0x31, 51, 200, 1, 0, 100, 0x0a, 0xc5, 0xfd, 0x77, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                0, 0, 1,
            ],
        ),
    ];
    for (advertisement, coverage, [source, destination], bytes) in rows {
        let encoded = advertisement.encode(coverage, source, destination);
        assert_eq!(encoded, bytes, "{advertisement:?} {coverage:?}");
        assert_eq!(
            Advertisement::decode(bytes, source, destination),
            Ok((advertisement, coverage))
        );
    }
}

#[test]
fn over_ipv6_a_checksum_always_covers_the_pseudo_header() {
    let [source, destination] = V6;
    let advertisement = advertisement(Version::V3, &["fd77:9::1"]);
    let bytes = advertisement.encode(Coverage::Message, source, destination);
    assert_eq!(
        bytes,
        advertisement.encode(Coverage::PseudoHeader, source, destination)
    );
}

/// Changes bytes and corrects the checksum, so that the change is the only fault.
fn broken(version: Version, change: impl Fn(&mut Vec<u8>)) -> Result<(), Malformed> {
    let [source, destination] = V4;
    let mut bytes =
        advertisement(version, &["10.77.9.1"]).encode(Coverage::Message, source, destination);
    change(&mut bytes);
    if let Some(sum) = bytes.get_mut(6..8) {
        sum.fill(0);
    }
    let sum = (!folded(plain(&bytes))).to_be_bytes();
    if let Some(place) = bytes.get_mut(6..8) {
        place.copy_from_slice(&sum);
    }
    Advertisement::decode(&bytes, source, destination).map(|_| ())
}

#[test]
fn each_fault_of_a_vrrp_message_has_its_own_error() {
    use Version::{V2, V3};
    assert_eq!(broken(V3, |_| ()), Ok(()));
    assert_eq!(broken(V2, |_| ()), Ok(()));
    let wrong = |version, change: fn(&mut Vec<u8>)| broken(version, change).unwrap_err();
    assert_eq!(wrong(V3, |it| it[0] = 0x41), Malformed::Version(4));
    assert_eq!(wrong(V3, |it| it[0] = 0x32), Malformed::Type(2));
    assert_eq!(wrong(V3, |it| it.truncate(7)), Malformed::Length(7));
    assert_eq!(wrong(V3, |it| it.truncate(11)), Malformed::Length(11));
    assert_eq!(wrong(V2, |it| it.truncate(12)), Malformed::Length(12));
    assert_eq!(wrong(V3, |it| it[3] = 2), Malformed::Length(12));
    assert_eq!(wrong(V2, |it| it[4] = 1), Malformed::Authentication(1));
    assert_eq!(wrong(V3, |it| it[1] = 0), Malformed::Vrid);
    assert_eq!(wrong(V3, |it| it[5] = 0), Malformed::Interval);
    let none = |it: &mut Vec<u8>| {
        it.truncate(8);
        it[3] = 0;
    };
    assert_eq!(broken(V3, none), Err(Malformed::Empty));
    let [source, destination] = V4;
    let mut bytes =
        advertisement(V3, &["10.77.9.1"]).encode(Coverage::Message, source, destination);
    bytes[2] ^= 1;
    assert_eq!(
        Advertisement::decode(&bytes, source, destination),
        Err(Malformed::Checksum)
    );
    // Version 2 exists for IPv4 only.
    let bytes = advertisement(V2, &["10.77.9.1"]).encode(Coverage::Message, source, destination);
    let [source, destination] = V6;
    assert_eq!(
        Advertisement::decode(&bytes, source, destination),
        Err(Malformed::Version(2))
    );
}

#[test]
fn bytes_after_a_complete_message_are_ignored_whether_its_checksum_covers_them_or_not() {
    for (version, [source, destination]) in
        [(Version::V2, V4), (Version::V3, V4), (Version::V3, V6)]
    {
        let vip = if source.is_ipv4() {
            "10.77.9.1"
        } else {
            "fd77::9"
        };
        let wanted = advertisement(version, &[vip]);
        for coverage in [Coverage::PseudoHeader, Coverage::Message] {
            let bytes = wanted.encode(coverage, source, destination);
            for behind in [&[0; 8][..], &[1, 2, 3, 4, 5, 6, 7, 8], &[9]] {
                let more = [&bytes[..], behind].concat();
                let read = Advertisement::decode(&more, source, destination);
                assert_eq!(
                    read.map(|(read, _)| read),
                    Ok(wanted.clone()),
                    "{version:?}"
                );
                // With a checksum that covers them, as if they were part of the message.
                let mut covered = more.clone();
                covered[6..8].fill(0);
                let sum = plain(&covered) + pseudo(PROTOCOL, source, destination, &covered);
                let sum = if version == Version::V2 {
                    plain(&covered)
                } else {
                    sum
                };
                covered[6..8].copy_from_slice(&(!folded(sum)).to_be_bytes());
                let read = Advertisement::decode(&covered, source, destination);
                assert_eq!(
                    read.map(|(read, _)| read),
                    Ok(wanted.clone()),
                    "{version:?}"
                );
            }
        }
    }
}

#[test]
fn an_interval_is_accepted_only_if_its_vrrp_version_can_express_it() {
    let ms = Duration::from_millis;
    for (period, v2, v3) in [
        (ms(0), false, false),
        (ms(9), false, false),
        (ms(10), false, true),
        (ms(15), false, false),
        (ms(1000), true, true),
        (ms(1010), false, true),
        (ms(40_950), false, true),
        (ms(41_000), true, false),
        (ms(255_000), true, false),
        (ms(256_000), false, false),
        (Duration::from_micros(10_500), false, false),
    ] {
        assert_eq!(
            Interval::new(Version::V2, period).is_some(),
            v2,
            "{period:?}"
        );
        assert_eq!(
            Interval::new(Version::V3, period).is_some(),
            v3,
            "{period:?}"
        );
    }
}

/// Inputs that were once interesting to the decoder.
#[test]
fn vrrp_packets_of_the_corpus_are_judged_as_their_file_names_say() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/corpus/vrrp");
    let mut seen = 0;
    for entry in std::fs::read_dir(corpus).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        let name = path.file_stem().unwrap().to_str().unwrap();
        // The fuzzer's own test reads the files that the fuzzer found.
        if name.starts_with("found") {
            continue;
        }
        let [source, destination] = if name.ends_with("-v6") { V6 } else { V4 };
        let good = Advertisement::decode(&bytes, source, destination).is_ok();
        assert_eq!(good, name.starts_with("good"), "{name}");
        seen += 1;
    }
    assert!(seen >= 8);
}

fn any_version() -> impl Strategy<Value = Version> {
    prop_oneof![Just(Version::V2), Just(Version::V3)]
}

proptest! {
    #[test]
    fn decoding_arbitrary_bytes_never_panics_or_finds_more_addresses_than_the_bytes_hold(
        bytes in proptest::collection::vec(any::<u8>(), 0..600), first in 0x20u8..0x40, six in any::<bool>(),
    ) {
        let [source, destination] = if six { V6 } else { V4 };
        let mut bytes = bytes;
        for kind in [None, Some(first), Some(0x21), Some(0x31)] {
            if let (Some(kind), Some(byte)) = (kind, bytes.first_mut()) {
                *byte = kind;
            }
            if let Ok((advertisement, _)) = Advertisement::decode(&bytes, source, destination) {
                prop_assert!(advertisement.addresses.len() * 4 <= bytes.len());
            }
        }
    }

    #[test]
    fn every_encoded_advertisement_decodes_to_itself(
        version in any_version(), vrid in 1u8.., priority: u8, hundredths in 1u16..=4095,
        count in 1usize..=255, six: bool, message: bool,
    ) {
        let six = six && version == Version::V3;
        let hundredths = if version == Version::V2 { hundredths % 255 * 100 + 100 } else { hundredths };
        let coverage = if message { Coverage::Message } else { Coverage::PseudoHeader };
        let address = |number: usize| {
            let number = u32::try_from(number).unwrap() + 0x0a00_0000;
            if six { Ipv6Addr::from(u128::from(number) << 64).into() } else { IpAddr::from(Ipv4Addr::from(number)) }
        };
        let advertisement = Advertisement {
            version, vrid: Vrid(NonZeroU8::new(vrid).unwrap()), priority, interval: Interval(hundredths),
            addresses: (0..count).map(address).collect(),
        };
        let [source, destination] = if six { V6 } else { V4 };
        let bytes = advertisement.encode(coverage, source, destination);
        let decoded = Advertisement::decode(&bytes, source, destination);
        prop_assert_eq!(decoded.map(|(it, _)| it), Ok(advertisement));
    }
}
