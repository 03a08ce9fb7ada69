//! `backends`: one part of `status`.

use std::{collections::BTreeMap, path::Path, time::Duration};

use super::{
    Error, Json, Outcome, client,
    instance::Instance,
    screen::{Cell, Screen, Tone, span},
};
use crate::{
    api::{
        Question, Reply,
        status::backends::{Backend, Server, ServerState, Source},
    },
    system::clock,
};

pub(super) async fn run(path: &Path, json: Json, screen: &mut Screen) -> Result<Outcome, Error> {
    let instance = Instance::find(path).await?;
    let Reply::Backends(backends) = instance.ask_daemon(Question::Backends).await? else {
        return Err(client::Error::Astray.into());
    };
    if json.json {
        screen.json(&backends)?;
    } else {
        let now = clock::since_1970();
        show(&backends, now, screen)?;
    }
    Ok(Outcome::Done)
}

/// The tables that `status` shows too.
pub(super) fn show(
    backends: &BTreeMap<String, Backend>,
    now: Duration,
    screen: &mut Screen,
) -> Result<(), Error> {
    let rows: Vec<_> = backends
        .iter()
        .flat_map(|(name, backend)| backend.servers.iter().map(move |it| server(name, it)))
        .collect();
    screen.table(
        &[
            "backend", "server", "address", "weight", "tier", "source", "state", "since", "reason",
        ],
        &rows,
    )?;
    let rows: Vec<_> = backends
        .iter()
        .flat_map(|(name, backend)| backend.sources.iter().map(move |it| source(name, it, now)))
        .collect();
    if !rows.is_empty() {
        screen.line("")?;
        screen.table(
            &[
                "backend", "source", "servers", "asked", "failures", "failure",
            ],
            &rows,
        )?;
    }
    for (name, backend) in backends {
        for why in &backend.left_out {
            let line = format_args!("left out of backend {name}: {why}");
            let line = screen.paint(line, Tone::Bad);
            screen.line(line)?;
        }
    }
    Ok(())
}

fn server(backend: &str, server: &Server) -> Vec<Cell> {
    let tone = match server.state {
        ServerState::Up => Tone::Good,
        ServerState::Down => Tone::Bad,
        ServerState::Unchecked | ServerState::Unknown => Tone::Plain,
    };
    let since = server
        .seconds
        .map(|seconds| span(Duration::from_secs(seconds)));
    vec![
        Cell::text(backend),
        Cell::text(&server.name),
        Cell::text(server.address),
        Cell::number(server.weight),
        Cell::number(server.tier),
        Cell::text(server.sources.join(", ")),
        Cell::toned(server.state.name(), tone),
        Cell::text(since.unwrap_or_else(|| "-".into())),
        Cell::text(server.reason.as_deref().unwrap_or("-")),
    ]
}

fn source(backend: &str, source: &Source, now: Duration) -> Vec<Cell> {
    let ago = |at| format!("{} ago", span(now.saturating_sub(Duration::from_secs(at))));
    vec![
        Cell::text(backend),
        Cell::text(&source.name),
        Cell::number(
            source
                .servers
                .map_or_else(|| "?".into(), |servers| servers.to_string()),
        ),
        Cell::text(source.asked.map_or_else(|| "never".into(), ago)),
        Cell::number(source.failures),
        match &source.error {
            Some(error) => Cell::toned(error, Tone::Bad),
            None => Cell::text("-"),
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{api::sample, cli::screen::tests::Paper};

    #[test]
    fn servers_are_shown_with_source_state_reason_and_since_and_sources_with_their_failures() {
        let paper = Paper::default();
        let now = Duration::from_secs(1_700_000_065);
        show(
            &sample::status().backends,
            now,
            &mut Screen::plain(paper.clone()),
        )
        .unwrap();
        let text = paper.text();
        for words in [
            "rgw      rgw01   10.0.0.1:7480       1     1  servers, srv _s3._tcp.test  down   1m 1s  status 500",
            "rgw      srv _s3._tcp.test        2  1m 5s ago         3  SERVFAIL",
            "left out of backend rgw: 127.0.0.1:8404 of exec /x: it is `node.metrics` of this node",
        ] {
            assert!(text.contains(words), "{words:?} is not in\n{text}");
        }
    }
}
