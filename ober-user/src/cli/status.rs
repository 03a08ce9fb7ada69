//! `status`.

use std::{path::Path, time::Duration};

use super::{
    Error, Json, Outcome, instance,
    screen::{Cell, Screen, Tone, many, span},
};
use crate::{
    api::{
        lacking,
        status::{
            Configuration, DataPlane, Doubt, Interface, List, Reconcile, Stage, Status, WhyGeneric,
            Worker,
            certificates::Certificates,
            gate::{self, Served},
        },
    },
    system::{clock, store::Disk},
};

pub(super) async fn run(path: &Path, json: Json, screen: &mut Screen) -> Result<Outcome, Error> {
    let status = instance::status(path).await?;
    if json.json {
        screen.json(&status)?;
    } else {
        let now = clock::since_1970();
        show(&status, now, screen)?;
    }
    Ok(if gate::all_closed(&status.gate) {
        Outcome::No
    } else {
        Outcome::Done
    })
}

fn show(status: &Status, now: Duration, screen: &mut Screen) -> Result<(), Error> {
    let is_healthy = status.is_healthy();
    let healthy = if is_healthy { "healthy" } else { "not healthy" };
    let healthy = screen.paint(healthy, Tone::of(is_healthy));
    let vips = vips(Served::of(&status.gate), screen);
    screen.line(format_args!(
        "instance {}: {healthy}{vips}, {}, version {}",
        status.instance,
        daemon(status, now),
        status.version
    ))?;
    if let Some(configuration) = &status.configuration {
        self::configuration(configuration, now, screen)?;
    }
    disk(&status.disk, now, screen)?;
    reconcile(&status.reconcile, now, screen)?;
    interfaces(status, now, screen)?;
    services(status, screen)?;
    section("workers", screen)?;
    let rows: Vec<_> = status.workers.iter().map(worker).collect();
    screen.table(
        &[
            "worker", "cpu", "process", "state", "since", "in ring", "restarts", "last end",
            "draining",
        ],
        &rows,
    )?;
    for worker in &status.workers {
        finishing(worker, now, screen)?;
    }
    processes(&status.workers, screen)?;
    outdated(status, screen)?;
    section("lists", screen)?;
    let rows: Vec<_> = status.lists.iter().map(|entry| list(entry, now)).collect();
    screen.table(
        &["list", "addresses", "last sync", "unresolved", "failure"],
        &rows,
    )?;
    unresolved(&status.lists, screen)?;
    if !status.backends.is_empty() {
        section("backends", screen)?;
        super::backends::show(&status.backends, now, screen)?;
    }
    if status.certificates != Certificates::default() {
        section("certificates", screen)?;
        super::certificates::show(&status.certificates, now, screen)?;
    }
    if status.gate.is_empty() {
        return Ok(());
    }
    section("gate", screen)?;
    super::gate::show(&status.gate, screen)
}

/// How many VIPs are served; nothing for a daemon without gates.
fn vips(Served { served, total }: Served, screen: &Screen) -> String {
    if total == 0 {
        return String::new();
    }
    let words = format!("{served} of {total} VIPs served");
    format!(", {}", screen.paint(&words, Tone::of(served == total)))
}

/// What is wrong with the files of the daemon.
fn disk(disk: &Disk, now: Duration, screen: &mut Screen) -> Result<(), Error> {
    let ago = |at| span(now.saturating_sub(Duration::from_secs(at)));
    for it in &disk.unkept {
        let line = format!(
            "in force, but not kept over a restart: {} since {}: {}",
            it.file.display(),
            ago(it.since),
            it.why
        );
        bad(line, screen)?;
    }
    for it in &disk.damaged {
        let aside = it.aside.as_ref();
        let aside = aside.map(|aside| format!(" and is now {}", aside.display()));
        let line = format!(
            "{} was damaged {} ago ({}){}; {}",
            it.file.display(),
            ago(it.at),
            it.why,
            aside.unwrap_or_default(),
            it.then
        );
        bad(line, screen)?;
    }
    Ok(())
}

/// Processes of workers that are not as they are meant to be.
fn processes(workers: &[Worker], screen: &mut Screen) -> Result<(), Error> {
    let list = |pids: &[i32]| {
        let pids: Vec<String> = pids.iter().map(ToString::to_string).collect();
        pids.join(", ")
    };
    for Worker {
        number,
        as_root,
        ends_with_service,
        ..
    } in workers
    {
        if !as_root.is_empty() {
            let root = list(as_root);
            screen.line(format_args!(
                "worker {number}: runs as root (process {root})"
            ))?;
        }
        if !ends_with_service.is_empty() {
            let ends = list(ends_with_service);
            let line = format!(
                "worker {number}: a restart of the service ends it (process {ends} is in the control group of the daemon)"
            );
            bad(line, screen)?;
        }
    }
    Ok(())
}

