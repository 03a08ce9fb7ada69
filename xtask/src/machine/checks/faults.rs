//! Faults of the machine around the daemon.

use super::restart::LOAD;
use super::says;
use crate::machine::node::Node;
use crate::machine::packages::Packages;
use crate::machine::serving::{self, ANSWERED, Load};
use anyhow::{Context, Result, ensure};
use std::time::Duration;

const LIMIT: Duration = Duration::from_mins(3);

/// Has clients download and ask while something happens; returns what they counted, which is clean.
fn during(node: &mut Node, what: &str) -> Result<String> {
    let load = Load::start(node, LOAD)?;
    node.run("sleep 3")?;
    node.ends(what, 0)?;
    let result = load.finish(node)?;
    ensure!(result.is_clean(), "`{what}`; clients: {result}");
    Ok(result.to_string())
}

pub(super) fn reexec(node: &mut Node, _: &Packages) -> Result<String> {
    let before = (serving::daemon(node)?, serving::workers(node)?);
    let result = during(node, "systemctl daemon-reexec")?;
    let after = (serving::daemon(node)?, serving::workers(node)?);
    ensure!(before == after, "{before:?} became {after:?}");
    // systemd fed the watchdog's clock meanwhile: the daemon is not ended by it later.
    node.run("sleep 35; systemctl show -p NRestarts ober | grep -x NRestarts=0")?;
    Ok(format!("the same daemon and workers; {result}"))
}

pub(super) fn late(node: &mut Node, _: &Packages) -> Result<String> {
    node.run("systemctl stop ober && ip link set front down && ip link set front name away")?;
    node.run_within("systemctl start ober", LIMIT)?;
    node.run("systemctl is-active ober")?;
    let said = node.ask("ober status 2>&1")?.output;
    says(&said, "front")?;
    let status = node.ask("ober status --json")?.output;
    says(&status, "\"away\":true")?;
    node.run(
        "ip link set away name front && ip link set front up && ip address replace 10.77.0.10/24 dev front",
    )?;
    let took = node.wait("the VIP is served", ANSWERED, LIMIT)?;
    Ok(format!(
        "started and said so; served {:.1} s after the interface came",
        took.as_secs_f32()
    ))
}

pub(super) fn oom(node: &mut Node, _: &Packages) -> Result<String> {
    let daemon = serving::daemon(node)?;
    let workers = serving::workers(node)?;
    let victim = workers.first().context("no worker runs")?;
    let scope = node.run(&format!("basename $(cut -d : -f 3 /proc/{victim}/cgroup)"))?;
    node.run(&format!(
        "systemctl set-property --runtime {scope} MemorySwapMax=0 MemoryMax=1M"
    ))?;
    // It asks for memory when clients come.
    let killed = format!("for i in $(seq 20); do {ANSWERED} || :; done; ! test -d /proc/{victim}");
    node.wait("the kernel has killed the worker", &killed, LIMIT)?;
    node.run("journalctl -k | grep -i 'out of memory\\|oom-kill'")?;
    let two = "test $(pgrep -fc '[h]aproxy -db -f /run/ober/main/') = 2";
    let took = node.wait("another worker runs", two, LIMIT)?;
    node.wait("the VIP is served", ANSWERED, LIMIT)?;
    ensure!(
        serving::daemon(node)? == daemon,
        "the daemon is another process"
    );
    Ok(format!(
        "replaced {:.1} s after its end, the same daemon",
        took.as_secs_f32()
    ))
}

pub(super) fn full(node: &mut Node, _: &Packages) -> Result<String> {
    node.run("ober acl add frontend-http 10.77.0.99")?;
    let before = node.run("ober acl show frontend-http")?;
    node.run(
        "dd if=/dev/zero of=/var/full bs=1M 2>/dev/null; dd if=/dev/zero of=/var/full.2 bs=1k 2>/dev/null; true",
    )?;
    let refused = node.ask("ober acl add frontend-http 10.77.0.100 2>&1")?;
    ensure!(
        refused.status != 0,
        "an address was added that no disk has: {}",
        refused.output
    );
    says(&refused.output, "No space left on device")?;
    let same = node.run("ober acl show frontend-http")?;
    ensure!(before == same, "the list was {before} and is {same}");
    serving::answered(node)?;
    // systemd itself starts nothing that has a `/tmp` of its own while the disk is full.
    node.run("rm /var/full /var/full.2")?;
    node.run_within("systemctl restart ober", LIMIT)?;
    node.wait("the VIP is served", ANSWERED, LIMIT)?;
    let same = node.run("ober acl show frontend-http")?;
    ensure!(
        before == same,
        "after a restart the list was {before} and is {same}"
    );
    node.run("ober acl add frontend-http 10.77.0.100")?;
    Ok(
        "the change was refused, the list stayed and the VIP was served; with room a restart had the list and the change was taken"
            .to_owned(),
    )
}

pub(super) fn haproxy(node: &mut Node, _: &Packages) -> Result<String> {
    let workers = serving::workers(node)?;
    // As dpkg does it: another file under the name.
    node.run("cp -p /usr/sbin/haproxy /usr/sbin/haproxy.new && mv /usr/sbin/haproxy.new /usr/sbin/haproxy")?;
    let outdated = "ober status --json | grep -q '\"outdated\":\\[\"[^]]*haproxy'";
    let seen = node.wait("status shows it", outdated, LIMIT)?;
    let result = during(node, "ober restart --workers")?;
    let after = serving::workers(node)?;
    ensure!(
        workers.iter().all(|pid| !after.contains(pid)),
        "{workers:?} became {after:?}"
    );
    node.wait("status shows it no more", &format!("! {outdated}"), LIMIT)?;
    Ok(format!(
        "shown after {:.1} s; replaced one at a time; {result}",
        seen.as_secs_f32()
    ))
}
