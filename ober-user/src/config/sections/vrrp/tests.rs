use super::*;
use crate::{
    config::tests::{ConfigDirectory, LEAST},
    protocols::vrrp::configured::Peer,
};

const NODES: &str = r#"
[vrrp]
node = "b"
[[vrrp.nodes]]
name = "a"
addresses = ["10.0.0.1", "2001:db8::1"]
[[vrrp.nodes]]
name = "b"
addresses = ["10.0.0.2", "2001:db8::2"]
[[vrrp.nodes]]
name = "c"
addresses = ["10.0.0.3", "2001:db8::3"]
min_ttl = 250
"#;

fn vrrp(text: &str) -> Vrrp {
    let config = ConfigDirectory::new().parse(&format!("{LEAST}{text}"));
    config
        .unwrap_or_else(|error| panic!("{error}"))
        .vrrp
        .unwrap()
}

/// The faults, with lines counted from the section.
fn problems(text: &str) -> Vec<String> {
    let directory = ConfigDirectory::new();
    let before = LEAST.lines().count();
    let renumbered = |problem: String| {
        let (line, rest) = problem.split_once(':').unwrap();
        format!(
            "{}:{rest}",
            line.parse::<usize>().unwrap().saturating_sub(before)
        )
    };
    let problems = directory.problems(&format!("{LEAST}{}", text.trim_start()));
    problems.into_iter().map(renumbered).collect()
}

#[test]
fn if_only_nodes_are_configured_every_vip_gets_an_instance_with_default_settings() {
    let config = vrrp(NODES);
    assert_eq!(config.interface, "eth1");
    assert_eq!(
        (config.version, config.interval),
        (Version::V3, Interval::SECOND)
    );
    let peer = |address: &str, least| Peer {
        address: address.parse().unwrap(),
        ttl: least..=255,
    };
    let peers = [
        peer("10.0.0.1", 255),
        peer("2001:db8::1", 255),
        peer("10.0.0.3", 250),
        peer("2001:db8::3", 250),
    ];
    assert_eq!(config.transport, Transport::Unicast(peers.to_vec()));
    let own: Vec<IpAddr> = vec!["10.0.0.2".parse().unwrap(), "2001:db8::2".parse().unwrap()];
    assert_eq!(config.sources, own);
    let vips: Vec<Vec<String>> = config
        .instances
        .iter()
        .map(|it| it.vips.iter().map(ToString::to_string).collect())
        .collect();
    assert_eq!(vips, [["192.0.2.10"], ["2001:db8::10"]]);
    assert!(
        config
            .instances
            .iter()
            .all(|it| it.preempt == Preempt::After(Duration::ZERO))
    );
    assert!(
        config
            .instances
            .iter()
            .all(|it| (252..=254).contains(&it.priority))
    );
}

/// The priorities of 60 VIPs on the node `own` among these nodes.
fn priorities(own: &str, nodes: &[&str]) -> Vec<u8> {
    let vips: Vec<String> = (1..=60)
        .map(|number| format!("\"198.51.100.{number}\""))
        .collect();
    let mut text = format!(
        "[[services]]\nname='v'\nvips=[{}]\nbackend='rgw'\n[[services.listeners]]\nport=81\naccess='open'\n[vrrp]\nnode='{own}'\ntransport='multicast'\n",
        vips.join(",")
    );
    for name in nodes {
        text.extend(["[[vrrp.nodes]]\nname='", name, "'\n"]);
    }
    let config = vrrp(&text);
    config.instances.iter().map(|it| it.priority).collect()
}

#[test]
fn every_vip_has_one_node_of_each_rank_and_vips_spread_over_the_nodes() {
    let names = ["a", "b", "c", "d"];
    let all = names.map(|own| priorities(own, &names));
    for vip in 0..62 {
        let mut ranks = all.clone().map(|of| of[vip]);
        ranks.sort_unstable();
        assert_eq!(ranks, [251, 252, 253, 254]);
    }
    for of in &all {
        let first: u32 = of.iter().map(|priority| u32::from(*priority == 254)).sum();
        assert!(
            (6..=27).contains(&first),
            "{first} of 62 for one of 4 nodes"
        );
    }
    // A node that leaves does not change the order of the others.
    let fewer = ["a", "b", "c"].map(|own| priorities(own, &["c", "a", "b"]));
    for vip in 0..62 {
        for (one, other) in [(0, 1), (0, 2), (1, 2)] {
            let order = |of: &[Vec<u8>]| of[one][vip] > of[other][vip];
            assert_eq!(order(&fewer), order(&all));
        }
    }
}

