//! `acl add`, `remove`, `show` and `check`, with a daemon and on the maps that it left pinned.

use std::{net::IpAddr, path::Path};

use ober_tests::{
    lab::{VIP4, VIP6, client4, client6, until},
    mounts,
    names::{NameServer, Says},
    nodes::one::{Settings, Stage},
};
use serde_json::json;

use crate::{CONTENT, PATH, SOON, acl, listed, lists, serving};

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// If a daemon runs, its log says which account changed the list, and by how much.
fn logged(stage: &Stage, change: &str) {
    let Some(daemon) = &stage.ober.daemon else {
        return;
    };
    let line = format!("access list changed list=frontend-http uid=0 {change}");
    until("the change is in the log", SOON, || {
        Ok(daemon.log().contains(&line).then_some(()))
    })
    .expect("a line in the log");
}

/// Puts members of every kind on the list and takes them off again; leaves it as it was but for the second client.
fn round_trip(stage: &Stage) {
    let both = [client4(1).to_string(), client6(1).to_string()];
    acl(stage, &["add", "frontend-http", &both[0], &both[1]]).says(0, &["2 added, 0 removed"]);
    logged(stage, "added=2 removed=0 count=4");
    let more = ["10.2.0.0/24", "fd00:7::1", "fd00:8::/48"];
    acl(stage, &["add", "frontend-http", more[0], more[1], more[2]]).says(0, &["258 added"]);
    for member in ["10.2.0.255", "fd00:7::1", "fd00:8:0:1::9"] {
        assert!(listed(stage, address(member)), "{member}");
    }
    for stranger in ["10.2.1.0", "fd00:7::2", "fd00:9::1"] {
        assert!(!listed(stage, address(stranger)), "{stranger}");
    }
    let shown = acl(stage, &["show", "frontend-http"]);
    shown.says(0, &["10.2.0.0", "fd00:7::1", "fd00:8::/48"]);
    // Adding an entry twice changes nothing the second time.
    acl(stage, &["add", "frontend-http", "fd00:7::1"]).says(0, &["0 added, 0 removed"]);
    // A part of what was added is taken off, too, and comes back.
    acl(stage, &["remove", "frontend-http", "10.2.0.7"]).says(0, &["0 added, 1 removed"]);
    assert!(!listed(stage, address("10.2.0.7")) && listed(stage, address("10.2.0.6")));
    acl(stage, &["add", "frontend-http", "10.2.0.7"]).says(0, &["1 added, 0 removed"]);
    acl(
        stage,
        &[
            "remove",
            "frontend-http",
            "10.2.0.7",
            more[0],
            more[1],
            more[2],
        ],
    )
    .says(0, &["258 removed"]);
    for gone in ["10.2.0.7", "10.2.0.255", "fd00:7::1", "fd00:8:0:1::9"] {
        assert!(!listed(stage, address(gone)), "{gone}");
    }
    acl(stage, &["sync", "--refresh"]).says(0, &["0 added, 0 removed, 4 on it"]);
}

fn served(stage: &Stage, number: usize) {
    for vip in [VIP4, VIP6] {
        let client = stage.open(vip);
        let get = stage.cluster.clients[number].tokio(async || client.get(PATH, CONTENT).await);
        assert_eq!(get.expect("enter the client"), Ok(()), "client {number}");
    }
}

#[test]
fn lists_are_changed_by_hand_with_a_daemon_without_one_and_adopted_by_the_next() {
    let mut stage = serving("hand", "");
    let first = lists(&stage);
    round_trip(&stage);
    served(&stage, 1);
    acl(
        &stage,
        &[
            "sync",
            "--frontend-http",
            &format!("{},{}", client4(0), client6(0)),
        ],
    )
    .says(0, &["2 removed, 2 on it"]);
    stage.kill().expect("kill the daemon");
    assert_eq!(lists(&stage)[0]["entries"], first[0]["entries"]);
    round_trip(&stage);
    served(&stage, 1);
    let left = lists(&stage);
    let status = stage.start().expect("start again");
    assert!(status.data_plane.adopted);
    assert_eq!(lists(&stage), left);
    assert_eq!(left[0]["count"], json!(4));
    served(&stage, 1);
    acl(&stage, &["show", "nobody"]).says(2, &["nobody", "frontend-http"]);
    acl(&stage, &["add", "nobody", "10.0.0.1"]).says(2, &["nobody", "frontend-http"]);
}

#[test]
fn an_addition_reads_no_other_source_counts_against_the_cap_and_outlives_the_maps() {
    let stage = &mut serving("additions", "[limits]\nexpansion = 130\n");
    let source = stage.cluster.lab.write("clients", "10.1.0.1\n10.1.0.2\n");
    let source = source.expect("write").display().to_string();
    acl(
        stage,
        &["sync", "--frontend-http", &format!("@{source},10.3.0.0/24")],
    )
    .says(0, &["258 on it"]);
    std::fs::remove_file(&source).expect("take the source away");
    // More than a snapshot bears as changes, so the whole list is kept once, too.
    for number in 1..=120 {
        let other = format!("10.2.0.{number}");
        acl(stage, &["add", "frontend-http", &other]).says(0, &["1 added, 0 removed"]);
    }
    acl(stage, &["add", "frontend-http", "10.2.1.[0-9]"]).says(2, &["130", "limits.expansion"]);
    assert!(!listed(stage, address("10.2.1.0")));
    acl(stage, &["remove", "frontend-http", "10.1.0.1"]).says(2, &[&source]);
    let before = lists(stage)[0]["entries"].clone();
    stage.kill().expect("kill the daemon");
    stage.cli(&["detach"]).expect("detach");
    stage.start().expect("start afresh");
    assert_eq!(lists(stage)[0]["entries"], before);
    assert!(listed(stage, address("10.2.0.120")) && listed(stage, address("10.1.0.2")));
    std::fs::write(&source, "10.1.0.2\n").expect("put the source back");
    acl(stage, &["sync", "--refresh"]).says(0, &["1 removed, 377 on it"]);
}

