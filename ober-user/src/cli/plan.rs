//! `plan`: shows what a change would do. `apply` and `rollback` make it.

use std::path::PathBuf;

use clap::Args;

use super::{
    Error, Json, Outcome, client,
    instance::{self, Instance},
    reload,
    screen::{Screen, Tone},
    stdin,
};
use crate::{
    api::{Question, Reloaded, Reply, Text},
    backends::InForce,
    config::{Config, Env, File, Location, Texts},
    haproxy,
    plan::{Change, How, Plan, PlanFacts, Side},
};

/// The configuration to plan.
#[derive(Debug, Args)]
pub(super) struct Show {
    /// The file that would replace the main file; left out: the daemon's files as they are now; `-`: standard input
    file: Option<PathBuf>,
    /// A snapshot of `history` instead
    #[arg(long, value_name = "N", conflicts_with = "file")]
    snapshot: Option<u64>,
    #[command(flatten)]
    json: Json,
}

/// The configuration to put in force.
#[derive(Debug, Args)]
pub(super) struct Apply {
    /// The file that replaces the main file, which is kept with `.old` behind its name; left out: the daemon's files as they
    /// are now; `-`: standard input
    file: Option<PathBuf>,
    #[command(flatten)]
    why: Why,
}

/// The snapshot to go back to.
#[derive(Debug, Args)]
pub(super) struct Rollback {
    /// A number of `history`; left out: the configuration before the one in force
    number: Option<u64>,
    #[command(flatten)]
    why: Why,
}

#[derive(Debug, Args)]
struct Why {
    /// Why, for `history`
    #[arg(long = "reason", value_name = "TEXT")]
    note: Option<String>,
    #[command(flatten)]
    json: Json,
}

impl Show {
    pub(super) async fn run(
        self,
        path: &std::path::Path,
        screen: &mut Screen,
    ) -> Result<Outcome, Error> {
        let of = match self.snapshot {
            Some(number) => Text::Snapshot(Some(number)),
            None => text(self.file).await?,
        };
        let at = locate(path, &of).await?;
        let (plan, whose) = preview(Some(&at), path, of).await?;
        if self.json.json {
            screen.json(&plan)?;
        } else {
            whose.say(screen)?;
            show(&plan, screen)?;
        }
        Ok(if plan.is_empty() {
            Outcome::Done
        } else {
            Outcome::Changes
        })
    }
}

impl Apply {
    pub(super) async fn run(
        self,
        path: &std::path::Path,
        screen: &mut Screen,
    ) -> Result<Outcome, Error> {
        apply(path, text(self.file).await?, self.why, screen).await
    }
}

impl Rollback {
    pub(super) async fn run(
        self,
        path: &std::path::Path,
        screen: &mut Screen,
    ) -> Result<Outcome, Error> {
        apply(path, Text::Snapshot(self.number), self.why, screen).await
    }
}

async fn apply(
    path: &std::path::Path,
    of: Text,
    why: Why,
    screen: &mut Screen,
) -> Result<Outcome, Error> {
    let at = locate(path, &of).await?;
    let done = put_in_force(&at, of, why.note, None).await?;
    if why.json.json {
        screen.json(&done)?;
    } else {
        show(&done.plan, screen)?;
    }
    reload::ended(&done, why.json, screen)
}

/// Has the daemon put a text in force. `over`: the fingerprint of the main file that it may replace.
pub(super) async fn put_in_force(
    at: &Location,
    of: Text,
    note: Option<String>,
    over: Option<String>,
) -> Result<Reloaded, Error> {
    match client::ask_at(at, Question::Apply { of, note, over }).await? {
        Reply::Reloaded(done) => Ok(done),
        _ => Err(client::Error::Astray.into()),
    }
}

/// Whose plan it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// Of a daemon that runs.
    Daemons,
    /// Of a start: no daemon runs.
    Starts,
}

impl Whose {
    pub(super) fn say(self, screen: &mut Screen) -> Result<(), Error> {
        if self == Self::Starts {
            screen.line("no daemon runs: this is what a start would do")?;
        }
        Ok(())
    }
}

