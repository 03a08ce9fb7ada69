//! `history`: the configurations that were in force, from the state directory; no daemon is needed.

use std::{path::Path, time::Duration};

use clap::Args;

use super::{
    Error, Json, Outcome,
    instance::{Instance, PATIENCE},
    screen::{Cell, Screen, Tone, span},
};
use crate::{
    config::without_secrets,
    plan::history::{self, Entry, History as Kept, Snapshot},
    system::{clock, file, store},
};

/// What is shown of the history.
#[derive(Debug, Args)]
pub(super) struct History {
    /// Show the text of this snapshot, without its secrets
    number: Option<u64>,
    /// Show instead what is different now
    #[arg(long, requires = "number")]
    changes: bool,
    #[command(flatten)]
    json: Json,
}

impl History {
    pub(super) async fn run(self, path: &Path, screen: &mut Screen) -> Result<Outcome, Error> {
        let instance = Instance::find(path).await?;
        instance.warn("the history is read without it");
        let Some(number) = self.number else {
            let entries = kept(&instance, |kept| Ok(kept.entries())).await?;
            return self.entries(&entries, screen);
        };
        let mut snapshot = kept(&instance, move |kept| kept.read(number)).await?;
        if self.changes {
            let latest = move |kept: &Kept| {
                let latest = kept.entries().last().map_or(number, |entry| entry.number);
                kept.read(latest)
            };
            let latest = kept(&instance, latest).await?;
            return self.changes(&snapshot, &latest, screen);
        }
        let written = &mut snapshot.written;
        for file in std::iter::once(&mut written.main).chain(&mut written.more) {
            file.text = without_secrets(&file.text);
        }
        if self.json.json {
            screen.json(&snapshot)?;
            return Ok(Outcome::Done);
        }
        for file in snapshot.written.files() {
            screen.line(format_args!("# {}", file.path.display()))?;
            for line in file.text.lines() {
                screen.text(line, Tone::Plain)?;
            }
        }
        Ok(Outcome::Done)
    }

    fn entries(&self, entries: &[Entry], screen: &mut Screen) -> Result<Outcome, Error> {
        if self.json.json {
            screen.json(&entries)?;
            return Ok(Outcome::Done);
        }
        let now = clock::since_1970();
        let rows: Vec<_> = entries.iter().rev().map(|entry| row(entry, now)).collect();
        screen.table(&["number", "when", "by", "user", "text", "reason"], &rows)?;
        Ok(Outcome::Done)
    }

    fn changes(
        &self,
        then: &Snapshot,
        now: &Snapshot,
        screen: &mut Screen,
    ) -> Result<Outcome, Error> {
        let differences = then.written.keys().differences(&now.written.keys());
        let lines: Vec<String> = differences.iter().map(|key| key.words(0)).collect();
        if self.json.json {
            screen.json(&lines)?;
            return Ok(Outcome::Done);
        }
        for line in &lines {
            screen.text(line, Tone::Plain)?;
        }
        Ok(Outcome::Done)
    }
}

/// Reads the history, for no longer than `PATIENCE`: its disk may not answer.
async fn kept<T: Send + 'static>(
    instance: &Instance,
    read: impl FnOnce(&Kept) -> Result<T, history::Error> + Send + 'static,
) -> Result<T, Error> {
    let (state, kept) = (instance.state().to_owned(), Kept::new(instance.state()));
    let done = file::away(PATIENCE, move || read(&kept)).await;
    let slow = |source| store::Error::Read {
        path: state,
        source,
    };
    Ok(done.map_err(|source| history::Error::from(slow(source)))??)
}

fn row(entry: &Entry, now: Duration) -> Vec<Cell> {
    let ago = span(now.saturating_sub(Duration::from_secs(entry.time)));
    let origin = &entry.origin;
    let by = match origin.of {
        Some(of) => format!("{} to {of}", origin.reason.name()),
        None => origin.reason.name().to_owned(),
    };
    let user = origin.by.map_or_else(|| "-".to_owned(), user);
    vec![
        Cell::number(entry.number),
        Cell::text(format_args!("{ago} ago")),
        Cell::text(by),
        Cell::text(user),
        Cell::text(&entry.hash),
        Cell::text(origin.note.as_deref().unwrap_or("-")),
    ]
}

/// The user's name, or the number where there is no name.
fn user(id: u32) -> String {
    let user = nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(id));
    let name = user.ok().flatten().map(|user| user.name);
    name.unwrap_or_else(|| id.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cli::screen::tests::Paper,
        plan::history::{Origin, Reason},
    };

    #[test]
    fn history_shows_the_latest_entry_first_with_user_and_reason() {
        let entry = |number, origin| Entry {
            number,
            time: 60,
            origin,
            hash: format!("{number:016x}"),
        };
        let rollback = Origin {
            of: Some(1),
            by: Some(0),
            note: Some("it was better".to_owned()),
            ..Origin::of(Reason::Rollback)
        };
        let entries = [entry(1, Origin::of(Reason::Start)), entry(2, rollback)];
        let now = Duration::from_secs(121);
        let rows: Vec<_> = entries.iter().rev().map(|entry| row(entry, now)).collect();
        let paper = Paper::default();
        let heads = ["number", "when", "by", "user", "text", "reason"];
        Screen::plain(paper.clone()).table(&heads, &rows).unwrap();
        let text = paper.text();
        let lines: Vec<_> = text.lines().skip(1).collect();
        assert_eq!(
            lines,
            [
                "     2  1m 1s ago  rollback to 1  root  0000000000000002  it was better",
                "     1  1m 1s ago  start          -     0000000000000001  -",
            ]
        );
    }
}
