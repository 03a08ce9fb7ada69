//! Limits of the kernel that grow with the connections. The unit sets that on open files. Changes nothing: the table of connections
//! belongs to the firewall that needs it.

use crate::host::{
    Error, Host,
    part::Part,
    plan::{PartPlan, Remark},
    platform::Platform,
    wants::Wants,
};

const TABLE: &str = "net.netfilter.nf_conntrack_max";

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitFacts {
    /// How many connections the kernel follows; `None`: it follows none.
    pub tracked: Option<u64>,
}

pub fn look<M: Platform>(host: &Host<M>) -> Result<LimitFacts, Error> {
    let most = host.setting(TABLE)?;
    Ok(LimitFacts {
        tracked: most.and_then(|it| it.parse().ok()),
    })
}

pub fn plan(facts: LimitFacts, wants: &Wants) -> PartPlan {
    let mut plan = PartPlan::new(Part::Limits);
    let connections = wants.configured.as_ref().map(|it| it.connections);
    plan.remarks.extend(judge(facts, connections));
    plan
}

/// A connection of a client and the one to a server are two; `connections`: of clients, at most.
pub fn judge(facts: LimitFacts, connections: Option<u64>) -> Option<Remark> {
    let (most, connections) = (facts.tracked?, connections?);
    let needed = connections.saturating_mul(2);
    if most >= needed {
        return Some(Remark::ok(
            TABLE,
            format!("{most}, and {needed} are needed"),
        ));
    }
    let words = format!(
        "{most}, and {connections} connections of clients need {needed}: when the table is full the kernel drops new ones"
    );
    Some(Remark::warning(TABLE, words).advice(format!(
        "`sysctl -w {TABLE}={needed}` and a file in /etc/sysctl.d, or have the firewall not follow the VIPs' connections (`notrack`)"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::plan::Tone;

    #[test]
    fn a_table_of_connections_must_have_room_for_both_sides_of_each_where_there_is_one() {
        let of =
            |tracked, connections| judge(LimitFacts { tracked }, connections).map(|it| it.tone);
        assert_eq!(of(Some(2000), Some(1000)), Some(Tone::Ok));
        assert_eq!(of(Some(1999), Some(1000)), Some(Tone::Warning));
        assert_eq!([of(None, Some(1000)), of(Some(1), None)], [None, None]);
    }
}
