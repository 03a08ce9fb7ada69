//! `counters`: totals, or with `--watch` what happens each second.

use std::{collections::BTreeMap, path::Path, time::Duration};

use clap::Args;
use ober_common::abi::Verdict;
use serde::Serialize;
use tokio::time::{Instant, sleep};

use super::{
    Error, Json, Outcome, client,
    instance::Instance,
    screen::{Cell, Screen, Tone},
};
use crate::api::{
    Question, Reply,
    status::{Count, Counters as Values, ServiceCounters},
};

#[derive(Debug, Args)]
pub(super) struct Counters {
    /// Show rates, again every so many seconds, until interrupted
    #[arg(
        long,
        value_name = "SECONDS",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "1",
        value_parser = seconds
    )]
    watch: Option<Duration>,
    #[command(flatten)]
    json: Json,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok();
    let sensible = seconds.filter(|seconds| (0.1..=86_400.0).contains(seconds));
    let span = sensible.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    span.ok_or_else(|| "write a number of seconds from 0.1 to 86400".to_owned())
}

impl Counters {
    pub(super) async fn run(self, path: &Path, screen: &mut Screen) -> Result<Outcome, Error> {
        let instance = Instance::find(path).await?;
        let values = read(&instance).await?;
        match self.watch {
            Some(pace) => watch(&instance, values, pace, self.json, screen).await,
            None if self.json.json => Ok(screen.json(&values).map(|()| Outcome::Done)?),
            None => Ok(show(&values, None, screen).map(|()| Outcome::Done)?),
        }
    }
}

async fn read(instance: &Instance) -> Result<Values, Error> {
    match instance.ask(Question::Counters).await? {
        Reply::Counters(values) => Ok(values),
        _ => Err(client::Error::Astray.into()),
    }
}

/// What is printed for every interval of `--watch --json`.
#[derive(Serialize)]
struct Interval {
    seconds: f64,
    difference: Values,
}

async fn watch(
    instance: &Instance,
    mut before: Values,
    pace: Duration,
    json: Json,
    screen: &mut Screen,
) -> Result<Outcome, Error> {
    let mut then = Instant::now();
    loop {
        sleep(pace).await;
        let after = read(instance).await?;
        let now = Instant::now();
        let difference = difference(&before, &after);
        let elapsed = now - then;
        if json.json {
            screen.json(&Interval {
                seconds: elapsed.as_secs_f64(),
                difference,
            })?;
        } else {
            screen.clear()?;
            show(&difference, Some(elapsed), screen)?;
            if !screen.is_terminal() {
                screen.line("")?;
            }
        }
        screen.flush()?;
        (before, then) = (after, now);
    }
}

fn difference(before: &Values, after: &Values) -> Values {
    let services = after.services.iter().map(|service| {
        let same = |old: &&ServiceCounters| {
            (&old.name, old.vip, old.port) == (&service.name, service.vip, service.port)
        };
        match before.services.iter().find(same) {
            Some(old) => since(old, service),
            None => service.clone(),
        }
    });
    let lost = after.steer_dropped.iter().map(|(cpu, lost)| {
        let before = before.steer_dropped.get(cpu).copied().unwrap_or_default();
        (*cpu, step(before, *lost))
    });
    Values {
        services: services.collect(),
        steer_dropped: lost.collect(),
    }
}

fn since(old: &ServiceCounters, new: &ServiceCounters) -> ServiceCounters {
    let none = BTreeMap::new();
    let cpus = new
        .cpus
        .iter()
        .map(|(cpu, counts)| (*cpu, less(old.cpus.get(cpu).unwrap_or(&none), counts)));
    let lookups = new.lookups.iter().map(|(name, count)| {
        let before = old.lookups.get(name).copied().unwrap_or_default();
        (name.clone(), step(before, *count))
    });
    ServiceCounters {
        verdicts: less(&old.verdicts, &new.verdicts),
        workers: less(&old.workers, &new.workers),
        cpus: cpus.collect(),
        lookups: lookups.collect(),
        syns: step(old.syns, new.syns),
        ..new.clone()
    }
}

fn less<K: Ord + Clone>(old: &BTreeMap<K, Count>, new: &BTreeMap<K, Count>) -> BTreeMap<K, Count> {
    let step = |(key, count): (&K, &Count)| {
        let before = old.get(key).copied().unwrap_or_default();
        let count = Count {
            packets: step(before.packets, count.packets),
            bytes: step(before.bytes, count.bytes),
        };
        (key.clone(), count)
    };
    new.iter().map(step).collect()
}

/// A counter that is lower than before started from zero in fresh maps.
fn step(before: u64, after: u64) -> u64 {
    after.checked_sub(before).unwrap_or(after)
}

