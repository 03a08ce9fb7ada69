//! `stop`: gives the VIPs up, waits for connections, has systemd stop the daemon, and takes workers and programs away.

use std::{path::Path, time::Duration};

use clap::Args;
use serde::Serialize;
use tokio::{select, time::sleep};

use super::{
    Error, Json, Outcome,
    client::{self, Line},
    countdown::Countdown,
    detach,
    instance::Instance,
    screen::{Screen, Tone, many, note, warn},
    unit::{self, Service, UnitName, require_systemd},
};
use crate::{
    api::{Reply, Stream},
    config::Config,
    daemon::{
        self, Detached,
        connections::{self, Which},
    },
    haproxy::Left,
    machine::drive,
    protocols::vrrp::configured::Vrrp,
    system::privilege,
};

const AFTER: &str = "Neighbours are asked to prefer other nodes (BGP's community GRACEFUL_SHUTDOWN, VRRP's priority 0), and \
connections may end until the time is over. A connection whose packets now reach another node is cut, since that node does \
not know it. What --drain ordered is kept nowhere: when the command is ended before, the VIPs are announced again. The unit \
stays enabled: the daemon starts again with the machine, unless `systemctl disable` says otherwise. Exit status: 0 stopped; 1 \
failed; 2 wrong usage or bad configuration.";

const INSTEAD: &str = "end the daemon with SIGTERM, then `ober-user detach`";

/// Between two counts of the connections.
const PACE: Duration = Duration::from_millis(500);
/// For so long there must be no connection: neighbours need a moment to follow, and clients come meanwhile.
const QUIET: Duration = Duration::from_secs(2);
/// How long systemd may need to start another daemon in place of one that ended.
const AGAIN: Duration = Duration::from_secs(10);
/// How long the end of a process may take after systemd has called it stopped.
const FAREWELL: Duration = Duration::from_secs(2);

#[derive(Debug, Args)]
#[command(after_help = AFTER)]
pub(super) struct Stop {
    /// How long connections may take to end; a bare number counts seconds
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = detach::time)]
    drain: Duration,
    /// Wait for no connection: all of them are cut
    #[arg(long, conflicts_with = "drain")]
    force: bool,
    #[command(flatten)]
    unit: UnitName,
    #[command(flatten)]
    json: Json,
}

/// The answer in JSON.
#[derive(Debug, Serialize)]
struct Stopped {
    unit: String,
    /// Did the daemon give its VIPs up before it was stopped?
    given_up: bool,
    /// Connections that were there when the time was over, and are cut; `null`: the kernel did not say.
    left: Option<usize>,
    #[serde(flatten)]
    detached: Detached,
}

impl Stop {
    pub(super) async fn run(self, path: &Path, screen: &mut Screen) -> Result<Outcome, Error> {
        require_systemd("stop the daemon", INSTEAD)?;
        let service = self.unit.service(path)?;
        privilege::require(&privilege::DATA_PLANE)?;
        let instance = Instance::find(path).await?;
        let config = instance.config().await?;
        let drain = if self.force {
            Duration::ZERO
        } else {
            self.drain
        };
        same_daemon(&service, &instance).await?;
        let mut leaving = None;
        if !drain.is_zero() && attracts(config) {
            leaving = give_up(&instance, config, drain).await;
        }
        let mut countdown = Countdown::begin(drive::now() + drain);
        if let Some(line) = leaving.take() {
            leaving = until_quiet(&instance, config, line, &mut countdown).await;
        }
        let before = connections::count(config, Which::All).await;
        stop(&service, &instance, &countdown).await?;
        let given_up = leaving.take().is_some();
        if !given_up {
            // The workers served on until now: a daemon that hangs takes systemd long.
            countdown.until(drive::now() + drain);
        }
        let (detached, found) = take_away(config, &mut countdown).await;
        let is_over = countdown.left().is_zero();
        countdown.end();
        let detached = detached?;
        let left = cut(is_over, found, before);
        let stopped = Stopped {
            unit: service.unit,
            given_up,
            left,
            detached,
        };
        if self.json.json {
            screen.json(&stopped)?;
        } else {
            stopped.show(instance.name(), screen)?;
        }
        Ok(Outcome::Done)
    }
}

