//! `detach`.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;

use super::{
    Error, Json, Outcome,
    instance::Instance,
    screen::{Screen, many, note, span, spinner},
};
use crate::{
    config::{LONGEST_PERIOD, period},
    daemon::{self, Detached},
    dataplane,
    haproxy::Left,
    system::privilege,
};

#[derive(Debug, Args)]
pub(super) struct Detach {
    /// How long the workers may finish their connections, instead of workers.drain
    #[arg(long, value_name = "TIME", value_parser = time)]
    drain: Option<Duration>,
    /// Without reading a configuration: only the programs and pins of this instance
    #[arg(long, value_name = "NAME", conflicts_with = "drain")]
    instance: Option<String>,
    /// Where the BPF file system is, with --instance
    #[arg(
        long,
        value_name = "DIR",
        requires = "instance",
        default_value = "/sys/fs/bpf"
    )]
    bpffs: PathBuf,
    #[command(flatten)]
    json: Json,
}

/// Reads a length of time, at most what a configuration may have; a bare number counts seconds.
pub(super) fn time(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().map(Duration::from_secs);
    let time = seconds.or_else(|| period(text));
    let time = time.filter(|time| *time <= LONGEST_PERIOD);
    time.ok_or_else(|| "write a length of time such as 500ms, 10s or 5m, at most 24d".to_owned())
}

impl Detach {
    pub(super) async fn run(self, path: &Path, screen: &mut Screen) -> Result<Outcome, Error> {
        let (instance, detached) = match &self.instance {
            Some(instance) => (instance.clone(), self.pins_only(instance)?),
            None => whole(path, self.drain).await?,
        };
        if self.json.json {
            screen.json(&detached)?;
            return Ok(Outcome::Done);
        }
        show(&instance, "detached", &detached, screen)?;
        Ok(Outcome::Done)
    }

    fn pins_only(&self, instance: &str) -> Result<Detached, Error> {
        // The name becomes a path.
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if instance.is_empty() || !instance.chars().all(plain) {
            let text = format!(
                "{instance:?} is not the name of an instance; see the directories in /sys/fs/bpf/ober"
            );
            return Err(Error::Usage(text));
        }
        privilege::require(&privilege::DATA_PLANE)?;
        if !dataplane::pinned(&self.bpffs, instance) {
            return Err(Error::NoInstance {
                instance: instance.to_owned(),
                bpffs: self.bpffs.clone(),
            });
        }
        dataplane::detach(&self.bpffs, instance)?;
        Ok(Detached {
            vips: vec![],
            workers: 0,
        })
    }
}

/// Takes all of the instance off that the configuration at `path` names; `drain`: instead of workers.drain.
pub(super) async fn whole(
    path: &Path,
    drain: Option<Duration>,
) -> Result<(String, Detached), Error> {
    let found = Instance::find(path).await?;
    let instance = found.name().to_owned();
    privilege::require(&privilege::DATA_PLANE)?;
    if found.connect().await?.is_some() {
        return Err(Error::DaemonRuns { instance });
    }
    let config = found.config().await?;
    let drain = drain.unwrap_or(config.workers.drain);
    let line = spinner("the workers finish their connections");
    let mut first = true;
    let tell = |left: Left| {
        if !line.is_hidden() {
            line.set_message(words(left));
        } else if std::mem::take(&mut first) {
            note(format_args!("{}; at most {}", words(left), span(drain)));
        }
    };
    let detached = daemon::detach(config, drain, tell).await;
    line.finish_and_clear();
    let detached = detached.map_err(Error::Daemon)?;
    Ok((instance, detached))
}

/// What was taken off an instance, to which `what` happened.
pub(super) fn show(
    instance: &str,
    what: &str,
    detached: &Detached,
    screen: &mut Screen,
) -> Result<(), Error> {
    screen.line(format_args!(
        "instance {instance}: {what}, {} dismissed, programs and pins removed",
        many(detached.workers, "worker")
    ))?;
    for vip in &detached.vips {
        screen.line(format_args!("VIP {vip} removed"))?;
    }
    Ok(())
}

/// What is left of the workers, for a person who waits.
fn words(left: Left) -> String {
    let workers = many(left.workers, "worker");
    let what = match left.connections {
        Some(connections) => format!("{} of {workers}", many(connections, "connection")),
        None => workers,
    };
    format!("{what} left, {}", span(left.since))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_who_waits_reads_what_is_left_and_how_long_it_took_so_far() {
        for (workers, connections, expected) in [
            (2, Some(12), "12 connections of 2 workers left, 41s"),
            (1, Some(1), "1 connection of 1 worker left, 41s"),
            (1, None, "1 worker left, 41s"),
        ] {
            let left = Left {
                workers,
                connections,
                since: Duration::from_secs(41),
            };
            assert_eq!(words(left), expected);
        }
    }

    #[test]
    fn the_time_to_drain_is_written_with_a_unit_or_in_seconds() {
        for (text, expected) in [
            ("10s", Duration::from_secs(10)),
            ("500ms", Duration::from_millis(500)),
            ("5m", Duration::from_mins(5)),
            ("7", Duration::from_secs(7)),
            ("0", Duration::ZERO),
        ] {
            assert_eq!(time(text), Ok(expected), "{text}");
        }
        let longest = ["24d", "2073600"];
        assert!(longest.iter().all(|text| time(text).is_ok()));
        for text in ["ten", "25d", "2073601", "18446744073709551615"] {
            assert!(time(text).is_err(), "{text}");
        }
    }
}
