//! Which server of a backend serves a client.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::LazyLock,
    time::Duration,
};

use ober_tests::{client::Raw, lab::until, origin::Manner};

use super::front::{Front, backend, field, service, vip};

/// Client addresses beside its own.
const CLIENTS: u8 = 80;
/// The server that leaves.
const LEAVER: &str = "\"10.77.1.53:80\"";

fn servers(leaver: bool) -> String {
    let all = (50..60).map(|last| format!("\"10.77.1.{last}:80\""));
    let some = all.filter(|server| leaver || server != LEAVER);
    format!("[{}]", some.collect::<Vec<_>>().join(", "))
}

static FRONT: LazyLock<Front> = LazyLock::new(|| {
    let policies = ["iphash1", "iphash", "roundrobin", "leastconn", "random"];
    let mut text = String::new();
    for (number, policy) in policies.iter().enumerate() {
        let last = 1 + u8::try_from(number).unwrap();
        text += &service(policy, last, policy, "", 80, "access = \"open\"");
        text += &backend(policy, &servers(true), &format!("balance = \"{policy}\""));
    }
    text += &service("weight", 10, "weight", "", 80, "access = \"open\"");
    let weights =
        "[\"10.77.1.50:80 weight=1\", \"10.77.1.51:80 weight=3\", \"10.77.1.52:80 weight=0\"]";
    text += &backend("weight", weights, "balance = \"weight\"");
    text += &service("tiers", 11, "tiers", "", 80, "access = \"open\"");
    // No server listens at the first: it is down after its first check.
    let tiers = "[\"10.77.1.50:81\", \"10.77.1.51:80 tier=3\", \"10.77.1.52:80 tier=3\", \"10.77.1.53:80 tier=9\"]";
    text += &backend("tiers", tiers, "balance = \"roundrobin\"").replace(
        "enabled = false",
        "interval = \"500ms\"\nrise = 1\nfall = 1",
    );
    text += &service("first", 12, "first", "", 80, "access = \"open\"");
    let first = "balance = \"first\"\nmax_connections = 20\nwhen_full = \"queue\"";
    text += &backend("first", &servers(true), first);
    let front = Front::new("balance", 2, &text);
    for last in 50..60 {
        front.origin(&last.to_string(), last, 80, Manner::default());
    }
    let sources = (0..CLIENTS).map(|number| format!("addr add {}/32 dev cl0", source(number)));
    front.cluster.clients[0]
        .ip(&sources.collect::<Vec<_>>())
        .unwrap();
    front.start()
});

fn source(number: u8) -> IpAddr {
    IpAddr::from([10, 77, 0, 100 + number])
}

/// The server that serves each client.
fn map(last: u8) -> BTreeMap<IpAddr, String> {
    let ask = |number: u8| {
        let raw = Raw::new(SocketAddr::new(vip(last), 80)).from(source(number));
        let answer = FRONT.ask(|| raw.get("h", "/")).unwrap();
        (source(number), field(&answer, "name"))
    };
    (0..CLIENTS).map(ask).collect()
}

/// How many of `requests` each server got.
fn shares(last: u8, requests: usize) -> BTreeMap<String, usize> {
    let mut shares = BTreeMap::new();
    for _ in 0..requests {
        *shares.entry(FRONT.who(last, 80, "h", "/")).or_default() += 1;
    }
    shares
}

#[test]
fn with_iphash1_a_server_that_leaves_and_returns_moves_only_its_own_clients() {
    let before = map(1);
    assert_eq!(
        before,
        map(1),
        "a client comes to the same server from every worker"
    );
    let used: std::collections::BTreeSet<&String> = before.values().collect();
    assert!(used.len() >= 8, "80 clients on 10 servers: {used:?}");
    let moved = |after: &BTreeMap<IpAddr, String>| -> Vec<String> {
        let pairs = before
            .iter()
            .filter(|(client, server)| after[*client] != **server);
        pairs.map(|(_, server)| server.clone()).collect()
    };
    let with = |leaver| format!("servers = {}\nbalance = \"iphash1\"", servers(leaver));
    FRONT.change(&with(true), &with(false));
    let without = moved(&map(1));
    assert!(
        !without.is_empty() && without.iter().all(|server| server == "53"),
        "{without:?}"
    );
    FRONT.change(&with(false), &with(true));
    assert_eq!(moved(&map(1)), Vec::<String>::new());
}

#[test]
fn with_iphash_a_client_keeps_its_server_while_the_servers_are_the_same() {
    assert_eq!(map(2), map(2));
}

#[test]
fn weight_divides_clients_in_proportion_and_zero_gets_none() {
    let shares = shares(10, 80);
    assert_eq!(shares.keys().collect::<Vec<_>>(), ["50", "51"]);
    // Exact within each of the two workers.
    assert!((17..=23).contains(&shares["50"]), "{shares:?}");
}

#[test]
fn roundrobin_uses_servers_in_turn_and_leastconn_and_random_leave_none_idle() {
    let round = shares(3, 60);
    assert!(
        round.values().all(|&count| (4..=8).contains(&count)) && round.len() == 10,
        "{round:?}"
    );
    for (last, policy) in [(4, "leastconn"), (5, "random")] {
        let shares = shares(last, 60);
        assert!(shares.len() >= 8, "{policy}: {shares:?}");
    }
}

#[test]
fn the_second_tier_serves_when_the_first_is_dead_and_the_third_waits() {
    until("the second tier", Duration::from_secs(10), || {
        let ok = ["51", "52"].contains(&FRONT.who(11, 80, "h", "/").as_str());
        Ok(ok.then_some(()))
    })
    .unwrap();
    let shares = shares(11, 20);
    assert_eq!(shares.keys().collect::<Vec<_>>(), ["51", "52"]);
}

#[test]
fn balance_first_fills_a_server_before_it_uses_the_next() {
    let shares = shares(12, 10);
    assert_eq!(shares.keys().collect::<Vec<_>>(), ["50"]);
}
