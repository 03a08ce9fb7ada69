//! `cargo xtask bench --proxy`: what clients get through Ober, beside the same HAProxy alone with as many processes.

mod work;

use anyhow::{Result, ensure};
use ober_tests::load::Report;

use self::work::{OBJECTS, Work};
use crate::{
    chain::{CONTROL, Chain, PLAIN},
    report::{Part, Target},
    series::Series,
};

/// Rounds without `--rounds`.
pub(crate) const ROUNDS: usize = 5;
const WORKERS: [usize; 3] = [1, 2, 4];
/// Most that Ober's slowest of a thousand may take, as a multiple of plain HAProxy's.
const TAIL: f64 = 1.1;

/// All works, in this many rounds. The machine should have nothing else to do.
pub(crate) fn measure(rounds: usize) -> Result<Part> {
    ensure!(rounds > 0, "--rounds 0 measures nothing");
    let mut part = Part::default();
    for workers in WORKERS {
        let chains = Chain::three(workers, &OBJECTS)?;
        for work in Work::ALL {
            compare(&chains, work, workers, rounds, &mut part)?;
        }
    }
    Ok(part)
}

fn compare(
    chains: &[Chain; 3],
    work: Work,
    workers: usize,
    rounds: usize,
    part: &mut Part,
) -> Result<()> {
    let name = format!("{}, {workers} workers", work.name());
    let mut arms = chains.each_ref().map(|chain| Arm::new(&name, chain, work));
    for chain in chains {
        work.run(chain)?;
    }
    for round in 0..rounds {
        // The first chain alternates, so that a machine that warms up or slows down favours none.
        for place in 0..chains.len() {
            let which = (round + place) % chains.len();
            arms[which].note(work, &work.run(&chains[which])?);
        }
    }
    part.targets.push(median(&name, &arms));
    if !work.is_large() {
        part.targets.push(tail(&name, &arms));
    }
    let series = arms.iter().flat_map(Arm::series);
    part.measures.extend(series.map(Series::measure));
    Ok(())
}

/// Ober is not slower than plain HAProxy; a difference within the spread of plain HAProxy's own rounds counts as none.
fn median(name: &str, arms: &[Arm; 3]) -> Target {
    let [ober, plain, control] = arms.each_ref().map(|arm| arm.rate.median());
    let own = arms[1].rate.lower_quartile() / plain;
    Target::at_least(
        format!("{name}, ober / {PLAIN}"),
        ober / plain,
        own,
        "times",
    )
    .beside(CONTROL, ober / control)
}

fn tail(name: &str, arms: &[Arm; 3]) -> Target {
    let [ober, plain, control] = arms.each_ref().map(|arm| arm.slowest.median());
    let name = format!("{name}, p99.9, ober / {PLAIN}");
    Target::at_most(name, ober / plain, TAIL, "times").beside(CONTROL, ober / control)
}

/// Results of one chain, a value a round.
struct Arm {
    rate: Series,
    middle: Series,
    slow: Series,
    slowest: Series,
}

impl Arm {
    fn new(name: &str, chain: &Chain, work: Work) -> Self {
        let name = format!("{name}, {}", chain.name);
        let time = |part: &str| Series::new(format!("{name}, {part}"), "ms");
        Self {
            middle: time("p50"),
            slow: time("p99"),
            slowest: time("p99.9"),
            rate: Series::new(name, work.unit()),
        }
    }

    fn note(&mut self, work: Work, report: &Report) {
        self.rate.push(work.rate(report));
        let times = report.times();
        for (series, part) in [
            (&mut self.middle, 500),
            (&mut self.slow, 990),
            (&mut self.slowest, 999),
        ] {
            if let Some(time) = times.get(times.len() * part / 1000) {
                series.push_time(*time);
            }
        }
    }

    fn series(&self) -> [&Series; 4] {
        [&self.rate, &self.middle, &self.slow, &self.slowest]
    }
}
