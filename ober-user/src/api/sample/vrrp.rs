//! Virtual routers to show.

use crate::api::status::vrrp;

pub(super) fn vrrp() -> vrrp::Vrrp {
    let entered = |seconds, state, reason: &str| vrrp::Transition {
        seconds,
        state,
        reason: reason.into(),
    };
    vrrp::Vrrp {
        routers: vec![vrrp::Router {
            vrid: 51,
            version: 3,
            vips: vec![[192, 0, 2, 10].into()],
            excluded: vec![],
            joining: vec![],
            state: vrrp::Role::Master,
            transitions: vec![
                entered(5, vrrp::Role::Master, "no master heard"),
                entered(10, vrrp::Role::Backup, "gate open"),
            ],
            priority: 254,
            master: Some([10, 0, 0, 1].into()),
            master_priority: Some(254),
            addresses_present: true,
            sent: 6,
            unsent: 0,
            received: 2,
            resignations_sent: 0,
            resignations_received: 1,
            claims_sent: 10,
            transitions_to_master: 1,
            late_timers: 0,
            conflicts: 1,
            conflict: Some(vrrp::Conflict {
                seconds: 62,
                what: "two masters".into(),
            }),
        }],
        rejected: [("ttl".to_owned(), 3), ("vrid".to_owned(), 0)].into(),
    }
}
