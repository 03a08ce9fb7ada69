//! Packets that this node itself loses and should not lose.

use std::collections::BTreeMap;

use crate::diagnose::finding::Finding;

const PART: &str = "packets";

/// What the daemon counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PacketFacts {
    /// Headers that the program could not read.
    pub unreadable: u64,
    /// Fragments to VIPs that were dropped during this run of `doctor`.
    pub fragments: u64,
    /// Are packets steered?
    pub steering: bool,
    /// Steered packets that were lost, by CPU; `None`: the kernel does not say.
    pub lost: Option<BTreeMap<u32, u64>>,
    /// How many of them were lost during this run of `doctor`.
    pub losing: u64,
}

/// Without a daemon there are no facts to judge.
pub(super) fn judge(facts: Option<&PacketFacts>) -> Vec<Finding> {
    let Some(facts) = facts else {
        return Vec::new();
    };
    let all = [Some(unreadable(facts)), steered(facts), fragments(facts)];
    all.into_iter().flatten().collect()
}

fn unreadable(facts: &PacketFacts) -> Finding {
    let object = "headers";
    match facts.unreadable {
        0 => Finding::ok(PART, object, "the headers of every packet could be read"),
        count => Finding::failed(
            PART,
            object,
            format!("{count} packets were dropped because the program could not read their headers"),
        )
        .advice(
            "the driver lays frames out as the kernel does not allow: set `node.xdp = \"generic\"`, and report driver \
             and kernel",
        ),
    }
}

fn steered(facts: &PacketFacts) -> Option<Finding> {
    let object = "steering";
    let Some(lost) = &facts.lost else {
        return facts.steering.then(|| {
            Finding::warning(
                PART,
                object,
                "steered packets that are lost on their way to a CPU are not counted",
            )
            .advice("the log of the daemon's start says why the kernel refuses to count them")
        });
    };
    let lost: Vec<_> = lost.iter().filter(|(_, count)| **count > 0).collect();
    if lost.is_empty() {
        let reason = "no steered packet was lost on its way to a CPU";
        return facts.steering.then(|| Finding::ok(PART, object, reason));
    }
    let sum = lost
        .iter()
        .map(|(_, count)| **count)
        .fold(0, u64::saturating_add);
    let cpus: Vec<String> = lost
        .iter()
        .map(|(cpu, count)| format!("CPU {cpu}: {count}"))
        .collect();
    let reason = format!(
        "{sum} steered packets were lost on their way to a CPU ({}), {} of them within the last second",
        cpus.join(", "),
        facts.losing
    );
    Some(Finding::warning(PART, object, reason).advice(
        "the CPU is busy, or its queue too short: raise `limits.steer_queue` and restart, give the interface more receive \
         queues, or set `node.steer = \"off\"`",
    ))
}

fn fragments(facts: &PacketFacts) -> Option<Finding> {
    let count = facts.fragments;
    (count > 0).then(|| {
        let reason = format!(
            "{count} fragments to VIPs were dropped within the last second, of senders that are on none of the VIPs' lists"
        );
        Finding::warning(PART, "fragments", reason).advice(
            "if clients of an open service sit behind a tunnel that fragments TCP, set `node.fragments = \"all\"`",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::finding::Verdict;

    fn verdicts(facts: &PacketFacts) -> Vec<(String, Verdict)> {
        let findings = judge(Some(facts));
        let advised = findings
            .iter()
            .all(|it| it.advice.is_some() == (it.verdict != Verdict::Ok));
        assert!(advised, "{findings:#?}");
        findings
            .into_iter()
            .map(|it| (it.object, it.verdict))
            .collect()
    }

    #[test]
    fn packets_lost_on_the_node_are_reported_and_unreadable_counters_are_a_failure() {
        let said = |object: &str, verdict| (object.to_owned(), verdict);
        let quiet = PacketFacts {
            lost: Some([(0, 0), (1, 0)].into()),
            ..PacketFacts::default()
        };
        assert_eq!(verdicts(&quiet), [said("headers", Verdict::Ok)]);
        let steering = PacketFacts {
            steering: true,
            ..quiet.clone()
        };
        let good = [said("headers", Verdict::Ok), said("steering", Verdict::Ok)];
        assert_eq!(verdicts(&steering), good);
        let bad = PacketFacts {
            unreadable: 1,
            fragments: 2,
            lost: Some([(0, 0), (1, 155_293)].into()),
            losing: 7,
            ..steering.clone()
        };
        let expected = [
            said("headers", Verdict::Failed),
            said("steering", Verdict::Warning),
            said("fragments", Verdict::Warning),
        ];
        assert_eq!(verdicts(&bad), expected);
        let reason = &judge(Some(&bad))[1].reason;
        assert!(
            reason.contains("155293") && reason.contains("CPU 1") && reason.contains('7'),
            "{reason}"
        );
        let untold = PacketFacts {
            lost: None,
            ..steering
        };
        let expected = [
            said("headers", Verdict::Ok),
            said("steering", Verdict::Warning),
        ];
        assert_eq!(verdicts(&untold), expected);
        assert_eq!(judge(None), []);
    }
}
