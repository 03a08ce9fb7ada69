//! Metrics of `crate::protocols::vrrp`.

use super::{Family, Labels, counter, gauge};
use crate::api::status::vrrp::{Role, Router, Vrrp};

pub(super) fn families(vrrp: &Vrrp) -> Vec<Family> {
    let each = |value| each(&vrrp.routers, value);
    let mut all = vec![
        gauge(
            "ober_vrrp_state",
            "1 for the state the virtual router is in.",
            states(&vrrp.routers),
        ),
        gauge(
            "ober_vrrp_priority",
            "Priority of this node.",
            each(|router| u64::from(router.priority)),
        ),
        gauge(
            "ober_vrrp_addresses_present",
            "1: the VIPs are on this node's interface.",
            each(|router| u64::from(router.addresses_present)),
        ),
        counter(
            "ober_vrrp_transitions_to_master",
            "How often this node became master.",
            each(|router| router.transitions_to_master),
        ),
        counter(
            "ober_vrrp_late_timers",
            "Timers so late that mastership was in doubt.",
            each(|router| router.late_timers),
        ),
        counter(
            "ober_vrrp_conflicts",
            "Duplicate VRIDs, other masters and other holders of an address seen.",
            each(|router| router.conflicts),
        ),
    ];
    all.extend(packets(vrrp));
    all
}

fn packets(vrrp: &Vrrp) -> Vec<Family> {
    let each = |value| each(&vrrp.routers, value);
    let rejected = vrrp
        .rejected
        .iter()
        .map(|(reason, count)| (vec![("reason", reason.clone())], *count));
    vec![
        counter(
            "ober_vrrp_advertisements_sent",
            "Advertisements sent.",
            each(|router| router.sent),
        ),
        counter(
            "ober_vrrp_advertisements_unsent",
            "Advertisements that could not be sent to a peer at least.",
            each(|router| router.unsent),
        ),
        counter(
            "ober_vrrp_advertisements_received",
            "Advertisements received for this virtual router.",
            each(|router| router.received),
        ),
        counter(
            "ober_vrrp_resignations_sent",
            "Advertisements of priority 0 sent.",
            each(|router| router.resignations_sent),
        ),
        counter(
            "ober_vrrp_resignations_received",
            "Advertisements of priority 0 received.",
            each(|router| router.resignations_received),
        ),
        counter(
            "ober_vrrp_claims_sent",
            "Gratuitous ARPs and unsolicited neighbour advertisements sent.",
            each(|router| router.claims_sent),
        ),
        counter(
            "ober_vrrp_packets_rejected",
            "VRRP packets refused, by reason.",
            rejected.collect(),
        ),
    ]
}

fn each(routers: &[Router], value: fn(&Router) -> u64) -> Vec<(Labels, u64)> {
    let lines = routers.iter().map(|router| (labels(router), value(router)));
    lines.collect()
}

fn labels(router: &Router) -> Labels {
    let vip = router.vips.first().map(ToString::to_string);
    vec![
        ("vrid", router.vrid.to_string()),
        ("vip", vip.unwrap_or_default()),
    ]
}

fn states(routers: &[Router]) -> Vec<(Labels, u64)> {
    let lines = routers.iter().flat_map(|router| {
        Role::ALL.map(|state| {
            let mut labels = labels(router);
            labels.push(("state", state.name().to_owned()));
            (labels, u64::from(router.state == state))
        })
    });
    lines.collect()
}
