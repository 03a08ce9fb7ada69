//! The world of the gates: one task for each VIP runs its machine, has the workers asked and reports the VIP's standing.
//! `ordered` passes on what operators order.

mod ordered;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};

use self::ordered::Stops;
use super::{
    Action, Error, Event, Fact, Gate, Plan, Standing, State,
    ask::{Ask, Flights},
    orders::{Kept, Orders},
    probe::Question,
    set,
    watch::Disabled,
};
use crate::{
    haproxy::WorkerEvent,
    machine::drive::{self, World, drive},
    system::{clock, store},
};

/// Called with every change, in order for each VIP, on the task of its gate: it must not block. Before the first call a
/// VIP counts as withdrawn.
type Stand = dyn Fn(IpAddr, Standing) + Send + Sync;

/// A fact for the gates. The latest report counts; what is unknown does not hold.
#[derive(Clone, Debug, PartialEq)]
pub enum News {
    /// A worker joined the ring, or left it.
    Worker(WorkerEvent),
    /// Are enough interfaces up?
    Interface(bool),
    /// Are all programs attached where they must be?
    Program(bool),
    /// Do the programs meet the packets? Holds until the daemon reports otherwise.
    Runs(bool),
    /// All usable addresses of this node.
    Addresses(BTreeSet<IpAddr>),
    /// Is a BFD session up?
    Bfd(bool),
    /// The VIPs whose new connections are lost between XDP and the workers' sockets.
    Lost(BTreeSet<IpAddr>),
    File(Disabled),
}

/// All facts, for gates that are made later.
#[derive(Debug)]
struct Known {
    workers: BTreeMap<usize, bool>,
    /// Facts of the node that are good.
    good: BTreeSet<Fact>,
    addresses: BTreeSet<IpAddr>,
    bfd: bool,
    lost: BTreeSet<IpAddr>,
    file: Disabled,
}

impl Default for Known {
    fn default() -> Self {
        Self {
            workers: BTreeMap::new(),
            // Holds until the daemon reports otherwise.
            good: BTreeSet::from([Fact::Runs]),
            addresses: BTreeSet::new(),
            bfd: false,
            lost: BTreeSet::new(),
            file: Disabled::default(),
        }
    }
}

impl Known {
    fn learn(&mut self, news: News) {
        match news {
            News::Worker(event) => drop(self.workers.insert(event.worker, event.in_ring)),
            News::Interface(up) => set(&mut self.good, Fact::Interface, up),
            News::Program(attached) => set(&mut self.good, Fact::Program, attached),
            News::Runs(runs) => set(&mut self.good, Fact::Runs, runs),
            News::Addresses(all) => self.addresses = all,
            News::Bfd(up) => self.bfd = up,
            News::Lost(vips) => self.lost = vips,
            News::File(disabled) => self.file = disabled,
        }
    }

    /// One piece of news as an event of one VIP. `moves`: see `plan::Vip::moves`.
    fn event(vip: IpAddr, moves: bool, news: &News) -> Event {
        match news {
            News::Worker(WorkerEvent { worker, in_ring }) => Event::Worker {
                worker: *worker,
                in_ring: *in_ring,
            },
            News::Interface(up) => Event::Holds(Fact::Interface, *up),
            News::Program(attached) => Event::Holds(Fact::Program, *attached),
            News::Runs(runs) => Event::Holds(Fact::Runs, *runs),
            News::Addresses(all) => Event::Holds(Fact::Address, moves || all.contains(&vip)),
            News::Bfd(up) => Event::Bfd(*up),
            News::Lost(vips) => Event::Lost(vips.contains(&vip)),
            News::File(disabled) => Event::File(disabled.holds(vip)),
        }
    }

    /// All facts, as if they were news.
    fn all(&self) -> Vec<News> {
        let workers = self
            .workers
            .iter()
            .map(|(&worker, &in_ring)| News::Worker(WorkerEvent { worker, in_ring }));
        let rest = [
            News::File(self.file.clone()),
            News::Bfd(self.bfd),
            News::Lost(self.lost.clone()),
            News::Addresses(self.addresses.clone()),
            News::Interface(self.good.contains(&Fact::Interface)),
            News::Program(self.good.contains(&Fact::Program)),
            News::Runs(self.good.contains(&Fact::Runs)),
        ];
        workers.chain(rest).collect()
    }
}

/// A gate at one moment.
#[derive(Clone, Debug)]
pub struct View {
    pub vip: IpAddr,
    pub gate: Gate,
    /// Why its orders would be lost by a restart; `None`: they would not.
    pub unkept: Option<String>,
    pub at: Instant,
    /// `at`, since 1970.
    pub wall: Duration,
}

enum Note {
    Happened(Event),
    /// Another configuration, with the question to ask from now on.
    Configure(Arc<Ask>, Event),
    /// An order, or a stop to come; answered once it is in force.
    Order(Event, oneshot::Sender<()>),
    /// The VIP is no longer configured: the gate withdraws it and ends.
    Leave,
}

