//! `[bgp]`: defaults, refusals, and secrets that are not shown.

use std::{collections::BTreeSet, time::Duration};

use super::*;
use crate::protocols::bgp::{
    configured::{BfdMode, Bgp, Hops, Neighbour, Supervision},
    connection::Remote,
    message::Family,
};

const SECTION: &str =
    "[bgp]\nas = 65001\n[[bgp.neighbours]]\naddress = '192.0.2.254'\nas = 65000\n";

fn section(text: &str) -> Bgp {
    let config = ConfigDirectory::new().parse(&format!("{LEAST}{text}"));
    config
        .unwrap_or_else(|error| panic!("{error}"))
        .bgp
        .unwrap()
}

fn neighbour(more: &str) -> Neighbour {
    section(&format!("{SECTION}{more}")).neighbours.remove(0)
}

/// The faults, with lines counted from the section.
fn problems(text: &str) -> Vec<String> {
    let before = LEAST.lines().count();
    let problems = ConfigDirectory::new().problems(&format!("{LEAST}{text}"));
    let count = |problem: String| {
        let (line, rest) = problem.split_once(':').unwrap();
        format!("{}:{rest}", line.parse::<usize>().unwrap() - before)
    };
    problems.into_iter().map(count).collect()
}

#[test]
fn omitted_keys_of_a_neighbour_take_the_documented_defaults() {
    assert_eq!(
        neighbour(""),
        Neighbour {
            address: "192.0.2.254".parse().unwrap(),
            port: 179,
            remote: Remote::Number(65000),
            local_as: 65001,
            passive: false,
            password: None,
            hops: Hops::Link,
            source: None,
            interface: None,
            hold_time: Duration::from_secs(9),
            keepalive: None,
            connect_retry: Duration::from_secs(5),
            delay_open: Duration::ZERO,
            families: BTreeSet::from([Family::Ipv4, Family::Ipv6]),
            extended_next_hop: true,
            next_hops: vec![],
            mss: None,
            max_prefixes: None,
            bfd: None,
        }
    );
    let bgp = section(SECTION);
    assert_eq!((bgp.router_id, bgp.listen), (None, vec![]));
    assert_eq!(
        (bgp.depreference.med, bgp.depreference.prepend),
        (u32::MAX, 3)
    );
}

#[test]
fn the_hop_limit_of_a_neighbour_follows_from_its_kind_and_its_keys() {
    for (more, hops) in [
        ("", Hops::Link),
        ("ttl_security = 2", Hops::Secure(2)),
        ("multihop = 5", Hops::Within(5)),
    ] {
        assert_eq!(neighbour(more).hops, hops, "{more}");
    }
    let internal = section(&SECTION.replace("65000", "'internal'"));
    assert_eq!(
        (internal.neighbours[0].hops, internal.neighbours[0].remote),
        (Hops::Any, Remote::Internal)
    );
    // A neighbour with this node's own number is internal, too.
    assert_eq!(
        section(&SECTION.replace("65000", "65001")).neighbours[0].remote,
        Remote::Internal
    );
    assert_eq!(neighbour("local_as = 65000").remote, Remote::Internal);
    for (word, remote) in [("external", Remote::External), ("auto", Remote::Auto)] {
        let one = &section(&SECTION.replace("65000", &format!("'{word}'"))).neighbours[0];
        assert_eq!((one.remote, one.hops), (remote, Hops::Link));
    }
}

#[test]
fn bfd_is_off_or_a_profile_with_its_mode() {
    assert_eq!(neighbour("bfd = 'off'").bfd, None);
    let watched = Supervision {
        profile: "fast".into(),
        mode: BfdMode::MultiHop,
        strict: true,
    };
    assert_eq!(
        neighbour("bfd = 'fast'\nbfd_mode = 'multi-hop'\nstrict = true").bfd,
        Some(watched)
    );
}

#[test]
fn communities_are_read_as_people_write_them() {
    let text = format!(
        "{SECTION}[bgp.communities]\nmine = '65001:7'\n[[bgp.announcements]]\ncommunities = ['65001:100', 'mine', \
         '65001:1:2', 'no-export', 'blackhole', 'rt:65001:5', 'soo:4200000000:6', 'bandwidth:65001:125000000']\n"
    );
    let bgp = section(&text);
    let communities = bgp.announcements[0].communities.as_ref().unwrap();
    let plain = [0xfde9_0007, 0xfde9_0064, 0xffff_029a, 0xffff_ff01];
    assert_eq!(communities.plain.iter().copied().collect::<Vec<_>>(), plain);
    assert_eq!(communities.large, [[65001, 1, 2]].into());
    let extended = [
        0x0002_fde9_0000_0005,
        0x0203_fa56_ea00_0006,
        // 125 MB/s as a single-precision number.
        0x4004_fde9_4cee_6b28,
    ];
    assert_eq!(communities.extended, extended.into());
}

