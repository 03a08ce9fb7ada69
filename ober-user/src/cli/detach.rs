//! `detach`.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;

use super::{
    Error, Outcome,
    client::{self, connect},
    privilege,
    screen::Screen,
};
use crate::{config::Config, daemon, dataplane};

#[derive(Debug, Args)]
pub(super) struct Detach {
    /// Let the workers finish their connections for so many seconds, instead of workers.drain
    #[arg(long, value_name = "SECONDS")]
    drain: Option<u64>,
    /// Remove the programs and maps of this instance without reading the configuration; workers and VIPs stay
    #[arg(long, value_name = "NAME")]
    instance: Option<String>,
    /// Where the BPF file system is, with --instance
    #[arg(
        long,
        value_name = "DIR",
        requires = "instance",
        default_value = "/sys/fs/bpf"
    )]
    bpffs: PathBuf,
}

impl Detach {
    pub(super) async fn run(self, path: &Path, screen: &mut Screen) -> Result<Outcome, Error> {
        privilege::require(&privilege::DATA_PLANE)?;
        if let Some(instance) = &self.instance {
            dataplane::detach(&self.bpffs, instance)?;
            screen.line(format_args!(
                "instance {instance}: programs and maps are removed"
            ))?;
            return Ok(Outcome::Done);
        }
        let config = Config::load(path)?;
        let instance = config.node.instance.clone();
        if connect(&client::socket(&config)).await?.is_some() {
            return Err(Error::DaemonRuns { instance });
        }
        let drain = self.drain.map_or(config.workers.drain, Duration::from_secs);
        let daemon::Detached { vips, workers } = daemon::detach(&config, drain)
            .await
            .map_err(Error::Daemon)?;
        screen.line(format_args!(
            "instance {instance}: {workers} workers ended, programs and maps removed, {} VIPs removed",
            vips.len()
        ))?;
        Ok(Outcome::Done)
    }
}