/// Processes that still run a program or library that was replaced on disk since they started.
fn outdated(status: &Status, screen: &mut Screen) -> Result<(), Error> {
    let workers = status
        .workers
        .iter()
        .map(|it| (format!("worker {}", it.number), &it.outdated));
    let daemon = ("the daemon".to_owned(), &status.outdated);
    for (who, files) in workers.chain([daemon]) {
        if !files.is_empty() {
            let files = files.iter().map(String::as_str).collect::<Vec<_>>();
            let files = files.join(", ");
            bad(
                format!("{who} runs what was replaced on disk since: {files}"),
                screen,
            )?;
        }
    }
    Ok(())
}

fn bad(line: String, screen: &mut Screen) -> Result<(), Error> {
    let line = screen.paint(line, Tone::Bad);
    Ok(screen.line(line)?)
}

fn configuration(of: &Configuration, now: Duration, screen: &mut Screen) -> Result<(), Error> {
    if let Some(fallback) = &of.fallback {
        let kept = span(now.saturating_sub(Duration::from_secs(fallback.kept)));
        bad(
            format!(
                "the configuration on disk was of no use at the start; snapshot {} of the history, {kept} old, is in \
                 force until `ober-user reload` takes a better one:",
                fallback.snapshot
            ),
            screen,
        )?;
        for line in fallback.error.lines() {
            bad(format!("  {line}"), screen)?;
        }
    }
    for missing in &of.missing {
        bad(format!("without what depends on it: {missing}"), screen)?;
    }
    let kept = of
        .snapshot
        .map_or("not kept".to_owned(), |number| number.to_string());
    screen.line(format_args!("configuration {kept}, text {}", of.hash))?;
    if let Some(haproxy) = &of.haproxy {
        screen.line(haproxy)?;
    }
    if let Some(doubt) = &of.doubt {
        let ago = span(now.saturating_sub(Duration::from_secs(doubt.since)));
        bad(format!("{}, {ago} ago", Doubt::WORDS), screen)?;
        for failure in &doubt.failures {
            screen.line(format_args!("  could not be put back: {failure}"))?;
        }
        screen.line("  `ober-user reload` puts everything in force again")?;
    }
    Ok(())
}

fn section(name: &str, screen: &mut Screen) -> Result<(), Error> {
    let name = screen.paint(name, Tone::Strong);
    screen.line("")?;
    Ok(screen.line(name)?)
}

fn daemon(status: &Status, now: Duration) -> String {
    match (status.pid, status.started) {
        (Some(pid), Some(started)) => {
            let up = now.saturating_sub(Duration::from_secs(started));
            format!("daemon {pid} up {}", span(up))
        }
        (Some(pid), None) => format!("daemon {pid}"),
        (None, _) => "no daemon, read from the pinned maps".into(),
    }
}

/// The last pass of the reconciler; nothing before the first.
fn reconcile(reconcile: &Reconcile, now: Duration, screen: &mut Screen) -> Result<(), Error> {
    let Some(last) = reconcile.last else {
        return Ok(());
    };
    let ago = span(now.saturating_sub(Duration::from_secs(last)));
    let took = Duration::from_micros(reconcile.microseconds);
    let mended: Vec<String> = reconcile
        .mended
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(what, count)| format!("{what} {count}"))
        .collect();
    let mended = if mended.is_empty() {
        "nothing".to_owned()
    } else {
        mended.join(", ")
    };
    Ok(screen.line(format_args!(
        "compared {ago} ago in {took:?}; set right since the start: {mended}; failures: {}",
        reconcile.failures
    ))?)
}

fn interfaces(status: &Status, now: Duration, screen: &mut Screen) -> Result<(), Error> {
    let plane = &status.data_plane;
    let adopted = if plane.adopted {
        "adopted"
    } else {
        "made by this daemon"
    };
    let steering = if plane.steering { "on" } else { "off" };
    let why = plane.steering_reason.as_ref();
    let why = why.map_or_else(String::new, |why| format!(": {why}"));
    section("data plane", screen)?;
    if status.pid.is_some() {
        screen.line(format_args!("maps {adopted}, steering {steering}{why}"))?;
    } else {
        screen.line(format_args!("steering {steering}"))?;
    }
    losses(plane, screen)?;
    let rows: Vec<_> = plane.interfaces.iter().map(interface).collect();
    let heads = [
        "interface",
        "attached",
        "runs",
        "xdp",
        "queues",
        "mtu",
        "driver",
        "driver drops",
    ];
    screen.table(&heads, &rows)?;
    for interface in &plane.interfaces {
        if interface.away {
            let name = &interface.name;
            bad(
                format!("{name} is not here; it is taken when it comes"),
                screen,
            )?;
        }
        if let Some(WhyGeneric {
            since,
            reason,
            advice,
        }) = &interface.why_generic
        {
            let ago = span(now.saturating_sub(Duration::from_secs(*since)));
            let name = &interface.name;
            screen.line(format_args!(
                "{name} has been generic for {ago}: {reason}; {advice}"
            ))?;
        }
    }
    Ok(())
}

