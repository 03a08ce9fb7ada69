//! `cargo xtask bench`: what a packet, a change of a list and a request cost, measured beside what they are compared
//! with. Prints every target beside its figure.

mod cells;
mod chain;
mod failover;
mod https;
mod node;
mod packets;
mod proxy;
mod report;
mod results;
mod series;
mod servers;
mod sync;
mod timing;
mod xdp_filter;

use std::{
    io::{IsTerminal as _, Write as _},
    process::ExitCode,
};

use anyhow::Result;
use clap::Parser;

use crate::{
    cells::{Bench, Scenario},
    report::{Part, Report, Rounds, Row, packet_targets},
};

/// Of the packet path.
const ROUNDS: usize = 15;

/// Measures Herr Ober on this machine.
#[derive(Parser)]
#[command(name = "bench")]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the command line"
)]
struct Arguments {
    /// Exit with status 1 when a target is missed.
    #[arg(long)]
    check: bool,
    /// Print the figures as JSON.
    #[arg(long)]
    json: bool,
    /// Interleaved rounds: 15 of the packet path, 5 of `--proxy`, unless given.
    #[arg(long)]
    rounds: Option<usize>,
    /// Chunks of 65,536 packets in each round.
    #[arg(long, default_value_t = 8)]
    chunks: usize,
    /// The failover trials instead: how long traffic still goes to a node that no longer serves; written to tests/bench/failover.md.
    #[arg(long)]
    failover: bool,
    /// Handshakes, small and large objects through 1, 2 and 4 workers instead, beside HAProxy alone; written to
    /// tests/bench/proxy.md.
    #[arg(long, conflicts_with = "failover")]
    proxy: bool,
    /// Only what has this in its name: a packet scenario, `acl sync`, `tls requests`; leaves tests/bench/results.md alone.
    #[arg(long)]
    only: Option<String>,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let report = if arguments.failover {
        Report::of(failover::measure()?)
    } else if arguments.proxy {
        Report::of(proxy::measure(arguments.rounds.unwrap_or(proxy::ROUNDS))?)
    } else {
        measure(&arguments)?
    };
    let mut out = std::io::stdout();
    if arguments.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?;
    } else {
        write!(out, "{report}")?;
    }
    if arguments.failover {
        results::write(&report, results::FAILOVER)?;
    } else if arguments.proxy {
        results::write(&report, results::PROXY)?;
    } else if arguments.only.is_none() {
        results::write(&report, results::ALL)?;
    }
    let missed = report.targets.iter().any(|target| !target.held);
    Ok(ExitCode::from(u8::from(arguments.check && missed)))
}

type Measure = fn() -> Result<Part>;

impl Arguments {
    fn wants(&self, name: &str) -> bool {
        self.only.as_deref().is_none_or(|part| name.contains(part))
    }
}

fn measure(arguments: &Arguments) -> Result<Report> {
    let mut report = Report::default();
    let parts: [(&str, Measure); 3] = [
        (servers::PART, servers::measure),
        (sync::PART, sync::measure),
        (https::PART, https::measure),
    ];
    // Before the packet path, which ties this process to one CPU.
    for (name, measure) in parts {
        if arguments.wants(name) {
            report.join(measure()?);
        }
    }
    let mut rows = packets(arguments)?;
    let mut targets = packet_targets(&rows);
    rows.sort_by_key(|row| row.key.family == packets::Family::Ipv6);
    report.rows = rows;
    targets.append(&mut report.targets);
    report.targets = targets;
    Ok(report)
}

fn packets(arguments: &Arguments) -> Result<Vec<Row>> {
    let mut cells: Vec<_> = Scenario::all()
        .into_iter()
        .filter(|scenario| arguments.wants(&scenario.name()))
        .flat_map(|scenario| {
            scenario
                .subjects()
                .iter()
                .map(move |subject| (scenario, *subject))
        })
        .map(|(scenario, subject)| (scenario, subject, Rounds::default()))
        .collect();
    if cells.is_empty() {
        return Ok(Vec::new());
    }
    timing::settle(0)?;
    let mut bench = Bench::load(1)?;
    let all = arguments.rounds.unwrap_or(ROUNDS);
    for round in 1..=all {
        progress(round, all);
        for (scenario, subject, rounds) in &mut cells {
            let (floor, whole) = bench.time(scenario, *subject, arguments.chunks)?;
            rounds.floor.push(floor);
            rounds.whole.push(whole);
        }
    }
    let row = |(key, subject, rounds): (Scenario, _, Rounds)| Row {
        scenario: key.name(),
        subject,
        figure: rounds.figure(),
        key,
    };
    Ok(cells.into_iter().map(row).collect())
}

fn progress(round: usize, rounds: usize) {
    let mut error = std::io::stderr();
    if error.is_terminal() {
        let end = if round == rounds { '\n' } else { ' ' };
        // A progress bar that cannot be drawn is no failure.
        drop(write!(error, "\rround {round} of {rounds}{end}"));
    }
}
