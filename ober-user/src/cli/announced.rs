//! Waits until every VIP of an instance is announced, for `start` and `restart`.

use std::{
    net::IpAddr,
    pin::pin,
    time::{Duration, Instant},
};

use indicatif::ProgressBar;
use ipnet::IpNet;
use serde::Serialize;
use tokio::{
    select,
    time::{sleep, timeout},
};

use super::{
    Error, Json, Outcome,
    instance::Instance,
    screen::{Cell, Screen, Tone, many, span, spinner},
    unit::{self, Service},
};
use crate::{
    announce::gate::{Standing, State},
    api::status::{Status, bgp::Neighbour, gate::Gate, vrrp::Router},
    machine::drive,
    protocols::{bgp::event, vrrp::Role},
};

/// Between two looks at the daemon.
const PACE: Duration = Duration::from_millis(250);

/// A daemon that has not answered for so long does not answer.
const SILENT: Duration = Duration::from_secs(3);

/// A VIP as its clients find it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct VipNow {
    vip: IpAddr,
    announced: bool,
    reason: String,
    /// An operator ordered that it is not announced, so waiting is of no use.
    #[serde(skip)]
    by_order: bool,
}

/// What is known of the daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    /// It does not answer, or not yet: why.
    Away(String),
    Vips(Vec<VipNow>),
}

/// The answer in JSON.
#[derive(Serialize)]
struct Answer<'a> {
    unit: &'a str,
    /// Are all VIPs?
    announced: bool,
    /// In seconds.
    took: u64,
    vips: &'a [VipNow],
    /// Why the daemon does not answer; `null`: it does.
    away: Option<&'a str>,
}

/// What systemd is asked for first, which takes it no time; then the start of the unit is waited for. A `systemctl` that is killed
/// since the time is over has asked for everything before.
pub(super) type Orders<'a> = &'a [&'a [&'a str]];

/// Has `systemctl` do something with the unit, waits for no longer than `limit` until all VIPs are announced, and shows what
/// came of it.
pub(super) async fn after(
    orders: Orders<'_>,
    (service, instance): (&Service, &Instance),
    limit: Duration,
    json: Json,
    screen: &mut Screen,
) -> Result<Outcome, Error> {
    let began = drive::now();
    let line = spinner("");
    line.set_message(format!("systemctl start {}", service.unit));
    let seen = wait(orders, service, instance, limit, &line).await;
    line.finish_and_clear();
    let (seen, took) = (seen?, drive::now().saturating_duration_since(began));
    let all = seen.is_announced();
    if json.json {
        let (vips, away) = match &seen {
            Seen::Away(why) => (&[][..], Some(why.as_str())),
            Seen::Vips(vips) => (&vips[..], None),
        };
        screen.json(&Answer {
            unit: &service.unit,
            announced: all,
            took: took.as_secs(),
            vips,
            away,
        })?;
    } else {
        seen.show(&service.unit, took, screen)?;
    }
    Ok(if all { Outcome::Done } else { Outcome::Late })
}

async fn wait(
    orders: Orders<'_>,
    service: &Service,
    instance: &Instance,
    limit: Duration,
    line: &ProgressBar,
) -> Result<Seen, unit::Error> {
    let end = drive::now() + limit;
    for words in orders {
        service.order(words).await?;
    }
    // It joins the job that systemd has already.
    let mut job = pin!(service.order(&["start"]));
    let mut is_done = false;
    let mut known = Known {
        seen: None,
        at: drive::now(),
    };
    loop {
        let left = end.saturating_duration_since(drive::now()).max(PACE);
        let looked = async {
            sleep(PACE.min(left)).await;
            timeout(left, look(instance)).await.ok()
        };
        let looked = select! {
            done = &mut job, if !is_done => {
                done?;
                is_done = true;
                continue;
            }
            looked = looked => looked,
        };
        let mut seen = known.after(looked, drive::now());
        let over = drive::now() >= end;
        // Before the job is done, the daemon that answers may be the one that goes.
        if !is_done && (over || matches!(seen, Seen::Vips(_))) {
            known.seen = None;
            seen = Seen::Away(format!("systemd has not started {} yet", service.unit));
        }
        line.set_message(seen.line());
        if over || is_done && seen.is_final() {
            return Ok(seen);
        }
    }
}

/// What the daemon answered last, and when; without an answer, since when it is asked.
struct Known {
    seen: Option<Seen>,
    at: Instant,
}

impl Known {
    /// What is known after one more look; `None`: it was cut short, which says nothing of a daemon that answered just before.
    fn after(&mut self, looked: Option<Seen>, now: Instant) -> Seen {
        if let Some(seen) = looked {
            (self.seen, self.at) = (Some(seen.clone()), now);
            return seen;
        }
        let silent = now.saturating_duration_since(self.at);
        match &self.seen {
            Some(seen) if silent < SILENT => seen.clone(),
            _ => Seen::Away(format!("the daemon gave no answer within {}", span(silent))),
        }
    }
}