impl Stopped {
    fn show(&self, instance: &str, screen: &mut Screen) -> Result<(), Error> {
        let what = format!("{} stopped", self.unit);
        detach::show(instance, &what, &self.detached, screen)?;
        let words = match self.left {
            Some(0) => return Ok(()),
            Some(left) => format!(
                "{} left when the time was over: cut",
                many(left, "connection")
            ),
            None => "the kernel does not say how many connections were cut".to_owned(),
        };
        let words = screen.paint(words, Tone::Bad);
        Ok(screen.line(words)?)
    }
}

/// How many connections were cut: none if the workers ended in time, else as many as were `found` while they finished; where
/// they had no time for that, as many as there were `before`.
fn cut(is_over: bool, found: Option<usize>, before: Option<usize>) -> Option<usize> {
    if is_over { found.or(before) } else { Some(0) }
}

/// Refuses to stop a unit that does not run the daemon that answers: the VIPs of another one would be given up. The kernel names
/// the process, so a daemon that hangs is known too. One that ends may have its socket for a moment more than its unit.
async fn same_daemon(service: &Service, instance: &Instance) -> Result<(), Error> {
    let end = drive::now() + FAREWELL;
    loop {
        let line = instance.connect().await.ok().flatten();
        let Some(pid) = line.and_then(|mut line| line.pid()) else {
            return Ok(());
        };
        let main = service.main_pid().await?;
        if main == Some(pid) {
            return Ok(());
        }
        if drive::now() >= end {
            let runs = main.map_or_else(|| "no process".to_owned(), |pid| format!("process {pid}"));
            let (instance, unit) = (instance.name().to_owned(), service.unit.clone());
            return Err(unit::Error::Other {
                instance,
                pid,
                unit,
                runs,
            }
            .into());
        }
        sleep(PACE).await;
    }
}

/// Does a protocol bring clients here, which may bring them elsewhere?
fn attracts(config: &Config) -> bool {
    config.bgp.is_some() || config.vrrp.is_some()
}

/// Has the daemon give every VIP up, for as long as the connection to it is open. A daemon that cannot is stopped all the same.
async fn give_up(instance: &Instance, config: &Config, drain: Duration) -> Option<Line> {
    match ask(instance, drain).await {
        Ok(line) => {
            let shared = config.vrrp.iter().flat_map(Vrrp::vips).count();
            let at_once = match shared {
                0 => String::new(),
                _ => "; those of VRRP are cut at once, since another node takes the VIP".to_owned(),
            };
            note(format_args!(
                "neighbours are asked to prefer other nodes; connections that reach another node now are cut{at_once}"
            ));
            Some(line)
        }
        Err(why) => {
            warn(format_args!(
                "the VIPs are not given up before the stop: {why}"
            ));
            None
        }
    }
}

async fn ask(instance: &Instance, drain: Duration) -> Result<Line, String> {
    let line = instance
        .connect()
        .await
        .map_err(|error| error.to_string())?;
    let mut line = line.ok_or("no daemon answers")?;
    let seconds = drain.as_secs().max(1);
    let asked = line.begin(&Stream::Leave { seconds }).await;
    match asked.map_err(|error| error.to_string())? {
        Ok(Reply::Gate(_)) => Ok(line),
        Ok(_) => Err(client::Error::Astray.to_string()),
        Err(failure) => Err(failure.message),
    }
}

/// Waits until no client is connected, or the time is over. A daemon that ends meanwhile forgets the order, so the one that
/// systemd starts in its place is asked again. `None`: no VIP is given up at the end.
async fn until_quiet(
    instance: &Instance,
    config: &Config,
    mut line: Line,
    countdown: &mut Countdown,
) -> Option<Line> {
    loop {
        let why = select! {
            () = quiet(config, countdown) => return Some(line),
            why = line.ended() => why,
        };
        countdown.warn(format_args!(
            "the daemon does not give the VIPs up any more: {why}; asking again"
        ));
        line = again(instance, countdown).await?;
    }
}

