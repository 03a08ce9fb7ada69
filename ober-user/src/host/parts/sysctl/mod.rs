//! Settings of the kernel: the table of what they should be, with the reason of each. `bootstrap` puts them in force and into a
//! file; `doctor` judges those in force by the same table.
//!
//! `files` reads what other files set, in the order of systemd-sysctl(8). A setting that another file makes good is left to it;
//! one that a later file makes otherwise is named and left alone.

pub mod files;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use crate::host::{
    Error, Host,
    object::{Object, State},
    part::Part,
    parts::OwnFile,
    plan::{PartPlan, Remark},
    platform::Platform,
    record::Record,
    wants::Wants,
};
use files::Assignment;

/// Where the settings are kept. After the files of distributions, before `99-`, which administrators use.
pub const FILE: &str = "/etc/sysctl.d/60-ober.conf";
const HOME: &str = "/etc/sysctl.d";
/// Ports of statistics that are kept free whatever the configuration says.
const PORTS: [u16; 2] = [8404, 8405];

/// What a value must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// Each number as large as this, or larger.
    AtLeast(&'static str),
    Exactly(&'static str),
    /// Anything but zero; if it is zero, this.
    NotZero(&'static str),
    /// A set of ports that has these and those of the configuration.
    Ports,
}

/// When a setting is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    Always,
    /// On a machine that serves nothing else.
    Dedicated,
}

#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub key: &'static str,
    pub want: Want,
    pub when: When,
    pub reason: &'static str,
}

const fn row(key: &'static str, want: Want, reason: &'static str) -> Row {
    Row {
        key,
        want,
        when: When::Always,
        reason,
    }
}

const CONGESTION: &str = "net.ipv4.tcp_congestion_control";
const AVAILABLE: &str = "net.ipv4.tcp_available_congestion_control";
/// Makes the queueing disciplines of interfaces that come up later.
pub const DEFAULT_QDISC: &str = "net.core.default_qdisc";
const PACED: &str = "fq";
const BBR: &str = "bbr";

/// Every setting.
pub const TABLE: [Row; 17] = [
    row(
        "net.core.somaxconn",
        Want::AtLeast("65535"),
        "so many new connections may wait for a worker; those beyond are dropped",
    ),
    row(
        "net.ipv4.tcp_max_syn_backlog",
        Want::AtLeast("65535"),
        "so many handshakes may be half done when many clients come at once",
    ),
    row(
        "net.core.netdev_max_backlog",
        Want::AtLeast("250000"),
        "so many packets may wait for a CPU that is busy for a moment",
    ),
    row(
        "net.core.rmem_max",
        Want::AtLeast("134217728"),
        "buffers of sockets that set their own may be as large as those of TCP",
    ),
    row(
        "net.core.wmem_max",
        Want::AtLeast("134217728"),
        "as net.core.rmem_max, for what is sent",
    ),
    row(
        "net.ipv4.tcp_rmem",
        Want::AtLeast("4096 131072 134217728"),
        "one upload over a path of 100 ms fills 10 Gbit/s only with 128 MiB of buffer",
    ),
    row(
        "net.ipv4.tcp_wmem",
        Want::AtLeast("4096 131072 134217728"),
        "as net.ipv4.tcp_rmem, for downloads",
    ),
    row(
        CONGESTION,
        Want::Exactly(BBR),
        "a download over a path that loses a packet now and then keeps its speed",
    ),
    row(
        DEFAULT_QDISC,
        Want::Exactly(PACED),
        "BBR's packets leave at its pace, and one download does not delay the others",
    ),
    row(
        "net.ipv4.tcp_slow_start_after_idle",
        Want::Exactly("0"),
        "the next object on a kept connection begins at the speed of the one before",
    ),
    row(
        "net.ipv4.tcp_mtu_probing",
        Want::NotZero("1"),
        "a connection finds the size of packets that fits where a router drops ICMP",
    ),
    row(
        "net.ipv4.ip_local_port_range",
        Want::Exactly("10240 65535"),
        "so many connections to one server and port at a time",
    ),
    row(
        "net.ipv4.ip_local_reserved_ports",
        Want::Ports,
        "no connection to a server takes a port that is listened on here",
    ),
    row(
        "net.core.bpf_jit_enable",
        Want::NotZero("1"),
        "programs that are interpreted cost several times as much a packet",
    ),
    row(
        "net.ipv4.ip_unprivileged_port_start",
        Want::AtLeast("1024"),
        "workers know the daemon by a port below 1024, so no other account may have one and reach them past the lists",
    ),
    row(
        "kernel.panic",
        Want::NotZero("10"),
        "a machine whose kernel failed restarts after so many seconds, instead of standing still",
    ),
    Row {
        key: "vm.panic_on_oom",
        want: Want::NotZero("1"),
        when: When::Dedicated,
        reason: "a machine that serves nothing else restarts when memory runs out, and the other nodes take over",
    },
];

