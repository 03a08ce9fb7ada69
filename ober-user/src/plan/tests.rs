use std::{collections::BTreeSet, net::IpAddr, path::Path};

use proptest::{prelude::*, sample::subsequence};

use super::*;
use crate::{
    backends::InForce,
    config::{Config, Env},
    haproxy::{Foreseen, Server, Servers},
};

fn parse(text: &str) -> Config {
    let cpus = vec![0, 1, 2];
    let env = Env {
        cpus,
        ..Env::default()
    };
    let config = Config::parse(text, Path::new("/nowhere"), &env);
    config.unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// A service: its name, VIPs and ports, and who may come.
type Service = (&'static str, Vec<u8>, Vec<(u16, &'static str)>);

fn text(interfaces: &[&str], workers: u8, services: &[Service]) -> String {
    let mut parts = vec![format!(
        "[node]\ninterfaces={interfaces:?}\n[workers]\nhaproxy='/usr/sbin/haproxy'\ncount={workers}\n\
         [backends.rgw]\nservers=['10.0.0.1:80']\n"
    )];
    let (mut lists, mut taken) = (BTreeSet::new(), BTreeSet::new());
    for (name, vips, ports) in services {
        let places = vips.iter().flat_map(|vip| {
            let ports = ports.iter();
            ports.map(move |(port, _)| (*vip, *port))
        });
        let places: Vec<_> = places.collect();
        if places.iter().any(|place| !taken.insert(*place)) {
            continue;
        }
        let vips: Vec<String> = vips.iter().map(|vip| format!("192.0.2.{vip}")).collect();
        parts.push(format!(
            "[[services]]\nname='{name}'\nvips={vips:?}\nbackend='rgw'\n"
        ));
        for (port, access) in ports {
            parts.push(format!(
                "[[services.listeners]]\nport={port}\naccess='{access}'\n"
            ));
            lists.insert(*access);
        }
    }
    lists.remove("open");
    parts.extend(lists.iter().map(|list| format!("[lists.{list}]\n")));
    parts.concat()
}

fn some_service() -> impl Strategy<Value = Service> {
    let access = prop_oneof![Just("open"), Just("red"), Just("blue")];
    let name = prop_oneof![Just("one"), Just("two"), Just("three")];
    let ports = subsequence(vec![80_u16, 81, 82], 1..=3);
    let ports = ports.prop_flat_map(move |ports| {
        let many = prop::collection::vec(access.clone(), ports.len());
        many.prop_map(move |access| ports.iter().copied().zip(access).collect::<Vec<_>>())
    });
    (name, subsequence(vec![1_u8, 2, 3, 4], 1..=3), ports)
}

/// A configuration and the VIPs that VRRP moves in it.
fn some_node() -> impl Strategy<Value = (Config, BTreeSet<IpAddr>)> {
    let services = prop::collection::vec(some_service(), 0..3).prop_map(|mut services| {
        let mut names = BTreeSet::new();
        services.retain(|(name, ..)| names.insert(*name));
        services
    });
    let interfaces = subsequence(vec!["in0", "in1", "in2"], 1..=2);
    let moved = subsequence(vec![1_u8, 2, 3, 4], 0..=4);
    (interfaces, 1_u8..4, services, moved).prop_map(|(interfaces, workers, services, moved)| {
        let moved = moved.iter().map(|vip| IpAddr::from([192, 0, 2, *vip]));
        (
            parse(&text(&interfaces, workers, &services)),
            moved.collect(),
        )
    })
}

fn with_vrrp(mut state: State, moved: &BTreeSet<IpAddr>) -> State {
    state.moved = state.announced.intersection(moved).copied().collect();
    state.addresses = state.announced.difference(&state.moved).copied().collect();
    state
}

/// Two states of a node, one after another.
fn some_change() -> impl Strategy<Value = (State, State)> {
    let changed = (
        subsequence(vec!["red", "blue"], 0..=2),
        any::<bool>(),
        any::<bool>(),
    );
    (some_node(), some_node(), changed).prop_map(|(old, new, (lists, servers, workers))| {
        let changed = Changed {
            lists: lists.into_iter().map(ToOwned::to_owned).collect(),
            servers,
            workers,
        };
        let from = with_vrrp(State::of(&old.0), &old.1);
        let mut to = with_vrrp(State::next(&old.0, &new.0, &changed), &new.1);
        if from.moved != to.moved {
            to.speaking = Edition::New;
        }
        (from, to)
    })
}

