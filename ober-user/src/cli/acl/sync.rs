//! `acl sync`, `acl add`, `acl remove`: changes of lists and servers, all or none.

use std::{
    collections::BTreeSet,
    io::{self, IsTerminal as _},
    net::Ipv4Addr,
    path::Path,
};

use clap::Args;

use super::edits::{Stdin, edit};
use crate::{
    api::{self, How, Question, Reply, SHOWN, Synced, Target},
    cli::{
        Error, Json, Outcome, client,
        instance::Instance,
        screen::{Screen, Tone, spinner},
    },
    config::{FRONTEND_HTTP, ROUTERS},
};

const EXPR: &str = "An expression: names, addresses, ranges such as n[01-08], 10.0.0.[1-254] and 10.0.0.1-10.0.1.9, prefixes, \
@FILE; or - alone for standard input. \"\" names no address.";

#[derive(Debug, Args)]
#[command(after_help = EXPR)]
pub(in crate::cli) struct Sync {
    /// Clients that may use plain HTTP
    #[arg(long, value_name = "EXPR")]
    frontend_http: Option<String>,
    /// Routers that routing protocols are accepted from
    #[arg(long, value_name = "EXPR")]
    routers: Option<String>,
    /// Servers of the S3 backend, each with an optional :PORT
    #[arg(long, value_name = "EXPR")]
    backend_http: Option<String>,
    /// Which backend --backend-http is for, when services use several
    #[arg(long, value_name = "NAME", requires = "backend_http")]
    backend: Option<String>,
    /// Clients of another list; may be repeated
    #[arg(long, num_args = 2, value_names = ["NAME", "EXPR"])]
    list: Vec<String>,
    /// Resolve the names of all lists that are not set here again
    #[arg(long)]
    refresh: bool,
    #[command(flatten)]
    how: Options,
}

/// `acl add` and `acl remove`.
#[derive(Debug, Args)]
#[command(after_help = EXPR)]
pub(in crate::cli) struct Edit {
    /// Name of the list, as `ober-user acl show` prints it
    list: String,
    /// What to add or remove; see below
    #[arg(value_name = "EXPR", required = true)]
    expressions: Vec<String>,
    #[command(flatten)]
    how: Options,
}

#[derive(Clone, Copy, Debug, Args)]
struct Options {
    /// Show the difference and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Forget the earlier addresses of names that do not resolve any more
    #[arg(long)]
    prune: bool,
    #[command(flatten)]
    json: Json,
}

impl Sync {
    pub(in crate::cli) async fn run(
        mut self,
        path: &Path,
        screen: &mut Screen,
    ) -> Result<Outcome, Error> {
        let instance = Instance::find(path).await?;
        if self.is_empty() {
            self.ask()?;
        }
        let edits = self.edits(&instance).await?;
        if edits.is_empty() {
            screen.line("nothing to change")?;
            return Ok(Outcome::Done);
        }
        send(&instance, edits, self.how, screen).await
    }

    fn is_empty(&self) -> bool {
        let named = [&self.frontend_http, &self.routers, &self.backend_http];
        named.iter().all(|option| option.is_none()) && self.list.is_empty() && !self.refresh
    }

