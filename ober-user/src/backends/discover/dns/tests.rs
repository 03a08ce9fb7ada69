use hickory_proto::rr::{RecordType, rdata::SRV};

use super::*;
use crate::names::resolve::dns::{question, read_name};

fn name(text: &str) -> Name {
    read_name(text).unwrap()
}

fn record(owner: &str, data: RData) -> Record {
    Record::from_rdata(name(owner), 60, data)
}

fn srv(priority: u16, weight: u16, port: u16, target: Name) -> Record {
    record(
        "_s3._tcp.test",
        RData::SRV(SRV::new(priority, weight, port, target)),
    )
}

fn answer(records: Vec<Record>) -> Message {
    let mut message = question(&name("_s3._tcp.test"), RecordType::SRV).into_response();
    message.insert_answers(records);
    message
}

#[test]
fn the_priority_weight_and_target_of_an_srv_record_become_tier_weight_and_name() {
    let message = answer(vec![
        srv(10, 60, 7480, name("a.test")),
        srv(20, 0, 1, Name::root()),
        srv(20, 40, 7481, name("b.test")),
    ]);
    let found: Vec<_> = services(&message)
        .iter()
        .flat_map(|service| service.at(&[[10, 0, 0, 1].into()]).unwrap())
        .collect();
    let port = |number| NonZeroU16::new(number).unwrap();
    let expected = |number, weight, tier, name: &str| {
        let found = Found::at([10, 0, 0, 1].into(), port(number));
        found
            .weighs(weight)
            .in_tier(tier)
            .named(Some(name))
            .unwrap()
    };
    assert_eq!(
        found,
        [
            expected(7480, 60, 10, "a.test"),
            expected(7481, 40, 20, "b.test")
        ]
    );
}

#[test]
fn an_srv_weight_of_zero_becomes_a_small_weight_and_not_zero() {
    let message = answer(vec![
        srv(1, 0, 1, name("a.test")),
        srv(1, 5, 1, name("b.test")),
    ]);
    let weights: Vec<_> = services(&message)
        .iter()
        .map(|service| service.weight)
        .collect();
    assert_eq!(weights, [1, 5000]);
    let message = answer(vec![
        srv(1, 0, 1, name("a.test")),
        srv(1, 0, 1, name("b.test")),
    ]);
    let weights: Vec<_> = services(&message)
        .iter()
        .map(|service| service.weight)
        .collect();
    assert_eq!(weights, [1, 1]);
}

#[test]
fn a_host_with_addresses_of_both_families_gives_its_ipv4_addresses() {
    let service = Service {
        target: name("a.test"),
        port: NonZeroU16::MIN,
        weight: 1,
        tier: 1,
    };
    let both = [
        "fd00::1".parse().unwrap(),
        [10, 0, 0, 1].into(),
        [10, 0, 0, 2].into(),
    ];
    let hosts: Vec<_> = service
        .at(&both)
        .unwrap()
        .iter()
        .map(|found| found.host().to_string())
        .collect();
    assert_eq!(hosts, ["10.0.0.1", "10.0.0.2"]);
    let hosts: Vec<_> = service
        .at(&both[..1])
        .unwrap()
        .iter()
        .map(|found| found.host().to_string())
        .collect();
    assert_eq!(hosts, ["fd00::1"]);
}
