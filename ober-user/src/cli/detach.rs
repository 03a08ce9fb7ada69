//! `detach`.

use std::path::{Path, PathBuf};

use clap::Args;

use super::{
    Error, Outcome,
    client::{self, connect},
    privilege,
    screen::Screen,
};
use crate::{config::Config, dataplane};

#[derive(Debug, Args)]
pub(super) struct Detach {
    /// Detach this instance without reading the configuration
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
        let (bpffs, instance) = match self.instance {
            Some(instance) => (self.bpffs, instance),
            None => of_config(path).await?,
        };
        privilege::require(&privilege::DATA_PLANE)?;
        let pins = dataplane::pins(&bpffs, &instance);
        let was_there = pins.exists();
        dataplane::detach(&bpffs, &instance)?;
        if was_there {
            screen.line(format_args!(
                "instance {instance}: detached, {} removed",
                pins.display()
            ))?;
        } else {
            screen.line(format_args!("instance {instance}: nothing was attached"))?;
        }
        Ok(Outcome::Done)
    }
}

async fn of_config(path: &Path) -> Result<(PathBuf, String), Error> {
    let config = Config::load(path)?;
    let instance = config.node.instance.clone();
    if connect(&client::socket(&config)).await?.is_some() {
        return Err(Error::DaemonRuns { instance });
    }
    Ok((config.node.bpffs, instance))
}
