//! The rules with a fake name service, then real questions to name servers in the test.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use hickory_proto::{
    op::{Message, ResponseCode},
    rr::{RData, Record, RecordType, rdata},
};
use tokio::net::UdpSocket;

use super::*;
use crate::names::slurm::NodeAddr;

/// `nN` has 10.0.0.N and `many` several addresses, `none` and `gone` have none; `broken` fails, `four` and `six` for the other
/// family.
#[derive(Default)]
struct Fake {
    now: AtomicUsize,
    most: AtomicUsize,
    asked: AtomicUsize,
}

impl Lookup for Fake {
    async fn lookup(&self, name: &str, _: Duration) -> Answer {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let now = self.now.fetch_add(1, Ordering::Relaxed) + 1;
        self.most.fetch_max(now, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(2)).await;
        self.now.fetch_sub(1, Ordering::Relaxed);
        match name {
            "none" | "gone" => Answer::default(),
            "broken" => Answer::failed(other("SERVFAIL")),
            "many" => Answer::all(addresses(&[
                "fd00::1",
                "10.0.0.9",
                "::ffff:10.0.0.2",
                "10.0.0.9",
            ])),
            "four" => Answer {
                v6: Some(Why::Timeout),
                ..Answer::all(addresses(&["10.0.0.4"]))
            },
            "six" => Answer {
                v4: Some(other("SERVFAIL")),
                ..Answer::all(addresses(&["fd00::6"]))
            },
            name => Answer::all(addresses(&[&format!("10.0.0.{}", &name[1..])])),
        }
    }
}

