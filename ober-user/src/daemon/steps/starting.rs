//! The steps of a plan at a start, when nothing of it is there yet.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::{Failed, Steps, perform};
use crate::{
    announce::{
        Announcer,
        addresses::{self, Noted},
    },
    backends::server::Servers,
    config::Config,
    daemon::{greeter::Greeter, kernel, membership},
    dataplane::{Plane, events::Drops},
    haproxy::{Pool, WorkerEvent},
    lists::AccessLists,
    plan::{self, State, Step},
    system::manager::Manager,
};

/// How long the workers may take before the start goes on without the slow ones.
const PATIENCE: Duration = Duration::from_secs(10);

/// The parts that serve.
pub(crate) struct Parts {
    pub(crate) announcer: Announcer,
    pub(crate) access_lists: AccessLists,
    pub(crate) pool: Pool,
    pub(crate) members: membership::Shared,
    pub(crate) plane: Arc<Mutex<Plane>>,
    pub(crate) drops: Drops,
}

/// Starts lists, workers, services, programs, addresses, and last the neighbours.
pub(crate) async fn assemble(
    config: &Config,
    plane: Plane,
    servers: &Servers,
    noted: Noted,
    greeter: &Greeter,
    manager: &Manager,
) -> anyhow::Result<Parts> {
    let access_lists = AccessLists::open(config, plane.directory())?;
    let (workers, events) = unbounded_channel();
    let (gates, gate_events) = unbounded_channel();
    let mut starting = Starting {
        config,
        servers,
        adopted: plane.adopted,
        noted,
        greeter,
        manager,
        plane: Arc::new(Mutex::new(plane)),
        access_lists,
        members: membership::Shared::default(),
        workers: Some(workers),
        steering: Some((events, gates)),
        gate_events: Some(gate_events),
        pool: None,
        announcer: None,
    };
    let steps = plan::steps(&State::default(), &State::of(config));
    let done = perform(&steps, &mut starting).await;
    done.map_err(|Failed { error, .. }| error)?;
    let drops = Drops::open(membership::lock(&starting.plane).directory())?;
    Ok(Parts {
        announcer: starting.announcer.context(UNORDERED)?,
        access_lists: starting.access_lists,
        pool: starting.pool.context(UNORDERED)?,
        members: starting.members,
        plane: starting.plane,
        drops,
    })
}

const UNORDERED: &str = "take the steps of a start in their order; this is a fault of Herr Ober";

struct Starting<'s> {
    config: &'s Config,
    servers: &'s Servers,
    /// The maps hold what an earlier daemon put there.
    adopted: bool,
    noted: Noted,
    greeter: &'s Greeter,
    manager: &'s Manager,
    plane: Arc<Mutex<Plane>>,
    access_lists: AccessLists,
    members: membership::Shared,
    /// The ends of channels, until a step takes them.
    workers: Option<UnboundedSender<WorkerEvent>>,
    steering: Option<(UnboundedReceiver<WorkerEvent>, UnboundedSender<WorkerEvent>)>,
    gate_events: Option<UnboundedReceiver<WorkerEvent>>,
    pool: Option<Pool>,
    announcer: Option<Announcer>,
}

impl Steps for Starting<'_> {
    async fn take(&mut self, step: &Step) -> anyhow::Result<()> {
        self.greeter.next(step);
        match step {
            Step::Workers => {
                let workers = self.workers.take().context(UNORDERED)?;
                let pool = Pool::start(self.config, self.servers, workers, self.manager).await?;
                self.pool = Some(pool);
            }
            Step::Lists { .. } => self.access_lists.restore(!self.adopted)?,
            Step::Services => self.services().await?,
            Step::Attach { .. } => {
                kernel::attach(self.config, &mut membership::lock(&self.plane))?;
            }
            Step::AddAddresses { .. } => drop(addresses::add(self.config, self.noted).await?),
            // `Guard` starts the sessions together with the gates, which decide what is announced.
            Step::Open | Step::Speak => {}
            Step::Guard => {
                // VIPs may have left the configuration, or gone to VRRP, while no daemon ran.
                let keep: BTreeSet<IpAddr> = self.config.vips().collect();
                addresses::remove(self.config, &keep).await?;
                let events = self.gate_events.take().context(UNORDERED)?;
                let sockets = self.pool.as_ref().context(UNORDERED)?.sockets();
                let routers = kernel::routers(
                    self.config,
                    &membership::lock(&self.plane).maps,
                    &self.access_lists,
                )?;
                let announcer = Announcer::start(self.config, &sockets, events, routers);
                // This future is large, and its caller's would be as large.
                self.announcer = Some(Box::pin(announcer).await?);
            }
            Step::Commit
            | Step::Withdraw { .. }
            | Step::TakeOut { .. }
            | Step::Confine { .. }
            | Step::Detach { .. }
            | Step::RemoveAddresses { .. } => {}
        }
        Ok(())
    }
}

impl Starting<'_> {
    /// Puts services, sockets and lists into the kernel; then the rings, once the workers are ready.
    async fn services(&mut self) -> anyhow::Result<()> {
        let pool = self.pool.as_ref().context(UNORDERED)?;
        {
            let mut plane = membership::lock(&self.plane);
            kernel::put_services(self.config, &mut plane, &self.access_lists, &pool.sockets())?;
        }
        let settled = Arc::new(AtomicBool::new(false));
        let count = self.config.workers.cpus.len();
        membership::members(&self.members).admit(count);
        let (events, gates) = self.steering.take().context(UNORDERED)?;
        membership::publish_rings(
            Arc::clone(&self.plane),
            Arc::clone(&self.members),
            Arc::clone(&settled),
            events,
            gates,
        )?;
        let ready = pool.ready(PATIENCE).await;
        tracing::info!(workers = ready, of = count, "workers are ready");
        settled.store(true, Ordering::Release);
        // The pool knows more than the events that were followed until now.
        let mut known = membership::members(&self.members);
        known.learn(&pool.snapshot());
        membership::lock(&self.plane).set_ring(&known.ring());
        Ok(())
    }
}
