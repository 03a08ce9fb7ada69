use hickory_proto::rr::rdata::{A, AAAA, CNAME, SRV};
use proptest::prelude::*;

use super::*;

fn name(text: &str) -> Name {
    read_name(text).unwrap()
}

fn record(owner: &str, data: RData) -> Record {
    Record::from_rdata(name(owner), 60, data)
}

fn v4(owner: &str, address: [u8; 4]) -> Record {
    record(owner, RData::A(A(address.into())))
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
fn priority_and_weight_become_tier_and_weight_and_the_target_the_name() {
    let message = answer(vec![
        srv(10, 60, 7480, name("a.test")),
        srv(20, 0, 1, Name::root()),
        srv(20, 40, 7481, name("b.test")),
    ]);
    let found: Vec<_> = services(&message)
        .iter()
        .flat_map(|service| service.at(&[[10, 0, 0, 1].into()]))
        .collect();
    let port = |number| NonZeroU16::new(number).unwrap();
    let expected = |number, weight, tier, name: &str| Found {
        weight,
        tier,
        name: Some(name.into()),
        ..Found::new("10.0.0.1", port(number))
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
fn weight_zero_is_hardly_ever_and_not_never() {
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
fn of_a_host_with_both_families_ipv4_counts() {
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
        .into_iter()
        .map(|found| found.host)
        .collect();
    assert_eq!(hosts, ["10.0.0.1", "10.0.0.2"]);
    let hosts: Vec<_> = service
        .at(&both[..1])
        .into_iter()
        .map(|found| found.host)
        .collect();
    assert_eq!(hosts, ["fd00::1"]);
}

#[test]
fn addresses_behind_an_alias_count_and_those_of_other_hosts_do_not() {
    let records = [
        record("a.test", RData::CNAME(CNAME(name("b.test")))),
        v4("b.test", [10, 0, 0, 2]),
        v4("b.test", [10, 0, 0, 2]),
        record("c.test", RData::AAAA(AAAA("fd00::3".parse().unwrap()))),
    ];
    assert_eq!(
        addresses(&records, None),
        [IpAddr::from([10, 0, 0, 2]), "fd00::3".parse().unwrap()]
    );
    assert_eq!(
        addresses(&records, Some(&name("B.test"))),
        [IpAddr::from([10, 0, 0, 2])]
    );
}

#[test]
fn only_the_answer_to_the_question_is_one() {
    let ours = question(&name("a.test"), RecordType::A);
    let reply = ours.clone().into_response();
    assert!(answer_to(&ours, &reply.to_vec().unwrap()).is_some());
    assert!(
        answer_to(&ours, &ours.to_vec().unwrap()).is_none(),
        "a question is no answer"
    );
    let mut other = reply.clone();
    other.metadata.id = other.metadata.id.wrapping_add(1);
    assert!(answer_to(&ours, &other.to_vec().unwrap()).is_none());
    let mut other = question(&name("b.test"), RecordType::A).into_response();
    other.metadata.id = ours.metadata.id;
    assert!(answer_to(&ours, &other.to_vec().unwrap()).is_none());
}

#[test]
fn resolv_conf_names_its_servers_in_order() {
    let text = "# nameserver 1.1.1.1\nsearch test\nnameserver 10.0.0.53\n nameserver\tfd00::53\nnameserver x\n";
    let servers = name_servers(text);
    assert_eq!(
        servers,
        [
            "10.0.0.53:53".parse().unwrap(),
            "[fd00::53]:53".parse().unwrap()
        ]
    );
}

#[test]
fn names_are_complete_and_may_have_underscores() {
    assert_eq!(name("_s3._tcp.test").to_ascii(), "_s3._tcp.test.");
    for bad in ["", ".", "a..b", "a/b", &"a".repeat(64)] {
        assert!(read_name(bad).is_none(), "{bad}");
    }
}

proptest! {
    #[test]
    fn no_bytes_whatever_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        let ours = question(&name("a.test"), RecordType::A);
        let mut almost = ours.clone().into_response().to_vec().unwrap();
        answer_to(&ours, &bytes);
        almost.truncate(12);
        almost.extend(bytes);
        answer_to(&ours, &almost);
    }
}
