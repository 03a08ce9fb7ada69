//! BGP and BFD sessions to be judged: the daemon's, or real ones made for the occasion, over which nothing is announced.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use tokio::{sync::mpsc, time::timeout};

use super::{
    Part, Wish,
    bfd::{self as bfd_verdict},
    bgp::{self as bgp_verdict, Seen},
    drops::Drops,
    waiting,
};
use crate::{
    announce,
    api::status::{self, Status},
    config::Config,
    diagnose::finding::Finding,
    machine::{drive, realtime::Thread},
    protocols::{
        bfd::{self, State},
        bgp::{self, configured::Bgp},
    },
};

/// What neighbours are told at the end (RFC 9003).
const FAREWELL: &str = "Herr Ober was testing";
/// A session is good when one more has arrived.
const KEEPALIVE: Duration = Duration::from_secs(1);
/// Longer than any test.
const NEVER: Duration = Duration::from_hours(24);
/// Between two looks at the sessions.
const PACE: Duration = Duration::from_millis(50);
/// Telling the neighbours of the end may take no longer.
const PARTING: Duration = Duration::from_secs(3);
/// How long the first UPDATEs of a neighbour are waited for: those say whether it announces anything.
const GREETING: u64 = 1;

/// Those the daemon has.
pub(super) fn of_daemon(config: &Config, status: &Status, wish: &Wish) -> Vec<Finding> {
    let seen = Look {
        neighbours: status.bgp.clone(),
        bfd: status.bfd.clone(),
        unheard: BTreeSet::new(),
        drops: Drops::default(),
    };
    judge(config, &seen, wish)
}

/// Makes them, waits until each is up or cannot come up, and ends them politely. BGP and BFD come up together, whichever
/// of the two is asked for: a neighbour may want the one for the other.
pub(super) async fn of_our_own(config: &Config, wish: &Wish) -> Vec<Finding> {
    let none = config.bgp.is_none() || !(wish.has(Part::Bgp) || wish.has(Part::Bfd));
    if none {
        return Vec::new();
    }
    let before = Drops::now();
    let mut troubles = Vec::new();
    let held = Held::start(config, &mut troubles).await;
    let Some(mut held) = held else {
        return troubles;
    };
    let until = drive::now() + wish.patience;
    loop {
        held.follow();
        let mut look = held.look();
        if drive::now() >= until || look.settled(config) {
            held.end().await;
            look.drops = Drops::now().since(before);
            troubles.extend(judge(config, &look, wish));
            return troubles;
        }
        tokio::time::sleep(PACE).await;
    }
}

/// The sessions at one moment.
struct Look {
    neighbours: Vec<status::bgp::Neighbour>,
    bfd: status::bfd::Bfd,
    /// Neighbours that have not acknowledged what was said since the session came up.
    unheard: BTreeSet<IpAddr>,
    drops: Drops,
}

impl Look {
    /// Is there nothing to wait for?
    fn settled(&self, config: &Config) -> bool {
        let refused =
            |said: &Option<status::bgp::Said>| said.as_ref().is_some_and(|it| it.code == 2);
        let done = |it: &status::bgp::Neighbour| {
            let greeted = count(it, "update").received > 0;
            let up = it.state == "established" && (greeted || it.seconds >= GREETING);
            let quiet = it.hold_time == Some(0);
            up && (quiet || said_since(it) && !self.unheard.contains(&it.address))
                || refused(&it.last_sent)
                || refused(&it.last_received)
        };
        let up = self.bfd.sessions.iter().filter(|it| it.state == State::Up);
        self.neighbours.iter().all(done) && up.count() == announce::sessions(config).len()
    }
}

fn count(neighbour: &status::bgp::Neighbour, kind: &str) -> status::bgp::Counts {
    neighbour.messages.get(kind).copied().unwrap_or_default()
}

/// Was anything said after what made the session?
fn said_since(neighbour: &status::bgp::Neighbour) -> bool {
    neighbour.state == "established" && count(neighbour, "keepalive").sent > 1
}

