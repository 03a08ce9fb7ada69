//! Commands that change this machine and no daemon: `bootstrap` and `backend-setup`, each with its way back.
//!
//! Both show what they come to, ask, make the changes and record what was there: here is the way, the files below say what.

mod backend;
mod bootstrap;
mod uninstall;
mod upgrade;

use std::io::{self, IsTerminal as _};

use clap::Args;
use serde::Serialize;

pub(super) use self::{
    backend::BackendSetup, bootstrap::Bootstrap, uninstall::Uninstall, upgrade::Upgrade,
};
use super::{
    Error, Json, Outcome, instance,
    screen::{Screen, Tone, agree, spinner},
};
use crate::host::{
    self, Host,
    bootstrap::{Done, apply},
    object::{Object, State},
    part::Part,
    plan::{self, Change, PartPlan, Remark},
    platform::Live,
    record::{Author, Record},
    undo::{self, Back, How},
};

/// How the operator wants it done.
#[derive(Clone, Copy, Debug, Args)]
struct Manner {
    /// Show what would be changed, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Change it without asking
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    json: Json,
}

/// The answer in JSON.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    parts: &'a [PartPlan],
    /// `null`: nothing was to be changed.
    done: Option<&'a [Done]>,
}

/// Shows what `plan` comes to, and has it done.
async fn forth(
    host: &Host<Live>,
    author: Author,
    manner: Manner,
    plan: impl AsyncFn(&Record) -> Result<Vec<PartPlan>, host::Error>,
    screen: &mut Screen,
) -> Result<Outcome, Error> {
    let json = manner.json.json;
    let plans = plan(&Record::read(&host.root, author)?).await?;
    if !json {
        show(&plans, screen)?;
    }
    let changes = plans.iter().map(|it| it.changes.len()).sum::<usize>();
    if changes == 0 || manner.dry_run {
        if json {
            let (parts, done) = (&plans[..], None);
            screen.json(&Answer { parts, done })?;
        } else if changes == 0 && !refused(&plans) {
            screen.line("nothing to do")?;
        }
        return Ok(without_a_change(&plans, changes));
    }
    let question = format!("Make these {changes} changes?");
    if !manner.agreed(screen, &question)? {
        return Ok(Outcome::No);
    }
    let (mut record, _lock) = Record::open(&host.root, author)?;
    if plan(&record).await? != plans {
        record.close(&host.root)?;
        return Err(host::Error::Meanwhile.into());
    }
    let spinner = spinner("changing this machine");
    let done = apply(host, &mut record, &plans).await;
    spinner.finish_and_clear();
    record.close(&host.root)?;
    if json {
        let (parts, done) = (&plans[..], Some(&done[..]));
        screen.json(&Answer { parts, done })?;
    } else {
        ended(&done, screen)?;
    }
    let failed = done.iter().any(|it| it.failed.is_some());
    Ok(if failed || refused(&plans) {
        Outcome::No
    } else {
        Outcome::Done
    })
}

/// Shows the way back, and takes it.
async fn back(
    host: &Host<Live>,
    author: Author,
    only: &[Part],
    manner: Manner,
    screen: &mut Screen,
) -> Result<Outcome, Error> {
    let json = manner.json.json;
    let record = Record::read(&host.root, author)?;
    let mut all = undo::plan(host, &record, only).await?;
    let changes = all.iter().filter(|it| it.how != How::Keep).count();
    if !json {
        way_back(&all, author, screen)?;
    }
    let kept = |all: &[Back]| -> Vec<Object> {
        let kept = all.iter().filter(|it| it.how == How::Keep);
        kept.map(|it| it.object.clone()).collect()
    };
    let shown = kept(&all);
    if changes == 0 || manner.dry_run {
        if json {
            screen.json(&all)?;
        }
        if !manner.dry_run {
            Record::tidy(&host.root, author)?;
        }
        return Ok(match (changes, shown.is_empty()) {
            (0, true) => Outcome::Done,
            (0, false) => Outcome::No,
            _ => Outcome::Changes,
        });
    }
    let question = format!("Make these {changes} changes?");
    if !manner.agreed(screen, &question)? {
        return Ok(Outcome::No);
    }
    let (mut record, _lock) = Record::open(&host.root, author)?;
    if undo::plan(host, &record, only).await? != all {
        return Err(host::Error::Meanwhile.into());
    }
    undo::run(host, &mut record, &mut all).await;
    record.close(&host.root)?;
    if json {
        screen.json(&all)?;
    }
    // What was found to stay meanwhile, since it is not empty or what needs it stays.
    let stays = |it: &&Back| it.how == How::Keep && !shown.contains(&it.object);
    for back in all.iter().filter(stays).filter(|_| !json) {
        screen.line(screen.paint(back.stays(author), Tone::Bad))?;
    }
    let failures: Vec<_> = all.iter().filter_map(|it| it.failed.as_ref()).collect();
    for failure in failures.iter().filter(|_| !json) {
        screen.line(screen.paint(format_args!("failed: {failure}"), Tone::Bad))?;
    }
    Ok(if !kept(&all).is_empty() || !failures.is_empty() {
        Outcome::No
    } else {
        Outcome::Done
    })
}

