//! Parts of the daemon's status that an operator must act upon.

use crate::{
    api::status::{Doubt, Status, Worker},
    diagnose::finding::Finding,
};

const PART: &str = "daemon";

pub(super) fn judge(status: &Status) -> Vec<Finding> {
    let mut findings = configuration(status);
    findings.extend(disk(status));
    findings.extend(outdated(status));
    findings.extend(lost(status));
    findings.extend(in_service(status));
    if findings.is_empty() {
        let words = "uses the configuration on disk, and keeps what is in force";
        findings.push(Finding::ok(PART, &status.instance, words));
    }
    findings
}

fn configuration(status: &Status) -> Vec<Finding> {
    let Some(of) = &status.configuration else {
        return Vec::new();
    };
    let doubt = of.doubt.iter().map(|it| {
        let words = format!("{}: {}", Doubt::WORDS, it.failures.join("; "));
        Finding::failed(PART, "configuration", words)
            .advice("mend what failed, then `ober-user reload` puts everything in force again")
    });
    let fallback = of.fallback.iter().map(|it| {
        let error = it.error.lines().next().unwrap_or_default();
        let words = format!(
            "snapshot {} of the history is in force: the files could not be used at the start ({error})",
            it.snapshot
        );
        Finding::failed(PART, "configuration", words)
            .advice("mend the file, `ober-user validate`, `ober-user reload`")
    });
    let missing = of.missing.iter().map(|missing| {
        Finding::failed(
            PART,
            "configuration",
            format!("without what depends on it: {missing}"),
        )
        .advice("make the file, then `ober-user reload`")
    });
    doubt.chain(fallback).chain(missing).collect()
}

fn disk(status: &Status) -> Vec<Finding> {
    let damaged = status.disk.damaged.iter().map(|it| {
        let words = format!("was damaged ({}); {}", it.why, it.then);
        Finding::warning(PART, it.file.display(), words).advice(
            "look at the file that was moved aside, and at the disk: `dmesg`, `smartctl -a DEVICE`",
        )
    });
    let unkept = status.disk.unkept.iter().map(|it| {
        let words = format!("in force, but not kept over a restart: {}", it.why);
        Finding::failed(PART, it.file.display(), words)
            .advice("make room or make it writable; it is tried again every 10 s")
    });
    damaged.chain(unkept).collect()
}

fn outdated(status: &Status) -> Vec<Finding> {
    let list = |files: &std::collections::BTreeSet<String>| {
        files
            .iter()
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join(", ")
    };
    let workers = status
        .workers
        .iter()
        .filter(|it| !it.outdated.is_empty())
        .map(|it| {
            let words = format!(
                "runs what was replaced on disk since: {}",
                list(&it.outdated)
            );
            Finding::warning(PART, format_args!("worker {}", it.number), words).advice(
                "`ober-user restart --workers` replaces the workers one at a time; transfers go on",
            )
        });
    let own = (!status.outdated.is_empty()).then(|| {
        let words = format!(
            "runs what was replaced on disk since: {}",
            list(&status.outdated)
        );
        Finding::warning(PART, &status.instance, words)
            .advice("restart the daemon; workers and programs go on meanwhile")
    });
    workers.chain(own).collect()
}

fn lost(status: &Status) -> impl Iterator<Item = Finding> + '_ {
    status.gate.iter().filter(|gate| gate.lost).map(|gate| {
        let words = "SYNs of clients pass XDP, and none comes as far as a socket: this node drops them in between";
        Finding::failed(PART, gate.vip, words).advice(
            "let the ports of the services through the firewall (`nft list ruleset`); else look at `nstat -az | grep -i drop` \
             and at `net.ipv4.conf.*.rp_filter`",
        )
    })
}

/// Workers that a restart of the service would end.
fn in_service(status: &Status) -> Vec<Finding> {
    let workers = status.workers.iter();
    let workers = workers.filter(|it| !it.ends_with_service.is_empty());
    let finding = |it: &Worker| {
        let object = format!("worker {}", it.number);
        let words =
            "is in the control group of the daemon's service: a restart of the service ends it";
        Finding::warning(PART, object, words).advice(
            "see the log for why systemd did not move it (is D-Bus running?), then `ober-user restart --workers`",
        )
    };
    workers.map(finding).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{api::sample, diagnose::finding::Verdict};

    #[test]
    fn each_trouble_of_the_daemon_is_a_finding_with_advice() {
        let mut status = sample::status();
        status.gate[0].lost = true;
        let found = judge(&status);
        let lines: Vec<_> = found
            .iter()
            .map(|it| (it.verdict, it.object.as_str()))
            .collect();
        assert_eq!(
            lines,
            [
                (Verdict::Failed, "configuration"),
                (Verdict::Failed, "configuration"),
                (Verdict::Failed, "configuration"),
                (Verdict::Warning, "/var/lib/ober/main/gate.json"),
                (Verdict::Failed, "/var/lib/ober/main/lists/a.json"),
                (Verdict::Warning, "worker 1"),
                (Verdict::Warning, "main"),
                (Verdict::Failed, "192.0.2.10"),
                (Verdict::Warning, "worker 1"),
            ]
        );
        assert!(found.iter().all(|it| it.advice.is_some()));
        assert!(found[0].reason.contains("attach to in0"), "{found:?}");
        let status = Status {
            configuration: None,
            disk: crate::system::store::Disk::default(),
            outdated: std::collections::BTreeSet::default(),
            workers: Vec::new(),
            ..sample::status()
        };
        let found = judge(&status);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].verdict, Verdict::Ok);
    }
}
