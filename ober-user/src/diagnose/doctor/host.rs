//! What `bootstrap` makes of a machine, by its own tables: which of it is not so here.

use crate::{
    diagnose::finding::{Finding, Verdict},
    host::{
        parts::{
            firewall::{self, FirewallFacts},
            limits::{self, LimitFacts},
            packages::{self, PackageFacts},
            qdisc::{self, QdiscFacts},
            users,
            watchdog::{self, WatchdogFacts},
        },
        plan::{Remark, Tone},
        wants::{Passage, Wants},
    },
};

const PART: &str = "host";

/// Space that is left on a disk, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Space {
    pub directory: String,
    pub free: u64,
    pub whole: u64,
}

#[derive(Clone, Debug)]
pub struct HostFacts {
    pub qdisc: Option<QdiscFacts>,
    pub watchdog: Option<WatchdogFacts>,
    /// The number of the workers' account.
    pub account: Option<u32>,
    /// Keys that every account may read.
    pub exposed: Vec<String>,
    pub limits: LimitFacts,
    pub firewall: FirewallFacts,
    pub wants: Wants,
    /// Does systemd run Debian's `haproxy.service`?
    pub haproxy_service: bool,
    /// Where lists and snapshots are kept.
    pub space: Option<Space>,
}

pub(super) fn judge(facts: &HostFacts) -> Vec<Finding> {
    let mut findings = vec![finding(PART, users::account(facts.account))];
    findings.extend(
        facts
            .exposed
            .iter()
            .map(|it| finding(PART, users::readable(it))),
    );
    findings.extend(facts.qdisc.iter().flat_map(queueing));
    findings.extend(
        facts
            .watchdog
            .iter()
            .map(|it| finding(PART, watchdog::judge(it))),
    );
    let connections = facts.wants.configured.as_ref().map(|it| it.connections);
    let table = limits::judge(facts.limits, connections);
    findings.extend(table.map(|it| finding(PART, it)));
    findings.extend(firewall(facts));
    if facts.haproxy_service {
        let words = "it runs beside the workers, which do not need it, and may take their ports";
        findings.push(
            Finding::warning(PART, "haproxy.service", words)
                .advice("`systemctl disable --now haproxy`"),
        );
    }
    findings.extend(facts.space.as_ref().map(space));
    findings
}

/// HAProxy, before a configuration names one.
pub(super) fn installed(facts: Option<&PackageFacts>) -> Vec<Finding> {
    let remark = facts.map(packages::judge);
    remark
        .into_iter()
        .map(|it| finding("haproxy", it))
        .collect()
}

/// A remark of bootstrap as a finding.
pub(super) fn finding(part: &'static str, remark: Remark) -> Finding {
    let verdict = match remark.tone {
        Tone::Ok => Verdict::Ok,
        Tone::Warning => Verdict::Warning,
        Tone::Refused => Verdict::Failed,
    };
    let finding = Finding {
        verdict,
        ..Finding::ok(part, remark.object, remark.words)
    };
    match remark.advice {
        Some(advice) => finding.advice(advice),
        None => finding,
    }
}

/// A firewall that drops a VIP's packets. A daemon sees it only once clients try (the gate's fact `lost`).
fn firewall(facts: &HostFacts) -> Vec<Finding> {
    let dropped = firewall::dropped(&facts.firewall, &facts.wants);
    let one = |(passage, chain): &(&Passage, firewall::nft::Chain)| {
        let chain = chain.to_string();
        let words =
            format!("chain {chain} drops it: clients time out while everything here looks well");
        let advice = firewall::mend(&facts.firewall, passage, &chain);
        Finding::failed(PART, format!("firewall {passage}"), words).advice(advice)
    };
    dropped.iter().map(one).collect()
}

fn queueing(facts: &QdiscFacts) -> Vec<Finding> {
    let known = facts.interfaces.iter();
    let known = known.filter_map(|(name, found)| Some((name, found.as_ref()?)));
    let one = |(name, found): (&String, &qdisc::Queueing)| {
        let object = format!("queueing of {name}");
        if found.kind == found.wanted() {
            return Finding::ok(PART, object, &found.kind);
        }
        let left = qdisc::judge(found, facts.lacking);
        let (words, advice) = left.unwrap_or_else(|| {
            let words = format!("{}, not {}", found.kind, found.wanted());
            (words, "`ober-user bootstrap --only qdisc`; a start of the machine with the settings of bootstrap does it too")
        });
        Finding::warning(PART, object, words).advice(advice)
    };
    known.map(one).collect()
}

