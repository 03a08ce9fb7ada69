//! The protocols that announce VIPs: BGP with BFD beside it, and VRRP.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use tokio::{runtime, sync::mpsc, time::timeout};

use super::addresses;
use crate::{
    announce::gate::{self, News, Standing},
    config::Config,
    machine::realtime::Thread,
    protocols::{
        bfd,
        bgp::{
            self,
            configured::{BfdMode, Bgp, Hops, Neighbour},
        },
        routers::Routers,
        vrrp::{self, configured::Vrrp},
    },
};

/// What the log calls the parts that these lines are about: `logs --service` finds them there.
const BGP: &str = "ober_base::protocols::bgp";
const BFD: &str = "ober_base::protocols::bfd";
const VRRP: &str = "ober_base::protocols::vrrp";

/// A neighbour that does not read what is written to it must not delay the end of the daemon.
const PATIENCE: Duration = Duration::from_secs(5);
/// The shutdown communication at a planned stop (RFC 9003).
const FAREWELL: &str = "Herr Ober is stopped";

/// No speaker runs until the configuration names one.
pub(super) struct Speakers(Mutex<Inner>);

/// The protocols at one moment; `None`: it is not spoken.
#[derive(Clone, Debug)]
pub struct Speaking {
    pub bgp: Option<bgp::Overview>,
    pub bfd: bfd::Overview,
    pub vrrp: Option<vrrp::Overview>,
}

struct Inner {
    bgp: Option<Arc<bgp::Handle>>,
    bfd: Arc<bfd::Handle>,
    vrrp: Option<vrrp::Handle>,
    ready: Option<Ready>,
    /// The VIPs that VRRP moves; all others are BGP's.
    shared: BTreeSet<IpAddr>,
    /// The last standing of each VIP, for speakers that start later.
    standings: BTreeMap<IpAddr, Standing>,
    /// Sessions are being ended, and standings are no longer passed on.
    stopping: bool,
    /// The routers that may speak with this node.
    routers: Routers,
    /// BFD and VRRP run on it.
    thread: Thread,
}

/// The sockets and links of another configuration, opened: nothing can refuse the change any more.
struct Ready {
    wanted: Wanted,
    bgp: Option<(Arc<bgp::Handle>, bgp::Prepared)>,
    /// With the handle of VRRP, if that is new.
    vrrp: Option<(Option<vrrp::Handle>, vrrp::Prepared)>,
}

/// The part of a configuration that speakers follow.
#[derive(Clone, PartialEq)]
struct Wanted {
    bgp: Option<Bgp>,
    vrrp: Option<Vrrp>,
    sessions: Vec<bfd::Settings>,
}

impl Wanted {
    fn of(config: &Config) -> Self {
        Self {
            bgp: config.bgp.clone(),
            vrrp: config.vrrp.clone(),
            sessions: sessions(config),
        }
    }
}

impl Speakers {
    /// Also returns the channel of BFD's changes of state.
    pub(super) async fn start(
        config: &Config,
        routers: Routers,
    ) -> anyhow::Result<(Self, mpsc::UnboundedReceiver<bfd::StateChange>)> {
        let thread = Thread::start().context("start the thread of BFD and VRRP")?;
        let (changes, paths) = mpsc::unbounded_channel();
        let speakers = Self(Mutex::new(Inner {
            bgp: None,
            bfd: Arc::new(bfd::start(&thread, changes)),
            vrrp: None,
            ready: None,
            shared: BTreeSet::new(),
            standings: BTreeMap::new(),
            stopping: false,
            routers: Routers::default(),
            thread,
        }));
        speakers.routers(routers);
        speakers.configure(config).await?;
        Ok((speakers, paths))
    }

    /// BFD and VRRP accept packets from these routers only.
    pub(super) fn routers(&self, routers: Routers) {
        let mut inner = self.inner();
        if inner.routers == routers {
            return;
        }
        inner.routers = routers.clone();
        if let Some(vrrp) = &mut inner.vrrp {
            vrrp.routers(routers.clone());
        }
        if let Err(error) = inner.bfd.routers(routers) {
            tracing::error!(target: BFD, %error, "give BFD the list of routers");
        }
    }

    /// The thread of BFD and VRRP.
    pub(super) fn realtime(&self) -> runtime::Handle {
        self.inner().thread.runtime()
    }