async fn look(instance: &Instance) -> Seen {
    match instance.running().await {
        Ok(Some(status)) => Seen::Vips(vips(&status)),
        Ok(None) => Seen::Away("the daemon does not answer yet".to_owned()),
        Err(error) => Seen::Away(error.to_string()),
    }
}

impl Seen {
    fn is_announced(&self) -> bool {
        matches!(self, Self::Vips(vips) if vips.iter().all(|it| it.announced))
    }

    /// Is there nothing to wait for?
    fn is_final(&self) -> bool {
        matches!(self, Self::Vips(vips) if vips.iter().all(|it| it.announced || it.by_order))
    }

    /// For a person who waits.
    fn line(&self) -> String {
        let vips = match self {
            Self::Away(why) => return why.clone(),
            Self::Vips(vips) => vips,
        };
        let there = vips.iter().filter(|it| it.announced).count();
        let first = vips.iter().find(|it| !it.announced);
        let first = first.map(|it| format!("; {}: {}", it.vip, it.reason));
        let first = first.unwrap_or_default();
        format!("{there} of {} announced{first}", many(vips.len(), "VIP"))
    }

    fn show(&self, unit: &str, took: Duration, screen: &mut Screen) -> Result<(), Error> {
        let tone = Tone::of(self.is_announced());
        let vips = match self {
            Self::Away(why) => {
                let words = format_args!(
                    "{unit}: after {}: {why}; `journalctl -fu {unit}` shows how it goes on",
                    span(took)
                );
                let words = screen.paint(words, tone);
                return Ok(screen.line(words)?);
            }
            Self::Vips(vips) => vips,
        };
        let there = vips.iter().filter(|it| it.announced).count();
        let all = many(vips.len(), "VIP");
        let words = screen.paint(format_args!("{there} of {all} announced"), tone);
        screen.line(format_args!("{unit}: {words} after {}", span(took)))?;
        let rows = vips.iter().filter(|it| !it.announced).map(|it| {
            let vip = Cell::text(it.vip);
            vec![
                vip,
                Cell::toned("not announced", Tone::Bad),
                Cell::text(&it.reason),
            ]
        });
        Ok(screen.table(&["vip", "state", "reason"], &rows.collect::<Vec<_>>())?)
    }
}

/// Which VIPs are announced, and why the others are not.
fn vips(status: &Status) -> Vec<VipNow> {
    let routers = status.vrrp.routers.iter();
    let shared: Vec<&IpAddr> = routers
        .flat_map(|it| it.vips.iter().chain(&it.excluded))
        .collect();
    let one = |gate: &Gate| {
        let is_open = gate.standing != Standing::Withdrawn;
        let by_bgp = !status.bgp.is_empty() && !shared.contains(&&gate.vip);
        let lacking = (is_open && by_bgp).then(|| unheard(gate.vip, &status.bgp));
        let lacking = lacking
            .flatten()
            .or_else(|| idle(gate.vip, &status.vrrp.routers).filter(|_| is_open));
        let by_order = matches!(gate.state, State::Disabled | State::Draining);
        VipNow {
            vip: gate.vip,
            announced: is_open && lacking.is_none() && !by_order,
            reason: lacking.unwrap_or_else(|| gate.reason.clone()),
            by_order,
        }
    };
    status.gate.iter().map(one).collect()
}

/// Why the virtual router of a VIP takes no part; `None`: it does, as master or as backup.
fn idle(vip: IpAddr, routers: &[Router]) -> Option<String> {
    let mut all = routers.iter();
    let router = all.find(|it| it.vips.contains(&vip) || it.excluded.contains(&vip))?;
    let why = router.transitions.first();
    let why = why.map_or_else(String::new, |it| format!(": {}", it.reason));
    let words = format!("virtual router {} takes no part{why}", router.vrid);
    (router.state == Role::Initialize).then_some(words)
}

