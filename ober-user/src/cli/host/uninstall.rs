//! `uninstall`: takes Herr Ober off this machine, after it has shown how.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use serde::Serialize;

use super::{Manner, instance};
use crate::{
    cli::{
        Error, Outcome, detach,
        screen::{Screen, Tone, many, spinner},
    },
    dataplane,
    host::{
        Host,
        part::Part,
        platform::Live,
        record::{Author, Record},
        undo::{self, How},
        uninstall::{self, Facts, Step},
    },
    system::{fact::Fact, privilege},
};

#[derive(Debug, Args)]
pub(crate) struct Uninstall {
    /// Leave /etc/ober and /var/lib/ober: configuration, lists, history
    #[arg(long)]
    keep_config: bool,
    /// How long the workers may finish their connections; then they are killed
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = detach::time)]
    drain: Duration,
    #[command(flatten)]
    manner: Manner,
}

/// One step, and what became of it.
#[derive(Clone, Debug, Serialize)]
struct Taken {
    step: Step,
    words: String,
    done: bool,
    /// What the step leaves, and why.
    left: Vec<String>,
    /// Why it could not be done. The steps after it were not tried.
    failed: Option<String>,
}

#[derive(Debug, Serialize)]
struct Answer<'a> {
    steps: &'a [Taken],
    remarks: &'a [String],
}

impl Uninstall {
    pub(crate) async fn run(self, path: &Path, screen: &mut Screen) -> Result<Outcome, Error> {
        privilege::require(&privilege::MACHINE)?;
        privilege::require(&privilege::DATA_PLANE)?;
        let host = Host::here();
        let facts = uninstall::look(&host, path).await?;
        let remarks = uninstall::remarks(&facts, self.keep_config);
        let mut steps = steps(&facts, self.keep_config);
        refuse_a_running_daemon(&facts).await?;
        if !self.manner.json.json {
            for it in &steps {
                screen.line(&it.words)?;
            }
            for it in &remarks {
                screen.line(screen.paint(it, Tone::Strong))?;
            }
        }
        let looks = |it: &Taken| it.step == Step::NoneLeft;
        let outcome = if steps.is_empty() || (self.manner.dry_run && steps.iter().all(looks)) {
            Outcome::Done
        } else if self.manner.dry_run {
            Outcome::Changes
        } else if self.manner.agreed(screen, "Do all of this?")? {
            self.take(&host, &mut steps, screen).await?
        } else {
            return Ok(Outcome::No);
        };
        if self.manner.json.json {
            let (steps, remarks) = (&steps[..], &remarks[..]);
            screen.json(&Answer { steps, remarks })?;
        }
        Ok(outcome)
    }

    /// Takes the steps up to the first that fails.
    async fn take(
        &self,
        host: &Host<Live>,
        steps: &mut [Taken],
        screen: &mut Screen,
    ) -> Result<Outcome, Error> {
        for it in steps.iter_mut() {
            let line = spinner("taking Herr Ober off this machine");
            let result = self.one(host, &it.step).await;
            line.finish_and_clear();
            match result {
                Ok(left) => {
                    it.done = true;
                    it.left = left;
                }
                Err(error) => it.failed = Some(error.to_string()),
            }
            if !self.manner.json.json {
                show(it, screen)?;
            }
            if it.failed.is_some() {
                break;
            }
        }
        let whole = steps.iter().all(|it| it.done && it.left.is_empty());
        Ok(if whole { Outcome::Done } else { Outcome::No })
    }

    /// Takes one step; returns what it leaves.
    async fn one(&self, host: &Host<Live>, step: &Step) -> Result<Vec<String>, Error> {
        match step {
            Step::Detach(path) => match detach::whole(path, Some(self.drain)).await {
                // It never came into force, so it has left nothing; `Step::NoneLeft` makes sure.
                Err(Error::Config(_) | Error::Mistake(_)) => Ok(Vec::new()),
                detached => detached.map(|_| Vec::new()),
            },
            Step::NoneLeft => {
                // What cannot be asked counts as running.
                let runs = |home: &Path| dataplane::looks_up(home) != Fact::No;
                uninstall::none_left(host, runs)?;
                Ok(Vec::new())
            }
            Step::Undo {
                author, but_users, ..
            } => undo(host, *author, *but_users).await,
            step => {
                uninstall::make(host, step).await?;
                Ok(Vec::new())
            }
        }
    }
}

fn steps(facts: &Facts, keep_config: bool) -> Vec<Taken> {
    let steps = uninstall::steps(facts, keep_config).into_iter();
    let taken = steps.map(|step| Taken {
        words: step.to_string(),
        step,
        done: false,
        left: Vec::new(),
        failed: None,
    });
    taken.collect()
}

/// Where systemd does not run, it is the operator's to stop the daemon: this program did not start it and may not know what
/// would start it again.
async fn refuse_a_running_daemon(facts: &Facts) -> Result<(), Error> {
    let none: &[PathBuf] = &[];
    let instances = if facts.systemd {
        none
    } else {
        &facts.instances
    };
    for path in instances {
        let found = instance::Instance::find(path).await?;
        if found.connect().await?.is_some() {
            let instance = found.name().to_owned();
            return Err(Error::DaemonRuns { instance });
        }
    }
    Ok(())
}

/// Puts back what a command changed; returns what stays because it was changed by other means since.
async fn undo(host: &Host<Live>, author: Author, but_users: bool) -> Result<Vec<String>, Error> {
    let parts = author.parts().iter().copied();
    let parts: Vec<Part> = parts
        .filter(|it| !but_users || *it != Part::Users)
        .collect();
    let (mut record, _lock) = Record::open(&host.root, author)?;
    let mut all = undo::plan(host, &record, &parts).await?;
    undo::run(host, &mut record, &mut all).await;
    record.close(&host.root)?;
    let failures: Vec<String> = all.iter().filter_map(|it| it.failed.clone()).collect();
    if !failures.is_empty() {
        return Err(Error::Undo {
            command: author.name(),
            why: failures.join("; "),
        });
    }
    let kept = all.iter().filter(|it| it.how == How::Keep);
    Ok(kept.map(|it| it.stays(author)).collect())
}

fn show(taken: &Taken, screen: &mut Screen) -> Result<(), Error> {
    let words = &taken.words;
    match &taken.failed {
        None => screen.line(screen.paint(format_args!("done: {words}"), Tone::Good))?,
        Some(why) => {
            screen.line(screen.paint(format_args!("failed: {words}: {why}"), Tone::Bad))?;
            screen.line("nothing after this was tried; when it is mended, run this again")?;
        }
    }
    if !taken.left.is_empty() {
        let count = many(taken.left.len(), "object");
        screen.line(format_args!("  {count} left:"))?;
        for it in &taken.left {
            screen.line(screen.paint(format_args!("  {it}"), Tone::Strong))?;
        }
    }
    Ok(())
}
