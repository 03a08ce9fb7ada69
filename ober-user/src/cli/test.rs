//! `test`.

use std::{path::Path, time::Duration};

use clap::{Args, ValueEnum as _};

use super::{Error, Json, Outcome, findings, instance::Instance, screen::Screen};
use crate::{
    config,
    diagnose::{
        finding::Report,
        trial::{self, Part, Request},
    },
};

const AFTER: &str = "Where the daemon runs, its own sessions are reported and nothing is opened beside them. Otherwise \
neighbours get a real session over which nothing is announced, ended with a Cease; VRRP only listens. Exit status: 0 all \
is well, or there are only warnings; 1 something failed; 2 wrong usage or bad configuration.";

#[derive(Debug, Args)]
#[command(after_help = AFTER)]
pub(super) struct Test {
    /// Test these parts only; without any, all
    #[arg(value_enum, value_name = "PART")]
    parts: Vec<Part>,
    /// How long neighbours and servers may take; all are asked at once
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = period)]
    timeout: Duration,
    /// Warn of certificates that end within this
    #[arg(long, value_name = "TIME", default_value = "30d", value_parser = period)]
    expiry: Duration,
    #[command(flatten)]
    json: Json,
}

fn period(text: &str) -> Result<Duration, String> {
    let period = config::period(text).filter(|period| !period.is_zero());
    period.ok_or_else(|| "a length of time such as 500ms, 10s or 30d is wanted".to_owned())
}

impl Test {
    pub(super) async fn run(self, path: &Path, screen: &mut Screen) -> Result<Outcome, Error> {
        let instance = Instance::find(path).await?;
        let config = instance.config().await?;
        let request = Request {
            parts: if self.parts.is_empty() {
                Part::value_variants().to_vec()
            } else {
                self.parts
            },
            patience: self.timeout,
            expiry: self.expiry,
        };
        let spinner = super::screen::spinner("asking neighbours and servers");
        let found = match instance.running().await {
            Ok(status) => {
                let mut found: Vec<_> = instance.finding().into_iter().collect();
                found.extend(trial::run(config, status.as_deref(), &request).await);
                Ok(Report::new(status.is_some(), found))
            }
            Err(error) => Err(error),
        };
        spinner.finish_and_clear();
        findings::show(&found?, self.json, screen)
    }
}
