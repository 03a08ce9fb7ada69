//! Those who are told: BGP with BFD beside it, and VRRP.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use tokio::{sync::mpsc, time::timeout};

use super::addresses;
use crate::{
    bfd, bgp,
    config::{
        Config,
        bgp::{BfdMode, Hops, Neighbour},
        vrrp::Vrrp,
    },
    gate::{self, News, Standing},
    realtime::Thread,
    status, vrrp,
};

/// A neighbour that does not take what is written to it must not hold up the end.
const PATIENCE: Duration = Duration::from_secs(5);
/// What neighbours are told at a planned stop (RFC 9003).
const FAREWELL: &str = "Herr Ober is stopped";

/// Nobody, until the configuration names them.
pub(super) struct Speakers(Mutex<Inner>);

struct Inner {
    bgp: Option<Arc<bgp::Handle>>,
    bfd: Arc<bfd::Handle>,
    vrrp: Option<vrrp::Handle>,
    /// The VIPs that VRRP moves; all others are BGP's.
    shared: BTreeSet<IpAddr>,
    /// What the gates last said, for whoever comes later.
    standings: BTreeMap<IpAddr, Standing>,
    /// They are told that this node goes; gates are no longer listened to.
    stopping: bool,
    /// BFD and VRRP end with it.
    thread: Thread,
}

impl Speakers {
    /// Also returns what BFD will say of neighbours.
    pub(super) async fn start(
        config: &Config,
    ) -> anyhow::Result<(Self, mpsc::UnboundedReceiver<bfd::Change>)> {
        let thread = Thread::start().context("start the thread of BFD and VRRP")?;
        let (changes, paths) = mpsc::unbounded_channel();
        let speakers = Self(Mutex::new(Inner {
            bgp: None,
            bfd: Arc::new(bfd::start(&thread, changes)),
            vrrp: None,
            shared: BTreeSet::new(),
            standings: BTreeMap::new(),
            stopping: false,
            thread,
        }));
        speakers.configure(config).await?;
        Ok((speakers, paths))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Every change is whole before anything that could panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn stand(&self, vip: IpAddr, standing: Standing) {
        let mut inner = self.inner();
        if !inner.stopping {
            inner.standings.insert(vip, standing);
            inner.tell(vip, standing);
        }
    }

    pub(super) fn settled(&self) {
        self.inner().bgp.iter().for_each(|bgp| bgp.settled());
    }

    /// What was decided has been written out.
    pub(super) async fn flushed(&self) {
        let bgp = self.inner().bgp.clone();
        if let Some(bgp) = bgp
            && timeout(PATIENCE, bgp.flushed()).await.is_err()
        {
            tracing::warn!("a BGP neighbour takes nothing; going on without waiting for it");
        }
    }

    /// Follows the configuration. What may be refused comes first and nobody is parted from before it is through: after an
    /// error, the configuration before restores all.
    pub(super) async fn configure(&self, config: &Config) -> anyhow::Result<()> {
        if let Some(vrrp) = &config.vrrp {
            vrrp::check(vrrp, &addresses::noted(config)?).await?;
        }
        self.inner().bgp(config)?;
        let bfd = Arc::clone(&self.inner().bfd);
        bfd.set(sessions(config)).await?;
        let (bgp, vrrp) = {
            let mut inner = self.inner();
            inner.vrrp(config)?;
            inner.tell_all();
            let bgp = inner.bgp.take_if(|_| config.bgp.is_none());
            (bgp, inner.vrrp.take_if(|_| config.vrrp.is_none()))
        };
        if let Some(gone) = bgp {
            part(&gone).await;
        }
        if let Some(gone) = vrrp {
            gone.stop().await;
        }
        Ok(())
    }

    pub(super) async fn stop(&self) {
        let (bgp, bfd, vrrp) = {
            let mut inner = self.inner();
            inner.stopping = true;
            (inner.bgp.take(), Arc::clone(&inner.bfd), inner.vrrp.take())
        };
        let all = async {
            if let Some(vrrp) = vrrp {
                vrrp.stop().await;
            }
            if let Some(bgp) = bgp {
                part(&bgp).await;
            }
            if let Err(error) = bfd.admin_down().await {
                tracing::warn!(%error, "tell the BFD peers of the stop");
            }
        };
        if timeout(PATIENCE, all).await.is_err() {
            tracing::warn!("a neighbour was not told of the stop in time");
        }
    }

    pub(super) fn describe(&self, status: &mut status::Status) {
        let inner = self.inner();
        status.bgp = inner.bgp.iter().flat_map(|bgp| bgp.status()).collect();
        status.bfd = inner.bfd.status();
        status.vrrp = inner
            .vrrp
            .as_ref()
            .map(vrrp::Handle::status)
            .unwrap_or_default();
    }
}

impl Inner {
    fn bgp(&mut self, config: &Config) -> anyhow::Result<()> {
        match (&self.bgp, &config.bgp) {
            (Some(running), Some(wanted)) => running.configure(wanted)?,
            (None, Some(wanted)) => self.bgp = Some(Arc::new(bgp::start(wanted)?)),
            (_, None) => {}
        }
        Ok(())
    }

