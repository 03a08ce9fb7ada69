//! Large lists that follow one another, and a daemon killed between them.

use std::{
    fmt::Write as _,
    net::{IpAddr, Ipv6Addr},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use ober_tests::{
    lab::{BPFFS, VIP4, VIP6, client4, client6},
    nodes::one::{OPEN, Stage},
};
use ober_user::{
    config::paths::pins,
    dataplane::{Maps, access},
    names::entries::Entries,
};

use crate::{SOON, acl, listed, load, serving};

/// Two lists of which half is shared, both IPv4 and IPv6, as files and as what they mean.
struct Pair {
    files: [String; 2],
    whole: [Entries; 2],
    shared: Entries,
}

impl Pair {
    fn new(stage: &Stage, count: u32) -> Self {
        let member = |kind: u32, number: u32| -> [IpAddr; 2] {
            // Not neighbours: each is an entry of its own.
            let number = number * 3;
            let v4 = (10 << 24 | kind << 22) + number;
            let v6 = 0xfd00_u128 << 112 | u128::from(kind) << 64 | u128::from(number);
            [IpAddr::V4(v4.into()), IpAddr::V6(v6.into())]
        };
        let clients = [client4(0), client6(0)];
        let group = |kind| (0..count).flat_map(move |number| member(kind, number));
        let shared: Vec<IpAddr> = group(0).chain(clients).collect();
        let all = [1, 2].map(|kind| {
            shared
                .iter()
                .copied()
                .chain(group(kind))
                .collect::<Vec<_>>()
        });
        let files = [0, 1].map(|which: usize| {
            let mut text = String::new();
            for address in &all[which] {
                writeln!(text, "{address}").expect("text");
            }
            let file = stage.cluster.lab.write(&format!("list{which}"), text);
            format!("@{}", file.expect("write").display())
        });
        Self {
            files,
            whole: all.map(|members| entries(&members)),
            shared: entries(&shared),
        }
    }
}

fn entries(members: &[IpAddr]) -> Entries {
    let mut entries = Entries::default();
    for member in members {
        entries.push(*member);
    }
    entries.settle();
    entries
}

/// The list as the kernel holds it.
fn held(stage: &Stage, number: u32) -> Entries {
    let pins = pins(Path::new(BPFFS), stage.cluster.lab.instance());
    let maps = Maps::open(&pins).expect("the pinned maps");
    access::read(&maps, number).expect("read the list")
}

/// Waits for the moment in a change when one member comes, or another goes.
fn meet(stage: &Stage, number: u32, came: Ipv6Addr, went: Ipv6Addr, removing: bool) {
    let pins = pins(Path::new(BPFFS), stage.cluster.lab.instance());
    let maps = Maps::open(&pins).expect("the pinned maps");
    let listed = |host: Ipv6Addr| access::listed(&maps, number, host.into());
    let began = Instant::now();
    while if removing {
        listed(went)
    } else {
        !listed(came)
    } {
        assert!(began.elapsed() < SOON, "the change does not get there");
        thread::sleep(Duration::from_micros(20));
    }
}

fn number(stage: &Stage) -> u32 {
    let lists = stage.status().expect("status").lists;
    let list = lists.iter().find(|list| list.name == "frontend-http");
    list.expect("the list").number
}

fn denied(stage: &Stage) -> u64 {
    let denied = |vip| {
        stage
            .verdict(vip, OPEN, "denied")
            .expect("counters")
            .packets
    };
    denied(VIP4) + denied(VIP6)
}

#[test]
fn a_client_on_both_lists_is_never_dropped_while_fifty_of_them_alternate() {
    let stage = serving("alternate", "");
    let pair = Pair::new(&stage, 1500);
    let load = load(&stage)
        .start(&stage.cluster.clients[0])
        .expect("start the load");
    for round in 0..50 {
        let ran = acl(&stage, &["sync", "--frontend-http", &pair.files[round % 2]]);
        assert_eq!(ran.code, 0, "{ran:?}");
    }
    assert_eq!(held(&stage, number(&stage)), pair.whole[1]);
    let report = load.finish().expect("finish");
    let tally = report.tally();
    assert!(
        tally.ok > 50 && tally.failed() == 0,
        "{tally}: {:?}",
        report.failures(3)
    );
    assert_eq!(denied(&stage), 0);
}

#[test]
fn a_daemon_killed_in_the_middle_of_a_change_keeps_clients_of_both_lists_admitted() {
    let mut stage = serving("interrupted", "");
    let pair = Pair::new(&stage, 10_000);
    let number = number(&stage);
    acl(&stage, &["sync", "--frontend-http", &pair.files[0]]).says(0, &[]);
    let load = load(&stage)
        .start(&stage.cluster.clients[0])
        .expect("start the load");
    let mut between = 0;
    // A change adds IPv6 hosts in order, then turns IPv4 pages, then removes hosts.
    for part in 0..5 {
        let new = (part + 1) % 2;
        let [came, went] = [new, 1 - new].map(|which| {
            let hosts = pair.whole[which].without(&pair.shared).hosts;
            Ipv6Addr::from_bits(hosts[(hosts.len() - 1) * (part % 4) / 3])
        });
        let mut change = stage
            .spawn_cli(&["acl", "sync", "--frontend-http", &pair.files[new]])
            .expect("start the change");
        meet(&stage, number, came, went, part == 4);
        stage.kill().expect("kill the daemon");
        change.wait(SOON).expect("the command ends with it");
        let left = held(&stage, number);
        assert_eq!(
            pair.shared.without(&left).count(),
            0,
            "a shared member is missing"
        );
        let [a, b] = &pair.whole;
        assert_eq!(
            left.without(a).without(b).count(),
            0,
            "a stranger is listed"
        );
        between += usize::from(left != *a && left != *b);
        assert!(listed(&stage, client4(0)) && listed(&stage, client6(0)));
        stage.start().expect("start again");
        let settled = held(&stage, number);
        assert!(settled == *a || settled == *b, "the next daemon settles it");
        // The next round changes to the other one, whichever it is now.
        acl(&stage, &["sync", "--frontend-http", &pair.files[new]]).says(0, &[]);
        assert_eq!(held(&stage, number), pair.whole[new]);
    }
    assert!(
        between > 0,
        "no kill met a list between the old and the new"
    );
    let report = load.finish().expect("finish");
    assert_eq!(report.tally().failed(), 0, "{:?}", report.failures(3));
    assert_eq!(denied(&stage), 0);
}

/// The list as a fresh start makes it from the snapshot alone: its source cannot be read meanwhile.
fn restored(stage: &mut Stage, source: &Path) -> Entries {
    let aside = source.with_extension("aside");
    std::fs::rename(source, &aside).expect("put the source aside");
    stage.cli(&["detach"]).expect("detach");
    let status = stage.start().expect("start afresh");
    assert!(!status.data_plane.adopted);
    std::fs::rename(&aside, source).expect("put the source back");
    held(stage, number(stage))
}

#[test]
fn a_daemon_killed_in_the_middle_of_a_small_change_restores_the_list_before_or_after_it() {
    let mut stage = serving("small", "");
    let pair = Pair::new(&stage, 3000);
    let source = Path::new(&pair.files[0][1..]).to_owned();
    acl(&stage, &["sync", "--frontend-http", &pair.files[0]]).says(0, &[]);
    let mut old = pair.whole[0].clone();
    for round in 0..6u32 {
        // Whole changes first, so that the torn one comes after others.
        let kept = format!("10.200.{round}.1");
        acl(&stage, &["add", "frontend-http", &kept]).says(0, &["1 added, 0 removed"]);
        old.push(kept.parse().expect("an address"));
        old.settle();
        let (came, went) = (
            format!("10.201.{round}.1,fd01::{round}"),
            client4(0).to_string(),
        );
        let mut new = old.clone();
        let how = if round % 2 == 0 { "add" } else { "remove" };
        let other = if round % 2 == 0 { &came } else { &went };
        let other: Vec<IpAddr> = other
            .split(',')
            .map(|text| text.parse().expect("address"))
            .collect();
        match how {
            "add" => other.iter().for_each(|address| new.push(*address)),
            _ => new = new.without(&entries(&other)),
        }
        new.settle();
        let expression = other
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(",");
        let mut change = stage
            .spawn_cli(&["acl", how, "frontend-http", &expression])
            .expect("start the change");
        thread::sleep(Duration::from_millis(u64::from(round) * 3));
        stage.kill().expect("kill the daemon");
        change.wait(SOON).expect("the command ends with it");
        let left = restored(&mut stage, &source);
        assert!(
            left == old || left == new,
            "round {round}: neither the old nor the new list"
        );
        let refreshed = acl(&stage, &["sync", "--refresh"]);
        assert_eq!(refreshed.code, 0, "{refreshed:?}");
        old = held(&stage, number(&stage));
        assert!(left == old || new == old, "round {round}");
    }
}

#[test]
fn a_torn_write_restores_the_previous_list_and_the_next_change_is_kept() {
    let mut stage = serving("cut", "");
    let pair = Pair::new(&stage, 1000);
    let source = Path::new(&pair.files[0][1..]).to_owned();
    acl(&stage, &["sync", "--frontend-http", &pair.files[0]]).says(0, &[]);
    let snapshot = stage
        .cluster
        .lab
        .directory()
        .join("state/lists/frontend-http.entries");
    let length = || std::fs::metadata(&snapshot).expect("the snapshot").len();
    let mut wanted = pair.whole[0].clone();
    for round in 0..2u32 {
        let before = length();
        let address = format!("10.200.{round}.1");
        acl(&stage, &["add", "frontend-http", &address]).says(0, &["1 added, 0 removed"]);
        wanted.push(address.parse().expect("an address"));
        wanted.settle();
        if round == 0 {
            assert!(length() < before + 100, "one address is a small write");
        }
        stage.kill().expect("kill the daemon");
        let mut bytes = std::fs::read(&snapshot).expect("read");
        // As a write of which the first part arrived.
        bytes.extend_from_slice(&1u64.to_le_bytes());
        std::fs::write(&snapshot, bytes).expect("write");
        assert_eq!(restored(&mut stage, &source), wanted, "round {round}");
    }
}
