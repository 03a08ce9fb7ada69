//! The words of a plan.

use super::{super::*, parse, text};
use crate::{
    backends::{
        InForce,
        server::{Server, Servers},
    },
    haproxy::Preview,
};

/// What a plan says, a line for each change.
fn said(
    old: &str,
    new: &str,
    servers: [&Servers; 2],
    workers: Vec<(usize, Preview)>,
) -> Vec<String> {
    let in_force = servers.map(|servers| InForce {
        servers: servers.clone(),
        ..InForce::default()
    });
    said_with(old, new, [&in_force[0], &in_force[1]], workers)
}

fn said_with(
    old: &str,
    new: &str,
    in_force: [&InForce; 2],
    workers: Vec<(usize, Preview)>,
) -> Vec<String> {
    let written = |text: &str| crate::config::Texts {
        main: crate::config::File {
            path: "/ober.toml".into(),
            text: text.to_owned(),
            mode: 0o600,
        },
        more: Vec::new(),
    };
    let (configs, keys) = (
        [parse(old), parse(new)],
        [written(old).keys(), written(new).keys()],
    );
    let side = |at: usize| Side {
        config: &configs[at],
        keys: &keys[at],
        in_force: in_force[at],
    };
    let facts = PlanFacts {
        workers,
        servers: in_force[0] != in_force[1],
        ..PlanFacts::default()
    };
    let plan = Plan::of(Some(side(0)), side(1), &facts);
    let parts = [
        ("service", plan.services),
        ("vip", plan.vips),
        ("list", plan.lists),
        ("backend", plan.backends),
        ("worker", plan.workers),
        ("neighbour", plan.neighbours),
        ("interface", plan.interfaces),
        ("setting", plan.settings),
    ];
    let lines = parts.into_iter().flat_map(|(part, changes)| {
        let line = move |change: Change| {
            let (name, how) = (change.name, change.how.name());
            format!("{part} {name} {how}: {}", change.what.join("; "))
        };
        changes.into_iter().map(line)
    });
    lines.collect()
}

fn servers(addresses: &[&str]) -> Servers {
    let server = |address: &&str| Server::new((*address).to_owned(), address.parse().unwrap());
    Servers::from([("rgw".to_owned(), addresses.iter().map(server).collect())])
}

#[test]
fn a_plan_lists_servers_newly_left_out_even_if_the_serving_ones_stay() {
    let text = text(&["in0"], 1, &[]);
    let whole = InForce {
        servers: servers(&["10.0.0.1:80"]),
        ..InForce::default()
    };
    let unread = InForce {
        left_out: [("rgw".to_owned(), vec!["servers: read /x: gone".to_owned()])].into(),
        ..whole.clone()
    };
    for (from, to, sign) in [(&whole, &unread, '+'), (&unread, &whole, '-')] {
        assert_eq!(
            said_with(&text, &text, [from, to], Vec::new()),
            [format!(
                "backend rgw changed: {sign} left out: servers: read /x: gone"
            )]
        );
    }
    assert_eq!(
        said_with(&text, &text, [&unread, &unread], Vec::new()),
        [""; 0]
    );
}