#[test]
fn each_bgp_fault_is_named_with_its_line_and_the_remedy() {
    for (text, expected) in [
        (
            "[bgp]\n",
            vec![
                "1: `as` is missing in [bgp] | write the number of the autonomous system of this node, for instance `as = 65001`",
                "1: [bgp] has no neighbour | add `[[bgp.neighbours]]` with `address` and `as`",
            ],
        ),
        (
            "[bgp]\nas = 23456\nrouter_id = '0.0.0.0'\n[[bgp.neighbours]]\naddress = '192.0.2.254'\n",
            vec![
                "2: `as` is 23456, which no network may have | 64512 to 65534 are for private use",
                "3: 0.0.0.0 cannot be `router_id` | take an IPv4 address of this node",
                "4: neighbour 192.0.2.254 without `as` | write its number, `as = \"external\"`, `\"internal\"` or `\"auto\"`",
            ],
        ),
        (
            "[bgp]\nas = 65001\n[[bgp.neighbours]]\naddress = '192.0.2.254'\nas = 'inside'\n",
            vec!["5: `inside` is not the number of an AS, \"internal\", \"external\" or \"auto\""],
        ),
        (
            &format!("{SECTION}[[bgp.neighbours]]\naddress = '192.0.2.254'\nas = 65000\n"),
            vec!["7: two neighbours are at 192.0.2.254 | first written at @/ober.toml:19"],
        ),
        (
            &format!(
                "{SECTION}hold_time = '2s'\nttl_security = 1\nmultihop = 2\npassive = true\nsource = '::1'\nmss = 80\n"
            ),
            vec![
                "6: `hold_time` must be at least 3 s (RFC 4271), or \"0\" for never | BFD notices sooner",
                "8: `ttl_security` and `multihop` are both written | first written at @/ober.toml:22 | `ttl_security = 3` is both: at most three hops",
                "9: neighbour 192.0.2.254 must connect, but [bgp] listens nowhere | write for instance `listen = [\"0.0.0.0:179\", \"[::]:179\"]` in [bgp]",
                "10: 192.0.2.254 cannot be reached from ::1 | `source` is an address of this node, of the neighbour's family",
                "11: `mss` is 80, but must be from 88 to 32767",
            ],
        ),
        (
            &SECTION.replace("192.0.2.254", "fe80::1"),
            vec![
                "4: fe80::1 says nothing without the link it is on | write `interface = \"...\"` too",
            ],
        ),
        (
            &format!(
                "{SECTION}[[bgp.announcements]]\nvips = ['192.0.2.11']\nneighbours = ['192.0.2.253']\nprepend = 99\ncommunities = ['no-exprot', '1:2:3:4', '70000:1']\naggregates = ['192.0.2.10/24']\nas_path = [65010, 0]\n"
            ),
            vec![
                "7: 192.0.2.11 is no VIP of a service | known: 192.0.2.10, 2001:db8::10",
                "8: 192.0.2.253 is no neighbour | known: 192.0.2.254",
                "9: `prepend` is 99, but must be from 0 to 32",
                "10: `no-exprot` is no community | did you mean `no-export`?",
                "10: `1:2:3:4` is no community | write \"AS:n\", \"AS:n:n\", \"rt:AS:n\", \"soo:AS:n\", \"bandwidth:AS:bytes\" or a name",
                "10: `70000:1` is no community | write \"AS:n\", \"AS:n:n\", \"rt:AS:n\", \"soo:AS:n\", \"bandwidth:AS:bytes\" or a name",
                "11: 192.0.2.10/24 has bits set behind its length | write \"192.0.2.0/24\"",
                "12: `as_path` is 0, which no network may have | 64512 to 65534 are for private use",
            ],
        ),
    ] {
        assert_eq!(problems(text), expected, "{text}");
    }
}

#[test]
fn a_password_comes_from_the_environment_or_a_closed_file_and_is_never_shown() {
    let mut directory = ConfigDirectory::new();
    let password = ("BGP".to_owned(), "hunter2".to_owned());
    directory.env.variables.extend([password]);
    fs::write(directory.path("password"), "hunter2\n").unwrap();
    let text = |key: &str| format!("{LEAST}{SECTION}{key}\n");
    let open = directory.problems(&text("password_file = 'password'"));
    assert_eq!(
        open,
        ["21: @/password holds the password and every account may read it | chmod 600 @/password"]
    );
    fs::set_permissions(
        directory.path("password"),
        fs::Permissions::from_mode(0o600),
    )
    .unwrap();
    for key in ["password_file = 'password'", "password = '${BGP}'"] {
        let config = directory.parse(&text(key)).unwrap();
        let bgp = config.bgp.as_ref().unwrap();
        assert_eq!(bgp.neighbours[0].password.as_ref().unwrap().0, "hunter2");
        assert!(!format!("{config:?}").contains("hunter2"));
    }
    let long = text(&format!("password = '{}'", "x".repeat(81)));
    assert!(
        directory
            .message(&long)
            .contains("the password has 81 bytes, the kernel takes 1 to 80")
    );
    assert!(
        !directory.message(&long).contains("xxx"),
        "{}",
        directory.message(&long)
    );
}

#[test]
fn a_neighbour_must_name_an_existing_bfd_profile() {
    let directory = ConfigDirectory::new();
    let text = |profile: &str| format!("{LEAST}{SECTION}bfd = '{profile}'\n");
    for profile in ["off", "default", "fast", "ultra"] {
        directory.parse(&text(profile)).unwrap();
    }
    assert_eq!(
        directory.problems(&text("fats")),
        ["21: there is no BFD profile `fats` | did you mean `fast`?"]
    );
}
