use std::{collections::BTreeSet, net::IpAddr, path::Path};

use proptest::{prelude::*, sample::subsequence};

use super::*;
use crate::{
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
            "speak to the neighbours that are to be",
            "attach to in1",
            "withdraw 192.0.2.2, and wait until the neighbours have been told",
            "take 192.0.2.1:81, 192.0.2.2:80, 192.0.2.2:81 out of the kernel",
            "change the workers, one before the others",
            "fill blue",
            "put the services with their lists into the kernel",
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
        servers: servers[at],
    };
    let facts = Facts {
        workers,
        servers: servers[0] != servers[1],
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
            "neighbour 10.0.0.9 changed: password: another, which is not shown",
            "interface in1 added: ",
            "setting resolve changed: + interval = \"9s\"",
            "setting workers changed: count: 1 -> 2",
        ]
    );
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
