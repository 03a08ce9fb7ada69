//! `restart`: new processes in place of those that run.

use std::path::Path;

use clap::Args;

use super::{
    Error, Json, Outcome, client,
    instance::whereabouts,
    reload,
    screen::{Screen, Tone},
};
use crate::api::{Question, Reply, Restarted};

const DAEMON: &str = "restart what? `ober-user restart --workers` replaces the workers; the daemon is restarted by \
                      `systemctl restart ober`";

#[derive(Debug, Args)]
pub(super) struct Restart {
    /// Replace the workers, one at a time, by new processes of the same configuration
    #[arg(long)]
    workers: bool,
    #[command(flatten)]
    json: Json,
}

impl Restart {
    pub(super) async fn run(self, path: &Path, screen: &mut Screen) -> Result<Outcome, Error> {
        if !self.workers {
            return Err(Error::Usage(DAEMON.to_owned()));
        }
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
