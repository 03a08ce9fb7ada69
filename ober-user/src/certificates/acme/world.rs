//! Has certificates issued, with one task for each set of names.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::{JoinHandle, JoinSet},
};

use super::{Action, Event, Renewal, State, order};
use crate::{
    certificates::{Bundle, CertificateFacts},
    config::{Config, sections::acme::Acme},
    machine::drive::{self, World, drive},
    system::{
        clock,
        pem::bundle,
        store::{self, Kind},
    },
};

/// The state of the orders for one certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OrderState {
    pub ordering: bool,
    /// How many orders in a row have failed.
    pub failures: u32,
    pub error: Option<String>,
    /// When the next order is due, in seconds since 1970.
    pub next: Option<u64>,
}

type OrderStates = Arc<Mutex<BTreeMap<Vec<String>, OrderState>>>;

/// Orders the certificates that a configuration wants issued. The tasks end when it is dropped.
#[derive(Debug, Default)]
pub struct CertificateOrders {
    acme: Option<Acme>,
    tasks: BTreeMap<Vec<String>, Task>,
    order_states: OrderStates,
    /// Held during an order, so that there is one order at a time.
    turn: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Debug)]
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl CertificateOrders {
    /// Orders the certificates of this configuration from now on.
    pub fn configure(&mut self, config: &Config) {
        if self.acme != config.acme {
            self.tasks.clear();
        }
        self.acme.clone_from(&config.acme);
        let wanted = wanted(config);
        self.tasks.retain(|names, _| wanted.contains_key(names));
        let order_states = Arc::clone(&self.order_states);
        let mut known = order_states.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|names, _| wanted.contains_key(names));
        for (names, file) in wanted {
            if let (false, Some(acme)) = (self.tasks.contains_key(&names), &self.acme) {
                let task = self.task(acme.clone(), &config.node.state, names.clone(), file);
                self.tasks.insert(names, task);
            }
        }
    }

    pub fn order_states(&self) -> BTreeMap<Vec<String>, OrderState> {
        let order_states = self.order_states.lock();
        order_states.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn task(&self, acme: Acme, state: &Path, names: Vec<String>, file: PathBuf) -> Task {
        let (tell, events) = unbounded_channel();
        let mut machine = Renewal::new(rand());
        let mut issuing = Issuing {
            acme: Arc::new(acme),
            state: state.to_owned(),
            names,
            file,
            tell,
            events,
            turn: Arc::clone(&self.turn),
            order_states: Arc::clone(&self.order_states),
            orders: JoinSet::new(),
        };
        issuing.say(found(&issuing.file));
        Task(tokio::spawn(async move {
            drive(&mut machine, &mut issuing).await;
        }))
    }
}

/// The sets of names to be issued, with their files.
fn wanted(config: &Config) -> BTreeMap<Vec<String>, PathBuf> {
    let listeners = config
        .services
        .iter()
        .flat_map(|service| &service.listeners);
    let tls = listeners.filter_map(|listener| listener.protocol.termination());
    tls.filter_map(|tls| Some((tls.acme.clone(), tls.issued(&config.node.state)?)))
        .collect()
}

fn rand() -> u8 {
    let mut byte = [0];
    // When the system has no random bytes, the jitter is 0 and renewals come at their latest time.
    let random = ring::rand::SystemRandom::new();
    ring::rand::SecureRandom::fill(&random, &mut byte).unwrap_or_default();
    u8::from_be_bytes(byte)
}

/// Reads the file of an issued certificate. A file without a certificate and its key is moved aside, and another
/// certificate is ordered.
fn found(file: &Path) -> Event {
    match Bundle::read(file).and_then(|bundle| CertificateFacts::of(file, &bundle)) {
        Ok(facts) => return stands(&facts),
        Err(bundle::Error::Read { .. }) => {}
        Err(error) => store::set_aside(Kind::Issued, file, &error.to_string()),
    }
    Event::Lacks
}

fn stands(facts: &CertificateFacts) -> Event {
    let now = clock::seconds();
    let seconds = |from: u64, to: u64| Duration::from_secs(to.saturating_sub(from));
    Event::Stands {
        age: seconds(facts.not_before, now),
        left: seconds(now, facts.not_after),
    }
}

struct Issuing {
    acme: Arc<Acme>,
    state: PathBuf,
    names: Vec<String>,
    file: PathBuf,
    tell: UnboundedSender<Outcome>,
    events: UnboundedReceiver<Outcome>,
    turn: Arc<tokio::sync::Mutex<()>>,
    order_states: OrderStates,
    /// The order under way, which ends with this task.
    orders: JoinSet<()>,
}

/// An event, with its reason if that is to be shown.
type Outcome = (Event, Option<String>);

impl Issuing {
    fn say(&self, event: Event) {
        // The task holds the receiver itself, so the channel cannot be closed.
        self.tell.send((event, None)).unwrap_or_default();
    }

    fn set_state(&self, change: impl FnOnce(&mut OrderState)) {
        let mut order_states = self
            .order_states
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        change(order_states.entry(self.names.clone()).or_default());
    }
}

impl World<Renewal> for Issuing {
    async fn next(&mut self) -> Option<Event> {
        let (event, why) = self.events.recv().await?;
        self.set_state(|order| order.error = why);
        Some(event)
    }

    async fn act(&mut self, action: Action) {
        let Action::Order = action;
        let (acme, state, turn) = (
            Arc::clone(&self.acme),
            self.state.clone(),
            Arc::clone(&self.turn),
        );
        let (names, file, tell) = (self.names.clone(), self.file.clone(), self.tell.clone());
        self.orders.spawn(async move {
            let _turn = turn.lock().await;
            let outcome = match order::place(&acme, &state, &names, &file).await {
                Ok(facts) => {
                    tracing::info!(
                        names = names.join(", "),
                        not_after = facts.not_after,
                        "certificate issued"
                    );
                    (stands(&facts), None)
                }
                Err(failure) => {
                    let error = failure.error.to_string();
                    tracing::error!(
                        names = names.join(", "),
                        error,
                        "no certificate was issued; it is ordered again"
                    );
                    let retry_after = failure.retry_after;
                    (Event::Failed { retry_after }, Some(error))
                }
            };
            tell.send(outcome).unwrap_or_default();
        });
        while self.orders.try_join_next().is_some() {}
    }

    fn publish(&mut self, machine: &Renewal) {
        let next = match machine.state() {
            State::Waiting { until } => {
                let room = until.saturating_duration_since(drive::now());
                Some(clock::seconds() + room.as_secs())
            }
            State::New | State::Ordering => None,
        };
        self.set_state(|order| {
            order.ordering = machine.state() == State::Ordering;
            order.failures = machine.failures();
            order.next = next;
        });
    }
}
