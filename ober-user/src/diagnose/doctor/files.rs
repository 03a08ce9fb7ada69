//! Open files: are there enough for the connections of a worker?

use crate::{config::Config, diagnose::finding::Finding, haproxy};

const PART: &str = "limits";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileFacts {
    /// The hard limit (`RLIMIT_NOFILE`) of the daemon where it runs, otherwise of this process.
    pub hard: u64,
    /// The limit that no process can exceed (`fs.nr_open`).
    pub most: u64,
    /// May this process raise its hard limit (`CAP_SYS_RESOURCE`)?
    pub raises: bool,
}

pub(super) fn judge(config: &Config, facts: &FileFacts) -> Vec<Finding> {
    let connections = config.workers.max_connections;
    let needed = haproxy::files(connections);
    let allowed = if facts.raises { facts.most } else { facts.hard };
    let object = "open files";
    if needed <= allowed {
        let reason = format!(
            "{allowed} can be had, {needed} are needed for {connections} connections a worker"
        );
        return vec![Finding::ok(PART, object, reason)];
    }
    let reason = format!(
        "{connections} connections a worker need {needed}, and only {allowed} can be had: the daemon takes fewer connections"
    );
    let advice = if facts.raises {
        "raise fs.nr_open, or lower `workers.max_connections`"
    } else {
        "raise LimitNOFILE of the service, or lower `workers.max_connections`"
    };
    vec![Finding::warning(PART, object, reason).advice(advice)]
}
