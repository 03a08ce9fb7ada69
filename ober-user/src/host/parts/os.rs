//! Which system this is: distribution, kernel, what it runs in. Changes nothing.

use std::collections::BTreeMap;

use crate::{
    dataplane,
    host::{
        Error, Host,
        part::Part,
        plan::{PartPlan, Remark},
        platform::Platform,
    },
};

/// The oldest kernel that has all that the programs need.
pub const OLDEST_KERNEL: (u32, u32) = (6, 1);
const BPFFS: &str = "/sys/fs/bpf";

/// A distribution that was thought of.
struct Distribution {
    /// `ID` of os-release(5).
    id: &'static str,
    name: &'static str,
    /// The oldest release that will do.
    oldest: (u32, u32),
    /// From here on nothing is to be said against it.
    good: (u32, u32),
    why: &'static str,
}

const fn row(
    id: &'static str,
    name: &'static str,
    oldest: (u32, u32),
    good: (u32, u32),
    why: &'static str,
) -> Distribution {
    Distribution {
        id,
        name,
        oldest,
        good,
        why,
    }
}

const DISTRIBUTIONS: [Distribution; 8] = [
    row(
        "debian",
        "Debian",
        (12, 0),
        (12, 0),
        "12 is the first with Linux 6.1",
    ),
    row(
        "ubuntu",
        "Ubuntu",
        (22, 4),
        (24, 4),
        "24.04 is the first whose own kernel is 6.1 or newer; 22.04 needs its HWE kernel",
    ),
    row("rhel", "Red Hat Enterprise Linux", (10, 0), (10, 0), RHEL),
    row("almalinux", "AlmaLinux", (10, 0), (10, 0), RHEL),
    row("rocky", "Rocky Linux", (10, 0), (10, 0), RHEL),
    row("centos", "CentOS Stream", (10, 0), (10, 0), RHEL),
    row("ol", "Oracle Linux", (10, 0), (10, 0), RHEL),
    row(
        "fedora",
        "Fedora",
        (40, 0),
        (40, 0),
        "older ones get no updates",
    ),
];
const RHEL: &str = "10 is the first with Linux 6.12; the 5.14 of 9 lacks what the programs need";

#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OsFacts {
    /// The text of os-release(5); `None`: there is none.
    pub release: Option<String>,
    /// `6.1.0-26-amd64`; `None` in an image.
    pub kernel: Option<String>,
    /// Does the kernel describe its types?
    pub btf: bool,
    /// Is the BPF file system mounted?
    pub bpffs: bool,
    pub systemd: bool,
    /// `kvm`, `docker`, `none`: the answer of systemd-detect-virt.
    pub within: Option<String>,
    pub proxmox: bool,
}

pub async fn look<M: Platform>(host: &Host<M>) -> Result<OsFacts, Error> {
    let release = match host.root.read("/etc/os-release")? {
        Some(text) => Some(text),
        None => host.root.read("/usr/lib/os-release")?,
    };
    // It answers `none` with status 1.
    let within = host.machine.run(&["systemd-detect-virt"]).await.ok();
    Ok(OsFacts {
        release,
        kernel: host.setting("kernel.osrelease")?,
        btf: host.machine.exists("/sys/kernel/btf/vmlinux"),
        bpffs: host.machine.is_running() && dataplane::is_bpffs(BPFFS.as_ref()),
        systemd: host.has_systemd(),
        within: within.map(|it| it.out).filter(|it| !it.is_empty()),
        proxmox: host.root.exists("/etc/pve") || host.root.exists("/usr/bin/pveversion"),
    })
}

pub fn plan(facts: &OsFacts) -> PartPlan {
    let mut plan = PartPlan::new(Part::Os);
    plan.remarks.push(distribution(facts.release.as_deref()));
    if facts.proxmox {
        plan.remarks.push(Remark::ok(
            "Proxmox VE",
            "a host of Proxmox VE: its watchdog-mux owns the hardware watchdog, which bootstrap leaves alone",
        ));
    }
    if let Some(kernel) = &facts.kernel {
        plan.remarks.extend(running(facts, kernel));
    }
    plan
}

fn running(facts: &OsFacts, kernel: &str) -> Vec<Remark> {
    let mut remarks = vec![release(kernel)];
    if !facts.btf {
        remarks.push(
            Remark::warning(
                "BTF",
                "the kernel does not describe its types (/sys/kernel/btf/vmlinux)",
            )
            .advice("take a kernel of a distribution, or one with CONFIG_DEBUG_INFO_BTF"),
        );
    }
    if !facts.bpffs {
        remarks.push(Remark::ok(
            BPFFS,
            "no BPF file system is mounted here yet; the daemon mounts it",
        ));
    }
    if !facts.systemd {
        remarks.push(
            Remark::warning("systemd", "it does not run here: no units, no watchdog")
                .advice("start `ober-user run` by what starts programs here"),
        );
    }
    if let Some(within) = facts.within.as_ref().filter(|it| *it != "none") {
        remarks.push(Remark::ok("virtualisation", within));
    }
    remarks
}

/// The kernel's release, by what [`OLDEST_KERNEL`] says; `doctor` judges by it too.
pub fn release(release: &str) -> Remark {
    let object = "kernel";
    let (major, minor) = OLDEST_KERNEL;
    let advice = format!("{major}.{minor} is the oldest that will do");
    match version(release) {
        Some(found) if found >= OLDEST_KERNEL => Remark::ok(object, format!("Linux {release}")),
        Some(_) => Remark::refused(object, format!("Linux {release} is too old")).advice(advice),
        None => Remark::warning(object, format!("`{release}` is no version that is known"))
            .advice(advice),
    }
}

