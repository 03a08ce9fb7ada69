//! Tables of valid texts, and of nearly valid ones with the advice.

use proptest::prelude::*;

use super::*;

const PORT: NonZeroU16 = NonZeroU16::new(80).unwrap();

/// Texts that are nearly an address, and what the message must advise.
const NEAR: [(&str, &str); 26] = [
    ("10.1.0.10-20", "10.1.0.10-10.1.0.20"),
    ("10.1.0.10-1.20", "10.1.0.10-10.1.1.20"),
    ("10.1.0.10..20", "10.1.0.10-10.1.0.20"),
    ("10.1.0.10..10.1.0.20", "10.1.0.10-10.1.0.20"),
    ("10.1.0.10...10.1.0.20", "10.1.0.10-10.1.0.20"),
    ("10.1.0.20-10", "both ends whole"),
    ("10.1.0.10-10.1.0.300", "both ends whole"),
    ("010.8.8.8-010.8.8.9", "both ends whole"),
    ("10.0.0.1-10.0.0.2-10.0.0.3", "both ends whole"),
    ("10.0.0.1-", "both ends whole"),
    ("-10.0.0.9", "both ends whole"),
    ("10.0.0.1-rack5", "both ends whole"),
    ("10.0.0-9", "both ends whole"),
    ("010.8.8.8", "without leading zeros"),
    ("10.0.0.300", "from 0 to 255"),
    ("10.0.0", "four numbers"),
    ("10.0.0.1.", "four numbers"),
    ("10.0.0.1.5", "four numbers"),
    ("fe80::1%eth0", "write fe80::1 alone"),
    ("192.168.0.*", "192.168.0.0/24"),
    ("192.168.*.*", "192.168.0.0/16"),
    ("192.*.0.1", "a prefix such as"),
    ("fd00::1-fd00::9", "a prefix such as"),
    ("fd00::x", "not an IPv6 address"),
    ("http://10.0.0.1:9000/path", "write 10.0.0.1:9000 alone"),
    ("https://", "host:port"),
];

#[test]
fn a_malformed_address_is_refused_with_its_correct_form_and_is_not_a_name() {
    for (text, advice) in NEAR {
        for miss in [
            host(text).unwrap_err(),
            address(text).unwrap_err(),
            server(text, PORT).unwrap_err(),
        ] {
            let miss = miss.to_string();
            assert!(miss.contains(advice), "{text}: {miss}");
        }
        assert!(network(text).is_err(), "{text}");
    }
}

#[test]
fn a_malformed_prefix_is_refused_with_the_network_to_write() {
    for (text, advice) in [
        ("10.5.0.1/16", "write 10.5.0.0/16 for the network"),
        ("fd00::1/64", "write fd00::/64"),
        ("10.0.0.0/255.255.255.0", "write 10.0.0.0/24"),
        ("10.0.0.7/255.255.255.0", "write 10.0.0.0/24"),
        ("10.0.0.0/255.0.255.0", "write 10.0.0.0/8"),
        ("10.0.0.0/33", "not a prefix"),
        ("10.0/16", "not a prefix"),
        ("n1/8", "not a prefix"),
        ("10.0.0.0/", "not a prefix"),
        ("/8", "not a prefix"),
    ] {
        let miss = network(text).unwrap_err().to_string();
        assert!(miss.contains(advice), "{text}: {miss}");
        assert_eq!(prefix(text).unwrap_err().to_string(), miss);
    }
}

#[test]
fn a_host_name_is_accepted_exactly_if_the_dns_can_hold_it() {
    let long = "a".repeat(64);
    for (text, miss) in [
        ("a..b", Miss::EmptyLabel("a..b".into())),
        (".a", Miss::EmptyLabel(".a".into())),
        ("a..", Miss::EmptyLabel("a..".into())),
        ("", Miss::Empty),
        (".", Miss::Empty),
        ("a b", Miss::Character(' ')),
        ("a\u{7}", Miss::Character('\u{7}')),
        ("rgw\\0401.example.net", Miss::Character('\\')),
        ("-a", Miss::Dash("-a".into())),
        (
            &long,
            Miss::LongLabel {
                label: long.clone(),
            },
        ),
    ] {
        assert_eq!(host(text), Err(miss), "{text}");
    }
    let whole = [
        "a".repeat(63),
        "b".repeat(63),
        "c".repeat(63),
        "d".repeat(61),
    ]
    .join(".");
    assert_eq!(name(&whole), Ok(()));
    assert_eq!(name(&format!("{whole}.")), Ok(()));
    assert_eq!(name(&format!("{whole}e")), Err(Miss::TooLong));
}

