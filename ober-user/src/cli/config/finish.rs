//! Another text for the main file: judged, shown, confirmed, put in force.

use std::path::Path;

use clap::Args;
use serde::Serialize;

use super::{diff, is_person, original::Original};
use crate::{
    api::{Reloaded, Text},
    cli::{
        Error, Json, Outcome, instance,
        plan::{self, Whose},
        reload,
        screen::{Screen, spinner},
    },
    config::{self, Config, Env, File, Location, base},
    daemon, haproxy,
    plan::Plan,
};

/// How a change is made.
#[derive(Clone, Debug, Args)]
pub(super) struct How {
    /// Show what would change in the file and on the node, and change nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Write the file alone; a daemon goes on with what it has until `reload`, or until its next start
    #[arg(long)]
    file_only: bool,
    /// Put it in force without asking
    #[arg(short, long)]
    yes: bool,
    /// Why, for `history`
    #[arg(long = "reason", value_name = "TEXT")]
    note: Option<String>,
    #[command(flatten)]
    json: Json,
}

/// The answer in JSON.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    /// The keys that differ, in words.
    differences: Vec<String>,
    /// `null`: the daemon was not asked, or there is nothing to change.
    plan: Option<&'a Plan>,
    /// Was the file written?
    written: bool,
    /// What the daemon did; `null`: no daemon runs, or nothing was to be done.
    done: Option<&'a Reloaded>,
}

/// Puts this text in the place of the main file, if it is a configuration and wanted.
pub(super) async fn finish(
    original: &Original,
    text: String,
    how: How,
    screen: &mut Screen,
) -> Result<Outcome, Error> {
    let next = original.with(&text);
    if text == original.main.text && !original.is_new {
        if how.json.json {
            screen.json(&answer(original, &next, None))?;
        } else {
            screen.line("nothing to change")?;
        }
        return Ok(Outcome::Done);
    }
    judge(original, &next).await?;
    if !how.json.json {
        diff::show(original, &next, screen)?;
    }
    let at = whereabouts(original).await?;
    let plan = if how.file_only {
        None
    } else {
        Some(planned(at.as_ref(), original, &next, &how, screen).await?)
    };
    if how.dry_run {
        if how.json.json {
            let plan = plan.as_ref().map(|(plan, _)| plan);
            screen.json(&answer(original, &next, plan))?;
        }
        return Ok(Outcome::Changes);
    }
    if !agreed(&how, screen)? {
        screen.line("nothing was changed")?;
        return Ok(Outcome::No);
    }
    match (plan, at) {
        (Some((plan, Whose::Daemons)), Some(at)) => {
            put_in_force(&at, original, next, &plan, how, screen).await
        }
        (plan, _) => {
            let plan = plan.as_ref().map(|(plan, _)| plan);
            write(original, &next, plan, &how, screen)
        }
    }
}

/// Where the daemon of this configuration is; `None`: the file is new, so no daemon has it.
async fn whereabouts(original: &Original) -> Result<Option<Location>, Error> {
    match instance::whereabouts(original.path()).await {
        Ok(at) => Ok(Some(at)),
        Err(_) if original.is_new => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Is this a configuration, with everything that it names, and does HAProxy take what is made of it?
pub(super) async fn judge(original: &Original, next: &File) -> Result<(), Error> {
    let base = base(original.path());
    let texts = original.texts(next.clone());
    let read =
        move |_: &Path| -> Result<Config, config::Error> { texts.config(&base, &Env::current()?) };
    let config = match instance::away(original.path(), read).await {
        Ok(config) => config,
        Err(config::Error::Invalid(report)) => {
            let words = "this would be no configuration, so the file stays as it is (lines are those of the new text):";
            return Err(Error::Usage(format!("{words}\n{report}")));
        }
        Err(error) => return Err(error.into()),
    };
    haproxy::validate(&config).await?;
    Ok(())
}

async fn planned(
    at: Option<&Location>,
    original: &Original,
    next: &File,
    how: &How,
    screen: &mut Screen,
) -> Result<(Plan, Whose), Error> {
    let spinner = spinner("making the plan");
    let planned = plan::preview(at, original.path(), Text::File(next.clone())).await;
    spinner.finish_and_clear();
    let (plan, whose) = planned?;
    if !how.json.json {
        whose.say(screen)?;
        plan::show(&plan, screen)?;
    }
    Ok((plan, whose))
}

fn agreed(how: &How, screen: &mut Screen) -> Result<bool, Error> {
    if how.yes || how.json.json || !is_person() {
        return Ok(true);
    }
    screen.flush()?;
    let question = if how.file_only {
        "Write the file?"
    } else {
        "Put this in force?"
    };
    let asked = dialoguer::Confirm::new()
        .with_prompt(question)
        .default(true);
    asked
        .interact()
        .map_err(|dialoguer::Error::IO(error)| Error::Prompt(error))
}

async fn put_in_force(
    at: &Location,
    original: &Original,
    next: File,
    plan: &Plan,
    how: How,
    screen: &mut Screen,
) -> Result<Outcome, Error> {
    let mut shown = answer(original, &next, Some(plan));
    let over = Some(original.main.fingerprint());
    let spinner = spinner("putting it in force");
    let done = plan::put_in_force(at, Text::File(next), how.note, over).await;
    spinner.finish_and_clear();
    let done = done?;
    if how.json.json {
        shown.written = true;
        shown.done = Some(&done);
        screen.json(&shown)?;
        return reload::ended(&done, how.json, screen);
    }
    let outcome = reload::ended(&done, how.json, screen);
    let path = original.path().display();
    screen.line(match done.snapshot {
        Some(number) => format!(
            "{path}: written and in force as snapshot {number}; `ober-user rollback` takes it back"
        ),
        None => format!("{path}: written and in force"),
    })?;
    outcome
}

/// Writes the file alone.
fn write(
    original: &Original,
    next: &File,
    plan: Option<&Plan>,
    how: &How,
    screen: &mut Screen,
) -> Result<Outcome, Error> {
    let mut shown = answer(original, next, plan);
    let path = original.path().to_owned();
    daemon::write_main(&path, next, original.main.fingerprint()).map_err(Error::Daemon)?;
    if how.json.json {
        shown.written = true;
        screen.json(&shown)?;
        return Ok(Outcome::Done);
    }
    let then = if how.file_only {
        "`ober-user reload` puts it in force"
    } else {
        "`systemctl start ober` starts the daemon with it"
    };
    screen.line(format_args!("{}: written; {then}", path.display()))?;
    Ok(Outcome::Done)
}

fn answer<'a>(original: &Original, next: &File, plan: Option<&'a Plan>) -> Answer<'a> {
    let differences = diff::differences(original, next);
    Answer {
        differences: differences.iter().map(|it| it.words(0)).collect(),
        plan,
        written: false,
        done: None,
    }
}
