//! `doctor`.

use std::path::Path;

use super::{
    Error, Json, Outcome, findings,
    instance::{self, Instance},
    screen::Screen,
};
use crate::{
    api::{Question, Reply, status::Counters},
    config::Remark,
    diagnose::{
        doctor,
        finding::{Finding, Report},
    },
};

pub(super) async fn run(path: &Path, json: Json, screen: &mut Screen) -> Result<Outcome, Error> {
    let found = Instance::find(path).await;
    if instance::is_absent(path).await && !is_running(&found).await {
        return before(path, json, screen).await;
    }
    let instance = found?;
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

/// Does a daemon run, although its configuration may be away?
async fn is_running(found: &Result<Instance, Error>) -> bool {
    match found {
        Ok(instance) => !matches!(instance.connect().await, Ok(None)),
        Err(_) => false,
    }
}

/// Before there is a configuration, the machine alone is looked at.
async fn before(path: &Path, json: Json, screen: &mut Screen) -> Result<Outcome, Error> {
    let mut findings = doctor::without_configuration().await;
    let missing = Finding::warning("configuration", path.display(), "it is not there yet");
    findings.push(
        missing.advice("write it, then `ober-user validate`; the rest was looked at without it"),
    );
    findings::show(&Report::new(false, findings), json, screen)
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