/// The gates. Clones share them; dropping the last clone ends them, and nothing is withdrawn.
#[derive(Clone)]
pub struct Handle {
    gates: Arc<Mutex<Gates>>,
    /// Has its own lock: a caller that waits for a disk must not delay the gates.
    kept: Arc<Mutex<Kept>>,
}

impl fmt::Debug for Handle {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let vips: Vec<IpAddr> = self.lock().running.keys().copied().collect();
        out.debug_tuple("gate::Handle").field(&vips).finish()
    }
}

struct Gates {
    stand: Arc<Stand>,
    orders: Orders,
    stops: Stops,
    known: Known,
    flights: Arc<Flights>,
    running: BTreeMap<IpAddr, Running>,
}

/// The gate of one VIP, from outside.
struct Running {
    /// See `plan::Vip::moves`.
    moves: bool,
    notes: mpsc::UnboundedSender<Note>,
    seen: watch::Receiver<Gate>,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Starts a gate for every VIP of the plan, on the runtime of the caller. `state`: the state directory, where orders are kept.
/// `stand` is called with each VIP's standing.
///
/// Facts come by [`Handle::tell`]: the workers from the pool's events, interfaces, programs, addresses and the disable
/// file from [`super::watch::start`], BFD from its sessions. Without them everything stays withdrawn.
pub fn start(
    plan: &Plan,
    state: &Path,
    stand: impl Fn(IpAddr, Standing) + Send + Sync + 'static,
) -> Result<Handle, Error> {
    let kept = Kept::open(state)?;
    let mut gates = Gates {
        stand: Arc::new(stand),
        orders: kept.orders().clone(),
        stops: Stops::default(),
        known: Known::default(),
        flights: Arc::default(),
        running: BTreeMap::new(),
    };
    gates.apply_plan(plan)?;
    Ok(Handle {
        gates: Arc::new(Mutex::new(gates)),
        kept: Arc::new(Mutex::new(kept)),
    })
}

impl Handle {
    fn lock(&self) -> MutexGuard<'_, Gates> {
        self.gates.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lock order: this lock first, then that of the gates.
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes the orders in force to their file, if that differs.
    pub fn keep(&self) {
        store::off_the_runtime(|| {
            let mut kept = self.kept();
            // Read under the lock: a caller that waited for it writes the latest orders.
            let orders = self.lock().orders.clone();
            kept.keep(&orders);
        });
    }

    /// Passes news to every gate, from any thread. It does not wait, and no timer delays the machines.
    pub fn tell(&self, news: News) {
        let mut gates = self.lock();
        for (vip, gate) in &gates.running {
            gate.send(Note::Happened(Known::event(*vip, gate.moves, &news)));
        }
        gates.known.learn(news);
    }

    /// Another configuration: gates of VIPs that stay keep their health, gates of new VIPs start closed, and VIPs that go are
    /// withdrawn before this returns.
    pub async fn configure(&self, plan: &Plan) -> Result<(), Error> {
        let gone = self.lock().apply_plan(plan)?;
        for mut gate in gone {
            gate.send(Note::Leave);
            if let Err(error) = (&mut gate.task).await {
                tracing::error!(%error, "the end of a gate");
            }
        }
        Ok(())
    }

    /// The status of every gate, by VIP.
    pub fn views(&self) -> Vec<View> {
        let (at, wall) = (drive::now(), clock::since_1970());
        let mut unkept = self.unkept();
        let gates = self.lock();
        let running = gates.running.iter();
        running
            .map(|(vip, entry)| View {
                vip: *vip,
                gate: entry.seen.borrow().clone(),
                unkept: unkept.remove(vip),
                at,
                wall,
            })
            .collect()
    }

    /// The VIPs whose orders would be lost by a restart, and why. Orders that are being written at this moment are left out.
    fn unkept(&self) -> BTreeMap<IpAddr, String> {
        let Ok(kept) = self.kept.try_lock() else {
            return BTreeMap::new();
        };
        let gates = self.lock();
        let vips = gates.running.keys();
        vips.filter_map(|vip| Some((*vip, kept.unkept(*vip, &gates.orders)?)))
            .collect()
    }

    /// Returns once every present VIP has its first verdict, good or bad.
    pub async fn settled(&self) {
        let running: Vec<_> = {
            let gates = self.lock();
            gates
                .running
                .values()
                .map(|gate| gate.seen.clone())
                .collect()
        };
        for mut seen in running {
            // A gate that ended has no verdict to wait for.
            drop(seen.wait_for(Gate::settled).await);
        }
    }
}

impl Gates {
    /// Follows another plan; returns the gates of VIPs that it no longer has.
    fn apply_plan(&mut self, plan: &Plan) -> Result<Vec<Running>, Error> {
        let question = Arc::new(Question::new(&plan.settings)?);
        let stays = |vip: &IpAddr, _: &mut Running| !plan.vips.contains_key(vip);
        let gone = self
            .running
            .extract_if(.., stays)
            .map(|(_, gate)| gate)
            .collect();
        for (vip, behind) in &plan.vips {
            let ask = Arc::new(Ask {
                vip: behind.clone(),
                servers: plan.settings.min_servers
                    != crate::config::sections::gate::AtLeast::Number(0),
                question: Arc::clone(&question),
                flights: Arc::clone(&self.flights),
            });
            if let Some(gate) = self.running.get_mut(vip) {
                gate.moves = behind.moves;
                let event = Event::Configure {
                    settings: Box::new(plan.settings.clone()),
                    workers: plan.workers,
                };
                gate.send(Note::Configure(ask, event));
                let addresses = News::Addresses(self.known.addresses.clone());
                gate.send(Note::Happened(Known::event(*vip, gate.moves, &addresses)));
            } else {
                let gate = self.open(*vip, plan, ask);
                self.running.insert(*vip, gate);
            }
        }
        Ok(gone)
    }

