//! `ober start`, `stop`, `restart` and `logs`, as an operator types them.

use super::remove::{OF_OURS, none_left};
use super::restart::{LOAD, under_load};
use super::says;
use crate::machine::node::Node;
use crate::machine::packages::Packages;
use crate::machine::serving::{self, CONFIGURATION};
use anyhow::{Result, ensure};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_mins(3);
const BROKEN: &[u8] = b"[node]\ninterfaces = front\n";
const ANNOUNCED: &str = "ober.service: 1 of 1 VIP announced";

pub(super) fn start(node: &mut Node, _: &Packages) -> Result<String> {
    node.run_within("systemctl disable --now ober", LIMIT)?;
    node.put(CONFIGURATION, BROKEN)?;
    says(&node.ends("ober start", 2)?, "interfaces")?;
    node.ends("systemctl is-active ober", 3)?;
    node.put(CONFIGURATION, serving::TEXT.as_bytes())?;
    let began = Instant::now();
    says(&node.ends("ober start", 0)?, ANNOUNCED)?;
    let took = began.elapsed();
    serving::answered(node)?;
    node.ends("systemctl is-enabled ober", 0)?;
    let daemon = serving::daemon(node)?;
    says(&node.ends("ober start", 0)?, ANNOUNCED)?;
    ensure!(
        serving::daemon(node)? == daemon,
        "a daemon that runs was started again"
    );
    node.run("ober disable")?;
    let said = node.ends("ober start --wait 30", 5)?;
    says(&said, "ober disable")?;
    node.run("ober enable")?;
    Ok(format!(
        "refused a broken file; announced after {:.1} s; a second start changed nothing; status 5 names the order that holds a VIP back",
        took.as_secs_f32()
    ))
}

/// A client that downloads for so many seconds; its unit says what became of it.
fn download(node: &mut Node, seconds: u32) -> Result<()> {
    node.run(&format!(
        "systemctl stop pull 2>/dev/null; systemctl reset-failed pull 2>/dev/null; rm -f /run/pulled; \
         systemd-run --quiet --unit=pull -p RemainAfterExit=yes -p NetworkNamespacePath=/run/netns/outside \
         curl -sS -f -o /run/pulled 'http://10.77.9.1/paced?seconds={seconds}' && sleep 3"
    ))
    .map(drop)
}

pub(super) fn stop(node: &mut Node, _: &Packages) -> Result<String> {
    download(node, 20)?;
    let began = Instant::now();
    let said = node.ends("ober stop --drain 120", 0)?;
    let whole = began.elapsed();
    node.wait(
        "the download has ended",
        "systemctl show -p SubState pull | grep -qE 'exited|failed'",
        LIMIT,
    )?;
    says(
        &node.run("systemctl show -p SubState,Result pull")?,
        "SubState=exited",
    )?;
    let size = node.run("stat -c %s /run/pulled")?;
    ensure!(size == (200 * 16384).to_string(), "{size} bytes came");
    ensure!(!said.contains("time was over"), "{said}");
    none_left(node, OF_OURS)?;
    node.ends("systemctl is-enabled ober", 0)?;

    node.ends("ober start", 0)?;
    download(node, 60)?;
    let began = Instant::now();
    let said = node.ends("ober stop --drain 5", 0)?;
    let short = began.elapsed();
    says(&said, "1 connection left when the time was over: cut")?;
    ensure!(
        short < Duration::from_secs(45),
        "it took {:.1} s",
        short.as_secs_f32()
    );
    none_left(node, OF_OURS)?;

    node.ends("ober start", 0)?;
    node.run("systemctl kill --kill-who=main --signal=STOP ober")?;
    let said = node.ends("ober stop --drain 2", 0)?;
    none_left(node, OF_OURS)?;
    says(&said, "stopped")?;
    let said = node.ends("ober stop", 0)?;
    says(&said, "0 workers dismissed")?;
    Ok(format!(
        "a download of 20 s came whole through a stop of {:.1} s; one of 60 s was cut, and said to be, by a stop of {:.1} s; a \
         daemon that hangs was stopped too; a second stop is no failure",
        whole.as_secs_f32(),
        short.as_secs_f32()
    ))
}

pub(super) fn restart(node: &mut Node, _: &Packages) -> Result<String> {
    let daemon = serving::daemon(node)?;
    node.put(CONFIGURATION, BROKEN)?;
    let said = node.ends("ober restart", 2)?;
    says(
        &said,
        "`systemctl restart ober.service` does it all the same",
    )?;
    ensure!(
        serving::daemon(node)? == daemon,
        "the daemon was restarted with a broken file"
    );
    serving::answered(node)?;
    node.put(CONFIGURATION, serving::TEXT.as_bytes())?;
    node.ends("ober restart --reload-only", 0)?;
    ensure!(
        serving::daemon(node)? == daemon,
        "--reload-only restarted the daemon"
    );
    let said = under_load(node, "ober restart", LOAD)?;
    Ok(format!("refused a broken file; {said}"))
}

pub(super) fn logs(node: &mut Node, _: &Packages) -> Result<String> {
    node.run("ober drain && ober undrain")?;
    let gate = node.ends("ober logs -n 1000 --service gate --vip 10.77.9.1", 0)?;
    says(&gate, "the gate of the VIP changed its state vip=10.77.9.1")?;
    let audit = node.ends("ober logs --since yesterday --service audit", 0)?;
    says(&audit, "an order for the gates by=0 vip=all order=drain")?;
    let json = node.ends("ober logs --json -n 1 --service gate", 0)?;
    for field in [
        "\"OBER_PART\":\"gate\"",
        "\"OBER_VIP\":\"10.77.9.1\"",
        "\"PRIORITY\":\"6\"",
        "\"_SYSTEMD_UNIT\":\"ober.service\"",
    ] {
        says(&json, field)?;
    }
    let workers = node.ends("ober logs -n 1000 --service workers", 0)?;
    ensure!(!workers.contains("the gate of the VIP"), "{workers}");
    let none = node.ends("ober logs -n 1000 --service vrrp", 0)?;
    says(&none, "No entries")?;
    says(&node.ends("ober logs -n 1000", 0)?, "Started ober.service")?;
    let followed = node.ends(
        "timeout 20 ober logs -f -n 0 --service audit & sleep 5; ober drain >/dev/null; ober undrain >/dev/null; wait",
        0,
    )?;
    says(&followed, "order=undrain")?;
    Ok(format!(
        "{} lines of the gate, {} of what an operator did, with their fields; new lines are followed",
        gate.lines().count(),
        audit.lines().count()
    ))
}
