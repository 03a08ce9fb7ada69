//! Two hosts on one link: `ours` runs our BFD, `theirs` a router. Both have two addresses of each family, the second on `lo`
//! and routed, for sessions over several hops.

use std::{
    net::IpAddr,
    num::NonZeroU8,
    sync::{Mutex, mpsc},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use ober_tests::{
    cpu,
    lab::{Host, Lab, until},
};
use ober_user::{
    api::status::bfd::Session,
    machine::realtime::Thread,
    protocols::{
        bfd::{self, Mode, Settings, State, StateChange, Timers},
        routers::Routers,
    },
};
use tokio::runtime;

pub(crate) const OURS4: &str = "10.0.0.1";
pub(crate) const THEIRS4: &str = "10.0.0.2";
pub(crate) const OURS6: &str = "fd00::1";
pub(crate) const THEIRS6: &str = "fd00::2";

/// Generous: a session that was Down is Up within three seconds when the machine is idle.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The hosts, dropped before their laboratory.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) ours: Host,
    pub(crate) theirs: Host,
    pub(crate) lab: Lab,
}

impl Link {
    pub(crate) fn new(name: &str) -> Self {
        Self::build(name).expect("two hosts and a link")
    }

    fn build(name: &str) -> Result<Self> {
        let lab = Lab::new(name)?;
        let (ours, theirs) = (lab.host("ours")?, lab.host("theirs")?);
        ours.ip(&[format!(
            "link add eth1 type veth peer name eth1 netns {}",
            theirs.pid()
        )])?;
        for (host, here, there) in [(&ours, 1, 2), (&theirs, 2, 1)] {
            host.ip(&[
                format!("addr add 10.0.0.{here}/24 dev eth1"),
                format!("addr add fd00::{here}/64 dev eth1 nodad"),
                format!("addr add 10.9.9.{here}/32 dev lo"),
                format!("addr add fd99::{here}/128 dev lo"),
                "link set eth1 up".to_owned(),
                format!("route add 10.9.9.{there}/32 via 10.0.0.{there}"),
                format!("route add fd99::{there}/128 via fd00::{there}"),
            ])?;
        }
        Ok(Self { ours, theirs, lab })
    }

    /// Our BFD with these sessions.
    pub(crate) fn bfd(&self, sessions: &[Settings]) -> Bfd {
        Bfd::on(&self.ours, sessions)
    }
}

/// The settings of every session here: 100 ms, three times.
pub(crate) fn settings(peer: &str) -> Settings {
    Settings {
        peer: peer.parse().expect("an address"),
        local: None,
        interface: None,
        mode: Mode::SingleHop,
        timers: every(100),
        passive: false,
        hold_down: Duration::ZERO,
    }
}

/// Milliseconds both ways, three times.
pub(crate) fn every(milliseconds: u64) -> Timers {
    Timers {
        transmit: Duration::from_millis(milliseconds).into(),
        receive: Duration::from_millis(milliseconds).into(),
        multiplier: NonZeroU8::new(3).expect("three"),
    }
}

/// Our BFD as the daemon runs it, with the moment of each change.
pub(crate) struct Bfd {
    handle: bfd::Handle,
    changes: Mutex<mpsc::Receiver<(Instant, StateChange)>>,
    runtime: runtime::Runtime,
    thread: Thread,
}

impl Bfd {
    pub(crate) fn on(host: &Host, sessions: &[Settings]) -> Self {
        let bfd = host
            .run(Self::start)
            .expect("enter the host")
            .expect("start BFD");
        bfd.set(sessions);
        bfd
    }

    fn start() -> Result<Self> {
        let thread = Thread::start()?;
        let (tell, mut inbox) = tokio::sync::mpsc::unbounded_channel();
        let handle = bfd::start(&thread, tell);
        let (stamp, changes) = mpsc::channel();
        let runtime = runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        runtime.spawn(async move {
            while let Some(change) = inbox.recv().await {
                if stamp.send((Instant::now(), change)).is_err() {
                    break;
                }
            }
        });
        Ok(Self {
            handle,
            changes: Mutex::new(changes),
            runtime,
            thread,
        })
    }

    pub(crate) fn set(&self, sessions: &[Settings]) {
        self.try_set(sessions).expect("set the sessions");
    }

    pub(crate) fn try_set(&self, sessions: &[Settings]) -> Result<(), bfd::Error> {
        self.runtime.block_on(self.handle.set(sessions.to_vec()))
    }

    pub(crate) fn prepare(&self, sessions: &[Settings]) -> Result<(), bfd::Error> {
        self.runtime
            .block_on(self.handle.prepare(sessions.to_vec()))
    }

    pub(crate) fn routers(&self, routers: Routers) {
        self.handle.routers(routers).expect("it runs");
    }

    /// CPU time of its real-time thread so far.
    pub(crate) fn cpu(&self) -> Duration {
        cpu::spent(&self.thread).expect("the thread")
    }

    pub(crate) fn admin_down(&self) {
        let down = self.handle.admin_down();
        self.runtime.block_on(down).expect("take the sessions down");
    }

    pub(crate) fn status(&self) -> ober_user::api::status::bfd::Bfd {
        (&self.handle.overview()).into()
    }

    pub(crate) fn session(&self, peer: &str) -> Session {
        let peer: IpAddr = peer.parse().expect("an address");
        let sessions = self.status().sessions;
        let found = sessions.into_iter().find(|session| session.peer == peer);
        found
            .with_context(|| format!("session {peer}"))
            .expect("it is there")
    }

    /// Waits until the session is in that state at both ends and negotiated.
    pub(crate) fn comes(&self, peer: &str, state: State) -> Session {
        let there = || {
            let session = self.session(peer);
            let both =
                session.state == state && (state != State::Up || session.remote_state == state);
            both.then_some(session)
                .with_context(|| format!("{:#?}", self.status()))
                .map(Some)
        };
        until(&format!("{peer} comes {state:?}"), PATIENCE, there).expect("it comes")
    }

    /// The next change, and the moment of its report.
    pub(crate) fn change(&self) -> (Instant, StateChange) {
        let changes = self.changes.lock().expect("nobody panicked");
        changes
            .recv_timeout(PATIENCE)
            .with_context(|| format!("{:#?}", self.status()))
            .expect("a change")
    }

    /// The states reported since the last call, in order; the latest may still be on their way.
    pub(crate) fn changes(&self) -> Vec<State> {
        let changes = self.changes.lock().expect("nobody panicked");
        changes.try_iter().map(|(_, change)| change.state).collect()
    }
}