/// The plan of putting a text in force, of the daemon at this place if one runs.
pub(super) async fn preview(
    at: Option<&Location>,
    path: &std::path::Path,
    of: Text,
) -> Result<(Plan, Whose), Error> {
    let asked = match at {
        Some(at) => client::ask_at(at, Question::Plan { of: of.clone() }).await,
        None => return Ok((of_a_start(path, of).await?, Whose::Starts)),
    };
    match asked {
        Ok(Reply::Plan(plan)) => Ok((plan, Whose::Daemons)),
        Ok(_) => Err(client::Error::Astray.into()),
        Err(Error::Client(client::Error::NotRunning { .. })) => {
            Ok((of_a_start(path, of).await?, Whose::Starts))
        }
        Err(error) => Err(error),
    }
}

/// For a snapshot a mistake in the files on disk is worth a warning only; in every other case the daemon reports it.
async fn locate(path: &std::path::Path, of: &Text) -> Result<Location, Error> {
    if !matches!(of, Text::Snapshot(_)) {
        return Ok(instance::whereabouts(path).await?);
    }
    let instance = Instance::find(path).await?;
    instance.warn("this is about a snapshot of the history");
    Ok(instance.at)
}

async fn text(file: Option<PathBuf>) -> Result<Text, Error> {
    let Some(path) = file else {
        return Ok(Text::Own);
    };
    Ok(Text::File(if stdin::is_meant(&path) {
        stdin::read()?
    } else {
        instance::away(&path, File::read).await?
    }))
}

/// The plan of a start, for when no daemon runs. Names are not resolved.
async fn of_a_start(path: &std::path::Path, of: Text) -> Result<Plan, Error> {
    let written = match of {
        Text::Own => instance::away(path, Texts::read).await?,
        Text::File(file) => instance::away(path, |path| Texts::replaced(path, file)).await?,
        Text::Snapshot(_) => {
            let text = "plan a snapshot: no daemon runs; start it with `ober-user run`";
            return Err(Error::Usage(text.to_owned()));
        }
    };
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let base = crate::config::base(&path);
    let (written, config) = instance::away(&path, move |_| {
        let config: Config = written.config(&base, &Env::current()?)?;
        Ok((written, config))
    })
    .await?;
    haproxy::validate(&config).await?;
    let (keys, in_force) = (written.keys(), InForce::default());
    let side = Side {
        config: &config,
        keys: &keys,
        in_force: &in_force,
    };
    Ok(Plan::of(None, side, &PlanFacts::default()))
}

/// What changes, and in which order it is done.
pub(super) fn show(plan: &Plan, screen: &mut Screen) -> Result<(), Error> {
    if plan.is_empty() {
        screen.line("nothing to do")?;
    }
    for (part, changes) in [
        ("service", &plan.services),
        ("VIP", &plan.vips),
        ("list", &plan.lists),
        ("backend", &plan.backends),
        ("worker", &plan.workers),
        ("neighbour", &plan.neighbours),
        ("interface", &plan.interfaces),
        ("section", &plan.settings),
    ] {
        for change in changes {
            one(part, change, screen)?;
        }
    }
    if !plan.is_empty() {
        screen.line("")?;
        let order = screen.paint("in this order", Tone::Strong);
        screen.line(order)?;
    }
    for (number, step) in (1..).zip(&plan.steps) {
        screen.line(format_args!("{number:3}. {step}"))?;
    }
    Ok(())
}

fn one(part: &str, change: &Change, screen: &mut Screen) -> Result<(), Error> {
    let tone = match change.how {
        How::Unchanged => Tone::Faint,
        How::Added => Tone::Good,
        How::Removed => Tone::Bad,
        How::Changed | How::ChangedLive | How::Replaced => Tone::Strong,
    };
    let head = format!("{part} {}: {}", change.name, change.how.name());
    let head = screen.paint(head, tone);
    screen.line(head)?;
    for line in &change.what {
        let line = screen.paint(format_args!("    {line}"), Tone::Plain);
        screen.line(line)?;
    }
    Ok(())
}
