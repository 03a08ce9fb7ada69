//! The world of one worker slot: performs the actions of [`crate::haproxy::worker`], and reports the results as events.

use std::{collections::BTreeMap, fs, io, os::fd::AsRawFd};

use nix::sys::signal::Signal;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};

use super::{
    Action, Event, Exit, Generation, Outcome, Pid, Policy, State, Why, Worker,
    adopt::{Adopted, HeldSocket, Record, WorkerRecord},
    log::Log,
    process::{Launch, Process},
    snapshot::{Snapshot, serving, snapshot},
    watched::Watched,
};
use crate::{
    config::paths::Files,
    haproxy::{WorkerEvent, finishing::Finishing, runtime_api, sockets::Key},
    machine::drive::{World, drive, now},
    system::manager::scope::Place,
};

/// A launch with the keys of its sockets.
#[derive(Clone, Debug)]
pub(crate) struct LaunchOrder {
    pub(crate) launch: Launch,
    pub(crate) keys: Vec<Key>,
}

/// Why a generation does not serve, with HAProxy's output if there is any.
pub(crate) type Answer = Result<(), String>;

pub(crate) enum Note {
    Happened(Event),
    Adopt(Adopted, LaunchOrder),
    Want(LaunchOrder, oneshot::Sender<Answer>),
    /// The process with this number was changed to the order's generation by commands.
    ChangedLive(LaunchOrder, Pid, oneshot::Sender<Answer>),
    /// Another process of the same generation is to serve; the answer says whether it does.
    Renew(oneshot::Sender<Answer>),
    /// Ends the slot once its processes have ended.
    Stop(Event),
    /// Ends the slot, with its record up to date, and leaves its processes alone.
    Leave,
}

