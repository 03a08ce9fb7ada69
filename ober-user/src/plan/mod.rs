//! A change before it is made: the plan of it, and the steps that make it, in an order that announces only what is served and
//! takes nothing away that is still used.
//!
//! ```text
//! old, new configuration and servers, what workers and lists would do -> difference: Plan (what a person reads)
//! state: State of both --------------------------------------------- -> steps (what the daemon does)
//! history: every configuration that was in force, as written
//! ```
//! A change that fails goes back in the same way: by the steps from what the node has become to what it was.
//!
//! It never takes a step itself, and only `history` reads or writes a file.

use std::{collections::BTreeSet, fmt, net::IpAddr};

use serde::{Deserialize, Serialize};

mod difference;
pub mod history;
mod state;
#[cfg(test)]
mod tests;

pub use difference::{Change, How, Plan, PlanFacts, Side, states};
pub use state::{Behind, Changed, Edition, State, VipPort};

/// One step of the daemon. In the order of a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "do")]
pub enum Step {
    /// Withdraws these VIPs, and waits until that is written to the neighbours.
    Withdraw {
        vips: BTreeSet<IpAddr>,
    },
    Attach {
        interfaces: BTreeSet<String>,
    },
    /// Opens the ports and interfaces that the neighbours need; no neighbour notices.
    Open,
    /// Starts sessions with new neighbours; those with removed ones end.
    Speak,
    /// The kernel forgets these services: their packets pass like any others.
    TakeOut {
        services: BTreeSet<VipPort>,
    },
    /// New connections go to the first `workers` workers only.
    Confine {
        workers: usize,
    },
    /// Workers are changed, or replaced on the same sockets; new services get sockets.
    Workers,
    /// These lists get their entries.
    Lists {
        lists: BTreeSet<String>,
    },
    /// The kernel gets all services, each with its list.
    Services,
    Detach {
        interfaces: BTreeSet<String>,
    },
    AddAddresses {
        vips: BTreeSet<IpAddr>,
    },
    RemoveAddresses {
        vips: BTreeSet<IpAddr>,
    },
    /// All VIPs get gates; a new gate opens when probes have proven its VIP, and only then is the VIP announced.
    Guard,
    /// The servers are kept, and the new configuration is in force. Lists that it does not have are emptied after it.
    Commit,
}

/// The steps that put the configuration in force once more, which sets right what was changed by hand.
pub fn affirm() -> Vec<Step> {
    let vips = BTreeSet::new();
    vec![
        Step::Services,
        Step::AddAddresses { vips },
        Step::Guard,
        Step::Commit,
    ]
}

/// The steps from one state to another; none where they are alike.
///
/// Attaching and opening ports may be refused, by a driver or because a port is taken, and come before any VIP is withdrawn or
/// any session ends. Workers, which may not start, change before a session ends. Sessions begin when the node serves. A node
/// with nothing in force attaches its programs after the services are there.
pub fn steps(from: &State, to: &State) -> Vec<Step> {
    if from == to {
        return Vec::new();
    }
    let mut steps = Vec::new();
    let speaks = from.speaking != to.speaking;
    let attach =
        named(&to.interfaces, &from.interfaces).map(|interfaces| Step::Attach { interfaces });
    let first = *from == State::default();
    if first {
        steps.extend(serve(from, to));
        steps.extend(attach);
    } else {
        let (going, turning) = withdrawn(from, to);
        steps.extend(attach);
        steps.extend(speaks.then_some(Step::Open));
        steps.extend(going);
        steps.extend(taken_out(from, to));
        steps.extend(serve(from, to));
        steps.extend(turning);
        steps.extend(speaks.then_some(Step::Speak));
    }
    let detach = named(&from.interfaces, &to.interfaces);
    steps.extend(detach.map(|interfaces| Step::Detach { interfaces }));
    let add = named(&to.addresses, &from.addresses);
    steps.extend(add.map(|vips| Step::AddAddresses { vips }));
    let remove = named(&from.addresses, &to.addresses);
    steps.extend(remove.map(|vips| Step::RemoveAddresses { vips }));
    if first {
        steps.extend(speaks.then_some(Step::Speak));
    }
    steps.extend([Step::Guard, Step::Commit]);
    steps
}

/// The steps to a state from one that is not known: the way back of a change failed, and of each of these states a part may be
/// there. What all of them have stays; everything else is put in force again.
pub fn regain(maybe: &[State], to: &State) -> Vec<Step> {
    let places: BTreeSet<VipPort> = maybe
        .iter()
        .flat_map(|it| it.services.keys().copied())
        .collect();
    let has = |state: &State, place: &VipPort| staying(state, to).any(|it| it == *place);
    let (stay, gone): (BTreeSet<VipPort>, BTreeSet<VipPort>) = places
        .into_iter()
        .partition(|place| maybe.iter().any(|state| has(state, place)));
    let (going, turning) = uncertain(maybe, to, &stay, &gone);
    let interfaces = maybe.iter().flat_map(|it| it.interfaces.iter().cloned());
    let addresses = maybe.iter().flat_map(|it| it.addresses.iter().copied());
    let running = maybe.iter().map(|it| it.admitted.max(it.running)).max();
    let mut steps = vec![
        Step::Attach {
            interfaces: to.interfaces.clone(),
        },
        Step::Open,
    ];
    steps.extend(withdraw(going));
    steps.extend((!gone.is_empty()).then_some(Step::TakeOut { services: gone }));
    if running.is_some_and(|running| to.running < running) {
        let workers = to.running;
        steps.push(Step::Confine { workers });
    }
    steps.extend([
        Step::Workers,
        Step::Lists {
            lists: to.lists.keys().cloned().collect(),
        },
        Step::Services,
    ]);
    steps.extend(withdraw(turning));
    steps.push(Step::Speak);
    let detach = named(&interfaces.collect(), &to.interfaces);
    steps.extend(detach.map(|interfaces| Step::Detach { interfaces }));
    steps.push(Step::AddAddresses {
        vips: to.addresses.clone(),
    });
    let remove = named(&addresses.collect(), &to.addresses);
    steps.extend(remove.map(|vips| Step::RemoveAddresses { vips }));
    steps.extend([Step::Guard, Step::Commit]);
    steps
}