#[test]
fn a_plan_names_changes_by_configuration_key_and_hides_secrets() {
    let old = text(&["in0"], 1, &[("one", vec![1, 2], vec![(80, "red")])])
        + "[bgp]\nas = 65000\n[[bgp.neighbours]]\naddress = '10.0.0.9'\nas = 65001\npassword = 'hush'\n";
    let new = text(
        &["in0", "in1"],
        2,
        &[("one", vec![1, 3], vec![(80, "open")])],
    ) + "[bgp]\nas = 65000\n[[bgp.neighbours]]\naddress = '10.0.0.9'\nas = 65001\npassword = 'hushed'\n\
           [resolve]\ninterval = '9s'\n";
    let (was, is) = (servers(&["10.0.0.1:80"]), servers(&["10.0.0.2:80"]));
    let why = "another certificate".to_owned();
    let workers = vec![
        (0, Preview::Replace { why: why.clone() }),
        (1, Preview::Replace { why }),
    ];
    assert_eq!(
        said(&old, &new, [&was, &is], workers),
        [
            "service one changed: - 192.0.2.1:80 list red; - 192.0.2.2:80 list red; \
             + 192.0.2.1:80 open to all; + 192.0.2.3:80 open to all; \
             listeners.80.access: \"red\" -> \"open\"; \
             - vips = \"192.0.2.2\"; + vips = \"192.0.2.3\"",
            "vip 192.0.2.2 removed: - on this node",
            "vip 192.0.2.3 added: + on this node",
            "list red removed: ",
            "backend rgw changed: - server 10.0.0.1:80; + server 10.0.0.2:80",
            "worker 0 replaced: another certificate",
            "worker 1 added: ",
            "neighbour 10.0.0.9 changed: password: another, which is not shown; \
             the session with 10.0.0.9 ends: password",
            "interface in1 added: ",
            "setting resolve changed: + interval = \"9s\"",
            "setting workers changed: count: 1 -> 2",
        ]
    );
}

/// What a plan says of neighbours when this part of a configuration becomes that.
fn neighbours(old: &str, new: &str) -> Vec<String> {
    let node = text(&["in0"], 1, &[("one", vec![1, 2, 3], vec![(80, "open")])]);
    let servers = servers(&["10.0.0.1:80"]);
    let (old, new) = (format!("{node}{old}"), format!("{node}{new}"));
    let mut lines = said(&old, &new, [&servers, &servers], Vec::new());
    lines.retain(|line| line.contains(" ends") || line.contains("restarts"));
    lines
}

#[test]
fn a_plan_lists_sessions_that_end_and_ends_none_for_settings_that_change_in_place() {
    let bgp = |more: &str, of_it: &str| {
        format!(
            "[bgp]\nas = 65000\n{more}\n[[bgp.neighbours]]\naddress = '10.0.0.9'\n{of_it}\n\
             [[bgp.neighbours]]\naddress = '10.0.0.8'\nas = 65008\n"
        )
    };
    let before = bgp("", "as = 65001\nport = 179");
    for (more, of_it) in [
        ("settle = '20s'", ""),
        ("", "connect_retry = '9s'"),
        ("", "max_prefixes = 5"),
        ("", "keepalive = '5s'"),
        ("", "next_hops = ['10.0.0.1']"),
        ("", "bfd = 'default'"),
        ("", "bfd = 'default'\nstrict = true"),
        ("", "mss = 1000"),
        ("", "passive = true"),
        ("", "delay_open = '1s'"),
        ("listen = ['127.0.0.1:179']", ""),
        ("depreference = { med = 7 }", ""),
    ] {
        let passive = if of_it.starts_with("passive") {
            "listen = ['127.0.0.1:179']"
        } else {
            more
        };
        let after = bgp(passive, &format!("as = 65001\nport = 179\n{of_it}"));
        assert_eq!(
            neighbours(&before, &after),
            Vec::<String>::new(),
            "{more}{of_it}"
        );
    }
    for (key, of_it) in [
        ("port", "as = 65001\nport = 1179"),
        ("as", "as = 65002"),
        ("local_as", "as = 65001\nlocal_as = 65007"),
        ("password", "as = 65001\npassword = 'hush'"),
        ("ttl_security or multihop", "as = 65001\nttl_security = 1"),
        ("source", "as = 65001\nsource = '10.0.0.1'"),
        ("interface", "as = 65001\ninterface = 'in0'"),
        ("hold_time", "as = 65001\nhold_time = '30s'"),
        ("families", "as = 65001\nfamilies = ['ipv4']"),
        ("extended_next_hop", "as = 65001\nextended_next_hop = false"),
    ] {
        let lines = neighbours(&before, &bgp("", of_it));
        let [line] = &lines[..] else {
            panic!("{key}: {lines:?}");
        };
        let end = format!("the session with 10.0.0.9 ends: {key}");
        assert!(line.ends_with(&end) && !line.contains("hush"), "{line}");
    }
    let gone = neighbours(
        &before,
        &before.replace("[[bgp.neighbours]]\naddress = '10.0.0.8'\nas = 65008\n", ""),
    );
    assert_eq!(
        gone,
        ["neighbour 10.0.0.8 removed: the session with 10.0.0.8 ends: the neighbour is removed"]
    );
    let renamed = neighbours(
        &before,
        &bgp("router_id = '10.0.0.1'", "as = 65001\nport = 179"),
    );
    assert_eq!(renamed.len(), 2, "{renamed:?}");
    assert!(
        renamed.iter().all(|line| line.ends_with("ends: router_id")),
        "{renamed:?}"
    );
}

