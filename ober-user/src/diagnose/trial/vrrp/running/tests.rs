//! A row a state.

use super::*;
use crate::{
    api::{
        sample,
        status::vrrp::{Conflict, Transition},
    },
    config::tests::{ConfigDirectory, LEAST},
    diagnose::finding::Verdict,
};

fn config() -> Vrrp {
    let text = format!(
        "{LEAST}\n[vrrp]\npeers = ['10.0.0.2', '2001:db8::2']\n\
         [[vrrp.instances]]\nvips = ['192.0.2.10']\nvrid = 51\npriority = 200\n"
    );
    let config = ConfigDirectory::new().parse(&text);
    config
        .unwrap_or_else(|error| panic!("{error}"))
        .vrrp
        .unwrap()
}

fn router(state: Role) -> Router {
    let entered = Transition {
        seconds: 3,
        state,
        reason: "gate closed".into(),
    };
    Router {
        state,
        transitions: vec![entered],
        conflict: None,
        ..sample::status().vrrp.routers.remove(0)
    }
}

fn of(router: Router) -> Finding {
    let status = Status {
        routers: vec![router],
        rejected: [].into(),
    };
    let mut findings = judge(&config(), &status);
    assert_eq!(findings.len(), 1);
    findings.remove(0)
}

#[test]
fn every_state_of_a_virtual_router_has_its_verdict() {
    let conflict = |seconds| {
        Some(Conflict {
            seconds,
            what: "10.0.0.2 uses this VRID for other addresses; give one another".into(),
        })
    };
    for (router, verdict, reason) in [
        (
            router(Role::Master),
            Verdict::Ok,
            "master with priority 254: gate closed",
        ),
        (
            Router {
                addresses_present: false,
                ..router(Role::Master)
            },
            Verdict::Failed,
            "master, but its addresses are not on this node",
        ),
        (
            router(Role::Backup),
            Verdict::Ok,
            "backup of 10.0.0.1 with priority 254",
        ),
        (
            Router {
                master: None,
                ..router(Role::Backup)
            },
            Verdict::Warning,
            "backup, and no master is heard yet",
        ),
        (
            router(Role::Initialize),
            Verdict::Failed,
            "it takes no part: gate closed",
        ),
        (
            Router {
                conflict: conflict(5),
                ..router(Role::Master)
            },
            Verdict::Failed,
            "10.0.0.2 uses this VRID for other addresses",
        ),
        (
            Router {
                conflict: conflict(600),
                ..router(Role::Master)
            },
            Verdict::Ok,
            "master with priority 254: gate closed",
        ),
    ] {
        let finding = of(router);
        assert_eq!(
            (finding.verdict, finding.reason.as_str()),
            (verdict, reason)
        );
    }
}

#[test]
fn rejected_packets_are_reported_unless_they_belong_to_other_virtual_routers() {
    let mut status = Status {
        routers: vec![router(Role::Master)],
        rejected: [("vrid".to_owned(), 9), ("ttl".to_owned(), 0)].into(),
    };
    assert_eq!(judge(&config(), &status).len(), 1);
    status.rejected.insert("checksum".to_owned(), 3);
    let findings = judge(&config(), &status);
    assert_eq!(
        (findings[1].verdict, findings[1].reason.as_str()),
        (
            Verdict::Warning,
            "packets were refused: 3 for their checksum"
        )
    );
    status.routers.clear();
    assert_eq!(judge(&config(), &status)[0].verdict, Verdict::Failed);
}
