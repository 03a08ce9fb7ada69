//! `reload`.

use std::{collections::BTreeMap, path::Path};

use super::{
    Error, Json, Outcome, client,
    instance::{load, whereabouts},
    screen::{Screen, Tone},
};
use crate::api::{Question, Reloaded, Reply};

pub(super) async fn run(path: &Path, json: Json, screen: &mut Screen) -> Result<Outcome, Error> {
    // The daemon reads the files itself, with its own variables, and says what is wrong with them.
    let reloaded = match client::ask_at(&whereabouts(path).await?, Question::Reload).await {
        Ok(Reply::Reloaded(reloaded)) => reloaded,
        Ok(_) => return Err(client::Error::Astray.into()),
        Err(error @ Error::Client(client::Error::NotRunning { .. })) => {
            load(path).await?;
            return Err(error);
        }
        Err(error) => return Err(error),
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
    unless_failed(&reloaded.failed)
}

pub(super) fn unless_failed(failed: &BTreeMap<usize, String>) -> Result<Outcome, Error> {
    if failed.is_empty() {
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
    for number in &reloaded.changed_live {
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