/// The handle of a slot's task. When it is dropped, the processes go on running.
#[derive(Debug)]
pub(crate) struct Handle {
    notes: mpsc::UnboundedSender<Note>,
    status: watch::Receiver<Snapshot>,
    task: JoinHandle<()>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Handle {
    pub(crate) fn new(
        files: Files,
        worker: usize,
        policy: Policy,
        ring: mpsc::UnboundedSender<WorkerEvent>,
        place: Place,
    ) -> Self {
        let mut machine = Worker::new(now(), policy);
        let (notes, inbox) = mpsc::unbounded_channel();
        let log = Log::new(files.log());
        let blank = snapshot(worker, &machine, None, Vec::new());
        let (status, watching) = watch::channel(blank);
        let mut slot = WorkerWorld {
            worker,
            files,
            problem: String::new(),
            notes: notes.clone(),
            inbox,
            ring,
            place,
            status,
            orders: BTreeMap::new(),
            processes: BTreeMap::new(),
            waiting: None,
            settled: None,
            recorded: None,
            log,
            last: false,
        };
        let task = tokio::spawn(async move {
            drive(&mut machine, &mut slot).await;
            if slot.last {
                slot.clean_up();
            }
        });
        Self {
            notes,
            status: watching,
            task,
        }
    }

    pub(crate) fn send(&self, note: Note) {
        // A slot ends only after `Stop` or `Leave`; later notes have no effect.
        self.notes.send(note).unwrap_or_default();
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        self.status.borrow().clone()
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Snapshot> {
        self.status.clone()
    }

    /// Returns once the slot is in the ring.
    pub(crate) async fn in_ring(&self) {
        let mut status = self.status.clone();
        if status.wait_for(|snapshot| snapshot.in_ring).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Returns once the slot has ended, after `Stop` or `Leave`.
    pub(crate) async fn ended(&self) {
        let mut status = self.status.clone();
        while status.changed().await.is_ok() {}
    }
}

struct WorkerWorld {
    worker: usize,
    files: Files,
    problem: String,
    notes: mpsc::UnboundedSender<Note>,
    inbox: mpsc::UnboundedReceiver<Note>,
    ring: mpsc::UnboundedSender<WorkerEvent>,
    /// Where its processes go, so that they outlive the daemon's service.
    place: Place,
    status: watch::Sender<Snapshot>,
    orders: BTreeMap<Generation, LaunchOrder>,
    processes: BTreeMap<Pid, Watched>,
    waiting: Option<(Generation, oneshot::Sender<Answer>)>,
    settled: Option<(Generation, Answer)>,
    recorded: Option<Record>,
    log: Log,
    last: bool,
}

impl World<Worker> for WorkerWorld {
    async fn next(&mut self) -> Option<Event> {
        if self.last && self.processes.is_empty() && self.inbox.is_empty() {
            return None;
        }
        let event = match self.inbox.recv().await? {
            Note::Happened(event) => event,
            Note::Adopt(adopted, order) => self.adopted(adopted, order),
            Note::Want(order, answer) => Event::Want {
                generation: self.ordered(order, answer),
            },
            Note::ChangedLive(order, pid, answer) => Event::ChangedLive {
                generation: self.ordered(order, answer),
                pid,
            },
            Note::Renew(answer) => {
                // Without a generation that serves there is nothing to renew, and the answer is dropped.
                let generation = self.status.borrow().generation;
                self.waiting = generation.map(|generation| (generation, answer));
                Event::Renew
            }
            Note::Stop(event) => {
                self.last = true;
                event
            }
            Note::Leave => return None,
        };
        if let Event::Exited { pid, .. } = event {
            self.processes.remove(&pid);
        }
        Some(event)
    }

    async fn act(&mut self, action: Action) {
        match action {
            Action::SetInRing(in_ring) => {
                // The channel is closed only when the daemon is ending.
                self.ring
                    .send(WorkerEvent {
                        worker: self.worker,
                        in_ring,
                    })
                    .unwrap_or_default();
                if in_ring {
                    tracing::info!(worker = self.worker, "the worker joins the ring");
                } else {
                    tracing::info!(worker = self.worker, "the worker leaves the ring");
                }
            }
            Action::Spawn { generation } => self.spawn(generation),
            Action::Probe { pid } => self.probe(pid),
            Action::Retire { pid } => {
                if let Some(watched) = self.processes.get_mut(&pid) {
                    watched.finishes();
                }
                self.signal(pid, Signal::SIGUSR1);
            }
            Action::Kill { pid, why } => {
                let why = match why {
                    Why::Unwanted => "it is no longer wanted",
                    Why::NeverReady => "it never became ready",
                    Why::DrainOver => "its time to finish connections is over",
                    Why::TooManyFinishing => {
                        "too many replaced processes are finishing connections"
                    }
                };
                tracing::warn!(
                    worker = self.worker,
                    pid = pid.0,
                    why,
                    "HAProxy process killed"
                );
                self.signal(pid, Signal::SIGKILL);
            }
            Action::Settled {
                generation,
                outcome,
            } => self.settled = Some((generation, self.answer(outcome))),
        }
    }

    fn publish(&mut self, machine: &Worker) {
        let state = machine.state();
        self.forget(&machine.generations());
        self.record(state, &machine.finishing());
        let order = serving(state).and_then(|(_, generation)| self.orders.get(&generation));
        let cpu = order.map(|order| order.launch.cpu);
        let finishing = self.finishing(&machine.finishing());
        let snapshot = snapshot(self.worker, machine, cpu, finishing);
        if snapshot.restarts > self.status.borrow().restarts {
            let exit = snapshot.last_exit;
            tracing::error!(
                worker = self.worker,
                ?exit,
                said = self.log.said(),
                "HAProxy worker ended; it is started again"
            );
        }
        self.status
            .send_if_modified(|known| std::mem::replace(known, snapshot.clone()) != snapshot);
        // Sent last, so that the caller finds the record and the snapshot up to date.
        if let Some((generation, answer)) = self.settled.take()
            && let Some((_, asked)) = self.waiting.take_if(|(waiting, _)| *waiting == generation)
        {
            // At the start no caller waits for the answer, so the failure is logged here.
            if let Err(Err(why)) = asked.send(answer) {
                tracing::error!(
                    worker = self.worker,
                    why,
                    "HAProxy does not serve as configured"
                );
            }
        }
    }
}

impl WorkerWorld {
    fn happened(&self, event: Event) {
        // The slot holds the receiver itself, so the channel cannot be closed.
        self.notes.send(Note::Happened(event)).unwrap_or_default();
    }

    fn ordered(&mut self, order: LaunchOrder, answer: oneshot::Sender<Answer>) -> Generation {
        let generation = order.launch.generation;
        self.orders.insert(generation, order);
        self.waiting = Some((generation, answer));
        generation
    }

    fn adopted(&mut self, adopted: Adopted, order: LaunchOrder) -> Event {
        let (pid, generation) = (adopted.process.pid, adopted.generation);
        let leaving = adopted.leaving.iter();
        let finishing = leaving.map(|(process, _)| process.pid).collect();
        self.orders.insert(generation, order);
        self.watch(adopted.process, adopted.held);
        for (process, recorded) in adopted.leaving {
            let pid = process.pid;
            self.watch(process, Vec::new());
            if let Some(watched) = self.processes.get_mut(&pid) {
                watched.as_recorded(recorded);
            }
        }
        tracing::info!(worker = self.worker, pid = pid.0, "HAProxy worker adopted");
        Event::Adopt {
            pid,
            generation,
            finishing,
        }
    }

    /// Has the process outlive the daemon's service. One that cannot be moved serves all the same.
    fn move_out(&self, pid: Pid) {
        let (place, worker) = (self.place.clone(), self.worker);
        tokio::spawn(async move {
            if let Err(error) = place.move_out(pid).await {
                let pid = pid.0;
                tracing::warn!(
                    worker,
                    pid,
                    %error,
                    "put the worker into a scope of its own; a restart of the service ends it"
                );
            }
        });
    }

    /// Watches a process that was started or adopted, from then on.
    fn watch(&mut self, process: Process, sockets: Vec<HeldSocket>) {
        self.move_out(process.pid);
        let (notes, pid) = (self.notes.clone(), process.pid);
        let waiting = process.clone();
        let task = tokio::spawn(async move {
            let exit = waiting.ended().await;
            notes
                .send(Note::Happened(Event::Exited { pid, exit }))
                .unwrap_or_default();
        });
        self.processes
            .insert(pid, Watched::new(process, sockets, task));
    }

    fn spawn(&mut self, generation: Generation) {
        let spawned = self.log.open().and_then(|log| {
            let order = self
                .orders
                .get(&generation)
                .ok_or(io::ErrorKind::NotFound)?;
            Ok((order.launch.start(&log)?, order.held()))
        });
        match spawned {
            Ok((process, sockets)) => {
                let pid = process.pid;
                self.watch(process, sockets);
                self.happened(Event::Spawned { generation, pid });
            }
            Err(error) => {
                let cpu = self.orders.get(&generation).map(|order| order.launch.cpu);
                self.problem = format!(
                    "it could not be started on CPU {}: {error}",
                    cpu.unwrap_or_default()
                );
                tracing::error!(
                    worker = self.worker,
                    problem = self.problem,
                    "start HAProxy"
                );
                self.happened(Event::SpawnFailed { generation });
            }
        }
    }

    fn probe(&self, pid: Pid) {
        let (notes, socket) = (self.notes.clone(), self.files.cli());
        tokio::spawn(async move {
            let ready = runtime_api::who(&socket).await.is_ok_and(|who| who == pid);
            let event = if ready {
                Event::Ready { pid }
            } else {
                Event::NotReady { pid }
            };
            notes.send(Note::Happened(event)).unwrap_or_default();
        });
    }

    fn signal(&self, pid: Pid, signal: Signal) {
        if let Some(watched) = self.processes.get(&pid)
            && let Err(error) = watched.process.signal(signal)
        {
            tracing::debug!(worker = self.worker, pid = pid.0, %signal, %error, "the process had ended");
        }
    }

    fn answer(&self, outcome: Outcome) -> Answer {
        let said = || self.log.said();
        match outcome {
            Outcome::Serving => Ok(()),
            Outcome::NotSpawned => Err(self.problem.clone()),
            Outcome::Ended(Exit::Signal(signal)) => {
                Err(format!("it was ended by signal {signal}:{}", said()))
            }
            Outcome::Ended(Exit::Code(code)) => {
                Err(format!("it ended with status {code}:{}", said()))
            }
            Outcome::Ended(Exit::Unknown) => Err(format!("it ended:{}", said())),
            Outcome::NeverReady => Err(format!(
                "it did not answer on {}:{}",
                self.files.cli().display(),
                said()
            )),
        }
    }

    /// Forgets the orders that will not be started again, and removes their files.
    fn forget(&mut self, wanted: &[Generation]) {
        let files = &self.files;
        self.orders.retain(|generation, _| {
            let keep = wanted.contains(generation);
            if !keep && let Err(error) = fs::remove_file(files.config(generation.0)) {
                tracing::debug!(%error, "an old HAProxy configuration was gone already");
            }
            keep
        });
    }

    /// The processes that finish, with what is known of each.
    fn finishing(&self, pids: &[Pid]) -> Vec<Finishing> {
        let watched = pids.iter().filter_map(|pid| self.processes.get(pid));
        watched.map(Watched::finishing).collect()
    }

    fn record(&mut self, state: State, finishing: &[Pid]) {
        let newcomer = match state {
            State::Starting(new) | State::Replacing(_, new) => new.pid,
            State::Stopped | State::Running(_) | State::Backoff { .. } => None,
        };
        let serving = match state {
            State::Running(current) | State::Replacing(current, _) => Some(current),
            State::Stopped | State::Starting(_) | State::Backoff { .. } => None,
        };
        let held = serving.and_then(|current| {
            let watched = self.processes.get(&current.pid)?;
            Some(WorkerRecord {
                identity: watched.identity(),
                generation: current.generation.0,
                cpu: self.orders.get(&current.generation)?.launch.cpu,
                sockets: watched.sockets.clone(),
            })
        });
        let leaving = finishing.iter().chain(&newcomer);
        let leaving = leaving.filter_map(|pid| self.processes.get(pid));
        let record = Record {
            serving: held,
            leaving: leaving.map(Watched::leaving).collect(),
        };
        if self.recorded.as_ref() == Some(&record) {
            return;
        }
        if let Err(error) = record.write(&self.files.record()) {
            let path = self.files.record();
            tracing::error!(
                path = %path.display(),
                %error,
                "cannot write the worker record; a new daemon would start this worker anew"
            );
        }
        self.recorded = Some(record);
    }

    fn clean_up(&mut self) {
        self.forget(&[]);
        for path in [self.files.record(), self.files.cli(), self.files.stats()] {
            if let Err(error) = fs::remove_file(&path) {
                tracing::debug!(path = %path.display(), %error, "nothing to remove");
            }
        }
    }
}

impl LaunchOrder {
    /// The sockets with their descriptor numbers in the daemon, which are the same in a process it starts.
    fn held(&self) -> Vec<HeldSocket> {
        let sockets = self.keys.iter().zip(&self.launch.sockets);
        sockets
            .map(|(key, fd)| HeldSocket {
                key: key.clone(),
                fd: fd.as_raw_fd(),
            })
            .collect()
    }
}
