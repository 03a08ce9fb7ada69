//! The kernel, its BPF file system, and what this process may ask of it.

use std::path::Path;

use super::host::finding;
use crate::{config::Config, diagnose::finding::Finding, host::parts::os};

const PART: &str = "kernel";
/// Where the BPF file system is, unless the configuration names another place.
pub(super) const BPFFS: &str = "/sys/fs/bpf";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelFacts {
    /// `6.1.0-26-amd64`.
    pub release: String,
    /// Is a BPF file system where the pins go?
    pub bpffs: bool,
    /// `Some`: others may exchange the pins; the daemon's message.
    pub pins: Option<String>,
    /// The names of those that this process lacks.
    pub missing_capabilities: Option<String>,
    /// Can TCP be signed (RFC 2385)?
    pub signatures: bool,
}

/// `config`: `None` before there is one.
pub(super) fn judge(config: Option<&Config>, facts: &KernelFacts) -> Vec<Finding> {
    let place = config.map_or(Path::new(BPFFS), |it| &it.node.bpffs);
    let mut findings = vec![release(&facts.release), bpffs(place, facts.bpffs)];
    if let Some(why) = &facts.pins {
        findings.push(
            Finding::failed(PART, "pins", why)
                .advice("the daemon does not start with pins that others may exchange"),
        );
    }
    findings.push(match &facts.missing_capabilities {
        None => Finding::ok(PART, "capabilities", "all that the data plane needs"),
        Some(missing) => Finding::failed(PART, "capabilities", missing.replace('\n', " "))
            .advice("run it as root, or give the daemon those (`AmbientCapabilities=`)"),
    });
    let bgp = config.iter().filter_map(|it| it.bgp.as_ref());
    let mut neighbours = bgp.flat_map(|bgp| &bgp.neighbours);
    if !facts.signatures && neighbours.any(|it| it.password.is_some()) {
        findings.push(
            Finding::failed(
                PART,
                "TCP signatures",
                "the kernel cannot sign for neighbours with a password",
            )
            .advice("take a kernel with CONFIG_TCP_MD5SIG"),
        );
    }
    findings
}

fn release(release: &str) -> Finding {
    Finding {
        object: "release".to_owned(),
        ..finding(PART, os::release(release))
    }
}

fn bpffs(path: &Path, mounted: bool) -> Finding {
    let path = path.display();
    if mounted {
        return Finding::ok(PART, path, "the BPF file system is mounted");
    }
    Finding::warning(
        PART,
        &path,
        "no BPF file system is mounted here; the daemon mounts it with CAP_SYS_ADMIN",
    )
    .advice(format!("`mount -t bpf -o mode=0700 bpf {path}`"))
}
