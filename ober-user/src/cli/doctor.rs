//! `doctor`.

use std::path::Path;

use super::{Error, Json, Outcome, client, findings, screen::Screen, test::running};
use crate::{
    api::{Reply, Request},
    config::{Config, Remark},
    doctor,
    finding::{Finding, Report},
    status::Counters,
};

pub(super) async fn run(path: &Path, json: Json, screen: &mut Screen) -> Result<Outcome, Error> {
    let config = Config::load(path)?;
    let spinner = super::screen::spinner("looking at this machine");
    let status = running(&config).await;
    let found = match status {
        Ok(status) => {
            let daemon = status.is_some();
            let counters = async || counters(&config).await;
            let mut findings = doctor::run(&config, status, counters).await;
            findings.extend(config.remarks(path).into_iter().map(remark));
            Ok(Report::new(daemon, findings))
        }
        Err(error) => Err(error),
    };
    spinner.finish_and_clear();
    findings::show(&found?, json, screen)
}

fn remark(remark: Remark) -> Finding {
    Finding::warning("configuration", remark.about, remark.words).advice(remark.advice)
}

/// None, where the daemon does not answer: it has just done so.
async fn counters(config: &Config) -> Counters {
    match client::ask_daemon(config, Request::Counters).await {
        Ok(Reply::Counters(counters)) => counters,
        Ok(_) | Err(_) => Counters::default(),
    }
}
