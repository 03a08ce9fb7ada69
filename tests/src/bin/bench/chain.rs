//! The whole chain, side by side: through Ober, through the same HAProxy alone, and through that behind an XDP program that
//! does nothing, which separates Ober's own cost from that of XDP on a virtual interface; and once more through Ober, steered.

use anyhow::{Result, ensure};
use aya::Ebpf;
use ober_tests::{
    lab::{Process, Shape, VIP4},
    load::{Plan, Report},
    nodes::one::{Settings, Stage},
    pattern::Pattern,
};

use crate::timing::attach_empty;

pub(crate) const PLAIN: &str = "plain HAProxy";
const STEERED: &str = "ober, packets steered";
pub(crate) const CONTROL: &str = "plain HAProxy behind an empty XDP program";

/// A cluster whose node runs one of them.
pub(crate) struct Chain {
    pub(crate) name: &'static str,
    /// Before `stage`: dropped, and so ended, while its namespaces are still there.
    _plain: Vec<Process>,
    /// Before `stage`, too.
    _xdp: Option<Ebpf>,
    pub(crate) stage: Stage,
}

impl Chain {
    /// The first three chains, each with this many workers or processes and with these objects stored.
    pub(crate) fn three(workers: usize, objects: &[(&str, Pattern)]) -> Result<[Self; 3]> {
        let chains = [
            Self::ober("ober", "auto", workers)?,
            Self::plain(workers)?,
            Self::control(workers)?,
        ];
        for chain in &chains {
            chain.store(objects)?;
        }
        Ok(chains)
    }

    /// Ober that sends packets to the CPU of their worker, which `auto` does not on a veth: its difference from the first of
    /// `three` is the CPUMAP.
    pub(crate) fn steered(workers: usize, objects: &[(&str, Pattern)]) -> Result<Self> {
        let chain = Self::ober(STEERED, "always", workers)?;
        chain.store(objects)?;
        Ok(chain)
    }

    fn ober(name: &'static str, steer: &'static str, workers: usize) -> Result<Self> {
        let mut stage = stage(&format!("bench-{steer}"), steer, workers)?;
        stage.start()?;
        Ok(Self {
            name,
            _plain: Vec::new(),
            _xdp: None,
            stage,
        })
    }

    fn plain(workers: usize) -> Result<Self> {
        let stage = stage("bench-plain", "auto", workers)?;
        Ok(Self {
            name: PLAIN,
            _plain: stage.start_plain()?,
            _xdp: None,
            stage,
        })
    }

    fn control(workers: usize) -> Result<Self> {
        let stage = stage("bench-control", "auto", workers)?;
        Ok(Self {
            name: CONTROL,
            _plain: stage.start_plain()?,
            _xdp: Some(attach_empty(&stage.cluster.node, "in0")?),
            stage,
        })
    }

    fn store(&self, objects: &[(&str, Pattern)]) -> Result<()> {
        let client = self.stage.secure(VIP4);
        self.stage.cluster.clients[0].tokio(async || {
            client.create_bucket("bench").await?;
            for (path, content) in objects {
                client.put(path, *content).await?;
            }
            Ok(())
        })?
    }

    /// A load of which not one request may fail.
    pub(crate) fn run(&self, plan: Plan) -> Result<Report> {
        let report = plan.start(&self.stage.cluster.clients[0])?.wait()?;
        let tally = report.tally();
        ensure!(
            tally.failed() == 0 && tally.ok > 0,
            "requests through {} failed, so their figures say nothing: {tally}: {}",
            self.name,
            report.failures(3).join("; ")
        );
        Ok(report)
    }
}

fn stage(name: &str, steer: &'static str, workers: usize) -> Result<Stage> {
    let settings = Settings {
        shape: Shape {
            clients: 1,
            ..Shape::default()
        },
        steer,
        workers,
        ..Settings::default()
    };
    Stage::new(name, &settings)
}
