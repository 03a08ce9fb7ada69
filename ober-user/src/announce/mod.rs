//! From gates to neighbours: which VIP is announced to whom, and when its address comes and goes. `gate/` decides, `speakers`
//! hands the standing to BGP, BFD and VRRP, `addresses` puts the VIPs on this node that VRRP does not hold.
//!
//! ```text
//! worker's end (membership) --+
//! interfaces, addresses ------+-> gate of each VIP -> Standing -> BGP, or VRRP for the VIPs it has
//! BFD ------------------------+                                    ^
//!   +--------------------------------------------------------------+ closes sessions at once
//! ```
//! A VIP that goes is withdrawn, and the UPDATE written out, before anything that serves it is taken away. A VIP whose gate has
//! not opened on proof is never announced.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Context as _;
use tokio::{sync::mpsc, task::JoinHandle};

use crate::{
    announce::gate::{News, Order, Plan, watch},
    api::status,
    config::Config,
    haproxy::{Listening, WorkerEvent},
    protocols::{routers::Routers, vrrp::configured::Vrrp},
};

pub mod addresses;
pub mod gate;
mod speakers;

use speakers::Speakers;
pub use speakers::{path, sessions};

/// All gates and all who are told by them.
pub struct Announcer {
    gates: gate::Handle,
    speakers: Arc<Speakers>,
    watch: Mutex<watch::Watch>,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Announcer {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Announcer {
    /// Starts closed: nothing is announced before its gate has opened. `workers`: who is in the ring, from the first
    /// event on.
    pub async fn start(
        config: &Config,
        sockets: &[Listening],
        workers: mpsc::UnboundedReceiver<WorkerEvent>,
        routers: Routers,
    ) -> anyhow::Result<Self> {
        let (speakers, paths) = Speakers::start(config, routers).await?;
        let speakers = Arc::new(speakers);
        let told = Arc::clone(&speakers);
        let stand = move |vip, standing| told.stand(vip, standing);
        let gates = gate::start(&plan(config, sockets)?, &config.node.state, stand)?;
        let watch = see(config, &gates, &speakers).await?;
        let tasks = vec![
            tokio::spawn(follow(workers, gates.clone())),
            tokio::spawn(speakers::follow(
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

    /// Withdraws these VIPs, of which `staying` has none, and returns when every neighbour has been told.
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

    /// Opens what speaking to the neighbours of another configuration needs. All that may refuse it is here; no neighbour notices.
    pub async fn prepare(&self, config: &Config) -> anyhow::Result<()> {
        self.speakers.prepare(config).await
    }

    /// Closes what was opened for a configuration that is not to be.
    pub async fn forget(&self) {
        self.speakers.forget().await;
    }

    /// Who may speak with this node at all, from now on.
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
    ) -> Result<Vec<status::gate::Gate>, gate::Error> {
        self.gates.order(vip, order).await
    }

    /// Tries to keep the orders, should they not be on disk.
    pub fn keep(&self) {
        self.gates.keep();
    }

    /// Do the attached programs meet the packets?
    pub fn programs_run(&self, runs: bool) {
        self.gates.tell(News::Runs(runs));
    }

    /// Tells every neighbour that this node goes, and returns when that has left.
    pub async fn stop(&self) {
        self.speakers.stop().await;
    }

    /// Puts what is known into a status.
    pub fn describe(&self, status: &mut status::Status) {
        status.gate = self.gates.status();
        self.speakers.describe(status);
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
) -> anyhow::Result<watch::Watch> {
    let (gates, speakers) = (gates.clone(), Arc::clone(speakers));
    let tell = move |news: News| {
        if matches!(news, News::Addresses(_)) {
            speakers.addresses_changed();
        }
        gates.tell(news);
    };
    Ok(watch::start(watch::Sight::of(config), tell).await?)
}

async fn follow(mut workers: mpsc::UnboundedReceiver<WorkerEvent>, gates: gate::Handle) {
    while let Some(event) = workers.recv().await {
        gates.tell(News::Worker(event));
    }
}

async fn settle(gates: gate::Handle, speakers: Arc<Speakers>) {
    gates.settled().await;
    speakers.settled();
}
