//! BGP and BFD with FRR and BIRD.

use std::time::{Duration, Instant};

use ober_tests::{
    ingress::Ingress,
    lab::until,
    peers::{Bird, Frr},
};

use crate::bench::{Bench, Found, OTHER, ask};

const PATIENCE: Duration = Duration::from_secs(20);

/// FRR that accepts all routes it gets, and counts them.
fn frr(bench: &Bench, asn: u32, lines: &str) -> Frr {
    let config = format!(
        "router bgp {asn}\n bgp router-id {OTHER}\n no bgp ebgp-requires-policy\n no bgp network import-check\n \
         neighbor 10.9.0.1 remote-as 65001\n neighbor 10.9.0.1 timers connect 1\n{lines}\n \
         address-family ipv4 unicast\n network 198.51.100.0/24\n exit-address-family\n"
    );
    Frr::start(&bench.lab, &bench.other, &config).expect("FRR starts")
}

fn bird(bench: &Bench, asn: u32, lines: &str) -> Bird {
    let config = format!(
        "router id {OTHER};\nprotocol static {{ ipv4; route 198.51.100.0/24 blackhole; }}\n\
         protocol bgp node {{ local {OTHER} as {asn}; neighbor 10.9.0.1 as 65001; connect retry time 1; \
         error wait time 1, 2; {lines} ipv4 {{ import all; export all; }}; }}\n"
    );
    Bird::start(&bench.lab, &bench.other, &config).expect("BIRD starts")
}

fn bgp(bench: &Bench, ober: &Ingress) -> Found {
    ask(&bench.node, ober, &["test", "bgp"])
}

#[test]
fn test_bgp_opens_reports_and_closes_a_session_with_frr_and_announces_nothing() {
    let bench = Bench::new("trial-frr");
    let frr = frr(&bench, 65002, "");
    let found = bgp(&bench, &bench.bgp(""));
    found.says("bgp", "ok", "AS 65002, hold time 9 s, ipv4; ", "");
    let one = found.one("bgp");
    assert_eq!(one["object"], OTHER);
    assert_eq!(one["details"]["as"], "65002");
    assert_eq!(one["details"]["hold_time"], "9");
    assert_eq!(one["details"]["offered_hold_time"], "180");
    assert!(
        one["details"]["capabilities"]
            .as_str()
            .expect("words")
            .contains("route-refresh")
    );
    assert_eq!(found.report["daemon"], false);

    let all = frr.show("bgp neighbors 10.9.0.1").expect("FRR's view");
    let neighbour = &all["10.9.0.1"];
    let stats = &neighbour["messageStats"];
    let prefixes = &neighbour["addressFamilyInfo"]["ipv4Unicast"]["acceptedPrefixCounter"];
    assert_eq!(
        (prefixes, &stats["updatesRecv"]),
        (&0.into(), &0.into()),
        "{neighbour:#}"
    );
    assert_eq!(stats["opensRecv"], 1, "{neighbour:#}");
    assert_eq!(
        neighbour["lastNotificationReason"],
        "Cease/Administrative Shutdown"
    );
    assert_eq!(
        neighbour["lastShutdownDescription"],
        "Herr Ober was testing"
    );
}

#[test]
fn an_frr_that_wants_a_policy_first_gets_the_hint_of_rfc_8212() {
    let bench = Bench::new("trial-8212");
    let _frr = frr(&bench, 65002, " bgp ebgp-requires-policy");
    let found = bgp(&bench, &bench.bgp(""));
    found.says("bgp", "ok", "AS 65002", "RFC 8212");
}

#[test]
fn test_bgp_opens_a_session_with_bird_and_announces_nothing() {
    let bench = Bench::new("trial-bird");
    let mut bird = bird(&bench, 65002, "debug { packets };");
    bgp(&bench, &bench.bgp("")).says("bgp", "ok", "AS 65002, hold time 9 s, ipv4", "");
    let log = bird.process().log();
    assert!(
        log.contains("Got OPEN") && log.contains("Herr Ober was testing"),
        "{log}"
    );
    assert!(!log.contains("Got UPDATE"), "{log}");
}

#[test]
fn a_neighbour_over_ipv6_and_one_that_connects_itself_are_tried_too() {
    let bench = Bench::new("trial-six");
    let six = " neighbor fd09::1 remote-as 65001\n neighbor fd09::1 timers connect 1\n \
        address-family ipv6 unicast\n neighbor fd09::1 activate\n exit-address-family\n";
    let frr = frr(&bench, 65002, six);
    let neighbour = |lines: &str| {
        let lines = format!(
            "[bgp]\nas = 65001\nrouter_id = '10.9.0.1'\nlisten = ['0.0.0.0:179', '[::]:179']\n\
             [[bgp.neighbours]]\nas = 65002\n{lines}\n"
        );
        bench.config(None, "10.9.0.9:80", &lines)
    };
    let ober = neighbour("address = 'fd09::2'\nfamilies = ['ipv6']");
    bgp(&bench, &ober).says("bgp", "ok", "AS 65002, hold time 9 s, ipv6", "");
    let ober = neighbour("address = '10.9.0.2'\npassive = true\nfamilies = ['ipv4', 'ipv6']");
    bgp(&bench, &ober).says(
        "bgp",
        "warning",
        "it does not speak ipv6",
        "activate ipv6 unicast",
    );
    for neighbour in ["fd09::1", "10.9.0.1"] {
        let all = frr
            .show(&format!("bgp neighbors {neighbour}"))
            .expect("FRR's view");
        assert_eq!(all[neighbour]["messageStats"]["updatesRecv"], 0, "{all:#}");
    }
}

