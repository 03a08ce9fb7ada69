//! A whole daemon as VRRP master and keepalived as the other node: killed, frozen and thawed.

use std::{
    fs,
    thread::{self, sleep},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use ober_programs::IP;
use ober_tests::{
    lab::{VIP4, until},
    nodes::vrrp::{ADVERTISEMENT, SharedVip, unhurried},
    peers::Keepalived,
};

/// How long a change of master may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// The daemon is master, keepalived its backup.
fn master(name: &str) -> Result<(SharedVip, Keepalived)> {
    let mut stage = SharedVip::new(name, [200, 100])?;
    let peer = stage.keepalived(100)?;
    stage.start(0)?;
    stage.until_master(0, PATIENCE)?;
    Ok((stage, peer))
}

fn signal(stage: &mut SharedVip, signal: Signal) -> Result<()> {
    let daemon = stage.ober[0].daemon.as_mut();
    daemon.context("no daemon on node 0")?.signal(signal)
}

fn keepalived_has_it(stage: &SharedVip) -> Result<Duration> {
    let began = Instant::now();
    until("the VIP is at keepalived", PATIENCE, || {
        Ok(stage.holds(1)?.then_some(()))
    })?;
    Ok(began.elapsed())
}

/// How long both nodes had the VIP at once while `watched` went by, asked again and again.
fn both_had_it(stage: &SharedVip, watched: Duration) -> Result<Duration> {
    let (began, mut both) = (Instant::now(), Duration::ZERO);
    let mut before = began;
    while began.elapsed() < watched {
        let two = stage.holds(0)? && stage.holds(1)?;
        let now = Instant::now();
        if two {
            both += now - before;
        }
        before = now;
        sleep(Duration::from_millis(1));
    }
    Ok(both)
}

#[test]
fn keepalived_takes_over_from_a_killed_daemon_whose_address_expires_by_itself() -> Result<()> {
    let (mut stage, _peer) = master("vrrp-kill")?;
    stage.ober[0].kill()?;
    let took = keepalived_has_it(&stage)?;
    println!("killed: at keepalived after {took:?}");
    // Only the kernel is left to remove the address.
    stage.until_master(1, PATIENCE)?;
    // The same node again, whose workers never stopped.
    stage.start(0)?;
    stage.until_master(0, PATIENCE)
}

#[test]
fn a_frozen_daemon_loses_its_address_and_takes_it_back_when_resumed_without_two_masters()
-> Result<()> {
    let (mut stage, _peer) = master("vrrp-freeze")?;
    signal(&mut stage, Signal::SIGSTOP)?;
    let took = keepalived_has_it(&stage)?;
    println!("frozen: at keepalived after {took:?}");
    stage.until_master(1, PATIENCE)?;
    // Frozen for so long that nothing it remembers is true any more.
    sleep(Duration::from_secs(2));
    let both = thread::scope(|scope| -> Result<Duration> {
        let watch = scope.spawn(|| both_had_it(&stage, Duration::from_secs(5)));
        sleep(Duration::from_millis(300));
        let daemon = stage.ober[0].daemon.as_ref().context("no daemon")?;
        let pid = nix::unistd::Pid::from_raw(i32::try_from(daemon.pid())?);
        nix::sys::signal::kill(pid, Signal::SIGCONT)?;
        watch.join().expect("no panic")
    })?;
    println!("thawed: both had it for {both:?}");
    // RFC 9568 section 6.4.3: the lower priority gives way at the first advertisement. The limit is a backup's wait, which is
    // the most that two masters may take to notice each other, and time for a busy machine.
    let patience = ADVERTISEMENT * 3 + ADVERTISEMENT * (256 - 100) / 256;
    ensure!(both < patience + Duration::from_millis(400), "{both:?}");
    stage.until_master(0, PATIENCE)?;
    let client = stage.secure();
    stage
        .pair
        .client
        .tokio(async || client.create_bucket("thawed").await)??;
    Ok(())
}

#[test]
fn a_daemon_resumed_before_its_address_expired_becomes_master_again() -> Result<()> {
    let (mut stage, _peer) = master("vrrp-nap")?;
    for _ in 0..3 {
        signal(&mut stage, Signal::SIGSTOP)?;
        // Much longer than keepalived waits, much shorter than an address lasts.
        keepalived_has_it(&stage)?;
        signal(&mut stage, Signal::SIGCONT)?;
        stage.until_master(0, PATIENCE)?;
    }
    Ok(())
}

#[test]
fn a_stopped_daemon_gives_the_address_up_at_once() -> Result<()> {
    let (mut stage, _peer) = master("vrrp-stop")?;
    stage.ober[0].stop()?;
    ensure!(
        !stage.holds(0)?,
        "the stop is over and the address still there"
    );
    stage.until_master(1, PATIENCE)?;
    Ok(())
}

/// The text of a configuration in which the services have these further VIPs and the virtual routers those.
fn with_vips(text: &str, services: &[&str], instance: &[&str], more: &str) -> Result<String> {
    let vip = format!("\"{VIP4}\"");
    let list = |more: &[&str]| {
        let more = more.iter().map(|vip| format!(", \"{vip}\""));
        format!("[{vip}{}]", more.collect::<String>())
    };
    let (head, tail) = text.split_once("[vrrp]").context("no section [vrrp]")?;
    let head = head.replace(&format!("[{vip}]"), &list(services));
    let tail = tail
        .replace(&format!("[{vip}]"), &list(instance))
        .replace("peers = [", "peers = [\"fd77::99\", ");
    Ok(format!("{head}[vrrp]{tail}\n{more}").replace("source = [", "source = [\"fd77::1\", "))
}

/// Has node 0 this address on its inner interface?
fn has_address(stage: &SharedVip, vip: &str) -> Result<bool> {
    let mut ip = IP.command();
    let shown = stage
        .node(0)
        .output(ip.args(["-o", "addr", "show", "dev", "in0"]))?;
    Ok(String::from_utf8(shown.stdout)?.contains(&format!(" {vip}/")))
}

/// Has an address left the inner interface, by the log of `ip monitor`?
fn has_left(log: &str, vip: &str) -> bool {
    let mut gone = log.lines().filter(|line| line.starts_with("Deleted"));
    gone.any(|line| line.contains(&format!(" {vip}/")) && line.contains(" in0 "))
}

/// A reload adds VIPs and takes them away again, while the VIP that was there before stays master's without a gap.
#[test]
fn a_vip_that_joins_a_virtual_router_interrupts_no_other_in_either_family() -> Result<()> {
    let mut stage = SharedVip::new("vrrp-join", [200, 100])?;
    let (served, new, six) = ("10.77.9.20", "10.77.9.30", "fd77:9::10");
    let text = unhurried(&fs::read_to_string(&stage.ober[0].config)?);
    let v6 = format!("[[vrrp.instances]]\nvips = [\"{six}\"]\nvrid = 61\npriority = 200\n");
    let with = |services: &[&str], instance: &[&str], more: &str| {
        with_vips(&text, services, instance, more)
    };
    fs::write(&stage.ober[0].config, with(&[served], &[], "")?)?;
    stage.start(0)?;
    stage.until_master(0, PATIENCE)?;
    let mut watch = IP.command();
    let watch = stage
        .node(0)
        .spawn(watch.args(["-o", "monitor", "address"]))?;
    let both = [served, new];
    let all = [served, new, six];
    let changes = [
        (
            "served and up, it joins",
            with(&[served], &[served], "")?,
            served,
            true,
        ),
        ("new, it joins", with(&both, &both, "")?, new, true),
        ("the first IPv6 one", with(&all, &both, &v6)?, six, true),
        ("the IPv6 one leaves", with(&both, &both, "")?, six, false),
        (
            "one leaves for good",
            with(&[served], &[served], "")?,
            new,
            false,
        ),
        (
            "one is no longer VRRP's",
            with(&[served], &[], "")?,
            served,
            false,
        ),
    ];
    for (what, config, vip, comes) in changes {
        fs::write(&stage.ober[0].config, &config)?;
        stage.cli(0, &["reload"]).context(what)?;
        let done = || Ok((has_address(&stage, vip)? == comes).then_some(()));
        until(what, PATIENCE, done)?;
        let log = watch.log();
        let status = stage.ober[0].status(stage.node(0))?;
        ensure!(
            !has_left(&log, &VIP4.to_string()),
            "{what}: {log}{:#?}",
            status.vrrp
        );
    }
    ensure!(stage.holds(0)?);
    let status = stage.ober[0].status(stage.node(0))?;
    let became = status.vrrp.routers[0].transitions_to_master;
    ensure!(became == 1, "{:?}", status.vrrp);
    // It is an ordinary address of the node now, and the status knew it while VRRP held it.
    let mut services = status.services.iter();
    ensure!(
        services.all(|service| service.vip_present),
        "{:?}",
        status.services
    );
    Ok(())
}
