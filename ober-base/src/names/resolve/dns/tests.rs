use hickory_proto::rr::rdata::{A, AAAA, CNAME};
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

#[test]
fn addresses_behind_an_alias_are_taken_and_those_of_other_hosts_are_not() {
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
fn a_dns_message_that_does_not_match_the_query_is_no_answer() {
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
fn dns_names_are_read_as_absolute_and_may_contain_underscores() {
    assert_eq!(name("_s3._tcp.test").to_ascii(), "_s3._tcp.test.");
    for bad in ["", ".", "a..b", "a/b", &"a".repeat(64)] {
        assert!(read_name(bad).is_err(), "{bad}");
    }
}

proptest! {
    #[test]
    fn reading_an_arbitrary_dns_answer_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        let ours = question(&name("a.test"), RecordType::A);
        let mut almost = ours.clone().into_response().to_vec().unwrap();
        answer_to(&ours, &bytes);
        almost.truncate(12);
        almost.extend(bytes);
        answer_to(&ours, &almost);
    }
}
