//! `reload`.

use std::path::Path;

use super::{
    Error, Json, Outcome, client,
    screen::{Screen, Tone},
};
use crate::{
    api::{Reloaded, Reply, Request},
    config::Config,
};

pub(super) async fn run(path: &Path, json: Json, screen: &mut Screen) -> Result<Outcome, Error> {
    // A configuration that is bad is refused here, with its lines shown, before the daemon hears of it.
    let config = Config::load(path)?;
    let Reply::Reloaded(reloaded) = client::ask_daemon(&config, Request::Reload).await? else {
        return Err(client::Error::Astray.into());
    };
    if json.json {
        screen.json(&reloaded)?;
    }
    ended(&reloaded, json, screen)
}

/// What became of the workers and of the snapshot.
pub(super) fn ended(
    reloaded: &Reloaded,
    json: Json,
    screen: &mut Screen,
) -> Result<Outcome, Error> {
    if !json.json {
        show(reloaded, screen)?;
    }
    if reloaded.failed.is_empty() {
        Ok(Outcome::Done)
    } else {
        Err(Error::failed(crate::api::Failure {
            message: "some workers could not be replaced; those they had go on".into(),
            usage: false,
        }))
    }
}

fn show(reloaded: &Reloaded, screen: &mut Screen) -> Result<(), Error> {
    for number in &reloaded.replaced {
        screen.line(format_args!("worker {number}: replaced"))?;
    }
    for number in &reloaded.told {
        screen.line(format_args!("worker {number}: changed while it runs"))?;
    }
    for number in &reloaded.unchanged {
        screen.line(format_args!("worker {number}: unchanged"))?;
    }
    for (number, why) in &reloaded.failed {
        let text = screen.paint(format_args!("worker {number}: failed: {why}"), Tone::Bad);
        screen.line(text)?;
    }
    for warning in &reloaded.warnings {
        let text = screen.paint(warning, Tone::Bad);
        screen.line(text)?;
    }
    Ok(())
}