#[test]
fn a_plan_lists_the_virtual_routers_that_restart_and_not_those_that_stay() {
    let vrrp = |more: &str, instances: &[(u8, &str)]| {
        let instances = instances.iter().map(|(vrid, vips)| {
            format!("[[vrrp.instances]]\nvrid = {vrid}\nvips = {vips}\npriority = 100\n")
        });
        format!(
            "[vrrp]\ninterface = 'in0'\npeers = ['10.0.0.2', 'fd00::2']\n{more}\n{}",
            instances.collect::<String>()
        )
    };
    let two = [(51, "['192.0.2.1']"), (52, "['192.0.2.2']")];
    let before = vrrp("", &two);
    for after in [
        vrrp("advertisement_interval = '200ms'", &two),
        vrrp("garp_repeat = 9\npreempt = false", &two),
        vrrp(
            "",
            &[(51, "['192.0.2.1', '192.0.2.3']"), (52, "['192.0.2.2']")],
        ),
        vrrp(
            "",
            &[
                (51, "['192.0.2.1']"),
                (52, "['192.0.2.2']"),
                (53, "['192.0.2.3']"),
            ],
        ),
        before.replace("priority = 100", "priority = 90"),
        before.replace("'10.0.0.2', ", "'10.0.0.3', "),
    ] {
        assert_eq!(neighbours(&before, &after), Vec::<String>::new(), "{after}");
    }
    for (after, ends) in [
        (
            vrrp("virtual_mac = true", &two),
            "virtual router 52 (IPv4) restarts: virtual_mac",
        ),
        (
            vrrp("ipv4_length = 24", &two),
            "virtual router 52 (IPv4) restarts: ipv4_length",
        ),
        (
            vrrp("label = 'x'", &two),
            "virtual router 52 (IPv4) restarts: label",
        ),
        (
            vrrp("transport = 'multicast'", &two).replace("peers = ['10.0.0.2', 'fd00::2']\n", ""),
            "virtual router 52 (IPv4) restarts: transport",
        ),
        (
            vrrp("source = ['10.0.0.7']", &two),
            "virtual router 52 (IPv4) restarts: source",
        ),
        (
            vrrp("", &[two[0], (99, "['192.0.2.2']")]),
            "virtual router 52 (IPv4) ends",
        ),
        (
            vrrp("", &[two[0], (52, "['192.0.2.3']")]),
            "virtual router 52 (IPv4) restarts: it keeps none of its VIPs",
        ),
        (String::new(), "virtual router 52 (IPv4) ends"),
    ] {
        let lines = neighbours(&before, &after);
        assert!(
            lines.len() == 1 && lines[0].ends_with(ends),
            "{ends}: {lines:?}"
        );
    }
}

#[test]
fn a_plan_without_a_change_says_only_that_the_workers_stay() {
    let one = text(&["in0"], 1, &[("one", vec![1], vec![(80, "red")])]);
    let other = format!("# {one}").replace("# [node]", "# a comment\n[node]");
    let same = servers(&["10.0.0.1:80"]);
    let unchanged = vec![(0, Preview::Unchanged)];
    assert_eq!(
        said(&one, &other, [&same, &same], unchanged),
        ["worker 0 unchanged: "]
    );
}