    /// VRRP advertises from an address of its interface.
    pub(super) fn addresses_changed(&self) {
        if let Some(vrrp) = &mut self.inner().vrrp {
            vrrp.addresses_changed();
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // A panic leaves no half-made change: each is complete before anything that could panic.
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

    /// Returns when BGP has written what was decided, and VRRP has removed the addresses that leave.
    pub(super) async fn flushed(&self) {
        let (bgp, vrrp) = {
            let inner = self.inner();
            let vrrp = inner.vrrp.as_ref().map(vrrp::Handle::flushed);
            (inner.bgp.clone(), vrrp)
        };
        let both = async {
            if let Some(vrrp) = vrrp {
                vrrp.await;
            }
            if let Some(bgp) = bgp {
                bgp.flushed().await;
            }
        };
        if timeout(PATIENCE, both).await.is_err() {
            tracing::warn!(target: BGP, "a BGP neighbour takes nothing; going on without waiting for it");
        }
    }

    /// VIPs that are about to leave their virtual routers; the other VIPs there are not to be interrupted by that.
    pub(super) fn let_go(&self, vips: &BTreeSet<IpAddr>) {
        let mut inner = self.inner();
        if let Some(vrrp) = &mut inner.vrrp {
            vrrp.let_go(vips);
        }
    }

    /// Opens what the configuration needs: ports of BGP and BFD, the link of VRRP. Everything that can fail happens here; it
    /// changes no session, no virtual router and no address. After an error nothing stays open.
    pub(super) async fn prepare(&self, config: &Config) -> anyhow::Result<()> {
        self.forget().await;
        if let Some(vrrp) = &config.vrrp {
            vrrp::check(vrrp, &addresses::noted(config)?).await?;
        }
        let bfd = Arc::clone(&self.inner().bfd);
        bfd.prepare(sessions(config)).await?;
        let ready = self.inner().open(config);
        match ready {
            Ok(ready) => {
                self.inner().ready = Some(ready);
                Ok(())
            }
            Err(error) => {
                self.forget().await;
                Err(error)
            }
        }
    }

    /// Closes what [`Speakers::prepare`] opened for a configuration that was given up.
    pub(super) async fn forget(&self) {
        let (ready, bfd) = {
            let mut inner = self.inner();
            (inner.ready.take(), Arc::clone(&inner.bfd))
        };
        if let Some((Some(handle), prepared)) = ready.and_then(|ready| ready.vrrp) {
            drop(prepared);
            handle.stop().await;
        }
        // Closing cannot be refused; without its thread BFD has nothing open.
        bfd.prepare(Vec::new()).await.unwrap_or_default();
    }

    /// Follows the configuration. Calls [`Speakers::prepare`] first, unless it has run for this configuration; only then does a
    /// session end.
    pub(super) async fn configure(&self, config: &Config) -> anyhow::Result<()> {
        let wanted = Wanted::of(config);
        let is_ready = {
            let inner = self.inner();
            let mut ready = inner.ready.iter();
            ready.any(|ready| ready.wanted == wanted)
        };
        if !is_ready {
            self.prepare(config).await?;
        }
        let bfd = Arc::clone(&self.inner().bfd);
        let (bgp, vrrp) = {
            let mut inner = self.inner();
            inner.commit(config)?;
            let bgp = inner.bgp.take_if(|_| config.bgp.is_none());
            (bgp, inner.vrrp.take_if(|_| config.vrrp.is_none()))
        };
        bfd.set(wanted.sessions).await?;
        if let Some(gone) = bgp {
            part(&gone).await;
        }
        if let Some(gone) = vrrp {
            gone.stop().await;
        }
        // Waits until VRRP has removed the addresses that it no longer holds.
        let vrrp = self.inner().vrrp.as_ref().map(vrrp::Handle::flushed);
        if let Some(flushed) = vrrp
            && timeout(PATIENCE, flushed).await.is_err()
        {
            tracing::warn!(
                target: VRRP,
                "VRRP's addresses take long to change; going on without waiting for them"
            );
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
                tracing::warn!(target: BFD, %error, "inform the BFD peers of the stop");
            }
        };
        if timeout(PATIENCE, all).await.is_err() {
            tracing::warn!("a neighbour was not informed of the stop in time");
        }
    }

    pub(super) fn speaking(&self) -> Speaking {
        let inner = self.inner();
        Speaking {
            bgp: inner.bgp.as_ref().map(|bgp| bgp.overview()),
            bfd: inner.bfd.overview(),
            vrrp: inner.vrrp.as_ref().map(vrrp::Handle::overview),
        }
    }
}

impl Inner {
    fn open(&self, config: &Config) -> anyhow::Result<Ready> {
        let bgp = config.bgp.as_ref().map(|wanted| -> anyhow::Result<_> {
            let running = self.bgp.clone();
            let handle = running.unwrap_or_else(|| Arc::new(bgp::idle(wanted)));
            let prepared = handle.prepare(wanted)?;
            Ok((handle, prepared))
        });
        let vrrp = config.vrrp.as_ref().map(|wanted| -> anyhow::Result<_> {
            let Some(running) = &self.vrrp else {
                let mut new = vrrp::idle(&self.thread);
                new.routers(self.routers.clone());
                let prepared = new.prepare(wanted)?;
                return Ok((Some(new), prepared));
            };
            Ok((None, running.prepare(wanted)?))
        });
        Ok(Ready {
            wanted: Wanted::of(config),
            bgp: bgp.transpose()?,
            vrrp: vrrp.transpose()?,
        })
    }

    fn commit(&mut self, config: &Config) -> anyhow::Result<()> {
        let ready = self
            .ready
            .take()
            .context("speak as was prepared; this is a fault of Herr Ober")?;
        if let Some((handle, prepared)) = ready.bgp {
            handle.commit(prepared)?;
            self.bgp = Some(handle);
        }
        if let Some((new, prepared)) = ready.vrrp {
            if let Some(new) = new {
                self.vrrp = Some(new);
            }
            if let Some(vrrp) = &mut self.vrrp {
                vrrp.routers(self.routers.clone());
                vrrp.commit(prepared);
            }
        }
        self.shared = config.vrrp.iter().flat_map(Vrrp::vips).collect();
        self.tell_all();
        Ok(())
    }

    /// A speaker may be new, or a VIP may have moved from one to the other. A repeated standing does no harm.
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
        tracing::warn!(target: BGP, "a BGP neighbour was not informed of the stop in time");
    }
}

/// Passes BFD's state on: to the neighbour's session, and as "is any up?" to the gates.
pub(super) async fn forward_paths(
    speakers: Arc<Speakers>,
    mut paths: mpsc::UnboundedReceiver<bfd::StateChange>,
    gates: gate::Handle,
) {
    let mut states = BTreeMap::new();
    while let Some(bfd::StateChange { peer, state, .. }) = paths.recv().await {
        if let Some(bgp) = &speakers.inner().bgp {
            bgp.bfd(peer, path(state));
        }
        states.insert(peer, state);
        let up = states.values().any(|state| *state == bfd::State::Up);
        gates.tell(News::Bfd(up));
    }
}

/// BFD's state as an event for BGP.
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