#[test]
fn a_slightly_changed_file_brings_the_list_to_its_new_content() {
    let stage = &serving("retold", "");
    let all = |hosts: std::ops::Range<u32>| -> String {
        let line = |host: u32| format!("10.{}.{}.{}\n", host >> 12, host >> 4 & 0xff, host & 15);
        hosts.map(line).collect()
    };
    let mut text = all(0..20_000);
    let file = stage.cluster.lab.write("clients", &text).expect("write");
    let source = format!("@{}", file.display());
    let mut sync = |from: &str, to: &str, said: &str| {
        text = text.replacen(from, to, 1);
        std::fs::write(&file, &text).expect("write");
        acl(stage, &["sync", "--frontend-http", &source]).says(0, &[said]);
    };
    sync("", "", "20000 on it");
    sync(
        "10.2.0.0\n",
        "10.200.0.1\n",
        "1 added, 1 removed, 20000 on it",
    );
    sync("10.0.0.0\n", "", "0 added, 1 removed, 19999 on it");
    // One of two lines goes: the address stays.
    sync("10.4.0.0\n", "10.4.0.0\n10.4.0.1\n", "0 added, 0 removed");
    sync("10.4.0.1\n", "", "0 added, 0 removed");
    sync("10.4.0.1\n", "", "0 added, 1 removed, 19998 on it");
    // An entry that no text accounts for is on the list, and goes.
    acl(stage, &["add", "frontend-http", "10.99.0.0/24"]).says(0, &["256 added"]);
    sync(
        "10.4.0.2\n",
        "10.4.0.1\n",
        "1 added, 257 removed, 19998 on it",
    );
    sync(
        "10.4.0.1\n",
        "10.4.0.1-10.4.0.3\n",
        "1 added, 0 removed, 19999 on it",
    );
    sync(
        "10.4.0.1-10.4.0.3\n",
        "10.4.0.4\n",
        "0 added, 2 removed, 19997 on it",
    );
}

#[test]
fn a_mistyped_range_is_refused_as_a_whole_with_its_correct_form() {
    let stage = serving("slips", "[lists.extra]\n");
    let sync = ["sync", "--frontend-http", "10.1.0.0/24,10.2.0.1"];
    acl(&stage, &sync).says(0, &["257 on it"]);
    let before = crate::lists(&stage);
    for (arguments, advice) in [
        (
            &["remove", "frontend-http", "10.1.0.10 - 10.1.0.20"][..],
            "write 10.1.0.10-10.1.0.20",
        ),
        (
            &["remove", "frontend-http", "10.1.0.10", "-", "10.1.0.20"],
            "without blanks",
        ),
        (
            &["add", "extra", "10.3.0.1 - 10.3.0.9"],
            "write 10.3.0.1-10.3.0.9",
        ),
        (&["add", "extra", "10.3.0.1,-"], "without blanks"),
        (
            &["sync", "--frontend-http", "10.1.0.10-20"],
            "write 10.1.0.10-10.1.0.20",
        ),
        (
            &["sync", "--frontend-http", "10.1.0.10..20"],
            "write 10.1.0.10-10.1.0.20",
        ),
        (&["add", "extra", "010.8.8.8-010.8.8.9"], "both ends whole"),
        (
            &["add", "extra", "10.0.0.0/255.255.255.0"],
            "write 10.0.0.0/24",
        ),
        (&["add", "extra", "fe80::1%in0"], "write fe80::1 alone"),
        (&["add", "extra", "a..b"], "remove a dot"),
    ] {
        // Had the command read standard input, this would be on the list.
        crate::acl_with_input(&stage, arguments, "10.9.9.9\n").says(2, &[advice]);
    }
    assert_eq!(crate::lists(&stage), before);
}

#[test]
fn adding_an_expression_again_resolves_its_names_again() {
    let mut stage = Stage::new("again", &Settings::default()).expect("build the stage");
    let server = NameServer::start(&stage.cluster.node).expect("a name server");
    let conf = "nameserver 127.0.0.1\n";
    let conf = stage.cluster.lab.write("resolv.conf", conf).expect("write");
    let bound = [mounts::bind(&conf, Path::new("/etc/resolv.conf"))];
    mounts::start(&mut stage, &bound).expect("start with a name server of its own");
    let address = |text: &str| -> IpAddr { text.parse().expect("address") };
    let says = |name: &str, text: &str| server.tell(name, &Says::Addresses(vec![address(text)]));
    says("n1", "10.60.1.1");
    says("n2", "10.60.1.2");
    for sync in ["n1,n2", "n1 n2"] {
        says("n1", "10.60.1.1");
        acl(&stage, &["sync", "--frontend-http", sync]).says(0, &["2 on it"]);
        says("n1", "10.60.1.11");
        acl(&stage, &["add", "frontend-http", "n1"]).says(0, &["2 on it"]);
        assert!(
            !listed(&stage, address("10.60.1.1")),
            "nobody names it any more"
        );
        assert!(listed(&stage, address("10.60.1.11")) && listed(&stage, address("10.60.1.2")));
    }
    // The same expression again: it was taken from its place and stands at the end.
    acl(&stage, &["add", "frontend-http", "n3,10.60.1.3"]).says(3, &["3 on it"]);
    says("n1", "10.60.1.12");
    acl(&stage, &["add", "frontend-http", "n1"]).says(3, &["3 on it"]);
    assert!(!listed(&stage, address("10.60.1.11")) && listed(&stage, address("10.60.1.3")));
}