/// The rows that count for these wants.
pub fn rows(wants: &Wants) -> impl Iterator<Item = &'static Row> {
    let dedicated = wants.dedicated;
    let rows = TABLE.iter();
    rows.filter(move |row| dedicated || row.when == When::Always)
}

impl Row {
    /// Is this value as it must be?
    pub fn is_met(&self, value: &str, wants: &Wants) -> bool {
        match self.want {
            Want::AtLeast(least) => {
                let [found, least] = [value, least].map(numbers);
                found.len() == least.len()
                    && found.iter().zip(&least).all(|(it, least)| it >= least)
            }
            Want::Exactly(exactly) => words(value) == words(exactly),
            Want::NotZero(_) => words(value) != ["0"],
            Want::Ports => ports(value).is_superset(&reserved(wants)),
        }
    }

    /// The value to set where there is this one.
    pub fn better(&self, value: &str, wants: &Wants) -> String {
        match self.want {
            Want::AtLeast(text) | Want::Exactly(text) | Want::NotZero(text) => text.to_owned(),
            Want::Ports => ranges(&ports(value).union(&reserved(wants)).copied().collect()),
        }
    }
}

fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

fn numbers(text: &str) -> Vec<u64> {
    let numbers = text.split_whitespace().map_while(|it| it.parse().ok());
    numbers.collect()
}

fn reserved(wants: &Wants) -> BTreeSet<u16> {
    let configured = wants.configured.iter().flat_map(|it| &it.ports);
    configured.copied().chain(PORTS).collect()
}

/// Ports as the kernel writes them: `80,8404-8405`.
fn ports(text: &str) -> BTreeSet<u16> {
    let range = |text: &str| {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let [first, last] = [first, last].map(|it| it.trim().parse::<u16>().ok());
        Some(first?..=last?)
    };
    text.split(',').filter_map(range).flatten().collect()
}

fn ranges(ports: &BTreeSet<u16>) -> String {
    let mut all: Vec<(u16, u16)> = Vec::new();
    for &port in ports {
        match all.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(port) => *last = port,
            _ => all.push((port, port)),
        }
    }
    let text = all.into_iter().map(|(first, last)| {
        if first == last {
            first.to_string()
        } else {
            format!("{first}-{last}")
        }
    });
    text.collect::<Vec<_>>().join(",")
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SysctlFacts {
    /// The value in force of each key of the table that the kernel has; `None`: an image, which has no kernel.
    pub live: Option<BTreeMap<&'static str, String>>,
    /// Values of the table that this kernel does not know.
    pub lacking: BTreeSet<&'static str>,
    /// What all files set, in their order; the last word holds.
    pub assigned: Vec<Assignment>,
    pub file: OwnFile,
    pub home: State,
}

pub async fn look<M: Platform>(host: &Host<M>, record: &Record) -> Result<SysctlFacts, Error> {
    Ok(SysctlFacts {
        live: host.machine.is_running().then(|| live(host)).transpose()?,
        lacking: lacking(host)?,
        assigned: files::look(&host.root)?,
        file: OwnFile::look(host, record, FILE).await?,
        home: host.look(&Object::Directory(HOME.into())).await?,
    })
}

/// The values in force.
pub fn live<M: Platform>(host: &Host<M>) -> Result<BTreeMap<&'static str, String>, Error> {
    let mut found = BTreeMap::new();
    for row in TABLE.iter().filter(|it| host.machine.is_settable(it.key)) {
        if let Some(value) = host.setting(row.key)? {
            found.insert(row.key, value);
        }
    }
    Ok(found)
}

