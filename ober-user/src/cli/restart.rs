//! `restart`: new processes in place of those that run: the daemon, or its workers.

use std::{path::Path, time::Duration};

use clap::Args;

use super::{
    Error, Json, Outcome, announced, client, detach,
    instance::{Instance, whereabouts},
    reload,
    screen::{Screen, Tone, note},
    unit::{UnitName, require_systemd},
    validate,
};
use crate::{
    api::{Question, Reply, Restarted},
    system::privilege,
};

const AFTER: &str = "A configuration with a mistake is refused. Exit status: 0 every VIP is announced again, or with --workers and \
--reload-only all was replaced; 1 systemd could not start the daemon, or a worker failed; 2 wrong usage or bad configuration; 3 \
with --reload-only: a name did not resolve; 5 a VIP is not announced, and why.";

const INSTEAD: &str =
    "end the daemon with SIGTERM and run `ober-user run` again; the workers serve on meanwhile";

#[derive(Debug, Args)]
#[command(after_help = AFTER)]
pub(super) struct Restart {
    /// Replace the workers, one at a time, by new processes of the same configuration; the daemon goes on
    #[arg(long, conflicts_with_all = ["reload_only", "unit"])]
    workers: bool,
    /// Restart no process: have the daemon put its files in force, as `reload` does
    #[arg(long, conflicts_with = "unit")]
    reload_only: bool,
    /// How long VIPs may take to be announced again; a bare number counts seconds
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = detach::time,
          conflicts_with_all = ["workers", "reload_only"])]
    wait: Duration,
    #[command(flatten)]
    unit: UnitName,
    #[command(flatten)]
    json: Json,
}

impl Restart {
    pub(super) async fn run(self, path: &Path, screen: &mut Screen) -> Result<Outcome, Error> {
        if self.workers {
            self.workers(path, screen).await
        } else if self.reload_only {
            reload::run(path, self.json, screen).await
        } else {
            self.daemon(path, screen).await
        }
    }

    async fn daemon(self, path: &Path, screen: &mut Screen) -> Result<Outcome, Error> {
        require_systemd("restart the daemon", INSTEAD)?;
        let service = self.unit.service(path)?;
        privilege::require(&privilege::MACHINE)?;
        if let Err(refused) = validate::approve(path).await {
            if refused.is_usage() {
                note(format_args!(
                    "the daemon goes on, nothing was restarted; `systemctl restart {}` does it all the same: the new daemon \
                     then uses the configuration that was in force last",
                    service.unit
                ));
            }
            return Err(refused);
        }
        let instance = Instance::find(path).await?;
        let at = (&service, &instance);
        announced::after(
            &[&["restart", "--no-block"]],
            at,
            self.wait,
            self.json,
            screen,
        )
        .await
    }

    async fn workers(self, path: &Path, screen: &mut Screen) -> Result<Outcome, Error> {
        let at = whereabouts(path).await?;
        let Reply::Restarted(done) = client::ask_at(&at, Question::RestartWorkers).await? else {
            return Err(client::Error::Astray.into());
        };
        if self.json.json {
            screen.json(&done)?;
        } else {
            show(&done, screen)?;
        }
        reload::unless_failed(&done.failed)
    }
}

fn show(done: &Restarted, screen: &mut Screen) -> Result<(), Error> {
    for number in &done.replaced {
        screen.line(format_args!("worker {number}: replaced"))?;
    }
    for (number, why) in &done.failed {
        let text = screen.paint(format_args!("worker {number}: failed: {why}"), Tone::Bad);
        screen.line(text)?;
    }
    for number in &done.unchanged {
        screen.line(format_args!("worker {number}: not tried"))?;
    }
    Ok(())
}
