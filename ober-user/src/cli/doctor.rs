//! `doctor`.

use std::path::Path;

use super::{Error, Json, Outcome, findings, instance::Instance, screen::Screen};
use crate::{
    api::{Question, Reply, status::Counters},
    config::Remark,
    diagnose::{
        doctor,
        finding::{Finding, Report},
    },
};

pub(super) async fn run(path: &Path, json: Json, screen: &mut Screen) -> Result<Outcome, Error> {
    let instance = Instance::find(path).await?;
    let config = instance.config().await?;
    let spinner = super::screen::spinner("looking at this machine");
    let found = match instance.running().await {
        Ok(status) => {
            let daemon = status.is_some();
            let counters = async || counters(&instance).await;
            let mut findings = doctor::run(config, status, counters).await;
            findings.extend(instance.finding());
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

/// All zero if the daemon does not answer, which answered `status` just before.
async fn counters(instance: &Instance) -> Counters {
    match instance.ask_daemon(Question::Counters).await {
        Ok(Reply::Counters(counters)) => counters,
        Ok(_) | Err(_) => Counters::default(),
    }
}
