//! `gate`: one part of `status`, with the last transitions. `drain`, `undrain`, `disable` and `enable`: orders to it.

use std::{net::IpAddr, path::Path, time::Duration};

use clap::Args;

use super::{
    Error, Json, Outcome, client,
    instance::{self, Instance},
    screen::{Cell, Screen, Tone, span},
};
use crate::{
    announce::gate::{Order, Standing, State},
    api::{Question, Reply, status::gate::Gate},
    system::clock,
};

pub(super) async fn run(path: &Path, json: Json, screen: &mut Screen) -> Result<Outcome, Error> {
    let status = instance::status(path).await?;
    if json.json {
        screen.json(&status.gate)?;
    } else {
        let now = clock::since_1970();
        show(&status.gate, screen)?;
        unkept(&status.gate, screen)?;
        histories(&status.gate, now, screen)?;
    }
    Ok(Outcome::Done)
}

/// The VIPs that an order is for.
#[derive(Debug, Args)]
pub(super) struct Vip {
    /// The VIP; left out: all of this node
    vip: Option<IpAddr>,
    #[command(flatten)]
    json: Json,
}

impl Vip {
    pub(super) async fn order(
        self,
        order: Order,
        path: &Path,
        screen: &mut Screen,
    ) -> Result<Outcome, Error> {
        let instance = Instance::find(path).await?;
        let request = Question::Gate {
            vip: self.vip,
            order,
        };
        let Reply::Gate(gates) = instance.ask_daemon(request).await? else {
            return Err(client::Error::Astray.into());
        };
        if self.json.json {
            screen.json(&gates)?;
        } else {
            show(&gates, screen)?;
            unkept(&gates, screen)?;
        }
        Ok(Outcome::Done)
    }
}

/// The table that `status` shows too.
pub(super) fn show(gates: &[Gate], screen: &mut Screen) -> Result<(), Error> {
    let rows: Vec<_> = gates
        .iter()
        .map(|gate| {
            let servers = gate.servers.map(|up| up.to_string());
            vec![
                Cell::text(gate.vip),
                Cell::toned(gate.state.name(), state_tone(gate.state)),
                Cell::toned(gate.standing.name(), standing_tone(gate.standing)),
                Cell::text(span(Duration::from_secs(gate.seconds))),
                Cell::number(gate.serving),
                Cell::number(servers.as_deref().unwrap_or("-")),
                Cell::text(&gate.reason),
            ]
        })
        .collect();
    let heads = [
        "vip", "state", "standing", "since", "workers", "servers", "reason",
    ];
    Ok(screen.table(&heads, &rows)?)
}

/// Orders that a restart would lose.
fn unkept(gates: &[Gate], screen: &mut Screen) -> Result<(), Error> {
    for gate in gates {
        if let Some(why) = &gate.unkept {
            let (vip, state) = (gate.vip, gate.state.name());
            let line = format_args!("{vip} is {state}, but not kept over a restart: {why}");
            let line = screen.paint(line, Tone::Bad);
            screen.line(line)?;
        }
    }
    Ok(())
}

/// The transitions of each gate, latest first.
fn histories(gates: &[Gate], now: Duration, screen: &mut Screen) -> Result<(), Error> {
    for gate in gates.iter().filter(|gate| !gate.history.is_empty()) {
        let heading = screen.paint(format_args!("transitions of {}", gate.vip), Tone::Strong);
        screen.line("")?;
        screen.line(heading)?;
        let rows: Vec<_> = gate
            .history
            .iter()
            .rev()
            .map(|it| {
                let ago = now.saturating_sub(Duration::from_secs(it.at));
                vec![
                    Cell::text(format_args!("{} ago", span(ago))),
                    Cell::text(it.from.name()),
                    Cell::toned(it.to.name(), state_tone(it.to)),
                    Cell::text(&it.reason),
                ]
            })
            .collect();
        screen.table(&["when", "from", "to", "reason"], &rows)?;
    }
    Ok(())
}

fn state_tone(state: State) -> Tone {
    match state {
        State::Up => Tone::Good,
        State::Init | State::Rising | State::Draining | State::Disabled => Tone::Plain,
        State::Falling | State::Down => Tone::Bad,
    }
}

fn standing_tone(standing: Standing) -> Tone {
    match standing {
        Standing::Announced => Tone::Good,
        Standing::Withdrawn | Standing::Depreferenced | Standing::GracefulShutdown => Tone::Plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{api::sample, cli::screen::tests::Paper};

    #[test]
    fn transitions_are_shown_latest_first_with_their_reasons() {
        let paper = Paper::default();
        let now = Duration::from_secs(1_700_000_062);
        let gates = sample::status().gate;
        histories(&gates, now, &mut Screen::plain(paper.clone())).unwrap();
        let text = paper.text();
        let lines: Vec<_> = text.lines().skip(1).collect();
        assert_eq!(
            lines,
            [
                "transitions of 192.0.2.10",
                "when       from    to      reason",
                "1m 1s ago  rising  up      2 workers answer",
                "1m 2s ago  init    rising  2 workers answer",
            ]
        );
    }
}
