//! `bgp`: one part of `status`.

use std::{path::Path, time::Duration};

use super::{
    Error, Json, Outcome, instance,
    screen::{Cell, Screen, Tone, span},
};
use crate::{
    api::status::bgp::{AdvertisedRoute, Neighbour, PathState},
    protocols::bgp::event::State,
};

pub(super) async fn run(path: &Path, json: Json, screen: &mut Screen) -> Result<Outcome, Error> {
    let status = instance::status(path).await?;
    if json.json {
        screen.json(&status.bgp)?;
    } else {
        show(&status.bgp, screen)?;
    }
    Ok(Outcome::Done)
}

/// The tables that `status` shows too.
pub(super) fn show(neighbours: &[Neighbour], screen: &mut Screen) -> Result<(), Error> {
    let rows: Vec<_> = neighbours.iter().map(row).collect();
    screen.table(
        &[
            "neighbour",
            "as",
            "state",
            "since",
            "flaps",
            "hold",
            "families",
            "bfd",
            "announced",
            "last notification",
            "last failure",
        ],
        &rows,
    )?;
    let rows: Vec<_> = neighbours.iter().flat_map(routes).collect();
    if !rows.is_empty() {
        screen.line("")?;
    }
    screen.table(
        &[
            "prefix",
            "advertised to",
            "next hop",
            "as path",
            "med",
            "pref",
            "communities",
        ],
        &rows,
    )?;
    Ok(())
}

fn row(neighbour: &Neighbour) -> Vec<Cell> {
    let tone = if neighbour.state == State::Established {
        Tone::Good
    } else {
        Tone::Bad
    };
    let asn = neighbour
        .asn
        .map_or("external".to_owned(), |asn| asn.to_string());
    let hold_time = match neighbour.hold_time {
        Some(0) => "none".to_owned(),
        Some(seconds) => format!("{seconds}s"),
        None => "-".to_owned(),
    };
    vec![
        Cell::text(neighbour.address),
        Cell::text(asn),
        Cell::toned(neighbour.state.name(), tone),
        Cell::text(span(Duration::from_secs(neighbour.seconds))),
        Cell::number(neighbour.flaps),
        Cell::text(hold_time),
        Cell::text(or_dash(&neighbour.families.join(" "))),
        Cell::text(neighbour.bfd.map_or("-", PathState::name)),
        Cell::number(neighbour.announced.len()),
        Cell::text(last_notification(neighbour)),
        Cell::text(last_failure(neighbour)),
    ]
}

/// The later of the NOTIFICATION last sent and the one last received. Attempts to connect that fail afterwards do not replace
/// it.
fn last_notification(neighbour: &Neighbour) -> String {
    let sent = neighbour.last_sent.iter().map(|said| ("sent", said));
    let received = neighbour
        .last_received
        .iter()
        .map(|said| ("received", said));
    let last = sent.chain(received).min_by_key(|(_, said)| said.seconds);
    let text = last.map(|(way, said)| {
        let text = said
            .text
            .as_ref()
            .map(|text| format!(": {text}"))
            .unwrap_or_default();
        format!(
            "{way} {}/{} {}{text}, {}",
            said.code,
            said.subcode,
            said.name,
            ago(said.seconds)
        )
    });
    text.unwrap_or_else(|| "-".to_owned())
}

/// Why there is no session.
fn last_failure(neighbour: &Neighbour) -> String {
    let failure = neighbour
        .last_failure
        .as_ref()
        .filter(|_| neighbour.state != State::Established);
    let text = failure.map(|failure| match neighbour.last_failure_seconds {
        Some(seconds) => format!("{failure}, {}", ago(seconds)),
        None => failure.clone(),
    });
    text.unwrap_or_else(|| "-".to_owned())
}

fn ago(seconds: u64) -> String {
    format!("{} ago", span(Duration::from_secs(seconds)))
}

fn routes(neighbour: &Neighbour) -> Vec<Vec<Cell>> {
    let number = |number: Option<u32>| number.map_or("-".to_owned(), |it| it.to_string());
    let row = |route: &AdvertisedRoute| {
        let path: Vec<String> = route.path.iter().map(u32::to_string).collect();
        vec![
            Cell::text(&route.prefix),
            Cell::text(neighbour.address),
            Cell::text(route.next_hop),
            Cell::text(or_dash(&path.join(" "))),
            Cell::text(number(route.med)),
            Cell::text(number(route.local_pref)),
            Cell::text(or_dash(&route.communities.join(" "))),
        ]
    };
    neighbour.announced.iter().map(row).collect()
}

fn or_dash(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{api::sample, cli::screen::tests::Paper};

    #[test]
    fn neighbours_and_the_routes_advertised_to_them_are_shown() {
        let paper = Paper::default();
        show(&sample::status().bgp, &mut Screen::plain(paper.clone())).unwrap();
        assert_eq!(
            paper.text(),
            "\
neighbour    as     state        since  flaps  hold  families  bfd  announced  last notification                                             last failure
192.0.2.254  65000  established  1h 0m      2  9s    ipv4      up           1  received 6/2 Administrative Shutdown: maintenance, 1h 1m ago  -

prefix         advertised to  next hop   as path  med  pref  communities
192.0.2.10/32  192.0.2.254    192.0.2.1  65001    100  -     65001:100
"
        );
    }

    #[test]
    fn a_routers_notification_stays_shown_when_later_attempts_fail() {
        let mut neighbour = sample::status().bgp.remove(0);
        neighbour.state = State::Active;
        neighbour.last_failure =
            Some("the connection ended in open-sent: Connection reset by peer".to_owned());
        neighbour.last_failure_seconds = Some(1);
        let text = last_notification(&neighbour);
        assert!(
            text.contains("6/2") && text.ends_with("1h 1m ago"),
            "{text}"
        );
        let failure = last_failure(&neighbour);
        assert!(failure.ends_with("reset by peer, 1s ago"), "{failure}");
    }
}