#[test]
fn vrids_are_the_same_however_instances_are_listed_and_never_twice() {
    let instance = |vip: usize| format!("[[vrrp.instances]]\nvips=['198.51.100.{vip}']\n");
    let vrids = |order: &[usize]| {
        let vips: Vec<String> = order
            .iter()
            .map(|vip| format!("'198.51.100.{vip}'"))
            .collect();
        let mut text = format!(
            "[[services]]\nname='v'\nvips=[{}]\nbackend='rgw'\n[[services.listeners]]\nport=81\naccess='open'\n[vrrp]\nnode='a'\ntransport='multicast'\n[[vrrp.nodes]]\nname='a'\n",
            vips.join(",")
        );
        text.extend(order.iter().map(|vip| instance(*vip)));
        let config = vrrp(&text);
        let pairs = config.instances.iter().map(|it| (it.vips[0], it.vrid));
        pairs.collect::<BTreeMap<_, _>>()
    };
    let up: Vec<usize> = (1..=250).collect();
    let down: Vec<usize> = (1..=250).rev().collect();
    let found = vrids(&up);
    assert_eq!(found, vrids(&down));
    let different: std::collections::BTreeSet<_> = found.values().collect();
    assert_eq!(different.len(), 250);
}

#[test]
fn vrrp_settings_written_by_hand_win_over_defaults() {
    let config = vrrp(
        r#"
[vrrp]
interface = "eth2"
version = 3
advertisement_interval = "10ms"
source = ["10.0.0.9"]
peers = ["10.0.0.8", "fe80::8"]
preempt_delay = "1m"
checksum = "message"
answer_lower = false
answer_higher = true
garp_repeat = 3
garp_delay = "0"
garp_refresh = "1m"
garp_interval = "20ms"
gna_interval = "2s"
garp_interfaces = ["eth3"]
ipv4_length = 24
ipv4_prefix_route = true
scope = "link"
virtual_mac = true
[[vrrp.instances]]
vips = ["192.0.2.10"]
vrid = 9
priority = 100
preempt = false
[[vrrp.instances]]
vips = ["2001:db8::10"]
link_local = "fe80::10"
priority = 255
"#,
    );
    assert_eq!(
        (config.interface.as_str(), config.virtual_mac),
        ("eth2", true)
    );
    let form = Form {
        ipv4_length: 24,
        ipv4_prefix_route: true,
        scope: Scope::Link,
        ..Form::default()
    };
    assert_eq!(config.form, form);
    let pace = Pace {
        arp: Duration::from_millis(20),
        advertisement: Duration::from_secs(2),
    };
    assert_eq!(config.pace, pace);
    assert_eq!(config.garp_interfaces, ["eth3"]);
    assert_eq!(config.interval.duration(), Duration::from_millis(10));
    let [four, six] = &config.instances[..] else {
        panic!("two instances")
    };
    assert_eq!(
        (four.vrid.0.get(), four.priority, four.preempt),
        (9, 100, Preempt::Never)
    );
    assert_eq!(
        (six.priority, six.preempt),
        (255, Preempt::After(Duration::from_mins(1)))
    );
    let settings = config.settings(six, "fe80::9".parse().unwrap());
    let addresses: Vec<String> = settings.addresses.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["fe80::10", "2001:db8::10"]);
    assert_eq!(config.peers(true), ["fe80::8".parse::<IpAddr>().unwrap()]);
}

