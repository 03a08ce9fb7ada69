//! The verdict on the daemon's virtual routers, by its status. It never listens itself.

use super::PART;
use crate::{
    api::status::vrrp::{Role, Router, Vrrp as Status},
    diagnose::finding::Finding,
    protocols::vrrp::configured::{Instance, Vrrp},
};

/// A conflict that was reported this recently counts as going on: reports come once a minute. In seconds.
const RECENT: u64 = 90;
/// Packets of virtual routers that are not this node's are no fault.
const NO_FAULT: &str = "vrid";

/// A finding for each virtual router, and one for packets that are refused.
pub fn judge(config: &Vrrp, status: &Status) -> Vec<Finding> {
    let mut findings: Vec<_> = config
        .instances
        .iter()
        .map(|it| instance(it, status))
        .collect();
    let rejected: Vec<_> = status
        .rejected
        .iter()
        .filter(|(reason, count)| **count > 0 && reason.as_str() != NO_FAULT)
        .map(|(reason, count)| format!("{count} for their {reason}"))
        .collect();
    if !rejected.is_empty() {
        let reason = format!("packets were refused: {}", rejected.join(", "));
        findings.push(
            Finding::warning(PART, &config.interface, reason)
                .advice("the daemon's log names the senders; correct the two to agree"),
        );
    }
    findings
}

fn instance(instance: &Instance, status: &Status) -> Finding {
    let six = instance.is_ipv6();
    let object = format!("VRID {} (IPv{})", instance.vrid, if six { 6 } else { 4 });
    let same = |it: &&Router| {
        it.vrid == instance.vrid.0.get() && it.vips.iter().any(|vip| vip.is_ipv6() == six)
    };
    let Some(router) = status.routers.iter().find(same) else {
        return Finding::failed(PART, object, "the daemon does not have it").advice(
            "the daemon has another configuration: `ober-user reload` puts this one in force",
        );
    };
    let recent = router.conflict.as_ref().filter(|it| it.seconds < RECENT);
    let finding = match recent {
        Some(conflict) => {
            let (what, advice) = conflict
                .what
                .split_once(';')
                .unwrap_or((&conflict.what, "correct one of the two"));
            Finding::failed(PART, object, what.trim()).advice(advice.trim())
        }
        None => standing(router, object),
    };
    finding
        .detail("state", router.state.name())
        .detail("priority", router.priority)
}

fn standing(router: &Router, object: String) -> Finding {
    let entered = router.transitions.first();
    let why = entered.map(|it| it.reason.as_str()).unwrap_or_default();
    match (router.state, router.master) {
        (Role::Master, _) if router.addresses_present => Finding::ok(
            PART,
            object,
            format!("master with priority {}: {why}", router.priority),
        ),
        (Role::Master, _) => Finding::failed(
            PART,
            object,
            "master, but its addresses are not on this node",
        )
        .advice("the daemon's log says why they could not be added"),
        (Role::Backup, Some(master)) => {
            let priority = router.master_priority.unwrap_or_default();
            Finding::ok(
                PART,
                object,
                format!("backup of {master} with priority {priority}"),
            )
        }
        (Role::Backup, None) => {
            Finding::warning(PART, object, "backup, and no master is heard yet")
                .advice("ask again after some advertisement intervals")
        }
        (Role::Initialize, _) => Finding::failed(PART, object, format!("it takes no part: {why}"))
            .advice("`ober-user gate` says why its VIPs are not served here"),
    }
}

#[cfg(test)]
mod tests;