/// Why no BGP neighbour has a route to the VIP; `None`: one has.
fn unheard(vip: IpAddr, neighbours: &[Neighbour]) -> Option<String> {
    let is_up = |it: &&Neighbour| it.state == event::State::Established;
    let holds = |it: &Neighbour| {
        let mut routes = it.announced.iter();
        routes.any(|route| matches!(route.prefix.parse::<IpNet>(), Ok(net) if net.contains(&vip)))
    };
    if neighbours.iter().filter(is_up).any(holds) {
        return None;
    }
    if neighbours.iter().any(|it| is_up(&it)) {
        return Some("its route is sent to no BGP neighbour".to_owned());
    }
    let one = |it: &Neighbour| {
        let why = it.last_failure.as_deref();
        let why = why.map_or_else(String::new, |why| format!(" ({why})"));
        format!("{} is {}{why}", it.address, it.state.name())
    };
    let all: Vec<String> = neighbours.iter().map(one).collect();
    Some(format!("no BGP session is established: {}", all.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{api::sample, cli::screen::tests::Paper};

    /// A node with one VIP, whose gate is open, and one neighbour that has a route to it.
    fn node() -> Status {
        let mut status = sample::status();
        status.vrrp.routers.clear();
        status.gate.truncate(1);
        let vip = status.gate[0].vip;
        status.gate[0].standing = Standing::Announced;
        status.gate[0].state = State::Up;
        status.bgp.truncate(1);
        status.bgp[0].state = event::State::Established;
        status.bgp[0].announced.truncate(1);
        status.bgp[0].announced[0].prefix = IpNet::from(vip).to_string();
        status
    }

    fn one(status: &Status) -> VipNow {
        let [vip] = &vips(status)[..] else {
            panic!("one VIP")
        };
        vip.clone()
    }

    #[test]
    fn a_vip_counts_as_announced_once_its_gate_is_open_and_a_neighbour_has_its_route() {
        assert!(one(&node()).announced);
        let mut wide = node();
        wide.bgp[0].announced[0].prefix = "0.0.0.0/0".to_owned();
        assert!(one(&wide).announced, "a covering prefix does too");
        let mut without = node();
        without.bgp.clear();
        assert!(
            one(&without).announced,
            "nothing else is needed without BGP"
        );

        let mut closed = node();
        closed.gate[0].standing = Standing::Withdrawn;
        closed.gate[0].state = State::Down;
        closed.gate[0].reason = "interface down".to_owned();
        assert_eq!(one(&closed).reason, "interface down");
        let mut unheard = node();
        unheard.bgp[0].state = event::State::Connect;
        unheard.bgp[0].last_failure = Some("refused".to_owned());
        let address = unheard.bgp[0].address;
        let expected = format!("no BGP session is established: {address} is connect (refused)");
        assert_eq!(one(&unheard).reason, expected);
        let mut unsent = node();
        unsent.bgp[0].announced.clear();
        assert_eq!(one(&unsent).reason, "its route is sent to no BGP neighbour");
        for status in [closed, unheard, unsent] {
            let seen = Seen::Vips(vips(&status));
            assert!(!seen.is_announced() && !seen.is_final(), "{seen:?}");
        }
    }

    #[test]
    fn a_vip_whose_virtual_router_takes_no_part_or_that_drains_is_not_announced() {
        let mut status = node();
        status.bgp.clear();
        status.vrrp = sample::status().vrrp;
        status.vrrp.routers.truncate(1);
        let router = &mut status.vrrp.routers[0];
        router.vips = vec![status.gate[0].vip];
        router.transitions.truncate(1);
        router.transitions[0].reason = "link down".to_owned();
        for (role, announced) in [(Role::Initialize, false), (Role::Backup, true)] {
            status.vrrp.routers[0].state = role;
            assert_eq!(one(&status).announced, announced, "{role:?}");
        }
        status.vrrp.routers[0].state = Role::Initialize;
        let reason = one(&status).reason;
        assert!(reason.ends_with("takes no part: link down"), "{reason}");

        let mut draining = node();
        draining.gate[0].standing = Standing::GracefulShutdown;
        draining.gate[0].state = State::Draining;
        let seen = Seen::Vips(vips(&draining));
        assert!(seen.is_final() && !seen.is_announced(), "{seen:?}");
    }

    #[test]
    fn a_look_that_was_cut_short_hides_an_answer_only_after_some_seconds() {
        let at = drive::now();
        let mut known = Known { seen: None, at };
        let later = |seconds| at + Duration::from_secs(seconds);
        assert!(matches!(known.after(None, later(1)), Seen::Away(_)));
        let vips = Seen::Vips(vips(&node()));
        assert_eq!(known.after(Some(vips.clone()), later(10)), vips);
        assert_eq!(known.after(None, later(11)), vips);
        let silent = Seen::Away("the daemon gave no answer within 5s".to_owned());
        assert_eq!(known.after(None, later(15)), silent);
    }

    #[test]
    fn nothing_is_waited_for_when_all_vips_are_announced_or_an_operator_ordered_otherwise() {
        let mut disabled = node();
        disabled.gate[0].standing = Standing::Withdrawn;
        disabled.gate[0].state = State::Disabled;
        let seen = Seen::Vips(vips(&disabled));
        assert!(seen.is_final() && !seen.is_announced());
        let seen = Seen::Vips(vips(&node()));
        assert!(seen.is_final() && seen.is_announced());
        let away = Seen::Away("no answer".to_owned());
        assert!(!away.is_final() && !away.is_announced());
    }

    #[test]
    fn what_is_not_announced_is_shown_with_its_reason() {
        let mut status = node();
        status.gate[0].standing = Standing::Withdrawn;
        status.gate[0].reason = "no server up".to_owned();
        let vip = status.gate[0].vip;
        let seen = Seen::Vips(vips(&status));
        assert_eq!(
            seen.line(),
            format!("0 of 1 VIP announced; {vip}: no server up")
        );
        let paper = Paper::default();
        let mut screen = Screen::plain(paper.clone());
        seen.show("ober.service", Duration::from_mins(1), &mut screen)
            .unwrap();
        let text = paper.text();
        assert!(
            text.starts_with("ober.service: 0 of 1 VIP announced after 1m 0s\n"),
            "{text}"
        );
        assert!(text.contains("not announced  no server up"), "{text}");
    }
}