#[test]
fn a_vrrp_instance_holds_vips_of_one_family_and_excluded_ones_of_the_other() {
    let config = vrrp(
        "[vrrp]\npeers=['10.0.0.8']\n[[vrrp.instances]]\nvips=['192.0.2.10']\nexcluded=['2001:db8::10']\npriority=10",
    );
    assert_eq!(config.instances.len(), 1);
    assert_eq!(config.vips().count(), 2);
    assert_eq!(config.instances[0].held().len(), 2);
}

#[test]
fn an_address_label_must_fit_with_its_interface_and_a_route_needs_a_network() {
    let with = |more: &str| {
        format!(
            "[vrrp]\npeers=['10.0.0.8']\n{more}\n[[vrrp.instances]]\nvips=['192.0.2.10']\npriority=10\n"
        )
    };
    assert_eq!(
        vrrp(&with("label = 'vip'")).form.label,
        Some("eth1:vip".to_owned())
    );
    let fix = "letters, digits, `-`, `_` and `.`, 15 of them together with the interface";
    assert_eq!(
        problems(&with("label = 'elevenlong.'")),
        [format!("3: `eth1:elevenlong.` is no label | {fix}")]
    );
    assert_eq!(
        problems(&with("label = 'vip'\nvirtual_mac = true\nipv4_length = 33")),
        [
            "3: with `virtual_mac` VIPs are on an interface of their own | leave `label` out",
            "5: `ipv4_length` is 33, but must be from 1 to 32",
        ]
    );
    assert_eq!(
        problems(&with("ipv4_prefix_route = true")),
        ["3: `ipv4_prefix_route` is for VIPs with a network | write its length as `ipv4_length`"]
    );
}

#[test]
fn a_weight_is_refused_with_or_without_preemption() {
    // There are no weights: a closed gate takes the node out, which fails over with `preempt = false` too.
    let text = "[vrrp]\npeers=['10.0.0.8']\npreempt = false\n[[vrrp.instances]]\nvips=['192.0.2.10']\nweight = -20\n";
    let problems = problems(text);
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(
        problems[0].starts_with("6: unknown key `weight`"),
        "{problems:?}"
    );
}

/// Every key with a wrong value.
const WRONG: &str = r#"
[vrrp]
interface = "a/b"
version = 4
advertisement_interval = "15ms"
peers = ["10.0.0.2", "10.0.0.1", "10.0.0.9", "10.0.0.9", "224.0.0.18"]
node = "bb"
preempt = false
preempt_delay = "1s"
garp_repeat = 0
garp_delay = "1h"
garp_interval = "1h"
garp_interfaces = ["a/b", "eth3", "eth3"]
[[vrrp.nodes]]
name = "b"
addresses = ["10.0.0.1"]
[[vrrp.nodes]]
name = "b"
[[vrrp.nodes]]
name = "c"
addresses = ["10.0.0.1"]
max_ttl = 64
[[vrrp.nodes]]
addresses = ["10.0.0.7"]
[[vrrp.instances]]
vips = ["192.0.2.10", "2001:db8::10", "192.0.2.11"]
priority = 0
vrid = 9
[[vrrp.instances]]
excluded = ["192.0.2.10"]
[[vrrp.instances]]
vips = ["192.0.2.10"]
vrid = 9
link_local = "fe80::1"
[[vrrp.instances]]
vips = ["2001:db8::10"]
link_local = "2001:db8::1"
priority = 255
preempt = false
"#;