    fn vrrp(&mut self, config: &Config) -> anyhow::Result<()> {
        match (&mut self.vrrp, &config.vrrp) {
            (Some(running), Some(wanted)) => running.configure(wanted)?,
            (None, Some(wanted)) => self.vrrp = Some(vrrp::start(&self.thread, wanted)?),
            (_, None) => {}
        }
        self.shared = config.vrrp.iter().flat_map(Vrrp::vips).collect();
        Ok(())
    }

    /// A speaker may be new, or a VIP have gone from one to the other: nobody minds what it knows.
    fn tell_all(&mut self) {
        for (vip, standing) in self.standings.clone() {
            self.tell(vip, standing);
        }
    }

    fn tell(&mut self, vip: IpAddr, standing: Standing) {
        let shared = self.shared.contains(&vip);
        if let Some(vrrp) = &mut self.vrrp {
            vrrp.gate(vip, shared && standing == Standing::Announced);
        }
        match &self.bgp {
            Some(bgp) if shared => bgp.forget(vip),
            Some(bgp) => bgp.stand(vip, standing),
            None => {}
        }
    }
}

async fn part(bgp: &bgp::Handle) {
    if timeout(PATIENCE, bgp.stop(FAREWELL)).await.is_err() {
        tracing::warn!("a BGP neighbour was not told of the stop in time");
    }
}

/// What BFD says goes to the neighbour's session and, as "is any up?", to the gates.
pub(super) async fn follow(
    speakers: Arc<Speakers>,
    mut paths: mpsc::UnboundedReceiver<bfd::Change>,
    gates: gate::Handle,
) {
    let mut states = BTreeMap::new();
    while let Some(bfd::Change { peer, state, .. }) = paths.recv().await {
        if let Some(bgp) = &speakers.inner().bgp {
            bgp.bfd(peer, path(state));
        }
        states.insert(peer, state);
        let up = states.values().any(|state| *state == bfd::State::Up);
        gates.tell(News::Bfd(up));
    }
}

/// What a state of BFD means to BGP.
pub fn path(state: bfd::State) -> bgp::event::Path {
    match state {
        bfd::State::Up => bgp::event::Path::Up,
        bfd::State::AdminDown => bgp::event::Path::AdminDown,
        bfd::State::Down | bfd::State::Init => bgp::event::Path::Down,
    }
}

/// A session for each BGP neighbour that has BFD.
pub fn sessions(config: &Config) -> Vec<bfd::Settings> {
    let neighbours = config.bgp.iter().flat_map(|bgp| &bgp.neighbours);
    neighbours
        .filter_map(|neighbour| session(config, neighbour))
        .collect()
}

fn session(config: &Config, neighbour: &Neighbour) -> Option<bfd::Settings> {
    let wanted = neighbour.bfd.as_ref()?;
    let profile = config.bfd.profiles.get(&wanted.profile)?;
    // RFC 5883 section 5: as many hops as BGP allows, counted from 255 down.
    let far = bfd::Mode::MultiHop {
        min_ttl: match neighbour.hops {
            Hops::Link => 255,
            Hops::Any => 1,
            Hops::Within(hops) | Hops::Secure(hops) => 255 - hops.saturating_sub(1),
        },
    };
    let direct = matches!(
        neighbour.hops,
        Hops::Link | Hops::Secure(1) | Hops::Within(1)
    );
    Some(bfd::Settings {
        peer: neighbour.address,
        local: neighbour.source,
        interface: neighbour.interface.clone(),
        mode: match wanted.mode {
            BfdMode::Auto if direct => bfd::Mode::Auto,
            BfdMode::Auto | BfdMode::MultiHop => far,
            BfdMode::SingleHop => bfd::Mode::SingleHop,
        },
        timers: profile.timers,
        passive: profile.passive,
        hold_down: config.bfd.hold_down,
    })
}
