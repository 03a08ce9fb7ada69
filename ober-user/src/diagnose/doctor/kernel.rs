//! The kernel, its BPF file system, and what this process may ask of it.

use crate::{config::Config, diagnose::finding::Finding};

const PART: &str = "kernel";
const OLDEST: (u32, u32) = (6, 1);

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
    /// Are the programs compiled, or interpreted? `None`: the kernel does not say.
    pub jit: Option<bool>,
    /// The first port that every account may bind (`net.ipv4.ip_unprivileged_port_start`, for IPv6 too). `None`: the kernel
    /// does not say.
    pub free_ports: Option<u64>,
    /// Can TCP be signed (RFC 2385)?
    pub signatures: bool,
}

pub(super) fn judge(config: &Config, facts: &KernelFacts) -> Vec<Finding> {
    let mut findings = vec![release(&facts.release), bpffs(config, facts.bpffs)];
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
    if facts.jit == Some(false) {
        let reason = "programs are interpreted, which costs several times as much a packet";
        findings.push(
            Finding::warning(PART, "net.core.bpf_jit_enable", reason)
                .advice("`sysctl -w net.core.bpf_jit_enable=1`"),
        );
    }
    findings.extend(facts.free_ports.and_then(free_ports));
    let mut neighbours = config.bgp.iter().flat_map(|bgp| &bgp.neighbours);
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

/// Workers trust a connection over the loopback interface as the daemon's when its source port is below 1024.
fn free_ports(first: u64) -> Option<Finding> {
    let object = "net.ipv4.ip_unprivileged_port_start";
    let reason = format!(
        "every account of this machine may use ports from {first} on, and so reach the workers past the lists"
    );
    (first < 1024).then(|| {
        Finding::warning(PART, object, reason).advice(format!("`sysctl -w {object}=1024`"))
    })
}

fn release(release: &str) -> Finding {
    let mut numbers = release
        .split(['.', '-', '+'])
        .map_while(|it| it.parse().ok());
    let version = numbers.next().zip(numbers.next());
    let (major, minor) = OLDEST;
    match version {
        Some(version) if version >= OLDEST => {
            Finding::ok(PART, "release", format!("Linux {release}"))
        }
        Some(_) => Finding::failed(PART, "release", format!("Linux {release} is too old"))
            .advice(format!("{major}.{minor} is the oldest that will do")),
        None => Finding::warning(
            PART,
            "release",
            format!("`{release}` is no version that is known"),
        )
        .advice(format!("{major}.{minor} is the oldest that will do")),
    }
}

fn bpffs(config: &Config, mounted: bool) -> Finding {
    let path = config.node.bpffs.display();
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
