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
        screen::{Screen, agree, spinner},
        unit,
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
    /// Change it without asking; needed where nothing can be asked, as without a terminal and with --json
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

/// A text that is a configuration, and what it comes to.
pub(super) struct Judged {
    next: File,
    /// `None`: the file is new, so no daemon has it.
    at: Option<Location>,
    /// `None`: it is not wanted.
    plan: Option<(Plan, Whose)>,
}

/// Is this text what the main file has?
pub(super) fn is_unchanged(original: &Original, text: &str) -> bool {
    text == original.main.text && !original.is_new
}

/// Says that there is nothing to change.
pub(super) fn unchanged(
    original: &Original,
    how: &How,
    screen: &mut Screen,
) -> Result<Outcome, Error> {
    if how.json.json {
        screen.json(&answer(original, &original.main, None))?;
    } else {
        screen.line("nothing to change")?;
    }
    Ok(Outcome::Done)
}

/// Puts a text in the place of the main file, if it is wanted.
pub(super) async fn finish(
    original: &Original,
    judged: Judged,
    how: How,
    screen: &mut Screen,
) -> Result<Outcome, Error> {
    let Judged { next, at, plan } = judged;
    if is_unchanged(original, &next.text) {
        return unchanged(original, &how, screen);
    }
    if !how.json.json {
        diff::show(original, &next, screen)?;
        if let Some((plan, whose)) = &plan {
            whose.say(screen)?;
            plan::show(plan, screen)?;
        }
    }
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

/// Is this a configuration, with everything that it names, and does HAProxy take what is made of it? The daemon says it, for
/// `${NAME}` are variables of its unit; where none runs, this process does.
pub(super) async fn judge(original: &Original, text: &str, how: &How) -> Result<Judged, Error> {
    let next = original.with(text);
    let at = whereabouts(original).await?;
    let spinner = spinner("making the plan");
    let planned = plan::preview(at.as_ref(), original.path(), Text::File(next.clone())).await;
    spinner.finish_and_clear();
    let plan = match planned {
        Ok(plan) => Some(plan).filter(|_| !how.file_only),
        // What the daemon cannot change while it runs may still be written.
        Err(error) if how.file_only && !error.is_usage() => {
            alone(original, &next).await.map_err(refused)?;
            None
        }
        Err(error) => return Err(refused(error)),
    };
    Ok(Judged { next, at, plan })
}

fn refused(error: Error) -> Error {
    let why = match error {
        Error::Config(config::Error::Invalid(report)) => report.to_string(),
        Error::Failed { failure, .. } if failure.usage => failure.to_string(),
        other => return other,
    };
    Error::Usage(format!(
        "this would be no configuration, so the file stays as it is (lines are those of the new text):\n{why}"
    ))
}

/// Where the daemon of this configuration is; `None`: the file is new, so no daemon has it.
async fn whereabouts(original: &Original) -> Result<Option<Location>, Error> {
    match instance::whereabouts(original.path()).await {
        Ok(at) => Ok(Some(at)),
        Err(_) if original.is_new => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Judged by this process.
async fn alone(original: &Original, next: &File) -> Result<(), Error> {
    let base = base(original.path());
    let texts = original.texts(next.clone());
    let read =
        move |_: &Path| -> Result<Config, config::Error> { texts.config(&base, &Env::current()?) };
    let config = instance::away(original.path(), read).await?;
    haproxy::validate(&config).await?;
    Ok(())
}

fn agreed(how: &How, screen: &mut Screen) -> Result<bool, Error> {
    if how.yes {
        return Ok(true);
    }
    if how.json.json || !is_person() {
        let words = "change the configuration: nothing can be asked here, so it was not confirmed, and the file stays as it is: \
                     `-y` changes it without a question, `--dry-run` shows what would change";
        return Err(Error::Usage(words.to_owned()));
    }
    screen.flush()?;
    agree(
        if how.file_only {
            "Write the file?"
        } else {
            "Put this in force?"
        },
        true,
    )
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
            "{path}: written and in force as snapshot {number}; `{}` takes it back",
            unit::command(original.path(), "rollback")
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
        format!("`{}` puts it in force", unit::command(&path, "reload"))
    } else {
        format!("`{}` starts the daemon with it", unit::start(&path))
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