    /// Asks on the terminal for the clients of plain HTTP, the routers and the S3 servers.
    fn ask(&mut self) -> Result<(), Error> {
        if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
            let text = "say what to set: --frontend-http, --routers, --backend-http, --list or --refresh; questions \
                        are asked on a terminal only";
            return Err(Error::Usage(text.into()));
        }
        self.frontend_http = prompt("Clients that may use plain HTTP")?;
        self.routers = prompt("Routers")?;
        self.backend_http = prompt("S3 servers")?;
        Ok(())
    }

    async fn edits(&self, instance: &Instance) -> Result<Vec<api::Edit>, Error> {
        let mut stdin = Stdin::default();
        let mut edits: Vec<api::Edit> = Vec::new();
        for (list, expression) in self.named_lists() {
            let target = Target::List(list.to_owned());
            if edits.iter().any(|edit| edit.target == target) {
                return Err(Error::Usage(format!(
                    "list {list} is set twice; write one expression"
                )));
            }
            let expressions = std::slice::from_ref(expression);
            edits.push(edit(target, How::Replace, expressions, &mut stdin)?);
        }
        if let Some(expression) = &self.backend_http {
            let target = Target::Backend(self.backend(instance).await?);
            let expressions = std::slice::from_ref(expression);
            edits.push(edit(target, How::Replace, expressions, &mut stdin)?);
        }
        if self.refresh {
            edits.extend(refresh(lists(instance).await?, &edits));
        }
        Ok(edits)
    }

    fn named_lists(&self) -> impl Iterator<Item = (&str, &String)> {
        let own = [
            (FRONTEND_HTTP, &self.frontend_http),
            (ROUTERS, &self.routers),
        ]
        .into_iter()
        .filter_map(|(name, expression)| Some((name, expression.as_ref()?)));
        let others = self.list.chunks_exact(2);
        own.chain(others.map(|pair| (pair[0].as_str(), &pair[1])))
    }

    async fn backend(&self, instance: &Instance) -> Result<String, Error> {
        if let Some(name) = &self.backend {
            return Ok(name.clone());
        }
        let used: Vec<String> = used(instance).await?.into_iter().collect();
        match used.as_slice() {
            [only] => Ok(only.clone()),
            [] => Err(Error::Usage(
                "no service has a backend; configure one".into(),
            )),
            several => Err(Error::Usage(format!(
                "the services use several backends: say which with --backend: {}",
                several.join(", ")
            ))),
        }
    }
}

/// The backends of services: those of the configuration, or, if it has a mistake, all that the daemon has.
async fn used(instance: &Instance) -> Result<BTreeSet<String>, Error> {
    if instance.own().is_none()
        && let Some(mut line) = instance.connect().await?
    {
        return match line.exchange(&Question::Backends).await? {
            Ok(Reply::Backends(backends)) => Ok(backends.into_keys().collect()),
            Ok(_) => Err(client::Error::Astray.into()),
            Err(failure) => Err(Error::failed(failure)),
        };
    }
    let services = &instance.config().await?.services;
    Ok(services.iter().map(|it| it.backend.clone()).collect())
}

/// The lists that are in force; where no daemon runs, those of the configuration.
async fn lists(instance: &Instance) -> Result<Vec<String>, Error> {
    let Some(mut line) = instance.connect().await? else {
        return Ok(instance.config().await?.lists.keys().cloned().collect());
    };
    // The daemon answers for every list; only the names are used, so any address does.
    let address = Ipv4Addr::UNSPECIFIED.into();
    match line.exchange(&Question::Check { address }).await? {
        Ok(Reply::Checked(checked)) => Ok(checked.into_iter().map(|it| it.list).collect()),
        Ok(_) => Err(client::Error::Astray.into()),
        Err(failure) => Err(Error::failed(failure)),
    }
}

fn refresh(lists: Vec<String>, edits: &[api::Edit]) -> Vec<api::Edit> {
    let named = |list: &String| {
        let mut targets = edits.iter().map(|edit| &edit.target);
        targets.any(|target| matches!(target, Target::List(name) if name == list))
    };
    let rest = lists.into_iter().filter(|list| !named(list));
    let again = rest.map(|list| api::Edit {
        target: Target::List(list),
        how: How::Refresh,
        sources: vec![],
        stdin: None,
    });
    again.collect()
}

fn prompt(question: &str) -> Result<Option<String>, Error> {
    let answer: String = dialoguer::Input::new()
        .with_prompt(format!("{question} (hostlist; empty: leave as it is)"))
        .allow_empty(true)
        .interact_text()
        .map_err(|error| Error::Prompt(io::Error::other(error)))?;
    Ok(Some(answer).filter(|answer| !answer.trim().is_empty()))
}

