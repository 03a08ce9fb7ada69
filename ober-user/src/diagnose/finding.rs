//! A finding: one line of `test` and of `doctor`, and all of it as JSON.

use std::{collections::BTreeMap, fmt::Display};

use serde::Serialize;

/// How good a finding is, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    Ok,
    /// It works, but not as it should, or not for long.
    Warning,
    Failed,
}

impl Verdict {
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
        }
    }
}

/// One object, and the verdict on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at: of `test` a part, of `doctor` a topic.
    pub part: &'static str,
    /// A neighbour, a server, a file, an interface.
    pub object: String,
    pub verdict: Verdict,
    pub reason: String,
    /// What to do about it; with a good verdict, what to look at.
    pub advice: Option<String>,
    /// The facts behind it, by name.
    pub details: BTreeMap<&'static str, String>,
}

impl Finding {
    fn new(part: &'static str, object: impl Display, verdict: Verdict, reason: String) -> Self {
        Self {
            part,
            object: object.to_string(),
            verdict,
            reason,
            advice: None,
            details: BTreeMap::new(),
        }
    }

    pub fn ok(part: &'static str, object: impl Display, reason: impl Into<String>) -> Self {
        Self::new(part, object, Verdict::Ok, reason.into())
    }

    pub fn warning(part: &'static str, object: impl Display, reason: impl Into<String>) -> Self {
        Self::new(part, object, Verdict::Warning, reason.into())
    }

    pub fn failed(part: &'static str, object: impl Display, reason: impl Into<String>) -> Self {
        Self::new(part, object, Verdict::Failed, reason.into())
    }

    #[must_use]
    pub fn advice(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    #[must_use]
    pub fn detail(mut self, name: &'static str, value: impl Display) -> Self {
        self.details.insert(name, value.to_string());
        self
    }
}

/// All findings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The worst of them.
    pub verdict: Verdict,
    /// Does the daemon of this instance run? Then its own sessions and sockets were looked at, and nothing beside them was
    /// opened.
    pub daemon: bool,
    pub findings: Vec<Finding>,
}

impl Report {
    pub fn new(daemon: bool, findings: Vec<Finding>) -> Self {
        let worst = findings.iter().map(|finding| finding.verdict).max();
        Self {
            verdict: worst.unwrap_or(Verdict::Ok),
            daemon,
            findings,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_has_the_verdict_of_its_worst_finding_and_a_stable_json_shape() {
        let findings = vec![
            Finding::ok("bgp", "192.0.2.1", "established").detail("as", 65000),
            Finding::failed("bfd", "192.0.2.1", "down").advice("enable it"),
            Finding::warning("node", "clock", "late"),
        ];
        let report = Report::new(false, findings);
        assert_eq!(
            serde_json::to_value(&report).unwrap(),
            serde_json::json!({
                "verdict": "failed",
                "daemon": false,
                "findings": [
                    {"part": "bgp", "object": "192.0.2.1", "verdict": "ok", "reason": "established",
                     "advice": null, "details": {"as": "65000"}},
                    {"part": "bfd", "object": "192.0.2.1", "verdict": "failed", "reason": "down",
                     "advice": "enable it", "details": {}},
                    {"part": "node", "object": "clock", "verdict": "warning", "reason": "late",
                     "advice": null, "details": {}},
                ],
            })
        );
        assert_eq!(Report::new(true, Vec::new()).verdict, Verdict::Ok);
    }
}