/// Which of the table's values are modules that this kernel has not.
pub fn lacking<M: Platform>(host: &Host<M>) -> Result<BTreeSet<&'static str>, Error> {
    let Some(release) = host.setting("kernel.osrelease")? else {
        return Ok(BTreeSet::new());
    };
    let available = host.setting(AVAILABLE)?.unwrap_or_default();
    let set = host.setting(DEFAULT_QDISC)?.unwrap_or_default();
    let mut lacking = BTreeSet::new();
    if !words(&available).contains(&BBR) && !has_module(host, &release, "tcp_bbr")? {
        lacking.insert(BBR);
    }
    if set != PACED && !has_module(host, &release, "sch_fq")? {
        lacking.insert(PACED);
    }
    Ok(lacking)
}

fn has_module<M: Platform>(host: &Host<M>, release: &str, name: &str) -> Result<bool, Error> {
    let file = format!("/{name}.ko");
    for list in ["modules.dep", "modules.builtin"] {
        let text = host.root.read(format!("/lib/modules/{release}/{list}"))?;
        if text.is_some_and(|text| text.contains(&file)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What is to become of one setting.
struct Course {
    /// A line for the file.
    line: Option<String>,
    live: Option<String>,
    remark: Option<Remark>,
}

pub fn plan(facts: &SysctlFacts, wants: &Wants) -> PartPlan {
    let mut plan = PartPlan::new(Part::Sysctl);
    let (mut lines, mut live) = (Vec::new(), Vec::new());
    for row in rows(wants) {
        let found = facts.live.as_ref().map(|it| it.get(row.key));
        // The kernel has none: a network namespace does not have those of the whole machine.
        if found == Some(None) {
            continue;
        }
        let course = course(row, facts, wants, found.flatten());
        lines.extend(course.line);
        plan.remarks.extend(course.remark);
        let found = found
            .flatten()
            .filter(|it| Some(*it) != course.live.as_ref());
        live.extend(found.zip(course.live).map(|change| (row, change)));
    }
    let text = (!lines.is_empty()).then(|| format!("{HEAD}{}", lines.concat()));
    if text.is_some() && facts.home.is_absent() {
        let wanted = State::Directory(crate::host::object::Rights::of_root(0o755));
        let object = Object::Directory(HOME.into());
        plan.change(object, State::Absent, wanted, "the file below goes here");
    }
    facts.file.become_text(
        &mut plan,
        text,
        "the settings, for every start of the machine",
    );
    for (row, (before, after)) in live {
        let object = Object::Sysctl(row.key.to_owned());
        plan.change(
            object,
            State::value(before),
            State::value(after),
            row.reason,
        );
    }
    plan
}

const HEAD: &str = "# Written by `ober-user bootstrap`, which leaves this file alone once it was changed by other means.\n\
# `ober-user bootstrap --undo` removes it. To set one of these otherwise, write a file with a later name.\n";

fn course(row: &Row, facts: &SysctlFacts, wants: &Wants, live: Option<&String>) -> Course {
    let none = Course {
        line: None,
        live: None,
        remark: None,
    };
    if let Want::Exactly(value) = row.want
        && facts.lacking.contains(value)
    {
        let words = format!("this kernel has no {value}");
        let remark = Remark::warning(row.key, words)
            .advice("take a kernel of a distribution; without it connections work, and are slower");
        return Course {
            remark: Some(remark),
            ..none
        };
    }
    let others = facts.assigned.iter().filter(|it| !it.is_ours());
    let said = others.rev().find(|it| it.sets(row.key));
    let met = |value: &str| row.is_met(value, wants);
    match said {
        Some(said) if met(&said.value) => Course {
            live: live.filter(|it| !met(it)).map(|_| said.value.clone()),
            ..none
        },
        Some(said) if said.comes_later() => {
            let words = format!("{said} sets it to {}, after {FILE}", said.value);
            let wanted = row.better(&said.value, wants);
            let remark = Remark::warning(row.key, words).advice(format!(
                "set it to {wanted} there, or take the line out: {}",
                row.reason
            ));
            Course {
                remark: Some(remark),
                ..none
            }
        }
        _ => {
            let value = row.better(said.map_or("", |it| &it.value), wants);
            Course {
                line: Some(format!("\n# {}\n{} = {value}\n", row.reason, row.key)),
                live: live.filter(|it| !met(it)).map(|it| row.better(it, wants)),
                remark: None,
            }
        }
    }
}
