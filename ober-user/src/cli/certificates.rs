//! The certificates in use: a part of `status`.

use std::time::Duration;

use super::{
    Error,
    screen::{Cell, Screen, Tone, span},
};
use crate::api::status::certificates::{Certificate, Certificates, Issued};

/// A certificate with less time left than this is shown in the colour of bad news.
const SOON: Duration = Duration::from_hours(7 * 24);

pub(super) fn show(
    certificates: &Certificates,
    now: Duration,
    screen: &mut Screen,
) -> Result<(), Error> {
    let held = certificates.held.iter();
    let rows: Vec<_> = held.map(|certificate| row(certificate, now)).collect();
    screen.table(
        &["file", "names", "issuer", "ends", "listeners", "problem"],
        &rows,
    )?;
    if !certificates.issued.is_empty() {
        let rows: Vec<_> = certificates
            .issued
            .iter()
            .map(|it| issued(it, now))
            .collect();
        screen.line("")?;
        screen.table(&["issued for", "next order", "failures", "failure"], &rows)?;
    }
    for refused in &certificates.refused {
        let bad = screen.paint("not used", Tone::Bad);
        screen.line(format_args!("{bad}: {}", refused.problem))?;
    }
    for behind in &certificates.behind {
        let bad = screen.paint("behind", Tone::Bad);
        screen.line(format_args!(
            "worker {} {bad}: {}",
            behind.worker, behind.problem
        ))?;
    }
    Ok(())
}

fn issued(issued: &Issued, now: Duration) -> Vec<Cell> {
    let room = |at| format!("in {}", span(Duration::from_secs(at).saturating_sub(now)));
    let next = match issued.next {
        _ if issued.ordering => "under way".to_owned(),
        None => "-".to_owned(),
        Some(at) => room(at),
    };
    vec![
        Cell::text(issued.names.join(", ")),
        Cell::text(next),
        Cell::number(issued.failures),
        match &issued.error {
            Some(error) => Cell::toned(error, Tone::Bad),
            None => Cell::text("-"),
        },
    ]
}

fn row(certificate: &Certificate, now: Duration) -> Vec<Cell> {
    let end = Duration::from_secs(certificate.not_after);
    let (left, over) = (end.saturating_sub(now), now.saturating_sub(end));
    let ends = if left.is_zero() {
        format!("{} ago", span(over))
    } else {
        format!("in {}", span(left))
    };
    let listeners = match certificate.listeners.join(", ") {
        none if none.is_empty() => "to servers".to_owned(),
        listeners => listeners,
    };
    vec![
        Cell::text(certificate.source.display()),
        Cell::text(certificate.names.join(", ")),
        Cell::text(&certificate.issuer),
        Cell::toned(ends, Tone::of(left > SOON)),
        Cell::text(listeners),
        match &certificate.problem {
            Some(problem) => Cell::toned(problem, Tone::Bad),
            None => Cell::text("-"),
        },
    ]
}