/// Below this no list can be kept.
const NONE: u64 = 4 << 20;
/// Below this, or a twentieth of the disk, it will not last.
const LITTLE: u64 = 256 << 20;

fn space(space: &Space) -> Finding {
    let Space {
        directory,
        free,
        whole,
    } = space;
    let words = format!("{} MiB of {} MiB are free", free >> 20, whole >> 20);
    let object = format!("disk of {directory}");
    let advice = "make room: a change that cannot be kept is refused";
    if *free < NONE {
        Finding::failed(PART, object, words).advice(advice)
    } else if *free < LITTLE && *free < whole / 20 {
        Finding::warning(PART, object, words).advice(advice)
    } else {
        Finding::ok(PART, object, words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::{parts::qdisc::Queueing, wants::Configured};

    fn facts() -> HostFacts {
        HostFacts {
            qdisc: None,
            watchdog: None,
            account: Some(990),
            exposed: Vec::new(),
            limits: LimitFacts::default(),
            firewall: FirewallFacts::default(),
            wants: Wants {
                configured: Some(Configured {
                    connections: 1000,
                    ..Configured::default()
                }),
                ..Wants::default()
            },
            haproxy_service: false,
            space: None,
        }
    }

    /// The verdict and words of the finding about an object.
    #[track_caller]
    fn about(facts: &HostFacts, object: &str) -> (Verdict, String) {
        let found = judge(facts);
        let found = found.iter().find(|it| it.object == object);
        let found = found.unwrap_or_else(|| panic!("{object}"));
        assert!(found.verdict == Verdict::Ok || found.advice.is_some());
        let advice = found.advice.clone().unwrap_or_default();
        (found.verdict, format!("{}; {advice}", found.reason))
    }

    #[test]
    fn each_part_of_a_machine_that_is_not_as_bootstrap_makes_it_is_named_with_the_mend() {
        assert_eq!(about(&facts(), "ober").0, Verdict::Ok);
        let none = HostFacts {
            account: None,
            ..facts()
        };
        assert!(about(&none, "ober").1.contains("bootstrap --only users"));
        let queueing = |kind: &str| QdiscFacts {
            interfaces: vec![(
                "eth1".to_owned(),
                Some(Queueing {
                    kind: kind.to_owned(),
                    default: true,
                    ours: false,
                    queues: 0,
                }),
            )],
            lacking: false,
            running: true,
        };
        for (kind, verdict) in [
            ("fq", Verdict::Ok),
            ("noqueue", Verdict::Ok),
            ("fq_codel", Verdict::Warning),
        ] {
            let facts = HostFacts {
                qdisc: Some(queueing(kind)),
                ..facts()
            };
            assert_eq!(about(&facts, "queueing of eth1").0, verdict, "{kind}");
        }
        let exposed = HostFacts {
            exposed: vec!["/etc/ober/a.pem".to_owned()],
            ..facts()
        };
        assert!(about(&exposed, "/etc/ober/a.pem").1.contains("chmod 640"));
        let beside = HostFacts {
            haproxy_service: true,
            ..facts()
        };
        assert_eq!(about(&beside, "haproxy.service").0, Verdict::Warning);
        let table = HostFacts {
            limits: LimitFacts { tracked: Some(1) },
            ..facts()
        };
        assert_eq!(
            about(&table, "net.netfilter.nf_conntrack_max").0,
            Verdict::Warning
        );
    }

    #[test]
    fn a_full_disk_fails_a_nearly_full_one_is_warned_of_and_a_small_one_with_room_is_good() {
        for (free, whole, verdict) in [
            (3 << 20, 1 << 30, Verdict::Failed),
            (100 << 20, 10 << 30, Verdict::Warning),
            (100 << 20, 1 << 30, Verdict::Ok),
            (1 << 30, 1 << 40, Verdict::Ok),
        ] {
            let space = Space {
                directory: "/var/lib/ober".to_owned(),
                free,
                whole,
            };
            let facts = HostFacts {
                space: Some(space),
                ..facts()
            };
            assert_eq!(about(&facts, "disk of /var/lib/ober").0, verdict, "{free}");
        }
    }
}