/// Totals, or rates when the numbers belong to a span of time.
fn show(values: &Values, over: Option<Duration>, screen: &mut Screen) -> Result<(), Error> {
    let unit = |what: &str| match over {
        Some(_) => format!("{what}/s"),
        None => what.to_owned(),
    };
    let (packets, bytes, connections) = (unit("packets"), unit("bytes"), unit("connections"));
    let rows: Vec<_> = values
        .services
        .iter()
        .flat_map(|s| by_verdict(s, over))
        .collect();
    screen.table(&["service", "at", "verdict", &packets, &bytes], &rows)?;
    let rows: Vec<_> = values
        .services
        .iter()
        .flat_map(|s| by_lookup(s, over))
        .collect();
    part(screen, &["service", "at", "lookup", &connections], &rows)?;
    let rows = sums(values.services.iter().flat_map(|s| s.workers.clone()), over);
    part(screen, &["worker", &packets, &bytes], &rows)?;
    let on_cpus = values.services.iter().flat_map(|service| {
        let each = service.cpus.iter();
        each.flat_map(|(cpu, counts)| counts.values().map(|count| (*cpu, *count)))
    });
    let rows = sums(on_cpus, over);
    part(screen, &["cpu", &packets, &bytes], &rows)?;
    let lost = values.steer_dropped.iter().filter(|(_, lost)| **lost > 0);
    let row = |(cpu, lost): (&u32, &u64)| vec![Cell::number(cpu), amount(*lost, over)];
    let rows: Vec<_> = lost.map(row).collect();
    part(screen, &["lost on the way to cpu", &packets], &rows)
}

fn part(screen: &mut Screen, heads: &[&str], rows: &[Vec<Cell>]) -> Result<(), Error> {
    if !rows.is_empty() {
        screen.line("")?;
    }
    Ok(screen.table(heads, rows)?)
}

fn by_verdict(service: &ServiceCounters, over: Option<Duration>) -> Vec<Vec<Cell>> {
    let row = |(name, count): (&String, &Count)| {
        let drops = Verdict::ALL
            .iter()
            .any(|verdict| verdict.name() == name && verdict.drops());
        let tone = if drops { Tone::Bad } else { Tone::Plain };
        vec![
            Cell::text(&service.name),
            Cell::text(at(service)),
            Cell::toned(name, tone),
            amount(count.packets, over),
            amount(count.bytes, over),
        ]
    };
    service.verdicts.iter().map(row).collect()
}

fn by_lookup(service: &ServiceCounters, over: Option<Duration>) -> Vec<Vec<Cell>> {
    let row = |(name, count): (&String, &u64)| {
        vec![
            Cell::text(&service.name),
            Cell::text(at(service)),
            Cell::text(name),
            amount(*count, over),
        ]
    };
    let syns = (service.syns > 0).then(|| ("syns".to_owned(), service.syns));
    let lines = syns.iter().map(|(name, count)| (name, count));
    lines.chain(&service.lookups).map(row).collect()
}

fn sums<K: Ord + std::fmt::Display>(
    counts: impl Iterator<Item = (K, Count)>,
    over: Option<Duration>,
) -> Vec<Vec<Cell>> {
    let mut sums: BTreeMap<K, Count> = BTreeMap::new();
    for (key, count) in counts {
        let sum = sums.entry(key).or_default();
        sum.packets += count.packets;
        sum.bytes += count.bytes;
    }
    let row = |(key, count): (K, Count)| {
        vec![
            Cell::number(key),
            amount(count.packets, over),
            amount(count.bytes, over),
        ]
    };
    sums.into_iter().map(row).collect()
}

fn at(service: &ServiceCounters) -> String {
    match (service.vip, service.port) {
        (Some(vip), Some(port)) => std::net::SocketAddr::new(vip, port).to_string(),
        _ => "-".into(),
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate for the eye")]
fn amount(count: u64, over: Option<Duration>) -> Cell {
    match over {
        Some(span) => Cell::number(format_args!("{:.0}", count as f64 / span.as_secs_f64())),
        None => Cell::number(count),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{api::sample, cli::screen::tests::Paper};

    fn text(values: &Values, over: Option<Duration>) -> String {
        let paper = Paper::default();
        show(values, over, &mut Screen::plain(paper.clone())).unwrap();
        paper.text()
    }

    #[test]
    fn totals_are_shown_by_verdict_lookup_worker_and_cpu() {
        let expected = "\
service  at              verdict   packets   bytes
node     -               not_ours     1000  100000
s3       192.0.2.10:443  denied          7     700
s3       192.0.2.10:443  passed         30    3000

service  at              lookup    connections
s3       192.0.2.10:443  syns                6
s3       192.0.2.10:443  assigned            5

worker  packets  bytes
     1       30   3000

cpu  packets  bytes
  0       30   3000
  1        7    700

lost on the way to cpu  packets
                     1        4
";
        assert_eq!(text(&sample::counters(), None), expected);
    }

    #[test]
    fn a_rate_is_the_difference_over_its_time_and_a_counter_that_began_anew_counts_from_zero() {
        let before = sample::counters();
        let mut after = sample::counters();
        let count = |packets| Count {
            packets,
            bytes: packets * 100,
        };
        after.services[1]
            .verdicts
            .insert("denied".into(), count(27));
        after.services[0]
            .verdicts
            .insert("not_ours".into(), count(400));
        let difference = difference(&before, &after);
        assert_eq!(difference.services[1].verdicts["denied"], count(20));
        assert_eq!(difference.services[1].verdicts["passed"], count(0));
        assert_eq!(difference.services[0].verdicts["not_ours"], count(400));
        let text = text(&difference, Some(Duration::from_secs(2)));
        assert!(text.contains("packets/s"), "{text}");
        assert!(text.contains("denied           10     1000"), "{text}");
    }

    #[test]
    fn counters_refuses_an_interval_that_is_no_sensible_number_of_seconds() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for wrong in ["0", "-1", "nan", "1e9", "x"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
