//! `config`: other values in the configuration. They are asked for, given or edited; what comes of them is judged, shown as a
//! difference of the file and a plan of the node, and put in force as by `apply`.
//!
//! ```text
//! original   the files as they were read        answers   `--answers`, `--set`, `--unset`       wizard/   the questions
//! finish     judged, shown, confirmed, done     diff      the difference of the file
//! editor     `config edit`                      get       `config get`
//! ```
//! Texts are edited by [`crate::config::edit`].

mod answers;
mod diff;
mod editor;
mod finish;
mod get;
mod original;
mod wizard;

use std::{
    io::{self, IsTerminal as _},
    path::Path,
};

use clap::{Args, Subcommand};

use self::{answers::Answers, finish::How, original::Original};
use super::{
    Error, Outcome,
    screen::{Screen, Tone},
};

const EXAMPLE: &str = include_str!("../../../../config/ober.example.toml");

const AFTER: &str = "KEY is names with dots between them, as `history --changes` shows them: bgp.as, \
backends.rgw.servers. A table in a list is named by its name, address or port: services.s3.vips, \
services.s3.listeners.443.certificate, bgp.neighbours.192.0.2.254.as; one without such a name by its number from 1. \
Services, listeners, neighbours and nodes that are not there yet are made. A name with a dot may stand between quotes.\n\n\
VALUE is written as in the file: 65001, true, [\"eth1\"]; text needs no quotes. A table is merged key by key, and so is a \
list of tables by their names; any other list is replaced.\n\n\
  ober-user config -y --set bgp.as=65001 --set 'node.interfaces=[\"eth1\"]'\n  \
ober-user config --answers answers.toml --dry-run";

/// What is to change, and how.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, after_help = AFTER)]
pub(super) struct Config {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    answers: Answers,
    #[command(flatten)]
    how: How,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the value of a key, as it is written; secrets are not shown
    Get(get::Get),
    /// Change the file in an editor ($VISUAL, $EDITOR), on a copy that takes its place only when it is valid
    Edit(editor::Edit),
    /// Print a configuration with every key and its meaning
    Example,
}

impl Config {
    pub(super) async fn run(self, path: &Path, screen: &mut Screen) -> Result<Outcome, Error> {
        match self.command {
            Some(Command::Get(get)) => return get.run(path, screen).await,
            Some(Command::Edit(edit)) => return edit.run(path, screen).await,
            Some(Command::Example) => {
                for line in EXAMPLE.lines() {
                    screen.text(line, Tone::Plain)?;
                }
                return Ok(Outcome::Done);
            }
            None => {}
        }
        let original = Original::read(path).await?;
        let judged = if self.answers.are_given() {
            let text = self.answers.put(&original)?;
            if finish::is_unchanged(&original, &text) {
                return finish::unchanged(&original, &self.how, screen);
            }
            finish::judge(&original, &text, &self.how).await?
        } else if is_person() {
            wizard::run(&original, &self.how).await?
        } else {
            return Err(Error::Usage(unasked()));
        };
        finish::finish(&original, judged, self.how, screen).await
    }
}

/// Is there a person who can be asked?
fn is_person() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

fn unasked() -> String {
    "configure this node: standard input is no terminal, so nothing can be asked; give the answers in one of two ways:\n  \
     ober-user config -y --set 'node.interfaces=[\"eth1\"]' --set bgp.as=65001 ...\n  \
     ober-user config -y --answers FILE     (a TOML with the same keys as ober.toml; `-`: standard input)"
        .to_owned()
}
