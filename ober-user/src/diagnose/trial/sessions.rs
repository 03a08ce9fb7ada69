//! BGP and BFD sessions to be judged: the daemon's, or real ones made for this test, over which nothing is announced.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use tokio::{sync::mpsc, time::timeout};

use super::{
    Part, Request,
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

/// The shutdown communication at the end (RFC 9003).
const FAREWELL: &str = "Herr Ober was testing";
/// The interval of KEEPALIVEs: a session is good when one more has arrived.
const KEEPALIVE: Duration = Duration::from_secs(1);
/// A time longer than any test.
const NEVER: Duration = Duration::from_hours(24);
/// Between two looks at the sessions.
const PACE: Duration = Duration::from_millis(50);
/// How long the end of the sessions may take.
const PARTING: Duration = Duration::from_secs(3);
/// How many seconds the first UPDATEs of a neighbour are waited for, which say whether it announces anything.
const GREETING: u64 = 1;

/// The verdicts on the daemon's sessions.
pub(super) fn of_daemon(config: &Config, status: &Status, request: &Request) -> Vec<Finding> {
    let seen = Look {
        neighbours: status.bgp.clone(),
        bfd: status.bfd.clone(),
        unheard: BTreeSet::new(),
        drops: Drops::default(),
    };
    judge(config, &seen, request)
}

/// Makes sessions, waits until each is up or cannot come up, and ends them. BGP and BFD come up together, whichever of the two
/// is asked for: a neighbour may want one for the other.
pub(super) async fn of_our_own(config: &Config, request: &Request) -> Vec<Finding> {
    let none = config.bgp.is_none() || !(request.has(Part::Bgp) || request.has(Part::Bfd));
    if none {
        return Vec::new();
    }
    let before = Drops::now();
    let mut troubles = Vec::new();
    let held = HeldSessions::start(config, &mut troubles).await;
    let Some(mut held) = held else {
        return troubles;
    };
    let until = drive::now() + request.patience;
    loop {
        held.pass_paths();
        let mut look = held.look();
        if drive::now() >= until || look.settled(config) {
            held.end().await;
            look.drops = Drops::now().since(before);
            troubles.extend(judge(config, &look, request));
            return troubles;
        }
        tokio::time::sleep(PACE).await;
    }
}

/// The sessions at one moment.
struct Look {
    neighbours: Vec<status::bgp::Neighbour>,
    bfd: status::bfd::Bfd,
    /// Neighbours that have not acknowledged any message since the session came up.
    unheard: BTreeSet<IpAddr>,
    drops: Drops,
}

impl Look {
    /// Is there nothing more to wait for?
    fn settled(&self, config: &Config) -> bool {
        let refused =
            |said: &Option<status::bgp::Said>| said.as_ref().is_some_and(|it| it.code == 2);
        let done = |it: &status::bgp::Neighbour| {
            let greeted = count(it, "update").received > 0;
            let up =
                it.state == bgp::event::State::Established && (greeted || it.seconds >= GREETING);
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

/// Was a message sent after those that made the session?
fn said_since(neighbour: &status::bgp::Neighbour) -> bool {
    neighbour.state == bgp::event::State::Established && count(neighbour, "keepalive").sent > 1
}

fn judge(config: &Config, look: &Look, request: &Request) -> Vec<Finding> {
    let mut findings = Vec::new();
    let wanted = config.bgp.iter().flat_map(|bgp| &bgp.neighbours);
    for settings in wanted.filter(|_| request.has(Part::Bgp)) {
        let mut all = look.neighbours.iter();
        findings.push(bgp_verdict::judge(Seen {
            settings,
            session: all.find(|it| it.address == settings.address),
            unheard: look.unheard.contains(&settings.address),
            drops: look.drops,
        }));
    }
    if request.has(Part::Bfd) {
        let wanted = announce::sessions(config);
        findings.extend(wanted.iter().map(|it| bfd_verdict::judge(it, &look.bfd)));
    }
    findings
}

/// Sessions that are held for a while.
struct HeldSessions {
    bgp: Option<bgp::Handle>,
    bfd: bfd::Handle,
    changes: mpsc::UnboundedReceiver<bfd::StateChange>,
    /// Neighbours that acknowledged a message after the session came up.
    heard: BTreeSet<IpAddr>,
    _thread: Thread,
}

impl HeldSessions {
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

    /// Passes BFD's changes on to BGP.
    fn pass_paths(&mut self) {
        while let Ok(bfd::StateChange { peer, state, .. }) = self.changes.try_recv() {
            if let Some(bgp) = &self.bgp {
                bgp.bfd(peer, announce::path(state));
            }
        }
    }

    fn look(&mut self) -> Look {
        let neighbours = self
            .bgp
            .as_ref()
            .map(|bgp| status::bgp::neighbours(&bgp.overview()))
            .unwrap_or_default();
        let waiting = waiting::unheard();
        let said = neighbours.iter().filter(|it| said_since(it));
        let heard = said.clone().map(|it| it.address);
        self.heard.extend(heard.filter(|it| !waiting.contains(it)));
        // A neighbour that acknowledged a message before is not unheard, even if a message is under way right now.
        let unheard = said.map(|it| it.address);
        Look {
            unheard: unheard.filter(|it| !self.heard.contains(it)).collect(),
            bfd: (&self.bfd.overview()).into(),
            neighbours,
            drops: Drops::default(),
        }
    }

    /// Ends the sessions; each neighbour gets the reason.
    async fn end(self) {
        let parting = async {
            if let Some(bgp) = &self.bgp {
                bgp.stop(FAREWELL).await;
            }
            // A session that is gone needs no end.
            self.bfd.admin_down().await.unwrap_or_default();
        };
        // A neighbour that does not read is left without a message.
        timeout(PARTING, parting).await.unwrap_or_default();
    }
}

/// Without an address to listen on, this node can still connect to neighbours.
fn speak(bgp: &Bgp, troubles: &mut Vec<Finding>) -> Option<bgp::Handle> {
    // No End-of-RIB is sent either, since nothing is announced.
    let mut silent = Bgp {
        settle: NEVER,
        ..bgp.clone()
    };
    for neighbour in &mut silent.neighbours {
        // So that a message is sent soon whose arrival can be seen.
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