fn judge(config: &Config, look: &Look, wish: &Wish) -> Vec<Finding> {
    let mut findings = Vec::new();
    let wanted = config.bgp.iter().flat_map(|bgp| &bgp.neighbours);
    for settings in wanted.filter(|_| wish.has(Part::Bgp)) {
        let mut all = look.neighbours.iter();
        findings.push(bgp_verdict::judge(Seen {
            settings,
            session: all.find(|it| it.address == settings.address),
            unheard: look.unheard.contains(&settings.address),
            drops: look.drops,
        }));
    }
    if wish.has(Part::Bfd) {
        let wanted = announce::sessions(config);
        findings.extend(wanted.iter().map(|it| bfd_verdict::judge(it, &look.bfd)));
    }
    findings
}

/// Sessions that are held for a while.
struct Held {
    bgp: Option<bgp::Handle>,
    bfd: bfd::Handle,
    changes: mpsc::UnboundedReceiver<bfd::Change>,
    /// Neighbours that acknowledged what was said after the session came up.
    heard: BTreeSet<IpAddr>,
    _thread: Thread,
}

impl Held {
    async fn start(config: &Config, troubles: &mut Vec<Finding>) -> Option<Self> {
        let thread = match Thread::start() {
            Ok(thread) => thread,
            Err(error) => {
                let reason = format!("start the thread of BFD: {error}");
                troubles.push(Finding::failed(bfd_verdict::PART, "this node", reason));
                return None;
            }
        };
        let (tell, changes) = mpsc::unbounded_channel();
        let bfd = bfd::start(&thread, tell);
        if let Err(error) = bfd.set(announce::sessions(config)).await {
            let finding = Finding::failed(bfd_verdict::PART, "this node", error.to_string());
            troubles.push(finding.advice("stop what else speaks BFD here, such as FRR's bfdd"));
        }
        Some(Self {
            bgp: config.bgp.as_ref().and_then(|bgp| speak(bgp, troubles)),
            bfd,
            changes,
            heard: BTreeSet::new(),
            _thread: thread,
        })
    }

    /// BGP hears what BFD has to say.
    fn follow(&mut self) {
        while let Ok(bfd::Change { peer, state, .. }) = self.changes.try_recv() {
            if let Some(bgp) = &self.bgp {
                bgp.bfd(peer, announce::path(state));
            }
        }
    }

    fn look(&mut self) -> Look {
        let neighbours = self.bgp.as_ref().map(bgp::Handle::status);
        let neighbours = neighbours.unwrap_or_default();
        let waiting = waiting::unheard();
        let said = neighbours.iter().filter(|it| said_since(it));
        let heard = said.clone().map(|it| it.address);
        self.heard.extend(heard.filter(|it| !waiting.contains(it)));
        // What is on its way right now does not count against whoever has heard something before.
        let unheard = said.map(|it| it.address);
        Look {
            unheard: unheard.filter(|it| !self.heard.contains(it)).collect(),
            bfd: self.bfd.status(),
            neighbours,
            drops: Drops::default(),
        }
    }

    /// Each neighbour is told that this is no failure.
    async fn end(self) {
        let parting = async {
            if let Some(bgp) = &self.bgp {
                bgp.stop(FAREWELL).await;
            }
            // Gone is gone.
            self.bfd.admin_down().await.unwrap_or_default();
        };
        // Whoever does not listen is left without a word.
        timeout(PARTING, parting).await.unwrap_or_default();
    }
}

/// Without an address to listen at, neighbours can still be called.
fn speak(bgp: &Bgp, troubles: &mut Vec<Finding>) -> Option<bgp::Handle> {
    // Whoever has nothing to announce does not say either that this is all.
    let mut silent = Bgp {
        settle: NEVER,
        ..bgp.clone()
    };
    for neighbour in &mut silent.neighbours {
        // So that soon something is said whose arrival can be seen.
        neighbour.keepalive = Some(KEEPALIVE);
    }
    let deaf = Bgp {
        listen: Vec::new(),
        ..silent.clone()
    };
    let mut trouble = |error: bgp::Error| {
        let finding = Finding::failed(bgp_verdict::PART, "this node", error.to_string());
        troubles.push(finding);
    };
    match bgp::start(&silent) {
        Ok(handle) => Some(handle),
        Err(error @ bgp::Error::Listen { .. }) => {
            trouble(error);
            bgp::start(&deaf).map_err(trouble).ok()
        }
        Err(error) => {
            trouble(error);
            None
        }
    }
}