    fn open(&self, vip: IpAddr, plan: &Plan, ask: Arc<Ask>) -> Running {
        let mut machine = Gate::new(drive::now(), plan.settings.clone(), plan.workers);
        let moves = ask.vip.moves;
        let (notes, inbox) = mpsc::unbounded_channel();
        let (status, seen) = watch::channel(machine.clone());
        let mut place = GateWorld {
            vip,
            ask,
            notes: notes.clone(),
            inbox,
            stand: Arc::clone(&self.stand),
            stands: Vec::new(),
            status,
            answers: Vec::new(),
        };
        let orders = self.orders.of(vip).into_iter().map(Event::Order);
        let known = self.known.all();
        let facts = known.iter().map(|news| Known::event(vip, moves, news));
        let task = tokio::spawn(async move { drive(&mut machine, &mut place).await });
        let gate = Running {
            moves,
            notes,
            seen,
            task,
        };
        let leaving = self
            .stops
            .longest(drive::now())
            .map(|within| Event::Leave(Some(within)));
        for event in orders.chain(leaving).chain(facts) {
            gate.send(Note::Happened(event));
        }
        gate
    }
}

impl Running {
    fn send(&self, note: Note) {
        // A gate ends only when its VIP goes; later notes do not matter.
        self.notes.send(note).unwrap_or_default();
    }

    fn order(&self, event: Event) -> oneshot::Receiver<()> {
        let (answer, answered) = oneshot::channel();
        self.send(Note::Order(event, answer));
        answered
    }
}

/// The world of one machine.
struct GateWorld {
    vip: IpAddr,
    ask: Arc<Ask>,
    notes: mpsc::UnboundedSender<Note>,
    inbox: mpsc::UnboundedReceiver<Note>,
    stand: Arc<Stand>,
    /// The standings that this step asked for.
    stands: Vec<Standing>,
    status: watch::Sender<Gate>,
    /// Callers that wait for their order to be in force.
    answers: Vec<oneshot::Sender<()>>,
}

impl World<Gate> for GateWorld {
    async fn next(&mut self) -> Option<Event> {
        match self.inbox.recv().await? {
            Note::Happened(event) => Some(event),
            Note::Configure(ask, event) => {
                self.ask = ask;
                Some(event)
            }
            Note::Order(event, answer) => {
                self.answers.push(answer);
                Some(event)
            }
            Note::Leave => {
                if self.status.borrow().standing() != Standing::Withdrawn {
                    (self.stand)(self.vip, Standing::Withdrawn);
                }
                None
            }
        }
    }

    async fn act(&mut self, action: Action) {
        match action {
            // Passed on after the status shows it: the receiver may ask for the status.
            Action::Stand(standing) => self.stands.push(standing),
            Action::Probe { round, workers } => {
                let (ask, notes) = (Arc::clone(&self.ask), self.notes.clone());
                tokio::spawn(async move {
                    let findings = ask.round(workers).await;
                    // The gate may have ended meanwhile, with its VIP.
                    notes
                        .send(Note::Happened(Event::Probed { round, findings }))
                        .unwrap_or_default();
                });
            }
        }
    }

    fn publish(&mut self, machine: &Gate) {
        let before = self.status.borrow().state();
        if machine.state() != before {
            tell(self.vip, before, machine);
        }
        if let (None, Some(why)) = (self.status.borrow().unasked(), machine.unasked()) {
            tracing::error!(
                vip = %self.vip,
                why,
                "the workers could not be asked, so the gate stays as it is; raise the limit on open files of the \
                 daemon, or see what uses them up (`ls /proc/PID/fd`)"
            );
        }
        self.status.send_replace(machine.clone());
        for standing in self.stands.drain(..) {
            (self.stand)(self.vip, standing);
        }
        for answer in self.answers.drain(..) {
            // The caller that gave the order may have hung up.
            answer.send(()).unwrap_or_default();
        }
    }
}

/// Logs a transition. When a VIP goes down an operator has to act, so that is a warning.
fn tell(vip: IpAddr, before: State, machine: &Gate) {
    let (from, to) = (before.name(), machine.state().name());
    let (standing, reason) = (machine.standing().name(), machine.reason());
    if machine.state() == State::Down {
        tracing::warn!(%vip, from, to, standing, %reason, "the gate of the VIP is down");
    } else {
        tracing::info!(%vip, from, to, standing, %reason, "the gate of the VIP changed its state");
    }
}
