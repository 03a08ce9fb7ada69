//! TLS requests per second through the whole chain, beside the same HAProxy without Ober.

use std::time::Duration;

use anyhow::Result;
use ober_tests::{lab::VIP4, load::Plan, pattern::Pattern};

use crate::{
    chain::{CONTROL, Chain, PLAIN},
    report::{Part, Target},
    series::Series,
};

pub(crate) const PART: &str = "tls requests";

/// Each measures all chains, one right after the other.
const ROUNDS: usize = 9;
/// Of one chain in one round.
const TIME: Duration = Duration::from_millis(1500);
/// Requests under way at once; many, so that both workers get about the same share of kept connections.
const CONNECTIONS: usize = 48;
const PATH: &str = "/bench/small";
const SMALL: Pattern = Pattern::new(1, 1024);

/// Everything this part measures.
pub(crate) fn measure() -> Result<Part> {
    let objects = [(PATH, SMALL)];
    let [ober, plain, control] = Chain::three(2, &objects)?;
    let chains = [ober, plain, control, Chain::steered(2, &objects)?];
    let mut part = Part::default();
    for (name, keep_alive) in [("new connections", false), ("kept connections", true)] {
        compare(&chains, name, keep_alive, &mut part)?;
    }
    Ok(part)
}

fn compare(chains: &[Chain; 4], name: &str, keep_alive: bool, part: &mut Part) -> Result<()> {
    let series = |chain: &Chain| Series::new(format!("{PART}, {name}, {}", chain.name), "per s");
    let mut rates = chains.each_ref().map(series);
    for chain in chains {
        rate(chain, keep_alive)?;
    }
    for round in 0..ROUNDS {
        // The first chain alternates, so that a machine that warms up or slows down favours none.
        for place in 0..chains.len() {
            let which = (round + place) % chains.len();
            rates[which].push(rate(&chains[which], keep_alive)?);
        }
    }
    let [ober, plain, control, _] = &rates;
    for (other, rates) in [(PLAIN, plain), (CONTROL, control)] {
        part.targets.push(Target::at_least(
            format!("{PART}, {name}, ober / {other}"),
            ober.median() / rates.median(),
            rates.lower_quartile() / rates.median(),
            "times",
        ));
    }
    part.measures.extend(rates.iter().map(Series::measure));
    Ok(())
}

/// Verified answers per second.
fn rate(chain: &Chain, keep_alive: bool) -> Result<f64> {
    let plan = Plan {
        keep_alive,
        connections: CONNECTIONS,
        time: TIME,
        ..Plan::get(chain.stage.secure(VIP4), PATH, SMALL)
    };
    Ok(chain.run(plan)?.rate())
}
