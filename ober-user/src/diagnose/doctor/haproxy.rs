//! HAProxy: its version, and whether it accepts the configuration made for it.

use crate::{
    config::{Config, Protocol},
    diagnose::finding::Finding,
    haproxy::version::Program,
};

const PART: &str = "haproxy";

#[derive(Clone, Debug)]
pub struct HaproxyFacts {
    pub program: Result<Program, String>,
    /// Its answer to the configuration made for it.
    pub validated: Result<(), String>,
    /// Processes of the running workers that run as root.
    pub as_root: Vec<i32>,
}

const MEND: &str = "`ober-user bootstrap --only packages` installs it, or correct `workers.haproxy`; 2.6 is the oldest that will do";

pub(super) fn judge(config: &Config, facts: &HaproxyFacts) -> Vec<Finding> {
    let path = config.workers.haproxy.display();
    let program = match &facts.program {
        Ok(program) => program,
        Err(reason) => {
            return vec![Finding::failed(PART, path, reason).advice(MEND)];
        }
    };
    let secure = config
        .services
        .iter()
        .flat_map(|it| &it.listeners)
        .any(|it| matches!(it.protocol, Protocol::Https { .. } | Protocol::Tls(_)));
    let library = program.tls_library.as_deref();
    let words = format!(
        "version {} with {}",
        program.version,
        library.unwrap_or("no TLS library")
    );
    let mut findings = vec![if secure && library.is_none() {
        Finding::failed(PART, &path, words)
            .advice("listeners with a certificate need a build with TLS")
    } else {
        Finding::ok(PART, &path, words)
    }];
    findings.push(match &facts.validated {
        Ok(()) => Finding::ok(PART, "configuration", "HAProxy takes what is made of it"),
        Err(words) => Finding::failed(PART, "configuration", words.replace('\n', " "))
            .advice("`ober-user validate` shows it whole"),
    });
    findings.extend(as_root(&facts.as_root));
    findings
}

fn as_root(processes: &[i32]) -> Option<Finding> {
    if processes.is_empty() {
        return None;
    }
    let numbers: Vec<String> = processes.iter().map(ToString::to_string).collect();
    let words = format!("run as root: process {}", numbers.join(", "));
    let advice = "those that an older daemon started end when they have finished their connections, at most after \
                  `workers.drain`; others need an account, see `workers.user`";
    Some(Finding::warning(PART, "workers", words).advice(advice))
}
