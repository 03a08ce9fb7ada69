//! The package is taken off again.

use crate::machine::node::Node;
use crate::machine::packages::Packages;
use crate::machine::serving::{self, BEFORE, CONFIGURATION, MARK};
use anyhow::{Result, ensure};
use std::time::Duration;

const LIMIT: Duration = Duration::from_mins(3);
/// Where Debian's own programs, and those of the machine, write while a package comes and goes. `passwd` and `group` have the
/// account of the workers, which Debian's policy leaves in place.
const OTHERS: &str = "^/(usr/local/lib/machine|var/lib/dpkg|var/lib/apt|var/lib/systemd|var/log|var/cache/(apt|debconf|ldconfig)|var/tmp|root|tmp|run)(/|$)\
                      |^/etc/(passwd|group|shadow|gshadow)-?$|^/etc/\\.pwd\\.lock$|^/etc/ld\\.so\\.cache$";

pub(super) fn remove(node: &mut Node, _: &Packages) -> Result<String> {
    let took = node.timed("dpkg --remove ober", LIMIT)?;
    nothing_runs(node)?;
    node.run(&format!("test -s {CONFIGURATION}"))?;
    node.run("test ! -e /usr/bin/ober")?;
    Ok(format!(
        "dpkg {:.1} s; no process, program, pin or VIP; {CONFIGURATION} is kept",
        took.as_secs_f32()
    ))
}

pub(super) fn purge(node: &mut Node, _: &Packages) -> Result<String> {
    let took = node.timed("dpkg --purge ober", LIMIT)?;
    nothing_is_left(node)?;
    Ok(format!(
        "dpkg {:.1} s; no process, program, pin or VIP, and no file that was not there before",
        took.as_secs_f32()
    ))
}

/// What `bootstrap` may have changed of the running machine. The kernel keeps the module of a congestion control that was asked for
/// once: that it is available stays.
pub(super) const CHANGEABLE: &str = "sysctl -a 2>/dev/null | grep -E '^(net.core|net.ipv4.tcp|net.ipv4.ip_|kernel.panic |vm.panic)' \
                                     | grep -vE 'tcp_(available|allowed)_congestion_control'; \
                                     tc qdisc show dev front | cut -d ' ' -f 2; systemctl show -p RuntimeWatchdogUSec";

/// After `bootstrap`, in service: one command leaves what was there before.
pub(super) fn uninstall(node: &mut Node, _: &Packages) -> Result<String> {
    let before = node.run(CHANGEABLE)?;
    node.run_within("ober-user bootstrap -y", LIMIT)?;
    let changed = node.run(CHANGEABLE)?;
    ensure!(before != changed, "bootstrap changed nothing: {before}");
    let took = node.timed("ober-user uninstall -y >/root/said", LIMIT)?;
    nothing_is_left(node)?;
    let after = node.run(CHANGEABLE)?;
    ensure!(
        before == after,
        "the machine was so: {before}\nand is so: {after}"
    );
    node.run("test -x /usr/sbin/haproxy && grep 'HAProxy stays installed' /root/said")?;
    Ok(format!(
        "{:.1} s; no process, program, pin or VIP, no file and no setting that was not there before; HAProxy stays",
        took.as_secs_f32()
    ))
}

/// As on a machine that never had the package.
pub(super) fn nothing_is_left(node: &mut Node) -> Result<()> {
    nothing_runs(node)?;
    let newer = format!("find / -xdev -newer {MARK} ! -type d | grep -vE '{OTHERS}'");
    let newer = node.ask_within(&newer, LIMIT)?.output;
    ensure!(
        newer.is_empty(),
        "files are left that are newer than the installation:\n{newer}"
    );
    let more = format!(
        "{} | comm -13 {BEFORE} - | grep -vE '{OTHERS}'",
        serving::PATHS
    );
    let more = node.ask_within(&more, LIMIT)?.output;
    ensure!(
        more.is_empty(),
        "files are left that were not there before:\n{more}"
    );
    let less = format!(
        "{} | comm -23 {BEFORE} - | grep -vE '{OTHERS}'",
        serving::PATHS
    );
    let less = node.ask_within(&less, LIMIT)?.output;
    ensure!(
        less.is_empty(),
        "files are gone that were there before:\n{less}"
    );
    Ok(())
}

/// What a daemon that serves has on the machine, each with a command that shows it.
pub(super) const OF_OURS: &[(&str, &str)] = &[
    ("processes", "pgrep -af '[o]ber-user|[h]aproxy -db'"),
    (
        "pins",
        "find /sys/fs/bpf -mindepth 1 -type f | grep -v -E '/(maps|progs).debug$'",
    ),
    (
        "programs on interfaces",
        "ip link show | grep -E 'xdp|prog/'",
    ),
    ("VIPs", "ip address show | grep 10.77.9.1"),
];

/// No process of ours, nothing in the kernel, no address.
pub(super) fn nothing_runs(node: &mut Node) -> Result<()> {
    none_left(node, OF_OURS)?;
    let more = [
        (
            "pins",
            "find /sys/fs/bpf -mindepth 1 | grep -v -E '/(maps|progs).debug$'",
        ),
        ("interfaces", "ip link show | grep ober-"),
        ("units", "systemctl list-units --plain --no-legend 'ober*'"),
        ("scopes", "ls -d /sys/fs/cgroup/ober* 2>/dev/null"),
    ];
    none_left(node, &more)
}

/// None of these commands shows anything.
pub(super) fn none_left(node: &mut Node, what: &[(&str, &str)]) -> Result<()> {
    for (what, command) in what {
        let left = node.ask(command)?.output;
        ensure!(left.trim().is_empty(), "{what} are left: {left}");
    }
    Ok(())
}