/// What must hold whenever a change may be interrupted.
fn sound(at: &State, from: &State, to: &State) -> Result<(), TestCaseError> {
    prop_assert!(
        at.admitted <= at.running,
        "a worker that is not there gets connections"
    );
    for (place, behind) in &at.services {
        let served = at.sockets.iter().any(|key| {
            key.service == behind.service
                && key.port.get() == place.port
                && key.family.holds(place.vip)
        });
        prop_assert!(
            served && at.workers != Edition::None,
            "{place} has no sockets"
        );
        if let Some(list) = &behind.list {
            prop_assert!(at.lists.contains_key(list), "{place} lacks its list");
            continue;
        }
        let open = |state: &State| {
            let behind = state.services.get(place);
            behind.is_some_and(|behind| behind.list.is_none())
        };
        prop_assert!(
            open(from) || open(to),
            "{place} is open and was never to be"
        );
    }
    for vip in &at.announced {
        let served = at.services.keys().any(|place| place.vip == *vip);
        prop_assert!(served, "{vip} is announced and not served");
        let here = at.addresses.contains(vip) || at.moved.contains(vip);
        prop_assert!(here, "{vip} is announced and not here");
        let all = |state: &State| at.interfaces.is_superset(&state.interfaces);
        prop_assert!(
            all(from) || all(to),
            "{vip} is announced and an interface bare"
        );
    }
    for (place, behind) in &from.services {
        let stays = to
            .services
            .get(place)
            .is_some_and(|next| next.service == behind.service);
        if stays {
            prop_assert!(at.services.contains_key(place), "{place} was interrupted");
            let alike = from.moved.contains(&place.vip) == to.moved.contains(&place.vip);
            let told = at.announced.contains(&place.vip) || !from.announced.contains(&place.vip);
            prop_assert!(told || !alike, "{} was withdrawn for nothing", place.vip);
        }
    }
    Ok(())
}

/// The state before the first step, and after each.
fn course(from: &State, to: &State) -> Vec<State> {
    let mut states = vec![from.clone()];
    for step in steps(from, to) {
        let next = states.last().cloned().unwrap_or_default();
        states.push(next.after(&step, to));
    }
    states
}

proptest! {
    #[test]
    fn no_prefix_of_a_change_announces_what_is_not_served_or_opens_what_is_restricted(
        (from, to) in some_change(),
    ) {
        let states = course(&from, &to);
        for at in &states {
            sound(at, &from, &to)?;
        }
        prop_assert_eq!(states.last(), Some(&to));
    }

    #[test]
    fn a_change_that_fails_anywhere_goes_back_to_what_was_by_a_course_as_sound(
        (from, to) in some_change(),
    ) {
        // A step that fails may have been done in part: it counts as done, and as not done.
        for failed in course(&from, &to) {
            let back = course(&failed, &from);
            for at in &back {
                sound(at, &failed, &from)?;
            }
            prop_assert_eq!(back.last(), Some(&from));
        }
    }

    /// The way back may fail too, anywhere and more than once: what is done of it then is anybody's guess.
    #[test]
    fn after_a_way_back_that_failed_the_next_change_makes_a_node_whole_whatever_is_there(
        (from, to) in some_change(),
        failed in any::<prop::sample::Index>(),
        lost in prop::collection::vec(any::<bool>(), 32),
        (other, moved) in some_node(),
        wanted in 0..3_usize,
    ) {
        let forward = course(&from, &to);
        let mut at = failed.get(&forward).clone();
        for (step, lost) in steps(&at.clone(), &from).iter().zip(lost) {
            if !lost {
                at = at.after(step, &from);
            }
        }
        // In force is what was, and the next change may be to that, to what was refused, or to something else.
        let other = with_vrrp(State::of(&other), &moved);
        let wanted = [&from, &to, &other][wanted];
        let was_sound = sound(&at, &from, &to).is_ok();
        let (before, mut left) = (at.clone(), at.announced.clone());
        for step in regain(&[from.clone(), to.clone()], wanted) {
            if let Step::Withdraw { vips } = &step {
                left.retain(|vip| !vips.contains(vip));
            }
            at = at.after(&step, wanted);
            for vip in &at.announced {
                let served = at.services.keys().any(|place| place.vip == *vip);
                prop_assert!(served || !was_sound, "{vip} is announced and not served after {step}");
            }
        }
        prop_assert_eq!(&at, wanted);
        // What every state had that may be there is not interrupted.
        for (place, behind) in &before.services {
            let same = |state: &State| state.services.get(place) == Some(behind);
            if same(&from) && same(&to) && same(wanted) && before.announced.contains(&place.vip) {
                let moves = |state: &State| state.moved.contains(&place.vip);
                let alike = moves(&from) == moves(wanted) && moves(&to) == moves(wanted);
                prop_assert!(!alike || left.contains(&place.vip), "{} was withdrawn", place.vip);
            }
        }
    }

    #[test]
    fn no_neighbour_is_parted_from_before_all_that_may_refuse_was_tried((from, to) in some_change()) {
        let steps = steps(&from, &to);
        let parts = |step: &Step| {
            matches!(step, Step::Withdraw { .. } | Step::TakeOut { .. } | Step::Speak)
        };
        let tries = |step: &Step| matches!(step, Step::Attach { .. } | Step::Open);
        let parted = steps.iter().position(parts).unwrap_or(steps.len());
        prop_assert!(steps.iter().skip(parted).all(|step| !tries(step)), "{steps:?}");
        let speaks = steps.contains(&Step::Speak);
        prop_assert_eq!(speaks, steps.contains(&Step::Open));
        // A VIP that changes hands goes when nothing but its neighbours is left to change.
        let workers = steps.iter().position(|step| *step == Step::Workers);
        let stays = |vip: &IpAddr| staying(&from, &to).any(|place| place.vip == *vip);
        let turns = |step: &Step| matches!(step, Step::Withdraw { vips } if vips.iter().all(stays));
        let turning = steps.iter().position(turns);
        prop_assert!(turning.is_none() || workers < turning, "{steps:?}");
    }

    #[test]
    fn a_start_and_an_end_are_as_sound((node, moved) in some_node()) {
        let (nothing, node) = (State::default(), with_vrrp(State::of(&node), &moved));
        for (from, to) in [(&nothing, &node), (&node, &nothing)] {
            let states = course(from, to);
            for at in &states {
                sound(at, from, to)?;
            }
            prop_assert_eq!(states.last(), Some(to));
        }
    }
}

