//! `vrrp`: one part of `status`.

use std::{net::IpAddr, path::Path, time::Duration};

use super::{
    Error, Json, Outcome, instance,
    screen::{Cell, Screen, Tone, span},
};
use crate::api::status::vrrp::{Role, Router, Vrrp};

pub(super) async fn run(path: &Path, json: Json, screen: &mut Screen) -> Result<Outcome, Error> {
    let status = instance::status(path).await?;
    if json.json {
        screen.json(&status.vrrp)?;
    } else {
        show(&status.vrrp, screen)?;
        transitions(&status.vrrp, screen)?;
    }
    Ok(Outcome::Done)
}

/// The table that `status` shows too.
pub(super) fn show(vrrp: &Vrrp, screen: &mut Screen) -> Result<(), Error> {
    let rows: Vec<_> = vrrp.routers.iter().map(router).collect();
    screen.table(
        &[
            "vrid", "vips", "state", "since", "reason", "priority", "master", "in", "out", "late",
            "conflict",
        ],
        &rows,
    )?;
    let rejected: Vec<_> = vrrp
        .rejected
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(reason, count)| format!("{reason} {count}"))
        .collect();
    if !rejected.is_empty() {
        screen.line(format_args!("packets refused: {}", rejected.join(", ")))?;
    }
    Ok(())
}

fn router(router: &Router) -> Vec<Cell> {
    let vips = router.vips.iter().chain(&router.excluded);
    let name = |vip: &IpAddr| {
        let joins = router.joining.contains(vip);
        format!("{vip}{}", if joins { " (joins)" } else { "" })
    };
    let vips: Vec<String> = vips.map(name).collect();
    let tone = match (router.state, router.addresses_present) {
        (Role::Master, true) => Tone::Good,
        (Role::Initialize, _) => Tone::Bad,
        (Role::Master, false) | (Role::Backup, _) => Tone::Plain,
    };
    let entered = router.transitions.first();
    let since = entered.map(|last| span(Duration::from_secs(last.seconds)));
    let master = match (router.master, router.master_priority) {
        (Some(address), Some(priority)) => format!("{address} ({priority})"),
        _ => "-".to_owned(),
    };
    vec![
        Cell::number(router.vrid),
        Cell::text(vips.join(" ")),
        Cell::toned(router.state.name(), tone),
        Cell::text(since.unwrap_or_default()),
        Cell::text(entered.map(|last| last.reason.as_str()).unwrap_or_default()),
        Cell::number(router.priority),
        Cell::text(master),
        Cell::number(router.received),
        Cell::number(router.sent),
        Cell::number(router.late_timers),
        match &router.conflict {
            Some(conflict) => {
                let ago = span(Duration::from_secs(conflict.seconds));
                Cell::toned(format!("{ago} ago: {}", conflict.what), Tone::Bad)
            }
            None => Cell::text("-"),
        },
    ]
}

/// The transitions of each router, newest first.
fn transitions(vrrp: &Vrrp, screen: &mut Screen) -> Result<(), Error> {
    for router in vrrp
        .routers
        .iter()
        .filter(|router| router.transitions.len() > 1)
    {
        screen.line("")?;
        let title = format!("transitions of VRID {} ({})", router.vrid, family(router));
        let title = screen.paint(title, Tone::Strong);
        screen.line(title)?;
        let rows = router.transitions.iter().map(|entered| {
            let ago = span(Duration::from_secs(entered.seconds));
            vec![
                Cell::text(format!("{ago} ago")),
                Cell::text(entered.state.name()),
                Cell::text(&entered.reason),
            ]
        });
        screen.table(&["when", "state", "reason"], &rows.collect::<Vec<_>>())?;
    }
    Ok(())
}

fn family(router: &Router) -> &'static str {
    if router.vips.iter().any(IpAddr::is_ipv6) {
        "IPv6"
    } else {
        "IPv4"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{api::sample, cli::screen::tests::Paper};

    #[test]
    fn every_part_of_a_virtual_router_is_shown() {
        let paper = Paper::default();
        let mut screen = Screen::plain(paper.clone());
        let vrrp = sample::status().vrrp;
        show(&vrrp, &mut screen).unwrap();
        transitions(&vrrp, &mut screen).unwrap();
        let text = paper.text();
        for word in [
            "51  192.0.2.10  master  5s     no master heard       254  10.0.0.1 (254)",
            "1m 2s ago: two masters",
            "packets refused: ttl 3",
            "transitions of VRID 51 (IPv4)",
            "10s ago  backup  gate open",
        ] {
            assert!(text.contains(word), "{word} is not in\n{text}");
        }
    }
}
