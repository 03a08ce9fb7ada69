//! From gates to neighbours: which VIP is announced to which neighbours, and when its address comes and goes. `gate/` decides,
//! `speakers` passes the standing to BGP, BFD and VRRP, `addresses` puts the VIPs on this node that VRRP does not hold.
//!
//! ```text
//! worker's end (membership) --+
//! interfaces, addresses ------+-> gate of each VIP -> Standing -> BGP, or VRRP for the VIPs it has
//! BFD ------------------------+                                    ^
//!   +--------------------------------------------------------------+ closes sessions at once
//! ```
//! A VIP that goes is withdrawn, and the UPDATE written out, before anything that serves it is taken away. A VIP is never
//! announced before its gate has opened.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use tokio::{runtime, sync::mpsc, task::JoinHandle};

use crate::{
    announce::gate::{News, Order, Plan, watch},
    config::Config,
    haproxy::{Listening, WorkerEvent},
    protocols::{routers::Routers, vrrp::configured::Vrrp},
};

pub mod addresses;
pub mod gate;
mod speakers;

use speakers::Speakers;
pub use speakers::{Speaking, path, sessions};

/// All gates, and the protocols that announce VIPs.
pub struct Announcer {
    gates: gate::Handle,
    speakers: Arc<Speakers>,
    watch: Mutex<watch::FactWatch>,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Announcer {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Announcer {
    /// Starts closed: nothing is announced before its gate has opened. `workers`: each change of the ring, from the first on.
    pub async fn start(
        config: &Config,
        sockets: &[Listening],
        workers: mpsc::UnboundedReceiver<WorkerEvent>,
        routers: Routers,
    ) -> anyhow::Result<Self> {
        let (speakers, paths) = Speakers::start(config, routers).await?;
        let speakers = Arc::new(speakers);
        let to_speakers = Arc::clone(&speakers);
        let stand = move |vip, standing| to_speakers.stand(vip, standing);
        let gates = gate::start(&plan(config, sockets)?, &config.node.state, stand)?;
        let watch = see(config, &gates, &speakers).await?;
        let tasks = vec![
            tokio::spawn(forward_events(workers, gates.clone())),
            tokio::spawn(speakers::forward_paths(
                Arc::clone(&speakers),
                paths,
                gates.clone(),
            )),
            tokio::spawn(settle(gates.clone(), Arc::clone(&speakers))),
        ];
        Ok(Self {
            gates,
            speakers,
            watch: Mutex::new(watch),
            tasks,
        })
    }

    /// Withdraws these VIPs, which are not in `staying`, and returns when that is written to every neighbour.
    pub async fn withdraw(
        &self,
        vips: &BTreeSet<IpAddr>,
        staying: &Config,
        sockets: &[Listening],
    ) -> anyhow::Result<()> {
        self.speakers.let_go(vips);
        self.gates.configure(&plan(staying, sockets)?).await?;
        self.speakers.flushed().await;
        Ok(())
    }

    /// Opens what another configuration's neighbours need. Everything that can fail happens here; no neighbour notices.
    pub async fn prepare(&self, config: &Config) -> anyhow::Result<()> {
        self.speakers.prepare(config).await
    }

    /// Closes what [`Self::prepare`] opened for a configuration that was given up.
    pub async fn forget(&self) {
        self.speakers.forget().await;
    }

    /// Sets the routers that may speak with this node.
    pub fn routers(&self, routers: Routers) {
        self.speakers.routers(routers);
    }

    /// Speaks to the neighbours of another configuration, and no longer to others.
    pub async fn speak(&self, config: &Config) -> anyhow::Result<()> {
        self.speakers.configure(config).await
    }

    /// Guards the VIPs of another configuration, whose services are in force.
    pub async fn guard(&self, config: &Config, sockets: &[Listening]) -> anyhow::Result<()> {
        self.gates.configure(&plan(config, sockets)?).await?;
        let watch = see(config, &self.gates, &self.speakers).await?;
        *self.watch.lock().unwrap_or_else(PoisonError::into_inner) = watch;
        tokio::spawn(settle(self.gates.clone(), Arc::clone(&self.speakers)));
        Ok(())
    }

    /// Drains, undrains, disables or enables.
    pub async fn order(
        &self,
        vip: Option<IpAddr>,
        order: Order,
    ) -> Result<Vec<gate::View>, gate::Error> {
        self.gates.order(vip, order).await
    }

    /// Gives every VIP up before a stop that comes within this time. The number is for [`Announcer::stay`].
    pub async fn leave(&self, within: Duration) -> u64 {
        self.gates.leave(within).await
    }

    /// The stop does not come after all.
    pub async fn stay(&self, number: u64) {
        self.gates.stay(number).await;
    }

    /// Writes the orders in force to disk, if they are not there.
    pub fn keep(&self) {
        self.gates.keep();
    }

    /// Do the attached programs meet the packets?
    pub fn programs_run(&self, runs: bool) {
        self.gates.tell(News::Runs(runs));
    }

    /// New connections of these VIPs are lost between XDP and the workers' sockets, and of no others.
    pub fn connections_lost(&self, vips: BTreeSet<IpAddr>) {
        self.gates.tell(News::Lost(vips));
    }

    /// Ends the sessions with all neighbours; returns when that is written to them, or after 5 s.
    pub async fn stop(&self) {
        self.speakers.stop().await;
    }

    /// The thread of BFD and VRRP.
    pub fn realtime(&self) -> runtime::Handle {
        self.speakers.realtime()
    }

    /// The status of every gate, by VIP.
    pub fn gates(&self) -> Vec<gate::View> {
        self.gates.views()
    }

    /// The protocols as they stand.
    pub fn speaking(&self) -> Speaking {
        self.speakers.speaking()
    }
}

fn plan(config: &Config, sockets: &[Listening]) -> anyhow::Result<Plan> {
    let shared: Vec<IpAddr> = config.vrrp.iter().flat_map(Vrrp::vips).collect();
    let moves = |vip| shared.contains(&vip);
    Plan::of(config, sockets, moves)
        .context("read the addresses of the workers' sockets for the gates")
}

/// Watches interfaces, addresses, programs and the disable file for the gates, and addresses for VRRP as well.
async fn see(
    config: &Config,
    gates: &gate::Handle,
    speakers: &Arc<Speakers>,
) -> anyhow::Result<watch::FactWatch> {
    let (gates, speakers) = (gates.clone(), Arc::clone(speakers));
    let tell = move |news: News| {
        if matches!(news, News::Addresses(_)) {
            speakers.addresses_changed();
        }
        gates.tell(news);
    };
    Ok(watch::start(watch::WatchedFacts::of(config), tell).await?)
}

async fn forward_events(mut workers: mpsc::UnboundedReceiver<WorkerEvent>, gates: gate::Handle) {
    while let Some(event) = workers.recv().await {
        gates.tell(News::Worker(event));
    }
}

async fn settle(gates: gate::Handle, speakers: Arc<Speakers>) {
    gates.settled().await;
    speakers.settled();
}
