//! `start`: has systemd start the daemon, now and with the machine.

use std::{path::Path, time::Duration};

use clap::Args;

use super::{
    Error, Json, Outcome, announced, detach,
    instance::Instance,
    unit::{UnitName, require_systemd},
    validate,
};
use crate::{cli::screen::Screen, system::privilege};

const AFTER: &str = "A configuration with a mistake is refused. A daemon that runs already is no error. Exit status: 0 \
every VIP is announced; 1 systemd could not start the daemon; 2 wrong usage or bad configuration; 5 a VIP is not announced, \
and why.";

const INSTEAD: &str = "`ober-user run` runs the daemon here, in the foreground";

#[derive(Debug, Args)]
#[command(after_help = AFTER)]
pub(super) struct Start {
    /// How long VIPs may take to be announced; a bare number counts seconds
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = detach::time)]
    wait: Duration,
    #[command(flatten)]
    unit: UnitName,
    #[command(flatten)]
    json: Json,
}

impl Start {
    pub(super) async fn run(self, path: &Path, screen: &mut Screen) -> Result<Outcome, Error> {
        require_systemd("start the daemon", INSTEAD)?;
        let service = self.unit.service(path)?;
        privilege::require(&privilege::MACHINE)?;
        validate::approve(path).await?;
        let instance = Instance::find(path).await?;
        let orders = [&["enable"][..], &["start", "--no-block"]];
        announced::after(&orders, (&service, &instance), self.wait, self.json, screen).await
    }
}