#[test]
fn names_with_numbers_in_them_stay_names() {
    for text in [
        "1",
        "0123",
        "n1-2",
        "10-1",
        "ip-10-0-0-1",
        "10.0.0.1.nip.io",
        "4.3.2.10.in-addr.arpa",
        "rgw.example.net.",
        "_s3._tcp.example.net",
        "10.0.0.1a",
    ] {
        assert_eq!(host(text), Ok(Host::Name(text.to_owned())), "{text}");
    }
}

#[test]
fn addresses_of_both_families_are_read_and_ipv4_mapped_ones_become_ipv4() {
    for (text, meant) in [
        ("10.0.0.1", "10.0.0.1"),
        ("fd00::1", "fd00::1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
    ] {
        let meant: IpAddr = meant.parse().unwrap();
        assert_eq!(address(text), Ok(meant));
        assert_eq!(host(text), Ok(Host::Addr(meant)));
        assert_eq!(network(text), Ok(IpNet::from(meant)));
    }
    let miss = address("[fd00::1]").unwrap_err().to_string();
    assert!(miss.contains("write fd00::1"), "{miss}");
    let miss = address("192.0.2.10/32").unwrap_err().to_string();
    assert!(miss.contains("write 192.0.2.10"), "{miss}");
    for text in ["name", ""] {
        assert!(address(text).is_err(), "{text}");
    }
}

#[test]
fn a_server_is_a_host_with_or_without_a_port() {
    let host = |text: &str| super::host(text).unwrap();
    for (text, name, port) in [
        ("rgw1:7480", "rgw1", 7480),
        ("rgw1", "rgw1", 80),
        ("10.0.0.1:9000", "10.0.0.1", 9000),
        ("[fd00::1]:9000", "fd00::1", 9000),
        ("[fd00::1]", "fd00::1", 80),
        ("fd00::1", "fd00::1", 80),
        ("[fd00::2:9000]", "fd00::2:9000", 80),
        ("[::ffff:10.0.0.1]:5", "10.0.0.1", 5),
    ] {
        let expected = (host(name), NonZeroU16::new(port).unwrap());
        assert_eq!(server(text, PORT), Ok(expected), "{text}");
    }
    for (text, miss) in [
        ("172.31.9.2:0", Miss::Port),
        ("a:70000", Miss::Port),
        ("a:+5", Miss::Port),
        ("a:", Miss::Port),
        (":80", Miss::Empty),
        ("", Miss::Empty),
        ("[fd00::1]x", Miss::AfterAddress),
        ("[10.0.0.1]:80", Miss::NotV6("10.0.0.1".into())),
        ("172.31.9.0/24", Miss::NotPrefix("172.31.9.0/24".into())),
    ] {
        let found = server(text, PORT).unwrap_err();
        let prefix = text.contains('/');
        assert!(prefix || found == miss, "{text}: {found}");
    }
    let ambiguous = server("fd00::2:9000", PORT).unwrap_err().to_string();
    assert!(
        ambiguous.ends_with("write [fd00::2:9000] or [fd00::2]:9000"),
        "{ambiguous}"
    );
}

proptest! {
    #[test]
    fn every_accepted_host_is_one_word_of_haproxys_configuration_language(text in "\\PC*|[0-9a-f:.\\-_%*/\\[\\]]{0,30}") {
        if let Ok(found) = host(&text) {
            let written = found.to_string();
            prop_assert!(written.chars().all(|c| c.is_ascii_alphanumeric() || "-_.:".contains(c)));
            prop_assert_eq!(host(&written), Ok(found));
        }
        drop(server(&text, PORT));
        drop(network(&text));
    }

    #[test]
    fn a_text_that_begins_like_an_address_and_is_none_is_never_a_name(
        octets in proptest::collection::vec(0u16..999, 4),
        rest in "(-|\\.\\.|\\.[0-9])[0-9.-]{0,12}",
    ) {
        let octets: Vec<String> = octets.iter().map(ToString::to_string).collect();
        let text = octets.join(".") + &rest;
        prop_assert!(!matches!(host(&text), Ok(Host::Name(_))), "{}", text);
    }
}