impl Manner {
    /// Does the operator want it?
    fn agreed(self, screen: &mut Screen, question: &str) -> Result<bool, Error> {
        if self.yes {
            return Ok(true);
        }
        if !io::stdin().is_terminal() || self.json.json {
            let words = "standard input is no terminal, so the changes cannot be confirmed: `-y` makes them without a question, `--dry-run` shows them";
            return Err(Error::Usage(words.to_owned()));
        }
        screen.flush()?;
        agree(question, false)
    }
}

fn refused(plans: &[PartPlan]) -> bool {
    plans.iter().any(PartPlan::is_refused)
}

fn without_a_change(plans: &[PartPlan], changes: usize) -> Outcome {
    if refused(plans) {
        Outcome::No
    } else if changes == 0 {
        Outcome::Done
    } else {
        Outcome::Changes
    }
}

fn show(plans: &[PartPlan], screen: &mut Screen) -> Result<(), Error> {
    for plan in plans {
        if plan.changes.is_empty() && plan.remarks.is_empty() {
            continue;
        }
        screen.line(screen.paint(plan.part, Tone::Strong))?;
        for remark in &plan.remarks {
            screen.line(said(remark, screen))?;
        }
        for change in &plan.changes {
            difference(change, screen)?;
        }
    }
    Ok(())
}

fn said(remark: &Remark, screen: &Screen) -> String {
    let tone = match remark.tone {
        plan::Tone::Ok => Tone::Plain,
        plan::Tone::Warning => Tone::Strong,
        plan::Tone::Refused => Tone::Bad,
    };
    let advice = remark.advice.as_ref().map(|it| format!("; {it}"));
    let words = format!(
        "  {}: {}{}",
        remark.object,
        remark.words,
        advice.unwrap_or_default()
    );
    screen.paint(words, tone)
}

/// One change as lines that go and lines that come.
fn difference(change: &Change, screen: &mut Screen) -> Result<(), Error> {
    let Change {
        object,
        before,
        after,
        reason,
        ..
    } = change;
    screen.line(format_args!("  {object}: {before} -> {after}"))?;
    screen.line(screen.paint(format_args!("    {reason}"), Tone::Faint))?;
    let [gone, new] = [before, after].map(lines);
    for line in gone.iter().filter(|it| !new.contains(it)) {
        screen.line(screen.paint(format_args!("    - {line}"), Tone::Bad))?;
    }
    for line in new.iter().filter(|it| !gone.contains(it)) {
        screen.line(screen.paint(format_args!("    + {line}"), Tone::Good))?;
    }
    Ok(())
}

fn lines(state: &State) -> Vec<&str> {
    match state {
        State::File { text, .. } => text.lines().filter(|it| !it.is_empty()).collect(),
        State::Absent
        | State::Directory(_)
        | State::Value(_)
        | State::Other(_)
        | State::Unknown(_) => Vec::new(),
    }
}

fn ended(done: &[Done], screen: &mut Screen) -> Result<(), Error> {
    for part in done {
        let made = part.changed.len();
        if made > 0 {
            screen.line(format_args!("{}: {made} changed", part.part))?;
        }
        if let Some(failed) = &part.failed {
            let words = format!("{} failed: {failed}", part.part);
            screen.line(screen.paint(words, Tone::Bad))?;
        }
    }
    Ok(())
}

fn way_back(all: &[Back], author: Author, screen: &mut Screen) -> Result<(), Error> {
    if all.is_empty() {
        return Ok(screen.line("nothing to undo")?);
    }
    for back in all {
        let Back {
            object,
            before,
            found,
            ..
        } = back;
        let line = match back.how {
            How::Restore => format!("{object}: {found} -> {before}"),
            How::Nothing => format!("{object}: is {before} already"),
            How::Keep => screen.paint(back.stays(author), Tone::Bad),
        };
        screen.line(line)?;
    }
    Ok(())
}