/// Major and minor number of a version.
fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split(['.', '-', '+']).map_while(|it| it.parse().ok());
    let major = numbers.next()?;
    match numbers.next() {
        Some(minor) => Some((major, minor)),
        // `12`, but not `12-strange`.
        None if text.parse::<u32>().is_ok() => Some((major, 0)),
        None => None,
    }
}

fn distribution(release: Option<&str>) -> Remark {
    let object = "distribution";
    let advice = "Debian 12, Ubuntu 24.04, RHEL 10 and its kin are what was thought of; kernel and HAProxy decide";
    let Some(fields) = release.map(fields) else {
        return Remark::warning(object, "there is no /etc/os-release").advice(advice);
    };
    let field = |name: &str| fields.get(name).map_or("", String::as_str);
    let known = |id: &str| DISTRIBUTIONS.iter().find(|it| it.id == id);
    let name = format!("{} {}", field("ID"), field("VERSION_ID"));
    let Some(known) = known(field("ID")) else {
        let kin = field("ID_LIKE").split_whitespace().find_map(known);
        let words = match kin {
            Some(kin) => format!("{name} is like {}, and was not thought of", kin.name),
            None => format!("{name} was not thought of"),
        };
        return Remark::warning(object, words).advice(advice);
    };
    match version(field("VERSION_ID")) {
        // Debian's next release has no number yet.
        None => Remark::ok(object, format!("{} without a number", known.name)),
        Some(found) if found >= known.good => {
            Remark::ok(object, format!("{} {}", known.name, field("VERSION_ID")))
        }
        Some(found) if found >= known.oldest => {
            Remark::warning(object, format!("{name}: {}", known.why)).advice("see the kernel below")
        }
        Some(_) => Remark::refused(object, format!("{name} is too old: {}", known.why))
            .advice("upgrade it; `--only` with the other parts goes on all the same"),
    }
}

/// The fields of os-release(5).
fn fields(text: &str) -> BTreeMap<&str, String> {
    let lines = text.lines().map(str::trim);
    let lines = lines.filter(|line| !line.starts_with('#'));
    let pairs = lines.filter_map(|line| line.split_once('='));
    pairs
        .map(|(name, value)| (name, value.trim_matches(['"', '\'']).to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::plan::Tone::{self, Ok, Refused, Warning};

    fn release_of(id: &str, version: &str, like: &str) -> String {
        format!("NAME=\"x\"\n# ID=no\nID={id}\nVERSION_ID=\"{version}\"\nID_LIKE=\"{like}\"\n")
    }

    #[test]
    fn a_distribution_is_taken_warned_of_or_refused_by_its_release() {
        let cases: [(&str, &str, &str, Tone, &str); 12] = [
            ("debian", "12", "", Ok, "Debian 12"),
            ("debian", "13", "", Ok, "Debian 13"),
            ("debian", "", "", Ok, "without a number"),
            ("debian", "11", "", Refused, "too old"),
            ("ubuntu", "24.04", "debian", Ok, "Ubuntu 24.04"),
            ("ubuntu", "22.04", "debian", Warning, "HWE kernel"),
            ("ubuntu", "20.04", "debian", Refused, "too old"),
            ("rhel", "10.1", "fedora", Ok, "10.1"),
            ("rocky", "9.6", "rhel fedora", Refused, "5.14"),
            ("almalinux", "10.0", "rhel", Ok, "AlmaLinux"),
            (
                "linuxmint",
                "22",
                "ubuntu debian",
                Warning,
                "is like Ubuntu",
            ),
            ("arch", "", "", Warning, "was not thought of"),
        ];
        for (id, version, like, tone, words) in cases {
            let found = distribution(Some(&release_of(id, version, like)));
            assert_eq!(found.tone, tone, "{id} {version}: {found:?}");
            assert!(found.words.contains(words), "{id} {version}: {found:?}");
            assert!(tone == Ok || found.advice.is_some(), "{found:?}");
        }
        assert_eq!(distribution(None).tone, Warning);
    }

    #[test]
    fn an_old_kernel_is_refused_and_missing_types_or_systemd_are_warned_of() {
        let good = OsFacts {
            release: Some(release_of("debian", "12", "")),
            kernel: Some("6.1.0-26-amd64".into()),
            btf: true,
            bpffs: true,
            systemd: true,
            within: Some("none".into()),
            proxmox: false,
        };
        let worst = |facts: &OsFacts| plan(facts).remarks.iter().map(|it| it.tone).max();
        assert_eq!(worst(&good), Some(Ok));
        let old = OsFacts {
            kernel: Some("5.15.0-91-generic".into()),
            ..good.clone()
        };
        assert!(plan(&old).is_refused());
        for change in [
            |it: &mut OsFacts| it.btf = false,
            |it: &mut OsFacts| it.systemd = false,
            |it: &mut OsFacts| it.kernel = Some("strange".into()),
        ] {
            let mut facts = good.clone();
            change(&mut facts);
            assert_eq!(worst(&facts), Some(Warning), "{facts:?}");
        }
        assert!(plan(&good).changes.is_empty());
    }
}
