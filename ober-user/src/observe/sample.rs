//! A node to show, for tests.

use std::collections::BTreeMap;

use crate::{
    bfd::State,
    status::{
        Count, Counters, DataPlane, Interface, List, Map, Program, Service, ServiceCounters,
        Status, Worker,
        bfd::{Bfd, Late, Session},
    },
};

pub(crate) fn status() -> Status {
    Status {
        version: "0.1.0".into(),
        instance: "main".into(),
        pid: Some(42),
        started: Some(1_700_000_000),
        healthy: true,
        data_plane: DataPlane {
            interfaces: vec![Interface {
                name: "in0".into(),
                attached: true,
                native: true,
                queues: 4,
            }],
            adopted: false,
            steering: true,
            programs: vec![Program {
                name: "ober".into(),
                id: 17,
                tag: "00112233".into(),
                size: 4096,
            }],
            maps: vec![Map {
                name: "PAGES".into(),
                id: 18,
                entries: 1024,
                bytes: 8 << 20,
            }],
        },
        services: vec![Service {
            index: 1,
            name: "s3".into(),
            vip: [192, 0, 2, 10].into(),
            port: 443,
            list: None,
            vip_present: true,
        }],
        workers: vec![worker(0, "running", 0), worker(1, "backoff", 3)],
        lists: vec![List {
            name: "frontend-http".into(),
            number: 0,
            count: 12,
            sources: vec!["n[1-12]".into()],
            except: vec![],
            unresolved: [("n99".to_owned(), "no such name".to_owned())].into(),
            synced: Some(1_700_000_000),
            error: None,
        }],
        backends: [("rgw".to_owned(), vec!["10.0.0.1:7480".to_owned()])].into(),
        gate: Vec::new(),
        bgp: Vec::new(),
        bfd: bfd(),
        vrrp: Vec::new(),
    }
}

pub(crate) fn bfd() -> Bfd {
    let up = Session {
        peer: [192, 0, 2, 1].into(),
        interface: None,
        state: State::Up,
        seconds: 70,
        diagnostic: "none".into(),
        remote_state: State::Up,
        remote_diagnostic: "none".into(),
        mode: "auto".into(),
        hops: "multi-hop".into(),
        passive: false,
        discriminator: 17,
        remote_discriminator: Some(18),
        transmit_microseconds: Some(50_000),
        detection_microseconds: Some(150_000),
        multiplier: 3,
        remote_multiplier: 3,
        ups: 1,
        failures: 0,
        received: 1000,
        sent: 1001,
        send_failures: 0,
        send_error: None,
        late: 1,
        last_late: Some(Late {
            seconds_ago: 40,
            gap_microseconds: 81_000,
        }),
        drops: [("ttl".to_owned(), 2)].into(),
    };
    let down = Session {
        peer: "fe80::1".parse().unwrap(),
        interface: Some("eth1".into()),
        state: State::Down,
        diagnostic: "detection time expired".into(),
        remote_state: State::Down,
        hops: "single-hop".into(),
        remote_discriminator: None,
        transmit_microseconds: Some(1_000_000),
        detection_microseconds: None,
        failures: 1,
        drops: BTreeMap::new(),
        ..up.clone()
    };
    Bfd {
        realtime: true,
        sessions: vec![up, down],
        drops: [("version".to_owned(), 5)].into(),
    }
}

fn worker(number: usize, state: &str, restarts: u32) -> Worker {
    Worker {
        number,
        cpu: u32::try_from(number).ok(),
        pid: Some(100),
        state: state.into(),
        seconds: 5,
        in_ring: state == "running",
        restarts,
        last_exit: (restarts > 0).then(|| "signal 9".into()),
        draining: vec![],
    }
}

pub(crate) fn counters() -> Counters {
    let count = |packets| Count {
        packets,
        bytes: packets * 100,
    };
    let denied: BTreeMap<_, _> = [("denied".to_owned(), count(7))].into();
    Counters {
        services: vec![
            ServiceCounters {
                name: "node".into(),
                verdicts: [("not_ours".to_owned(), count(1000))].into(),
                ..ServiceCounters::default()
            },
            ServiceCounters {
                index: 1,
                name: "s3".into(),
                vip: Some([192, 0, 2, 10].into()),
                port: Some(443),
                verdicts: [
                    ("denied".to_owned(), count(7)),
                    ("passed".to_owned(), count(30)),
                ]
                .into(),
                cpus: [(0, [("passed".to_owned(), count(30))].into()), (1, denied)].into(),
                workers: [(1, count(30))].into(),
                lookups: [("assigned".to_owned(), 5)].into(),
            },
        ],
    }
}