fn interface(interface: &Interface) -> Vec<Cell> {
    let mode = if interface.native {
        "native"
    } else {
        "generic"
    };
    let known = |number: u32| match number {
        0 => "?".to_owned(),
        number => number.to_string(),
    };
    let drops = interface.driver_drops.map(|drops| drops.to_string());
    vec![
        Cell::text(&interface.name),
        asked(interface.attached, "could not ask", Tone::Bad),
        asked(interface.runs, "not seen yet", Tone::Plain),
        Cell::text(mode),
        Cell::number(known(interface.queues)),
        Cell::number(known(interface.mtu)),
        Cell::text(interface.driver.as_deref().unwrap_or("?")),
        Cell::number(drops.as_deref().unwrap_or("-")),
    ]
}

/// Packets that are lost on this node and ought not to be.
fn losses(plane: &DataPlane, screen: &mut Screen) -> Result<(), Error> {
    match plane.steer_dropped {
        Some(0) => {}
        Some(lost) => {
            let text = format!("{lost} steered packets were lost on their way to a CPU");
            let text = screen.paint(&text, Tone::Bad);
            screen.line(text)?;
        }
        None if plane.steering => {
            screen.line("steered packets that are lost on their way to a CPU are not counted")?;
        }
        None => {}
    }
    if plane.unreadable > 0 {
        let text = format!(
            "{} packets were dropped because the program could not read their headers",
            plane.unreadable
        );
        let text = screen.paint(&text, Tone::Bad);
        screen.line(text)?;
    }
    if plane.unexplained_drops > 0 {
        let drops = screen.paint(plane.unexplained_drops, Tone::Bad);
        screen.line(format_args!(
            "{drops} packets were dropped by drivers at XDP and by no program: see `ober-user doctor`"
        ))?;
    }
    Ok(())
}

fn services(status: &Status, screen: &mut Screen) -> Result<(), Error> {
    section("services", screen)?;
    let rows: Vec<_> = status
        .services
        .iter()
        .map(|service| {
            vec![
                Cell::text(&service.name),
                Cell::text(service.vip),
                Cell::number(service.port),
                Cell::text(service.list.as_deref().unwrap_or("open to all")),
                flag(service.vip_present),
            ]
        })
        .collect();
    Ok(screen.table(&["service", "vip", "port", "list", "vip here"], &rows)?)
}

fn worker(worker: &Worker) -> Vec<Cell> {
    let cpu = worker.cpu.map(|cpu| cpu.to_string()).unwrap_or_default();
    let pid = worker.pid.map(|pid| pid.to_string()).unwrap_or_default();
    let tone = match worker.state {
        Stage::Running => Tone::Good,
        Stage::Starting | Stage::Replacing => Tone::Plain,
        Stage::Stopped | Stage::Backoff => Tone::Bad,
    };
    vec![
        Cell::number(worker.number),
        Cell::number(cpu),
        Cell::number(pid),
        Cell::toned(worker.state.name(), tone),
        Cell::text(span(Duration::from_secs(worker.seconds))),
        flag(worker.in_ring),
        Cell::number(worker.restarts),
        Cell::text(worker.last_exit.as_deref().unwrap_or("-")),
        Cell::number(worker.draining.len()),
    ]
}

/// What the replaced processes of a worker still have.
fn finishing(worker: &Worker, now: Duration, screen: &mut Screen) -> Result<(), Error> {
    for it in &worker.finishing {
        let has = it.connections.map_or_else(
            || "connections that are not counted".to_owned(),
            |count| many(count, "connection"),
        );
        let age = span(now.saturating_sub(Duration::from_secs(it.since)));
        screen.line(format_args!(
            "worker {}: process {} finishes, since {age}; it still has {has}",
            worker.number, it.pid
        ))?;
    }
    Ok(())
}