fn addresses(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn names(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

fn how(concurrency: usize, timeout: u64) -> Resolve {
    Resolve {
        interval: Duration::ZERO,
        timeout: Duration::from_millis(timeout),
        concurrency,
        slurm_conf: None,
    }
}

fn other(text: &str) -> Why {
    Why::Other(text.to_owned())
}

async fn asked(lookup: &impl Lookup, names: &[String], slurm: &NodeAddrs) -> Answers {
    let answers = Answers::default();
    let names = names.iter().cloned();
    resolve_by(lookup, names, &how(4, 5000), slurm, &answers).await;
    answers
}

#[tokio::test]
async fn a_name_gets_all_its_addresses_or_a_reason_and_keeps_the_old_ones_if_not_found() {
    let names = names("n2 none many gone broken four six 10.0.0.7 ::ffff:10.0.0.8");
    let answers = asked(&Fake::default(), &names, &NodeAddrs::default()).await;
    let old: Names = [
        ("n2", &["10.9.9.2"][..]),
        ("none", &["10.9.9.3", "fd09::3"]),
        ("broken", &["fd09::4"]),
        ("four", &["10.9.9.5", "fd09::5"]),
        ("six", &["10.9.9.6", "fd09::6"]),
    ]
    .map(|(name, found)| (name.to_owned(), addresses(found)))
    .into();
    let settled = answers.settle(&names, &old);
    let expected: Names = [
        ("10.0.0.7", &["10.0.0.7"][..]),
        ("::ffff:10.0.0.8", &["10.0.0.8"]),
        ("many", &["10.0.0.2", "10.0.0.9", "fd00::1"]),
        ("n2", &["10.0.0.2"]),
        ("none", &["10.9.9.3", "fd09::3"]),
        ("broken", &["fd09::4"]),
        ("four", &["10.0.0.4", "fd09::5"]),
        ("six", &["10.9.9.6", "fd00::6"]),
    ]
    .map(|(name, found)| (name.to_owned(), addresses(found)))
    .into();
    assert_eq!(settled.names, expected);
    let expected = [
        ("none", "not found"),
        ("gone", "not found"),
        ("broken", "SERVFAIL"),
        (
            "four",
            "its IPv6 addresses are not known: no answer in time",
        ),
        ("six", "its IPv4 addresses are not known: SERVFAIL"),
    ]
    .map(|(name, why)| (name.to_owned(), why.to_owned()));
    assert_eq!(settled.unresolved, expected.into());
    assert_eq!(settled.kept, ["none", "broken", "four", "six"]);
    let pruned = answers.settle(&names, &Names::new());
    assert_eq!(pruned.names["four"], addresses(&["10.0.0.4"]));
    assert!(pruned.kept.is_empty() && !pruned.names.contains_key("none"));
}

#[test]
fn the_future_that_resolves_names_can_be_spawned() {
    fn spawnable<F: Future + Send>(_: F) {}
    let (how, slurm) = (how(1, 1), NodeAddrs::default());
    spawnable(resolve(
        names("localhost"),
        &how,
        &slurm,
        &Answers::default(),
    ));
}

#[tokio::test]
async fn names_are_resolved_once_each_and_no_more_at_a_time_than_the_limit() {
    let fake = Fake::default();
    let names: Vec<String> = (1..=40).map(|n| format!("n{n}")).collect();
    let answers = Answers::default();
    let slurm = NodeAddrs::default();
    resolve_by(&fake, names.clone(), &how(8, 5000), &slurm, &answers).await;
    assert_eq!(fake.most.load(Ordering::Relaxed), 8);
    assert!(names.iter().all(|name| answers.has(name)));
    resolve(names, &how(8, 1), &slurm, &answers).await;
    assert_eq!(fake.asked.load(Ordering::Relaxed), 40);
}

#[tokio::test]
async fn slurms_address_of_a_node_wins_over_the_name_service() {
    let slurm: NodeAddrs = [
        ("n1", NodeAddr::Addr("10.9.9.1".parse().unwrap())),
        ("login", NodeAddr::Name("n7".to_owned())),
        ("lost", NodeAddr::Name("gone".to_owned())),
        ("4", NodeAddr::Addr("10.9.9.4".parse().unwrap())),
    ]
    .into_iter()
    .collect();
    let fake = Fake::default();
    let names = names("n1 login lost 4");
    let settled = asked(&fake, &names, &slurm)
        .await
        .settle(&names, &Names::new());
    assert_eq!(settled.names["n1"], addresses(&["10.9.9.1"]));
    assert_eq!(settled.names["login"], addresses(&["10.0.0.7"]));
    assert_eq!(settled.names["4"], addresses(&["10.9.9.4"]));
    assert_eq!(settled.unresolved.keys().collect::<Vec<_>>(), ["lost"]);
    assert_eq!(fake.asked.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_number_is_never_resolved_as_a_name() {
    let fake = Fake::default();
    let given = names("1 010.1 10.0.0.010 0x7f.1 host.1 a.0x1f 7.");
    let answers = asked(&fake, &given, &NodeAddrs::default()).await;
    assert_eq!(fake.asked.load(Ordering::Relaxed), 0);
    let settled = answers.settle(&given, &Names::new());
    for name in &given {
        assert_eq!(
            settled.unresolved[name],
            format!("{name} is a number, not a name")
        );
    }
}

#[tokio::test]
async fn the_system_knows_localhost_and_not_a_name_under_invalid() {
    let given = names("localhost ober.invalid");
    let answers = Answers::default();
    let slurm = NodeAddrs::default();
    resolve(given.clone(), &how(2, 20_000), &slurm, &answers).await;
    let settled = answers.settle(&given, &Names::new());
    assert!(settled.names["localhost"].iter().all(IpAddr::is_loopback));
    // Without a name server the failure is another one.
    assert_eq!(
        settled.unresolved.keys().collect::<Vec<_>>(),
        ["ober.invalid"]
    );
}

/// How a test's name server answers a question for this name and type; false: it stays silent.
type Says = dyn Fn(&str, RecordType, &mut Message) -> bool + Send + Sync;

/// A name server, and how many questions it got.
async fn server(
    says: impl Fn(&str, RecordType, &mut Message) -> bool + Send + Sync + 'static,
) -> (SocketAddr, Arc<AtomicUsize>) {
    let says: Arc<Says> = Arc::new(says);
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let (address, count) = (socket.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&count);
    tokio::spawn(async move {
        let mut buffer = [0; 2000];
        while let Ok((length, client)) = socket.recv_from(&mut buffer).await {
            counted.fetch_add(1, Ordering::Relaxed);
            let mut message = Message::from_vec(&buffer[..length])
                .unwrap()
                .into_response();
            let query = message.queries[0].clone();
            let name = query.name().to_ascii();
            if says(name.trim_end_matches('.'), query.query_type(), &mut message) {
                let bytes = message.to_vec().unwrap();
                socket.send_to(&bytes, client).await.unwrap();
            }
        }
    });
    (address, count)
}

/// Adds the one address to the answer.
fn give(message: &mut Message, kind: RecordType) -> bool {
    let name = message.queries[0].name().clone();
    let data = match kind {
        RecordType::A => RData::A(rdata::A([10, 60, 0, 1].into())),
        _ => RData::AAAA(rdata::AAAA("fd00:60::1".parse().unwrap())),
    };
    message.add_answer(Record::from_rdata(name, 60, data));
    true
}

fn code(message: &mut Message, code: ResponseCode) -> bool {
    message.metadata.response_code = code;
    true
}

fn system(conf: &str, servers: &[SocketAddr]) -> System {
    let mut conf = Conf::read(conf, "", |_| None);
    conf.servers = servers.to_vec();
    System::of("hosts: files dns", "10.7.7.7 written\n", conf)
}

const LIMIT: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_failed_query_of_one_family_is_not_read_as_no_addresses() {
    for (failing, v4, v6) in [
        (RecordType::AAAA, false, true),
        (RecordType::A, true, false),
    ] {
        for (fault, limit) in [
            (Some(ResponseCode::ServFail), LIMIT),
            (None, Duration::from_millis(400)),
        ] {
            let says = move |_: &str, kind, message: &mut Message| match fault {
                _ if kind != failing => give(message, kind),
                Some(fault) => code(message, fault),
                None => false,
            };
            let (address, _) = server(says).await;
            let answer = system("", &[address]).lookup("dual.test", limit).await;
            assert_eq!(
                (answer.v4.is_some(), answer.v6.is_some()),
                (v4, v6),
                "{answer:?}"
            );
            assert_eq!(answer.found.len(), 1);
        }
    }
}

#[tokio::test]
async fn a_name_with_records_of_one_family_only_is_resolved_completely() {
    let (address, _) = server(|name, kind, message| match (name, kind) {
        ("six.test", RecordType::A) => true,
        ("gone.test", _) => code(message, ResponseCode::NXDomain),
        ("empty.test", _) => true,
        _ => give(message, kind),
    })
    .await;
    let system = system("", &[address]);
    let six = system.lookup("six.test", LIMIT).await;
    assert_eq!(six, Answer::all(addresses(&["fd00:60::1"])));
    let both = system.lookup("both.test", LIMIT).await;
    assert_eq!(both, Answer::all(addresses(&["10.60.0.1", "fd00:60::1"])));
    for name in ["gone.test", "empty.test"] {
        assert_eq!(system.lookup(name, LIMIT).await, Answer::default());
    }
    let written = system.lookup("WRITTEN", LIMIT).await;
    assert_eq!(written, Answer::all(addresses(&["10.7.7.7"])));
    let only = self::system("options no-aaaa", &[address])
        .lookup("both.test", LIMIT)
        .await;
    assert_eq!(only, Answer::all(addresses(&["10.60.0.1"])));
}

#[tokio::test]
async fn a_name_is_tried_in_each_search_domain_and_a_failed_query_is_remembered() {
    let (address, _) = server(|name, kind, message| match name {
        "n.b.test" => give(message, kind),
        "n.broken.test" => code(message, ResponseCode::ServFail),
        _ => code(message, ResponseCode::NXDomain),
    })
    .await;
    let found = system("search a.test b.test", &[address])
        .lookup("n", LIMIT)
        .await;
    assert_eq!(found, Answer::all(addresses(&["10.60.0.1", "fd00:60::1"])));
    let passed = system("search broken.test b.test", &[address])
        .lookup("n", LIMIT)
        .await;
    let (now, why) = passed.with(&addresses(&["10.1.1.1"]));
    assert_eq!(now, addresses(&["10.1.1.1", "10.60.0.1", "fd00:60::1"]));
    assert!(why.is_some_and(|why| why.to_string().contains("Server Failure")));
}

#[tokio::test]
async fn a_dead_name_server_costs_one_second_once_and_a_slow_one_is_awaited() {
    let (dead, questions) = server(|_, _, _| false).await;
    let (good, _) = server(|_, kind, message| give(message, kind)).await;
    let system = system("", &[dead, good]);
    for name in ["a.test", "b.test", "c.test"] {
        let answer = system.lookup(name, LIMIT).await;
        assert_eq!(answer.found.len(), 2, "{answer:?}");
    }
    // Questions for the first name only, each family repeated once at most.
    assert!(questions.load(Ordering::Relaxed) <= 4);
    let slow = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = slow.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 2000];
        // Answers the first question of each socket only, and late.
        let mut heard = Vec::new();
        while heard.len() < 2 {
            let (length, client) = slow.recv_from(&mut buffer).await.unwrap();
            let message = Message::from_vec(&buffer[..length])
                .unwrap()
                .into_response();
            if heard.iter().all(|(_, known)| *known != client) {
                heard.push((message, client));
            }
        }
        tokio::time::sleep(Duration::from_millis(2500)).await;
        for (mut message, client) in heard {
            let kind = message.queries[0].query_type();
            give(&mut message, kind);
            slow.send_to(&message.to_vec().unwrap(), client)
                .await
                .unwrap();
        }
    });
    let answer = self::system("", &[address])
        .lookup("slow.test", LIMIT)
        .await;
    assert_eq!(answer.found.len(), 2, "{answer:?}");
}

#[tokio::test]
async fn a_name_server_without_edns_is_queried_again_without_it() {
    let (address, _) = server(|_, kind, message| {
        if message.edns.take().is_some() {
            return code(message, ResponseCode::FormErr);
        }
        give(message, kind)
    })
    .await;
    let answer = system("", &[address]).lookup("old.test", LIMIT).await;
    assert_eq!(answer.found.len(), 2, "{answer:?}");
}

#[tokio::test]
async fn names_without_an_answer_do_not_keep_other_names_from_being_resolved() {
    let (address, _) = server(|name, kind, message| {
        give(message, kind);
        !name.starts_with("dead")
    })
    .await;
    let system = system("search a.test b.test c.test", &[address, address, address]);
    let dead = (0..300).map(|number| format!("dead{number}"));
    let good = (0..50).map(|number| format!("zgood{number}"));
    let names: Vec<String> = dead.chain(good).collect();
    let how = how(64, 1000);
    let answers = Answers::default();
    let slurm = NodeAddrs::default();
    resolve_by(&system, names.clone(), &how, &slurm, &answers).await;
    let settled = answers.settle(&names, &Names::new());
    assert_eq!(settled.unresolved.len(), 300);
    assert!(
        settled
            .unresolved
            .values()
            .all(|why| why == "no answer in time")
    );
    let good = settled
        .names
        .keys()
        .filter(|name| name.starts_with("zgood"));
    assert_eq!(good.count(), 50);
}
