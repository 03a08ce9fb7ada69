//! `bfd`: one part of `status`.

use std::{path::Path, time::Duration};

use super::{
    Error, Json, Outcome, instance,
    screen::{Cell, Screen, Tone},
};
use crate::{
    api::status::bfd::{Bfd, Session},
    protocols::bfd::State,
};

pub(super) async fn run(path: &Path, json: Json, screen: &mut Screen) -> Result<Outcome, Error> {
    let status = instance::status(path).await?;
    if json.json {
        screen.json(&status.bfd)?;
    } else {
        show(&status.bfd, screen)?;
    }
    Ok(Outcome::Done)
}

/// The table that `status` shows too.
pub(super) fn show(bfd: &Bfd, screen: &mut Screen) -> Result<(), Error> {
    if !bfd.sessions.is_empty() && !bfd.realtime {
        screen.line("BFD's thread is not SCHED_FIFO: nothing faster than 50 ms is kept")?;
    }
    let rows: Vec<_> = bfd.sessions.iter().map(row).collect();
    screen.table(
        &[
            "peer",
            "state",
            "since",
            "peer's state",
            "over",
            "sends every",
            "detects in",
            "failures",
            "last late",
            "remark",
        ],
        &rows,
    )?;
    for session in &bfd.sessions {
        drops(&format!("{} dropped", session.peer), &session.drops, screen)?;
    }
    drops("for no session", &bfd.drops, screen)
}

fn row(session: &Session) -> Vec<Cell> {
    let peer = match &session.interface {
        Some(interface) => format!("{}%{interface}", session.peer),
        None => session.peer.to_string(),
    };
    let tone = match session.state {
        State::Up => Tone::Good,
        State::Init | State::AdminDown => Tone::Plain,
        State::Down => Tone::Bad,
    };
    let late = session.last_late.map_or_else(
        || "never".to_owned(),
        |late| {
            format!(
                "{} after {}s",
                span(Some(late.gap_microseconds)),
                late.seconds_ago
            )
        },
    );
    vec![
        Cell::text(peer),
        Cell::toned(session.state.name(), tone),
        Cell::text(super::screen::span(Duration::from_secs(session.seconds))),
        Cell::text(session.remote_state.name()),
        Cell::text(&session.hops),
        Cell::number(span(session.transmit_microseconds)),
        Cell::number(span(session.detection_microseconds)),
        Cell::number(session.failures),
        Cell::text(late),
        Cell::text(session.remark().as_deref().unwrap_or("-")),
    ]
}

fn drops(
    what: &str,
    drops: &std::collections::BTreeMap<String, u64>,
    screen: &mut Screen,
) -> Result<(), Error> {
    if drops.is_empty() {
        return Ok(());
    }
    let each: Vec<_> = drops
        .iter()
        .map(|(why, count)| format!("{count} {why}"))
        .collect();
    Ok(screen.line(format_args!("{what}: {}", each.join(", ")))?)
}

fn span(microseconds: Option<u64>) -> String {
    microseconds.map_or_else(
        || "-".to_owned(),
        |length| format!("{:?}", Duration::from_micros(length)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{api::sample, cli::screen::tests::Paper};

    #[test]
    fn a_bfd_session_is_shown_with_its_negotiated_values_and_its_oddities() {
        let paper = Paper::default();
        show(&sample::bfd(), &mut Screen::plain(paper.clone())).unwrap();
        let text = paper.text();
        for word in [
            "192.0.2.1",
            "fe80::1%eth1",
            "up",
            "50ms",
            "150ms",
            "runs multihop BFD",
            "detection time expired",
            "81ms after 40s",
            "192.0.2.1 dropped: 2 ttl",
            "for no session: 5 version",
        ] {
            assert!(text.contains(word), "{word} is not in\n{text}");
        }
    }
}
