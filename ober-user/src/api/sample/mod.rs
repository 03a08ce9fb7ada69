//! A node to show, for tests.

use std::collections::BTreeMap;

use crate::{
    api::status::{
        Configuration, Count, Counters, DataPlane, Doubt, Fallback, Finishing, Interface, List,
        Map, Program, Reconcile, Service, ServiceCounters, Stage, Status, Worker,
        backends::{self, ServerState},
    },
    system::store::{Damaged, Disk, Unkept},
};

mod bfd;
mod bgp;
mod certificates;
mod gate;
mod vrrp;

pub(crate) use bfd::bfd;

pub(crate) fn status() -> Status {
    Status {
        version: "0.1.0".into(),
        instance: "main".into(),
        pid: Some(42),
        started: Some(1_700_000_000),
        outdated: ["/usr/sbin/ober-user".to_owned()].into(),
        healthy: true,
        configuration: Some(configuration()),
        disk: disk(),
        data_plane: DataPlane {
            interfaces: vec![Interface {
                name: "in0".into(),
                away: false,
                attached: Some(true),
                native: true,
                queues: 4,
                driver: Some("virtio_net".into()),
                mtu: 1500,
                runs: Some(true),
                why_generic: None,
                driver_drops: Some(7),
            }],
            adopted: false,
            steering: true,
            steer_dropped: Some(4),
            unreadable: 0,
            steering_reason: Some("steer = \"cpu\"".into()),
            unexplained_drops: 2,
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
        reconcile: reconcile(),
        workers: vec![worker(0, Stage::Running, 0), worker(1, Stage::Backoff, 3)],
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
        backends: [("rgw".to_owned(), backend())].into(),
        certificates: certificates::certificates(),
        gate: vec![gate::gate()],
        bgp: vec![bgp::neighbour()],
        bfd: bfd(),
        vrrp: vrrp::vrrp(),
    }
}

/// Nothing was set right yet.
fn reconcile() -> Reconcile {
    let kinds = [
        "server", "services", "ring", "switch", "list", "program", "address",
    ];
    Reconcile {
        mended: kinds.map(|kind| (kind.to_owned(), 0)).into(),
        ..Reconcile::default()
    }
}

fn configuration() -> Configuration {
    Configuration {
        snapshot: Some(7),
        hash: "00f1e2d3c4b5a697".into(),
        haproxy: crate::haproxy::version::Program::read(
            "HAProxy version 3.2.5\nRunning on SSL library version : AWS-LC 1.50.0\n",
        ),
        doubt: Some(Doubt {
            since: 1_700_000_000,
            failures: vec!["attach to in0: the device is busy".into()],
        }),
        fallback: Some(Fallback {
            snapshot: 7,
            kept: 1_700_000_000,
            error: "ober.toml:3:1: unknown key `vip`\nhelp: did you mean `vips`?".into(),
        }),
        missing: vec!["read certificate /etc/ober/s3.pem: No such file".into()],
    }
}

fn disk() -> Disk {
    Disk {
        damaged: vec![Damaged {
            file: "/var/lib/ober/main/gate.json".into(),
            aside: Some("/var/lib/ober/main/gate.json.damaged-1700000000".into()),
            at: 1_700_000_000,
            why: "it is cut short".into(),
            then: "no VIP is drained".into(),
        }],
        unkept: vec![Unkept {
            file: "/var/lib/ober/main/lists/a.json".into(),
            since: 1_700_000_000,
            why: "no space left".into(),
        }],
    }
}

fn backend() -> backends::Backend {
    let server = |name: &str, last, state: ServerState| backends::Server {
        name: name.into(),
        address: ([10, 0, 0, last], 7480).into(),
        host: Some(format!("{name}.test")),
        weight: 1,
        tier: 1,
        sources: vec!["servers".into(), "srv _s3._tcp.test".into()],
        state,
        reason: Some("status 500".into()),
        seconds: Some(61),
    };
    backends::Backend {
        servers: vec![
            server("rgw01", 1, ServerState::Down),
            server("rgw02", 2, ServerState::Up),
        ],
        sources: vec![backends::Source {
            name: "srv _s3._tcp.test".into(),
            servers: Some(2),
            failures: 3,
            error: Some("SERVFAIL".into()),
            asked: Some(1_700_000_000),
        }],
        left_out: vec!["127.0.0.1:8404 of exec /x: it is `node.metrics` of this node".into()],
    }
}

fn worker(number: usize, state: Stage, restarts: u32) -> Worker {
    Worker {
        number,
        cpu: u32::try_from(number).ok(),
        pid: Some(100),
        state,
        seconds: 5,
        in_ring: state == Stage::Running,
        restarts,
        last_exit: (restarts > 0).then(|| "signal 9".into()),
        draining: (restarts > 0).then_some(99).into_iter().collect(),
        finishing: (restarts > 0)
            .then_some(Finishing {
                pid: 99,
                since: 1_700_000_000,
                connections: Some(3),
            })
            .into_iter()
            .collect(),
        as_root: vec![],
        outdated: (restarts > 0)
            .then(|| "/usr/lib/libssl.so.3".to_owned())
            .into_iter()
            .collect(),
        ends_with_service: (restarts > 0).then_some(100).into_iter().collect(),
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
                syns: 6,
            },
        ],
        steer_dropped: [(0, 0), (1, 4)].into(),
    }
}
