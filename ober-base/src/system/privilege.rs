//! The capabilities that a command needs, and those that this process lacks. Root has all of them; a service manager can grant
//! them one by one (`AmbientCapabilities=`).

use std::fmt;

use crate::system::child;

/// A Linux capability and what Ober needs it for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capability {
    number: u32,
    name: &'static str,
    purpose: &'static str,
}

const BPF: Capability = Capability {
    number: 39,
    name: "CAP_BPF",
    purpose: "open and change BPF maps, load programs",
};
const NET_ADMIN: Capability = Capability {
    number: 12,
    name: "CAP_NET_ADMIN",
    purpose: "attach XDP and the socket lookup, add VIP addresses",
};
const PERFMON: Capability = Capability {
    number: 38,
    name: "CAP_PERFMON",
    purpose: "have the verifier accept programs that compute with packet pointers",
};

const NET_BIND_SERVICE: Capability = Capability {
    number: 10,
    name: "CAP_NET_BIND_SERVICE",
    purpose: "probe the workers from a port that other accounts may not have",
};

const DAC_OVERRIDE: Capability = Capability {
    number: 1,
    name: "CAP_DAC_OVERRIDE",
    purpose: "write files and kernel settings that are root's",
};

const CHOWN: Capability = Capability {
    number: 0,
    name: "CAP_CHOWN",
    purpose: "give directories to the group of the workers",
};

const SYS_ADMIN: Capability = Capability {
    number: 21,
    name: "CAP_SYS_ADMIN",
    purpose: "look programs, maps and links up by their numbers",
};

const SYS_RESOURCE: Capability = Capability {
    number: 24,
    name: "CAP_SYS_RESOURCE",
    purpose: "raise the limit on open files",
};

/// Needed to load and attach the programs.
pub const DATA_PLANE: [Capability; 4] = [BPF, NET_ADMIN, PERFMON, SYS_ADMIN];
/// Needed by the daemon, which also loads the programs.
pub const DAEMON: [Capability; 5] = [BPF, NET_ADMIN, PERFMON, SYS_ADMIN, NET_BIND_SERVICE];
/// Needed to read and change pinned maps.
pub const MAPS: [Capability; 1] = [BPF];

/// Needed for as many open files as the kernel allows.
pub const LIMITS: [Capability; 1] = [SYS_RESOURCE];

/// Needed to change this machine's files, settings and interfaces.
pub const MACHINE: [Capability; 3] = [CHOWN, DAC_OVERRIDE, NET_ADMIN];

/// Needed in some cases only, by what loads the programs.
const SOMETIMES: &str = "Beside these: CAP_SYS_PTRACE and \
CAP_KILL to take over and replace workers that run as another user, CAP_SETUID, CAP_SETGID and CAP_SYS_CHROOT to start \
them as that in an empty root; write permission on the state, run and pin directories. The ports of listeners need none, and \
neither does pinning to CPUs.";

/// The capabilities that this process lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    missing: Vec<Capability>,
    sometimes: bool,
}

impl std::error::Error for Missing {}

impl fmt::Display for Missing {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(
            "not enough privileges; run as root, or give the process the missing capabilities:",
        )?;
        for Capability { name, purpose, .. } in &self.missing {
            write!(out, "\n  {name}: {purpose}")?;
        }
        if self.sometimes {
            write!(out, "\n{SOMETIMES}")?;
        }
        Ok(())
    }
}

/// An error when this process lacks one of these capabilities.
pub fn require(needed: &[Capability]) -> Result<(), Missing> {
    match child::capabilities() {
        Some(held) => lacking(needed, held),
        // Without /proc the capabilities are unknown; the kernel will refuse if one is missing.
        None => Ok(()),
    }
}

fn lacking(needed: &[Capability], held: u64) -> Result<(), Missing> {
    let holds = |capability: &Capability| held & (1 << capability.number) != 0;
    // `CAP_BPF` and `CAP_PERFMON` were split from `CAP_SYS_ADMIN`, which still includes them.
    let has = |capability: &Capability| {
        holds(capability) || holds(&SYS_ADMIN) && [BPF, PERFMON].contains(capability)
    };
    let missing: Vec<_> = needed
        .iter()
        .filter(|capability| !has(capability))
        .copied()
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Missing {
        missing,
        sometimes: needed.contains(&PERFMON),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_missing_capabilities_are_named_each_with_its_purpose() {
        let missing = lacking(&DATA_PLANE, 1 << 12 | 1 << 38).unwrap_err();
        assert_eq!(missing.missing, [BPF, SYS_ADMIN]);
        let text = missing.to_string();
        assert!(
            text.contains("\n  CAP_BPF: ") && !text.contains("\n  CAP_NET_ADMIN: "),
            "{text}"
        );
    }

    #[test]
    fn cap_sys_admin_implies_cap_bpf_and_cap_perfmon_but_not_network_capabilities() {
        assert_eq!(lacking(&DATA_PLANE, 1 << 21 | 1 << 12), Ok(()));
        let missing = lacking(&DAEMON, 1 << 21).unwrap_err();
        assert_eq!(missing.missing, [NET_ADMIN, NET_BIND_SERVICE]);
        assert_eq!(lacking(&DATA_PLANE, u64::MAX), Ok(()));
    }
}