#[test]
fn a_wrong_as_is_named_whichever_side_detects_it() {
    let bench = Bench::new("trial-as");
    let _frr = frr(&bench, 65009, "");
    let began = Instant::now();
    bgp(&bench, &bench.bgp("")).says(
        "bgp",
        "failed",
        "it is of AS 65009, configured is 65002",
        "write `as = 65009`",
    );
    // The command does not wait for what cannot come.
    assert!(began.elapsed() < Duration::from_secs(9));
    let bench = Bench::new("trial-as-theirs");
    let _bird = bird(&bench, 65002, "");
    let ober = bench.bgp("local_as = 65008");
    bgp(&bench, &ober).says(
        "bgp",
        "failed",
        "it refuses: 2/2",
        "another AS of this node than 65008",
    );
}

#[test]
fn a_wrong_and_a_missing_password_are_distinguished_from_silence() {
    let bench = Bench::new("trial-md5");
    let _frr = frr(&bench, 65002, " neighbor 10.9.0.1 password right\n");
    let listening = |ober: Ingress| {
        let text = std::fs::read_to_string(&ober.config)
            .expect("read")
            .replace("as = 65001\n", "as = 65001\nlisten = ['0.0.0.0:179']\n");
        std::fs::write(&ober.config, text).expect("write");
        ober
    };
    bgp(&bench, &listening(bench.bgp("password = 'right'"))).says("bgp", "ok", "AS 65002", "");
    bgp(&bench, &listening(bench.bgp("password = 'wrong'"))).says(
        "bgp",
        "failed",
        "signed with another password",
        "same password",
    );
    bgp(&bench, &listening(bench.bgp(""))).says(
        "bgp",
        "failed",
        "no password here",
        "password_file",
    );
    // A node that the router never calls cannot know the reason, and names the possible ones.
    bgp(&bench, &bench.bgp("password = 'wrong'")).says(
        "bgp",
        "failed",
        "no answer",
        "a wrong one looks like a time-out",
    );
}

#[test]
fn an_absent_neighbour_is_a_failure_within_the_timeout() {
    let bench = Bench::new("trial-nobody");
    let began = Instant::now();
    let found = ask(
        &bench.node,
        &bench.bgp(""),
        &["test", "bgp", "--timeout", "2s"],
    );
    assert!(
        began.elapsed() < Duration::from_secs(15),
        "{:?}",
        began.elapsed()
    );
    found.says(
        "bgp",
        "failed",
        "Connection refused",
        "know this node's address",
    );
}

#[test]
fn gtsm_on_one_side_alone_is_named() {
    let bench = Bench::new("trial-gtsm");
    let both = frr(&bench, 65002, " neighbor 10.9.0.1 ttl-security hops 1\n");
    bgp(&bench, &bench.bgp("ttl_security = 1")).says("bgp", "ok", "AS 65002", "");
    bgp(&bench, &bench.bgp("")).says("bgp", "failed", "it answers", "write `ttl_security`");
    both.configure("router bgp 65002\n no neighbor 10.9.0.1 ttl-security hops 1\n")
        .expect("without");
    bgp(&bench, &bench.bgp("ttl_security = 1")).says(
        "bgp",
        "failed",
        "further away than `ttl_security` allows",
        "turn ttl-security on there too",
    );
}

#[test]
fn test_bfd_brings_a_session_up_reports_it_and_ends_it_with_admin_down() {
    let bench = Bench::new("trial-bfd");
    let frr = frr(&bench, 65002, " neighbor 10.9.0.1 bfd\n");
    let ober = bench.bgp("bfd = 'default'");
    let found = ask(&bench.node, &ober, &["test", "bfd"]);
    found.says("bfd", "ok", "up over single-hop", "");
    until("FRR hears of the purpose", PATIENCE, || {
        let peers = frr.show("bfd peers")?;
        let peer = &peers[0];
        anyhow::ensure!(
            peer["remote-diagnostic"] == "administratively down",
            "{peer:#}"
        );
        Ok(Some(()))
    })
    .expect("it does");
    let found = ask(&bench.node, &ober, &["test", "bgp", "bfd"]);
    assert_eq!((found.code, found.all().len()), (0, 2), "{found:#?}");
}

#[test]
fn test_bfd_follows_and_reports_a_neighbour_that_uses_multihop_because_of_gtsm() {
    let bench = Bench::new("trial-bfd-gtsm");
    let _frr = frr(
        &bench,
        65002,
        " neighbor 10.9.0.1 bfd\n neighbor 10.9.0.1 ttl-security hops 1\n",
    );
    let ober = bench.bgp("bfd = 'default'\nttl_security = 1");
    let found = ask(&bench.node, &ober, &["test", "bfd"]);
    found.says(
        "bfd",
        "ok",
        "up over multi-hop",
        "neighbour runs multihop BFD",
    );
}

#[test]
fn missing_bfd_is_a_failure_even_if_the_bgp_session_is_up() {
    let bench = Bench::new("trial-bfd-absent");
    let _frr = frr(&bench, 65002, "");
    let ober = bench.bgp("bfd = 'default'");
    let found = ask(
        &bench.node,
        &ober,
        &["test", "bgp", "bfd", "--timeout", "4s"],
    );
    assert_eq!(found.one("bgp")["verdict"], "ok");
    assert_eq!(found.one("bfd")["verdict"], "failed");
    assert_eq!(
        (found.code, found.one("bfd")["reason"].as_str()),
        (1, Some("not heard"))
    );
}