#[test]
fn the_order_of_a_change_is_the_documented_one() {
    let old = parse(&text(
        &["in0"],
        1,
        &[("one", vec![1, 2], vec![(80, "red"), (81, "open")])],
    ));
    let new = parse(&text(
        &["in1"],
        1,
        &[("one", vec![1, 3], vec![(80, "blue")])],
    ));
    let changed = Changed {
        workers: true,
        ..Changed::default()
    };
    let (from, mut to) = (State::of(&old), State::next(&old, &new, &changed));
    to.speaking = Edition::New;
    let told: Vec<String> = steps(&from, &to).iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "attach to in1",
            "open what speaking to the neighbours that are to be needs",
            "withdraw 192.0.2.2, and wait until the neighbours have been told",
            "take 192.0.2.1:81, 192.0.2.2:80, 192.0.2.2:81 out of the kernel",
            "change the workers, one before the others",
            "fill blue",
            "put the services with their lists into the kernel",
            "speak to the neighbours that are to be",
            "detach from in0",
            "add the addresses 192.0.2.3",
            "remove the addresses 192.0.2.2",
            "guard the VIPs; gates that are new open on proof",
            "go by the new configuration",
        ]
    );
    assert_eq!(steps(&from, &from), []);
}

/// What a plan says, a line for each change.
fn said(
    old: &str,
    new: &str,
    servers: [&Servers; 2],
    workers: Vec<(usize, Foreseen)>,
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
    workers: Vec<(usize, Foreseen)>,
) -> Vec<String> {
    let written = |text: &str| crate::config::Written {
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
    let facts = Facts {
        workers,
        servers: in_force[0] != in_force[1],
        ..Facts::default()
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
fn a_plan_says_which_servers_are_left_out_though_those_that_serve_stay() {
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
fn a_plan_says_what_changes_in_the_words_of_the_configuration_and_hides_secrets() {
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
        (0, Foreseen::Replace { why: why.clone() }),
        (1, Foreseen::Replace { why }),
    ];
    assert_eq!(
        said(&old, &new, [&was, &is], workers),
        [
            "service one changed: - 192.0.2.1:80 list red; - 192.0.2.2:80 list red; \
             + 192.0.2.1:80 open to everybody; + 192.0.2.3:80 open to everybody; \
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
fn a_plan_says_which_sessions_end_and_only_what_a_session_is_made_of_ends_it() {
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
fn a_plan_says_which_virtual_routers_restart_and_what_stays_is_not_among_them() {
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
            "virtual router 52 (IPv4) restarts: it has none of its VIPs any more",
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
fn a_plan_of_the_same_says_nothing_but_that_workers_stay() {
    let one = text(&["in0"], 1, &[("one", vec![1], vec![(80, "red")])]);
    let other = format!("# {one}").replace("# [node]", "# a comment\n[node]");
    let same = servers(&["10.0.0.1:80"]);
    let unchanged = vec![(0, Foreseen::Unchanged)];
    assert_eq!(
        said(&one, &other, [&same, &same], unchanged),
        ["worker 0 unchanged: "]
    );
}
