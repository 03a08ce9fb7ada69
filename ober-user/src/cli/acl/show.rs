//! `acl show`.

use std::path::Path;

use clap::Args;

use crate::{
    api::{ListEntries, Question, Reply},
    cli::{
        Error, Json, Outcome, client,
        instance::Instance,
        screen::{Screen, Tone},
    },
};

#[derive(Debug, Args)]
pub(in crate::cli) struct Show {
    /// Show this list alone; without it, all lists
    list: Option<String>,
    #[command(flatten)]
    json: Json,
}

impl Show {
    pub(super) async fn run(self, path: &Path, screen: &mut Screen) -> Result<Outcome, Error> {
        let instance = Instance::find(path).await?;
        let request = Question::Show { list: self.list };
        let Reply::Lists(lists) = instance.ask(request).await? else {
            return Err(client::Error::Astray.into());
        };
        if self.json.json {
            screen.json(&lists)?;
        } else {
            lists.iter().try_for_each(|list| show(list, screen))?;
        }
        Ok(Outcome::Done)
    }
}

fn show(list: &ListEntries, screen: &mut Screen) -> Result<(), Error> {
    let name = screen.paint(&list.name, Tone::Strong);
    let addresses = if list.count == 1 {
        "address"
    } else {
        "addresses"
    };
    screen.line(format_args!("{name}: {} {addresses}", list.count))?;
    for (word, sources) in [("from", &list.sources), ("less", &list.except)] {
        for source in sources {
            let word = screen.paint(word, Tone::Faint);
            screen.line(format_args!("  {word} {source}"))?;
        }
    }
    let mut entries = list.entries.iter();
    Ok(entries.try_for_each(|entry| screen.line(format_args!("  {entry}")))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::screen::tests::Paper;

    #[test]
    fn a_lists_sources_are_shown_before_its_entries() {
        let list = ListEntries {
            name: "routers".into(),
            sources: vec!["r[1-2]".into()],
            except: vec!["10.0.0.9".into()],
            count: 3,
            entries: vec!["10.0.0.1-10.0.0.2".into(), "fd00::/64".into()],
        };
        let paper = Paper::default();
        show(&list, &mut Screen::plain(paper.clone())).unwrap();
        let expected = "routers: 3 addresses\n  from r[1-2]\n  less 10.0.0.9\n  10.0.0.1-10.0.0.2\n  fd00::/64\n";
        assert_eq!(paper.text(), expected);
    }
}
