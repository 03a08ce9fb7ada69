//! A row an advertisement.

use super::*;
use crate::{
    config::tests::{ConfigDirectory, LEAST},
    diagnose::finding::Verdict,
    protocols::vrrp::packet::{Interval, Vrid},
};

fn config(more: &str, priority: u8) -> Vrrp {
    let text = format!(
        "{LEAST}\n[vrrp]\n{more}\n[[vrrp.instances]]\nvips = ['192.0.2.10']\nvrid = 51\npriority = {priority}\n"
    );
    let config = ConfigDirectory::new().parse(&text);
    config
        .unwrap_or_else(|error| panic!("{error}"))
        .vrrp
        .unwrap()
}

const UNICAST: &str = "peers = ['10.0.0.2', '10.0.0.3']";

fn theirs() -> Advertisement {
    Advertisement {
        version: Version::V3,
        vrid: Vrid(51.try_into().unwrap()),
        priority: 150,
        interval: Interval::SECOND,
        addresses: vec![[192, 0, 2, 10].into()],
    }
}

fn heard(last: u8, advertisement: Advertisement) -> Heard {
    Heard::Advertisement {
        from: [10, 0, 0, last].into(),
        advertisement,
    }
}

fn verdict(config: &Vrrp, all: &[Heard]) -> (Verdict, String, String) {
    let findings = judge(config, |_| Some([10, 0, 0, 1].into()), all);
    let finding = findings.into_iter().next().unwrap();
    (
        finding.verdict,
        finding.reason,
        finding.advice.unwrap_or_default(),
    )
}

fn but(change: impl FnOnce(&mut Advertisement)) -> Vec<Heard> {
    let mut theirs = theirs();
    change(&mut theirs);
    vec![heard(2, theirs)]
}

#[test]
fn a_master_that_agrees_is_good_and_each_contradiction_is_reported_with_both_values() {
    let slow = Interval::new(Version::V3, std::time::Duration::from_secs(2)).unwrap();
    let elsewhere = but(|it| it.addresses = vec![[192, 0, 2, 99].into()]);
    let other = "10.0.0.2 uses this VRID for other addresses: 192.0.2.99";
    let own = "10.0.0.1 advertises from this node's own address";
    let good = "10.0.0.2 is master with priority 150, every 1s";
    let owner = "10.0.0.2 is master with priority 255, every 1s";
    let slower = "10.0.0.2 is master with priority 150, every 2s, configured is 1s";
    let old = "10.0.0.2 speaks version 2, configured is 3";
    let silent = "none of the peers is heard as master";
    let two = vec![heard(2, theirs()), heard(3, theirs())];
    let stranger = Vrid(7.try_into().unwrap());
    for (all, expected, reason) in [
        (vec![heard(2, theirs())], Verdict::Ok, good),
        (two, Verdict::Failed, "several masters: 10.0.0.2, 10.0.0.3"),
        (elsewhere, Verdict::Failed, other),
        (but(|it| it.version = Version::V2), Verdict::Failed, old),
        (but(|it| it.interval = slow), Verdict::Warning, slower),
        (vec![heard(1, theirs())], Verdict::Failed, own),
        (but(|it| it.priority = OWNER), Verdict::Ok, owner),
        (but(|it| it.vrid = stranger), Verdict::Failed, silent),
        (but(|it| it.priority = 0), Verdict::Failed, silent),
        (vec![], Verdict::Failed, silent),
    ] {
        let found = verdict(&config(UNICAST, 200), &all);
        assert_eq!((found.0, found.1.as_str()), (expected, reason));
        assert_eq!(found.2.is_empty(), expected == Verdict::Ok);
    }
    let from = [10, 0, 0, 2].into();
    let mut both = config(UNICAST, 200);
    both.instances[0].priority = OWNER;
    let found = verdict(&both, &but(|it| it.priority = OWNER));
    assert_eq!(found.1, Conflict::Owner { from }.to_string());
}

#[test]
fn vrrp_version_2_requires_the_same_interval_on_all_nodes() {
    let slow = Interval::new(Version::V2, std::time::Duration::from_secs(2)).unwrap();
    let theirs = Advertisement {
        version: Version::V2,
        interval: slow,
        ..theirs()
    };
    let ours = config(&format!("version = 2\n{UNICAST}"), 200);
    let found = verdict(&ours, &[heard(2, theirs)]);
    assert_eq!(found.0, Verdict::Failed);
    assert!(found.1.contains("every 2000 ms"), "{}", found.1);
}

#[test]
fn silence_on_a_link_whose_nodes_are_not_known_is_only_a_warning() {
    let found = verdict(&config("transport = 'multicast'", 200), &[]);
    assert_eq!(
        (found.0, found.1.as_str()),
        (Verdict::Warning, "no master is heard")
    );
}

#[test]
fn each_sender_of_unreadable_advertisements_is_named_once() {
    let refused = Heard::Refused {
        from: [10, 0, 0, 9].into(),
        why: "the sender is not a peer".into(),
    };
    let all = [heard(2, theirs()), refused.clone(), refused];
    let findings = judge(&config(UNICAST, 200), |_| Some([10, 0, 0, 1].into()), &all);
    assert_eq!(findings.len(), 2);
    assert_eq!(
        (findings[1].verdict, findings[1].object.as_str()),
        (Verdict::Warning, "10.0.0.9")
    );
}
