//! The hardware watchdog: a machine whose kernel or systemd stands still is restarted by it. systemd feeds it.

use crate::host::{
    Error, Host,
    object::{Object, State},
    part::Part,
    parts::{OwnFile, home},
    plan::{PartPlan, Remark},
    platform::Platform,
    record::Record,
};

const HOME: &str = "/etc/systemd/system.conf.d";
const FILE: &str = "/etc/systemd/system.conf.d/60-ober.conf";
/// A virtual machine on a host under load was restarted in good health with 10 s: systemd feeds the watchdog, and
/// `daemon-reexec` alone took 9 s.
const VIRTUAL: &str = "30s";
const METAL: &str = "10s";
/// What systemd says when it feeds none.
const NONE: &str = "0";
/// What the answer of systemd-detect-virt is on metal.
const NOTHING: &str = "none";
const CONTAINERS: [&str; 8] = [
    "lxc",
    "lxc-libvirt",
    "systemd-nspawn",
    "docker",
    "podman",
    "openvz",
    "rkt",
    "wsl",
];

#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchdogFacts {
    pub systemd: bool,
    pub running: bool,
    /// Is there a device?
    pub device: bool,
    /// The answer of systemd-detect-virt.
    pub within: String,
    /// A host of Proxmox VE, whose watchdog-mux owns the device.
    pub proxmox: bool,
    /// What systemd feeds it within; `None`: it does not say.
    pub fed: Option<String>,
    pub file: OwnFile,
}

impl WatchdogFacts {
    fn wanted(&self) -> &'static str {
        if self.within == NOTHING {
            METAL
        } else {
            VIRTUAL
        }
    }

    fn is_container(&self) -> bool {
        CONTAINERS.contains(&self.within.as_str())
    }
}

pub async fn look<M: Platform>(host: &Host<M>, record: &Record) -> Result<WatchdogFacts, Error> {
    let within = host.machine.run(&["systemd-detect-virt"]).await;
    Ok(WatchdogFacts {
        systemd: host.has_systemd(),
        running: host.machine.is_running(),
        device: host.machine.exists("/sys/class/watchdog/watchdog0"),
        within: within.map_or_else(|_| NOTHING.to_owned(), |it| it.out),
        proxmox: host.root.exists("/etc/pve") || host.root.exists("/usr/bin/pveversion"),
        fed: fed(host).await,
        file: OwnFile::look(host, record, FILE).await?,
    })
}

async fn fed<M: Platform>(host: &Host<M>) -> Option<String> {
    let words = [
        "systemctl",
        "show",
        "--property=RuntimeWatchdogUSec",
        "--value",
    ];
    host.ask(&words).await.filter(|it| !it.is_empty())
}

pub async fn plan<M: Platform>(host: &Host<M>, facts: &WatchdogFacts) -> Result<PartPlan, Error> {
    let mut plan = PartPlan::new(Part::Watchdog);
    if !facts.running {
        return Ok(plan);
    }
    let remark = judge(facts);
    let Some(fed) = facts.fed.as_ref().filter(|_| may_set(facts)) else {
        plan.remarks.push(remark);
        return Ok(plan);
    };
    home(host, &mut plan, HOME).await?;
    let wanted = facts.wanted();
    let text = format!(
        "# Written by `ober-user bootstrap`; `ober-user bootstrap --undo` removes it.\n\
         [Manager]\nRuntimeWatchdogSec={wanted}\nRebootWatchdogSec=2min\n"
    );
    let reason = "a machine that stands still is restarted, and the other nodes take over";
    facts.file.become_text(&mut plan, Some(text), reason);
    // Where the file stays as it is, systemd reads nothing new.
    if plan.remarks.is_empty() && fed != wanted {
        plan.change(
            Object::Watchdog,
            State::value(fed),
            State::value(wanted),
            "systemd reads its files again (`systemctl daemon-reexec`)",
        );
    }
    Ok(plan)
}

/// Is there a watchdog that is bootstrap's to set?
fn may_set(facts: &WatchdogFacts) -> bool {
    let others = facts.proxmox || facts.is_container() || !facts.systemd || !facts.device;
    let fed = facts.fed.as_deref().is_some_and(|it| it != NONE);
    // One that was set by other means is left as it is.
    !others && (!fed || facts.file.ours)
}

/// How it stands with the watchdog, also for `doctor`.
pub fn judge(facts: &WatchdogFacts) -> Remark {
    let object = "watchdog";
    match &facts.fed {
        _ if facts.proxmox => Remark::ok(object, "watchdog-mux of Proxmox VE has it"),
        _ if facts.is_container() => Remark::ok(object, "a container has none: it is its host's"),
        _ if !facts.systemd => Remark::warning(object, "systemd does not run here to feed one")
            .advice("have what starts programs here feed /dev/watchdog"),
        _ if !facts.device => Remark::warning(object, "this machine has none").advice(
            "a virtual machine: give it one (QEMU: `-device i6300esb`; Proxmox VE: `qm set ID --watchdog model=i6300esb`); \
             metal: load its module (iTCO_wdt, ipmi_watchdog, ...) by a file in /etc/modules-load.d",
        ),
        Some(fed) if fed != NONE => Remark::ok(object, format!("systemd feeds it within {fed}")),
        _ => Remark::warning(object, "nothing feeds it: a machine that stands still stays so")
            .advice("`ober-user bootstrap --only watchdog`"),
    }
}

pub(crate) async fn state<M: Platform>(host: &Host<M>) -> State {
    fed(host).await.map_or(State::Absent, State::Value)
}

/// systemd reads its files again.
pub(crate) async fn put<M: Platform>(host: &Host<M>) -> Result<(), Error> {
    host.order(&["systemctl", "daemon-reexec"]).await.map(drop)
}
