//! `bootstrap`: makes this machine what it should be, part by part, and takes that back.

use std::{
    io::{self, IsTerminal as _},
    path::{Path, PathBuf},
};

use clap::Args;
use serde::Serialize;

use super::{
    Error, Json, Outcome, instance,
    screen::{Screen, Tone, spinner},
};
use crate::{
    config::{self, Config},
    host::{
        self, Host,
        bootstrap::{self, Done},
        object::State,
        part::Part,
        plan::{self, Change, PartPlan, Remark},
        platform::Live,
        record::Record,
        undo::{self, Back, How},
        wants::{Configured, Wants},
    },
    system::privilege,
};

#[expect(
    clippy::struct_excessive_bools,
    reason = "each is an option that is given or not"
)]
#[derive(Debug, Args)]
pub(super) struct Bootstrap {
    /// Show what would be changed, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Change it without asking
    #[arg(short, long)]
    yes: bool,
    /// These parts alone, with commas between them
    #[arg(long, value_name = "PARTS", value_delimiter = ',')]
    only: Vec<Part>,
    /// Put back what was there before, as it was recorded
    #[arg(long)]
    undo: bool,
    /// The machine serves nothing else: it also restarts when memory runs out
    #[arg(long, conflicts_with = "undo")]
    dedicated: bool,
    /// Put rules for what the configuration needs first into this chain of nftables, such as inet/filter/input
    #[arg(long, value_name = "CHAIN", conflicts_with = "undo")]
    firewall_chain: Option<String>,
    /// Prepare the image of a machine below this directory: its files, nothing that runs
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
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

impl Bootstrap {
    pub(super) async fn run(mut self, path: &Path, screen: &mut Screen) -> Result<Outcome, Error> {
        privilege::require(&privilege::MACHINE)?;
        if self.only.is_empty() {
            self.only = Part::ALL.to_vec();
        }
        let host = match self.root.clone() {
            Some(root) => Host::image(std::path::absolute(root)?),
            None => Host::here(),
        };
        if self.undo {
            self.undo(&host, screen).await
        } else {
            self.make(&host, path, screen).await
        }
    }

    async fn make(
        &self,
        host: &Host<Live>,
        path: &Path,
        screen: &mut Screen,
    ) -> Result<Outcome, Error> {
        let wants = self.wants(host, path).await;
        let record = Record::read(&host.root)?;
        let plans = bootstrap::plan(host, &record, &wants, &self.only).await;
        if !self.json.json {
            show(&plans, screen)?;
        }
        let changes = plans.iter().map(|it| it.changes.len()).sum::<usize>();
        if changes == 0 || self.dry_run {
            if self.json.json {
                let (parts, done) = (&plans[..], None);
                screen.json(&Answer { parts, done })?;
            } else if changes == 0 {
                screen.line("nothing to do")?;
            }
            return Ok(without_a_change(&plans, changes));
        }
        if !self.agreed(screen, changes)? {
            return Ok(Outcome::No);
        }
        let (mut record, _lock) = Record::open(&host.root)?;
        if bootstrap::plan(host, &record, &wants, &self.only).await != plans {
            record.close(&host.root)?;
            return Err(host::Error::Meanwhile.into());
        }
        let spinner = spinner("changing this machine");
        let done = bootstrap::apply(host, &mut record, &plans).await;
        spinner.finish_and_clear();
        record.close(&host.root)?;
        if self.json.json {
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

    async fn undo(&self, host: &Host<Live>, screen: &mut Screen) -> Result<Outcome, Error> {
        let record = Record::read(&host.root)?;
        let mut all = undo::plan(host, &record, &self.only).await?;
        let changes = all.iter().filter(|it| it.how != How::Keep).count();
        if !self.json.json {
            way_back(&all, screen)?;
        }
        let kept = all.iter().any(|it| it.how == How::Keep);
        if changes == 0 || self.dry_run {
            if self.json.json {
                screen.json(&all)?;
            }
            if !self.dry_run {
                Record::tidy(&host.root)?;
            }
            return Ok(match (changes, kept) {
                (0, false) => Outcome::Done,
                (0, true) => Outcome::No,
                _ => Outcome::Changes,
            });
        }
        if !self.agreed(screen, changes)? {
            return Ok(Outcome::No);
        }
        let (mut record, _lock) = Record::open(&host.root)?;
        if undo::plan(host, &record, &self.only).await? != all {
            return Err(host::Error::Meanwhile.into());
        }
        undo::run(host, &mut record, &mut all).await;
        record.close(&host.root)?;
        if self.json.json {
            screen.json(&all)?;
        }
        let failures: Vec<_> = all.iter().filter_map(|it| it.failed.as_ref()).collect();
        for failure in failures.iter().filter(|_| !self.json.json) {
            screen.line(screen.paint(format_args!("failed: {failure}"), Tone::Bad))?;
        }
        Ok(if kept || !failures.is_empty() {
            Outcome::No
        } else {
            Outcome::Done
        })
    }

    async fn wants(&self, host: &Host<Live>, path: &Path) -> Wants {
        let place = if path == Path::new(config::MAIN) {
            host.root.at(path)
        } else {
            path.to_owned()
        };
        let loaded = if instance::is_absent(&place).await {
            Err(format!("{} is not there yet", place.display()))
        } else {
            load(&place).await
        };
        Wants {
            configured: loaded.as_ref().ok().map(Configured::of),
            why_not: loaded.err(),
            dedicated: self.dedicated,
            firewall_chain: self.firewall_chain.clone(),
        }
    }

    /// Does the operator want it?
    fn agreed(&self, screen: &mut Screen, changes: usize) -> Result<bool, Error> {
        if self.yes {
            return Ok(true);
        }
        if !io::stdin().is_terminal() || self.json.json {
            let words = "standard input is no terminal, so the changes cannot be confirmed: `-y` makes them without a question, `--dry-run` shows them";
            return Err(Error::Usage(words.to_owned()));
        }
        screen.flush()?;
        let question = format!("Make these {changes} changes?");
        let asked = dialoguer::Confirm::new()
            .with_prompt(question)
            .default(false);
        let answer = asked
            .interact()
            .map_err(|dialoguer::Error::IO(error)| Error::Prompt(error))?;
        Ok(answer)
    }
}

async fn load(path: &Path) -> Result<Config, String> {
    let loaded = instance::load(path).await;
    loaded.map_err(|error| format!("the configuration has a mistake: {}", error.line()))
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
        State::Absent | State::Directory(_) | State::Value(_) | State::Other(_) => Vec::new(),
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

fn way_back(all: &[Back], screen: &mut Screen) -> Result<(), Error> {
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
            How::Keep => {
                let words = format!(
                    "{object}: is {found}, which bootstrap did not make; it stays, and {before} is what was there before"
                );
                screen.paint(words, Tone::Bad)
            }
        };
        screen.line(line)?;
    }
    Ok(())
}