impl Edit {
    pub(super) async fn run(
        self,
        how: How,
        path: &Path,
        screen: &mut Screen,
    ) -> Result<Outcome, Error> {
        let instance = Instance::find(path).await?;
        let target = Target::List(self.list);
        let edit = edit(target, how, &self.expressions, &mut Stdin::default())?;
        send(&instance, vec![edit], self.how, screen).await
    }
}

async fn send(
    instance: &Instance,
    edits: Vec<api::Edit>,
    how: Options,
    screen: &mut Screen,
) -> Result<Outcome, Error> {
    let request = Question::Sync(api::Sync {
        edits,
        dry_run: how.dry_run,
        prune: how.prune,
    });
    let spinner = spinner("resolving names and changing the lists");
    let reply = instance.ask(request).await;
    spinner.finish_and_clear();
    let Reply::Synced(synced) = reply? else {
        return Err(client::Error::Astray.into());
    };
    if how.json.json {
        screen.json(&synced)?;
    } else {
        synced
            .iter()
            .try_for_each(|synced| show(synced, how.dry_run, screen))?;
    }
    if synced.iter().all(|synced| synced.unresolved.is_empty()) {
        Ok(Outcome::Done)
    } else {
        Ok(Outcome::Unresolved)
    }
}

fn show(synced: &Synced, dry_run: bool, screen: &mut Screen) -> Result<(), Error> {
    let (kind, name) = match &synced.target {
        Target::List(name) => ("list", name),
        Target::Backend(name) => ("backend", name),
    };
    let would = if dry_run { "would be " } else { "" };
    let name = screen.paint(name, Tone::Strong);
    let change = synced.change;
    screen.line(format_args!(
        "{kind} {name}: {would}{} added, {would}{} removed, {} on it",
        change.added, change.removed, synced.count
    ))?;
    for (mark, lines, tone) in [
        ('+', &synced.added, Tone::Good),
        ('-', &synced.removed, Tone::Bad),
    ] {
        for line in lines {
            let line = screen.paint(format_args!("{mark} {line}"), tone);
            screen.line(format_args!("  {line}"))?;
        }
        if lines.len() >= SHOWN {
            screen.line(format_args!("  {mark} and more"))?;
        }
    }
    for lacking in synced.lacking() {
        let line = screen.paint(format_args!("not resolved: {lacking}"), Tone::Bad);
        screen.line(format_args!("  {line}"))?;
    }
    if let Some(why) = &synced.unkept {
        let line = screen.paint(format_args!("not kept over a restart: {why}"), Tone::Bad);
        screen.line(format_args!("  {line}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cli::screen::tests::Paper, dataplane::access::Diff};

    #[test]
    fn a_change_shows_added_removed_and_unresolved_entries() {
        let synced = Synced {
            target: Target::List("frontend-http".into()),
            change: Diff {
                added: 2,
                removed: 1,
            },
            count: 7,
            added: vec!["10.0.0.1-10.0.0.2".into()],
            removed: vec!["10.0.0.9".into()],
            unresolved: [
                ("n1".to_owned(), "no such name".to_owned()),
                ("n2".to_owned(), "no answer".to_owned()),
            ]
            .into(),
            kept: vec!["n2".into()],
            unkept: Some("the disk is full".into()),
        };
        let paper = Paper::default();
        show(&synced, true, &mut Screen::plain(paper.clone())).unwrap();
        let expected = "\
list frontend-http: would be 2 added, would be 1 removed, 7 on it
  + 10.0.0.1-10.0.0.2
  - 10.0.0.9
  not resolved: n1: no such name
  not resolved: n2: no answer; keeps its earlier addresses
  not kept over a restart: the disk is full
";
        assert_eq!(paper.text(), expected);
    }
}