/// VIPs of which every place may be taken out, and others whose address may have to move between VRRP and this node.
fn uncertain(
    maybe: &[State],
    to: &State,
    stay: &BTreeSet<VipPort>,
    gone: &BTreeSet<VipPort>,
) -> (BTreeSet<IpAddr>, BTreeSet<IpAddr>) {
    let certain = |place: &VipPort| maybe.iter().all(|it| it.services.contains_key(place));
    let is_served = |vip: &IpAddr| {
        let loses = gone.iter().any(|place| place.vip == *vip);
        !loses || stay.iter().any(|place| place.vip == *vip && certain(place))
    };
    let turns = |vip: &IpAddr| {
        let moves = to.moved.contains(vip);
        maybe.iter().any(|it| it.moved.contains(vip) != moves)
    };
    let announced = maybe.iter().flat_map(|it| it.announced.iter().copied());
    let (served, going): (BTreeSet<IpAddr>, BTreeSet<IpAddr>) = announced.partition(is_served);
    (going, served.into_iter().filter(turns).collect())
}

/// Workers before lists, since workers may fail; both before the services that need them.
fn serve(from: &State, to: &State) -> Vec<Step> {
    let mut steps = Vec::new();
    if to.running < from.admitted {
        let workers = to.running;
        steps.push(Step::Confine { workers });
    }
    if (from.workers, from.running, &from.sockets) != (to.workers, to.running, &to.sockets) {
        steps.push(Step::Workers);
    }
    let other = to
        .lists
        .iter()
        .filter(|(name, edition)| from.lists.get(*name) != Some(edition));
    let lists: BTreeSet<String> = other.map(|(name, _)| name.clone()).collect();
    if !lists.is_empty() {
        steps.push(Step::Lists { lists });
    }
    steps.push(Step::Services);
    steps
}

/// VIPs that no place is left of, and others whose address moves between VRRP and this node.
fn withdrawn(from: &State, to: &State) -> (Option<Step>, Option<Step>) {
    let stays = |vip: &IpAddr| staying(from, to).any(|place| place.vip == *vip);
    let turns = |vip: &IpAddr| from.moved.contains(vip) != to.moved.contains(vip);
    let (stay, going): (BTreeSet<IpAddr>, BTreeSet<IpAddr>) =
        from.announced.iter().copied().partition(stays);
    let turning = stay.into_iter().filter(turns).collect();
    (withdraw(going), withdraw(turning))
}

fn withdraw(vips: BTreeSet<IpAddr>) -> Option<Step> {
    (!vips.is_empty()).then_some(Step::Withdraw { vips })
}

fn taken_out(from: &State, to: &State) -> Option<Step> {
    let staying: BTreeSet<VipPort> = staying(from, to).collect();
    let places = from.services.keys().copied().collect();
    named(&places, &staying).map(|services| Step::TakeOut { services })
}

/// The places whose service is the same before and after.
fn staying<'s>(from: &'s State, to: &'s State) -> impl Iterator<Item = VipPort> + 's {
    let same = |(place, behind): &(&VipPort, &Behind)| {
        let next = to.services.get(place);
        next.is_some_and(|next| next.service == behind.service)
    };
    from.services.iter().filter(same).map(|(place, _)| *place)
}

/// Those of one set that another lacks, if there are any.
fn named<T: Clone + Ord>(of: &BTreeSet<T>, lacking: &BTreeSet<T>) -> Option<BTreeSet<T>> {
    let named: BTreeSet<T> = of.difference(lacking).cloned().collect();
    (!named.is_empty()).then_some(named)
}

impl fmt::Display for Step {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Withdraw { vips } => {
                let vips = list(vips);
                write!(
                    out,
                    "withdraw {vips}, and wait until the neighbours have the withdrawal"
                )
            }
            Self::Open => out.write_str("open what the new neighbours need"),
            Self::Speak => out.write_str("start sessions with the new neighbours"),
            Self::Attach { interfaces } => write!(out, "attach to {}", list(interfaces)),
            Self::TakeOut { services } => write!(out, "take {} out of the kernel", list(services)),
            Self::Confine { workers } => {
                write!(
                    out,
                    "send new connections to the first {workers} workers alone"
                )
            }
            Self::Workers => out.write_str("change the workers, one before the others"),
            Self::Lists { lists } => write!(out, "fill {}", list(lists)),
            Self::Services => out.write_str("put the services with their lists into the kernel"),
            Self::Detach { interfaces } => write!(out, "detach from {}", list(interfaces)),
            Self::AddAddresses { vips } => write!(out, "add the addresses {}", list(vips)),
            Self::RemoveAddresses { vips } => write!(out, "remove the addresses {}", list(vips)),
            Self::Guard => out.write_str("guard the VIPs; gates that are new open on proof"),
            Self::Commit => out.write_str("put the new configuration in force"),
        }
    }
}

fn list<T: fmt::Display>(items: &BTreeSet<T>) -> String {
    let items = items.iter().map(ToString::to_string);
    items.collect::<Vec<_>>().join(", ")
}