#[test]
fn every_refusal_names_line_and_fix() {
    assert_eq!(
        problems(WRONG),
        [
            "1: `[vrrp]` has no peer for its IPv6 VIPs | add `[[vrrp.nodes]]` or `peers`, or write `transport = \"multicast\"`",
            "2: `a/b` is no name of an interface | see `ip -brief link`",
            "3: there is no VRRP version 4 | write 3, or 2 for old neighbours",
            "4: `advertisement_interval` cannot be expressed in an advertisement | version 3 knows multiples of 10 ms from \"10ms\" to \"40950ms\"",
            "5: peer 10.0.0.1 is written twice, or one of `nodes`",
            "5: peer 10.0.0.9 is written twice, or one of `nodes`",
            "5: peer 224.0.0.18 is no address of one machine",
            "6: there is no node `bb` in `[[vrrp.nodes]]` | did you mean `b`?",
            "8: `preempt_delay` says when to take over, `preempt = false` never to | leave one of the two out",
            "9: `garp_repeat` is 0, but must be from 1 to 100",
            "10: `garp_delay` is longer than 1000 seconds",
            "11: `garp_interval` is longer than 1000 seconds",
            "12: `a/b` is no name of an interface | see `ip -brief link`",
            "12: VIPs are claimed on `a/b` already | leave it out here",
            "12: VIPs are claimed on `eth3` already | leave it out here",
            "14: node `b` has no IPv6 address | there are IPv6 VIPs: add one to its `addresses`",
            "17: two nodes are called `b` | first written at @/ober.toml:29",
            "19: node `c` has no IPv6 address | there are IPv6 VIPs: add one to its `addresses`",
            "20: 10.0.0.1 is written for two nodes | first written at @/ober.toml:30",
            "21: no TTL is from 255 to 64 | `min_ttl` is 255 unless written",
            "22: a node of `[[vrrp.nodes]]` without `name`",
            "25: an instance advertises VIPs of one family alone | make two instances of it, or move the others to `excluded`",
            "25: 192.0.2.11 is no VIP of any service | write it among the `vips` of the service it belongs to",
            "26: `priority` is 0, but must be from 1 to 255",
            "28: an instance of `[[vrrp.instances]]` without `vips`",
            "29: 192.0.2.10 is in `[[vrrp.instances]]` twice | first written at @/ober.toml:40",
            "30: an instance of VRRP without a priority | write `priority`, or all nodes as `[[vrrp.nodes]]` and this one as `node`",
            "31: 192.0.2.10 is in `[[vrrp.instances]]` twice | first written at @/ober.toml:44",
            "32: VRID 9 is taken by another instance | first written at @/ober.toml:42",
            "33: `link_local` is for IPv6 VIPs",
            "35: 2001:db8::10 is in `[[vrrp.instances]]` twice | first written at @/ober.toml:40",
            "36: 2001:db8::1 is no link-local address",
            "38: priority 255 always takes over, whatever `preempt` says | leave `preempt = false` out, or write a priority up to 254",
        ]
    );
}

#[test]
fn settings_that_a_vrrp_transport_or_version_does_not_support_are_refused() {
    let two = "[vrrp]\nversion = 2\npeers = ['10.0.0.9', 'fe80::9']\nadvertisement_interval = '1500ms'\n[[vrrp.instances]]\nvips = ['2001:db8::10']\npriority = 1\n";
    assert_eq!(
        problems(two),
        [
            "4: `advertisement_interval` cannot be expressed in an advertisement | version 2 knows whole seconds from \"1s\" to \"255s\"",
            "6: version 2 of VRRP cannot advertise 2001:db8::10 | write `version = 3`",
        ]
    );
    let multicast = "[vrrp]\ntransport = 'multicast'\npeers = ['10.0.0.9']\n[[vrrp.instances]]\nvips = ['192.0.2.10']\npriority = 1\n";
    assert_eq!(
        problems(multicast),
        ["3: `peers` need unicast, but `transport` is \"multicast\" | leave one of the two out"]
    );
    let alone = "[vrrp]\n[[vrrp.nodes]]\nname = 'a'\naddresses = ['10.0.0.1']\n[[vrrp.instances]]\nvips = ['2001:db8::10']\n";
    assert_eq!(
        problems(alone),
        [
            "1: `[vrrp]` does not say which of its nodes this one is | write `node = \"NAME\"`, or `node = \"${HOSTNAME}\"` to share the file",
            "1: `[vrrp]` has no peer for its IPv6 VIPs | add `[[vrrp.nodes]]` or `peers`, or write `transport = \"multicast\"`",
            "3: node `a` has no IPv6 address | there are IPv6 VIPs: add one to its `addresses`",
            "5: an instance of VRRP without a priority | write `priority`, or all nodes as `[[vrrp.nodes]]` and this one as `node`",
        ]
    );
}
