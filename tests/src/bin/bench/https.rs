//! TLS requests per second through the whole chain, beside the same HAProxy without Ober: alone, and behind an XDP program
//! that does nothing, which tells Ober's own cost from that of XDP on a virtual interface.

use std::time::Duration;

use anyhow::{Result, ensure};
use aya::Ebpf;
use ober_tests::{
    lab::{Process, Shape, VIP4},
    load::Plan,
    pattern::Pattern,
    stage::{Settings, Stage},
};

use crate::{
    report::{Part, Target},
    series::Series,
    timing::attach_empty,
};

pub(crate) const PART: &str = "tls requests";
const PLAIN: &str = "plain HAProxy";
const CONTROL: &str = "plain HAProxy behind an empty XDP program";

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
    let chains = [Chain::ober()?, Chain::plain()?, Chain::control()?];
    let mut part = Part::default();
    for (name, keep_alive) in [("new connections", false), ("kept connections", true)] {
        compare(&chains, name, keep_alive, &mut part)?;
    }
    Ok(part)
}

fn compare(chains: &[Chain; 3], name: &str, keep_alive: bool, part: &mut Part) -> Result<()> {
    let series = |chain: &Chain| Series::new(format!("{PART}, {name}, {}", chain.name), "per s");
    let mut rates = chains.each_ref().map(series);
    for chain in chains {
        chain.rate(keep_alive)?;
    }
    for round in 0..ROUNDS {
        // Who goes first alternates, so that a machine that warms up or slows down favours nobody.
        for place in 0..chains.len() {
            let which = (round + place) % chains.len();
            rates[which].push(chains[which].rate(keep_alive)?);
        }
    }
    let [ober, plain, control] = &rates;
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

/// A cluster whose node runs one of the three.
struct Chain {
    name: &'static str,
    /// Before the stage: ended while its namespaces are still there.
    _plain: Vec<Process>,
    /// Before the stage too.
    _xdp: Option<Ebpf>,
    stage: Stage,
}

impl Chain {
    fn ober() -> Result<Self> {
        let mut stage = stage("bench-ober")?;
        stage.start()?;
        Self::new("ober", stage, Vec::new(), None)
    }

    fn plain() -> Result<Self> {
        let stage = stage("bench-plain")?;
        let plain = stage.start_plain()?;
        Self::new(PLAIN, stage, plain, None)
    }

    fn control() -> Result<Self> {
        let stage = stage("bench-control")?;
        let plain = stage.start_plain()?;
        let xdp = attach_empty(&stage.cluster.node, "in0")?;
        Self::new(CONTROL, stage, plain, Some(xdp))
    }

    fn new(
        name: &'static str,
        stage: Stage,
        plain: Vec<Process>,
        xdp: Option<Ebpf>,
    ) -> Result<Self> {
        let client = stage.secure(VIP4);
        stage.cluster.clients[0].tokio(async || {
            client.create_bucket("bench").await?;
            client.put(PATH, SMALL).await
        })??;
        Ok(Self {
            name,
            _plain: plain,
            _xdp: xdp,
            stage,
        })
    }

    /// Verified answers per second.
    fn rate(&self, keep_alive: bool) -> Result<f64> {
        let plan = Plan {
            keep_alive,
            connections: CONNECTIONS,
            time: TIME,
            ..Plan::get(self.stage.secure(VIP4), PATH, SMALL)
        };
        let report = plan.start(&self.stage.cluster.clients[0])?.wait()?;
        let tally = report.tally();
        ensure!(
            tally.failed() == 0 && tally.ok > 0,
            "requests through {} failed, so their rate says nothing: {tally}: {}",
            self.name,
            report.failures(3).join("; ")
        );
        Ok(report.rate())
    }
}

fn stage(name: &str) -> Result<Stage> {
    let settings = Settings {
        shape: Shape {
            clients: 1,
            ..Shape::default()
        },
        steer: "auto",
        ..Settings::default()
    };
    Stage::new(name, &settings)
}