/// The names of each list that could not be resolved, and why.
fn unresolved(lists: &[List], screen: &mut Screen) -> Result<(), Error> {
    for list in lists {
        for names in lacking(&list.unresolved, &[]) {
            let words = screen.paint(format_args!("not resolved: {names}"), Tone::Bad);
            screen.line(format_args!("{}: {words}", list.name))?;
        }
    }
    Ok(())
}

fn list(list: &List, now: Duration) -> Vec<Cell> {
    let ago = |at| format!("{} ago", span(now.saturating_sub(Duration::from_secs(at))));
    let unresolved = list.unresolved.len();
    let tone = if unresolved == 0 {
        Tone::Plain
    } else {
        Tone::Bad
    };
    vec![
        Cell::text(&list.name),
        Cell::number(list.count),
        Cell::text(list.synced.map_or_else(|| "never".into(), ago)),
        Cell::toned(unresolved, tone),
        match &list.error {
            Some(error) => Cell::toned(error, Tone::Bad),
            None => Cell::text("-"),
        },
    ]
}

/// `unknown`: what to say without an answer.
fn asked(known: Option<bool>, unknown: &str, tone: Tone) -> Cell {
    known.map_or_else(|| Cell::toned(unknown, tone), flag)
}

fn flag(good: bool) -> Cell {
    Cell::toned(if good { "yes" } else { "no" }, Tone::of(good))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{announce::gate::State, api::sample, cli::screen::tests::Paper};

    #[test]
    fn a_node_that_serves_none_of_its_vips_is_shown_as_not_healthy() {
        let mut status = sample::status();
        for gate in &mut status.gate {
            gate.state = State::Down;
        }
        let paper = Paper::default();
        let now = Duration::from_secs(1_700_000_065);
        show(&status, now, &mut Screen::plain(paper.clone())).unwrap();
        let text = paper.text();
        assert!(
            text.starts_with("instance main: not healthy, 0 of 1 VIPs served, "),
            "{text}"
        );
    }

    #[test]
    fn every_part_of_a_status_is_shown() {
        let paper = Paper::default();
        let now = Duration::from_secs(1_700_000_065);
        show(&sample::status(), now, &mut Screen::plain(paper.clone())).unwrap();
        let text = paper.text();
        for word in [
            "instance main: healthy, 1 of 1 VIPs served, daemon 42 up 1m 5s",
            "configuration 7, text 00f1e2d3c4b5a697",
            "snapshot 7 of the history, 1m 5s old, is in force until `ober-user reload`",
            "  ober.toml:3:1: unknown key `vip`",
            "the node is not as this configuration says: a change failed, and so did the way back, 1m 5s ago",
            "  could not be put back: attach to in0: the device is busy",
            "without what depends on it: read certificate /etc/ober/s3.pem: No such file",
            "not kept over a restart: /var/lib/ober/main/lists/a.json since 1m 5s: no space left",
            "gate.json was damaged 1m 5s ago (it is cut short) and is now /var/lib/ober/main/gate.json.damaged-1700000000",
            "HAProxy 3.2.5 with AWS-LC 1.50.0",
            "4 steered packets were lost on their way to a CPU",
            "maps made by this daemon, steering on: steer = \"cpu\"",
            "in0        yes       yes   native       4  1500  virtio_net",
            "2 packets were dropped by drivers",
            "open to all",
            "backoff",
            "signal 9",
            "worker 1: a restart of the service ends it (process 100 is in the control group of the daemon)",
            "worker 1 runs what was replaced on disk since: /usr/lib/libssl.so.3",
            "worker 1: process 99 finishes, since 1m 5s; it still has 3 connections\n",
            "the daemon runs what was replaced on disk since: /usr/sbin/ober-user",
            "frontend-http         12  1m 5s ago  1",
            "frontend-http: not resolved: n99: no such name\n",
            "10.0.0.1:7480",
            "/etc/ober/s3.pem  s3.test, *.s3.test  Test CA  in 10d 0h  s3-443",
            "not used: its private key is that of another certificate",
            "s3.test     in 1m 0s           2  the authority does not believe it",
            "worker 1 behind: HAProxy says to `commit`: no",
            "192.0.2.10  up     announced  1m 1s        2        3  2 workers answer",
        ] {
            assert!(text.contains(word), "{word} is not in\n{text}");
        }
    }

    #[test]
    fn status_says_that_no_daemon_runs() {
        let status = Status {
            pid: None,
            ..sample::status()
        };
        let paper = Paper::default();
        show(&status, Duration::ZERO, &mut Screen::plain(paper.clone())).unwrap();
        assert!(
            paper
                .text()
                .contains("no daemon, read from the pinned maps")
        );
    }
}