/// Asks until a daemon answers, for no longer than systemd needs to start another.
async fn again(instance: &Instance, countdown: &Countdown) -> Option<Line> {
    let end = drive::now() + AGAIN.min(countdown.left());
    loop {
        match ask(instance, countdown.left()).await {
            Ok(line) => return Some(line),
            Err(why) if drive::now() >= end => {
                countdown.warn(format_args!("the VIPs are not given up: {why}"));
                return None;
            }
            Err(_) => sleep(PACE).await,
        }
    }
}

async fn quiet(config: &Config, countdown: &mut Countdown) {
    let mut quiet_since = None;
    loop {
        let count = connections::count(config, Which::Waited).await;
        let now = drive::now();
        countdown.show(count);
        let since = (count == Some(0)).then(|| quiet_since.unwrap_or(now));
        let is_quiet = since.is_some_and(|since| now.saturating_duration_since(since) >= QUIET);
        if is_quiet || countdown.left().is_zero() {
            return;
        }
        quiet_since = since;
        sleep(PACE.min(countdown.left())).await;
    }
}

/// Has systemd stop the unit. Where no daemon answers, a unit that cannot be stopped is no reason to leave the rest.
async fn stop(service: &Service, instance: &Instance, countdown: &Countdown) -> Result<(), Error> {
    countdown.say(format!("systemctl stop {}", service.unit));
    let done = service.order(&["stop"]).await;
    let is_there = answers(instance).await;
    match done {
        Ok(()) if is_there => Err(unit::Error::Another {
            instance: instance.name().to_owned(),
            unit: service.unit.clone(),
        }
        .into()),
        Ok(()) => Ok(()),
        Err(error) if is_there => Err(error.into()),
        Err(error) => {
            countdown.warn(format_args!("{error}; no daemon answers, going on"));
            Ok(())
        }
    }
}

/// Does a daemon still answer? One that ends may have its socket for a moment more.
async fn answers(instance: &Instance) -> bool {
    let end = drive::now() + FAREWELL;
    while !matches!(instance.connect().await, Ok(None)) {
        if drive::now() >= end {
            return true;
        }
        sleep(PACE).await;
    }
    false
}

/// Dismisses the workers, which may finish for what is left of the time, and takes programs, pins and VIPs away. The
/// number is that of their last connections, as far as it is known.
async fn take_away(
    config: &Config,
    countdown: &mut Countdown,
) -> (Result<Detached, Error>, Option<usize>) {
    let mut found = None;
    let left = countdown.left();
    let tell = |left: Left| {
        found = left.connections;
        countdown.show(found);
    };
    let detached = daemon::detach(config, left, tell).await;
    (detached.map_err(Error::Daemon), found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::screen::tests::Paper;

    #[test]
    fn no_connection_is_cut_before_the_time_is_over_and_a_count_that_failed_does_not_hide_one_before()
     {
        assert_eq!(cut(false, Some(1), Some(1)), Some(0), "they ended in time");
        assert_eq!(cut(true, Some(2), Some(7)), Some(2), "five ended meanwhile");
        assert_eq!(cut(true, None, Some(7)), Some(7), "the workers had no time");
        assert_eq!(cut(true, None, None), None);
    }

    #[test]
    fn connections_that_were_cut_are_said() {
        let said = |left| {
            let stopped = Stopped {
                unit: "ober.service".to_owned(),
                given_up: true,
                left,
                detached: Detached {
                    workers: 1,
                    vips: vec![[192, 0, 2, 10].into()],
                },
            };
            let paper = Paper::default();
            let mut screen = Screen::plain(paper.clone());
            stopped.show("main", &mut screen).unwrap();
            paper.text()
        };
        let whole = "instance main: ober.service stopped, 1 worker dismissed, programs and pins removed\nVIP 192.0.2.10 removed\n";
        assert_eq!(said(Some(0)), whole);
        let cut = format!("{whole}3 connections left when the time was over: cut\n");
        assert_eq!(said(Some(3)), cut);
        assert!(said(None).ends_with("does not say how many connections were cut\n"));
    }
}
