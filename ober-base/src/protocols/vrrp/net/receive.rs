//! Received packets: checked as RFC 9568 section 7.1 says, then passed to their virtual router.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::IpAddr,
    ops::RangeInclusive,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::{mpsc, watch};

use super::{
    super::{
        Event, Mac, neighbour,
        packet::{Coverage, Malformed, Version},
    },
    Key,
    filters::{self, Naming, Wanted},
    log::{Line, Log},
    note::{Counts, Note, raise},
    sockets::{Claims, Datagram, GROUP4, GROUP6, LARGEST, Raw},
};
use crate::{machine::realtime::Budget, protocols::routers::Routers};

/// The most senders that are remembered as logged.
pub(super) const REMEMBERED: usize = 1024;
/// Pause after a failure to receive.
const PAUSE: Duration = Duration::from_millis(100);

/// Why a packet is refused, in the order of [`REASONS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reject {
    Source,
    Ttl,
    Version,
    Checksum,
    Length,
    Authentication,
    Malformed,
    Vrid,
}

/// The names of the reasons, in status and metrics.
const REASONS: [&str; 8] = [
    "source",
    "ttl",
    "version",
    "checksum",
    "length",
    "authentication",
    "malformed",
    "vrid",
];

impl From<Malformed> for Reject {
    fn from(malformed: Malformed) -> Self {
        match malformed {
            Malformed::Version(_) => Self::Version,
            Malformed::Length(_) => Self::Length,
            Malformed::Checksum => Self::Checksum,
            Malformed::Authentication(_) => Self::Authentication,
            Malformed::Type(_) | Malformed::Vrid | Malformed::Interval | Malformed::Empty => {
                Self::Malformed
            }
        }
    }
}

/// Refused packets, by reason.
#[derive(Debug, Default)]
pub(super) struct Rejected([AtomicU64; REASONS.len()]);

impl Rejected {
    pub(super) fn raise(&self, reject: Reject) {
        if let Some(counter) = self.0.get(reject as usize) {
            raise(counter);
        }
    }

    pub(super) fn by_reason(&self) -> BTreeMap<String, u64> {
        let counts = self.0.iter().map(|counter| counter.load(Ordering::Relaxed));
        REASONS
            .iter()
            .map(|name| (*name).to_owned())
            .zip(counts)
            .collect()
    }
}

/// The senders that may send to this node, and the TTLs of their packets.
#[derive(Clone, Debug)]
pub(super) enum Senders {
    Group,
    Peers(BTreeMap<IpAddr, RangeInclusive<u8>>),
}

impl Senders {
    /// May `from` send this packet?
    pub(super) fn allow(&self, from: IpAddr, to: IpAddr, ttl: u8) -> Result<(), (Reject, String)> {
        let ttls = match self {
            Self::Group if to == IpAddr::V4(GROUP4) || to == IpAddr::V6(GROUP6) => {
                &(neighbour::TTL..=neighbour::TTL)
            }
            Self::Group => {
                let why = format!("sent to {to}; vrrp.transport is \"multicast\" here");
                return Err((Reject::Source, why));
            }
            Self::Peers(peers) => peers
                .get(&from)
                .ok_or_else(|| (Reject::Source, "the sender is not a peer".to_owned()))?,
        };
        if ttls.contains(&ttl) {
            return Ok(());
        }
        let (least, most) = (ttls.start(), ttls.end());
        let why = format!("TTL {ttl}, which must be from {least} to {most}");
        Err((Reject::Ttl, why))
    }
}

/// A virtual router that receives.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) version: Version,
    /// Addresses that no other host may claim.
    pub(super) addresses: Vec<IpAddr>,
    pub(super) notes: mpsc::UnboundedSender<Note>,
    pub(super) counts: Arc<Counts>,
}

#[derive(Debug)]
pub(super) enum ReceiverCommand {
    Join(Key, Member),
    Leave(Key),
    Senders(Senders, Coverage),
    Routers(Routers),
    /// The MACs in this node's own claims.
    Own(Vec<Mac>),
    /// A family gets its first virtual router, or loses its last.
    Sockets(bool, Option<FamilySockets>),
}

/// The sockets that receive for one family: advertisements, and claims of addresses.
#[derive(Debug)]
pub(super) struct FamilySockets {
    pub(super) raw: Arc<Raw>,
    /// The socket for what the kernel drops at `raw`.
    pub(super) strangers: Arc<Raw>,
    /// The task that logs those senders.
    pub(super) naming: Option<Naming>,
    pub(super) claims: Claims,
}

/// Everything that receives on one interface.
pub(super) struct Receiver {
    pub(super) changes: mpsc::UnboundedReceiver<ReceiverCommand>,
    /// For the task that logs strangers.
    pub(super) wanted: watch::Sender<Arc<Wanted>>,
    pub(super) budget: Budget,
    pub(super) coverage: Coverage,
    pub(super) v4: Option<FamilySockets>,
    pub(super) v6: Option<FamilySockets>,
    /// The MACs of the interfaces on which VIPs are claimed.
    pub(super) own: Vec<Mac>,
    pub(super) rejected: Arc<Rejected>,
    pub(super) log: Log,
}

/// The known virtual routers and senders.
struct KnownPeers {
    wanted: Wanted,
    coverage: Coverage,
    own: Vec<Mac>,
    members: BTreeMap<Key, Member>,
    rejected: Arc<Rejected>,
    /// What was logged, by sender; `None`: its checksum coverage.
    said: BTreeSet<(IpAddr, Option<Reject>)>,
    log: Log,
}

impl Receiver {
    pub(super) async fn run(mut self) {
        let mut known = KnownPeers {
            wanted: Wanted::clone(&self.wanted.borrow()),
            coverage: self.coverage,
            own: std::mem::take(&mut self.own),
            members: BTreeMap::new(),
            rejected: self.rejected.clone(),
            said: BTreeSet::new(),
            log: self.log.clone(),
        };
        let (mut in4, mut in6) = ([0; LARGEST], [0; LARGEST]);
        let (mut arp, mut icmp6) = ([0; 128], [0; 512]);
        loop {
            let failed = tokio::select! {
                // A new master advertises first and claims then: read in this order, its claim is no conflict.
                biased;
                change = self.changes.recv() => match change {
                    Some(change) => {
                        self.change(change, &mut known);
                        continue;
                    }
                    None => return,
                },
                got = receive(self.v4.as_ref(), &mut in4) => known.took(got, &in4),
                got = receive(self.v6.as_ref(), &mut in6) => known.took(got, &in6),
                got = overhear(self.v4.as_ref(), &mut arp) => {
                    known.overheard(got, |length| neighbour::arp_claim(arp.get(..length)?))
                }
                got = overhear(self.v6.as_ref(), &mut icmp6) => {
                    known.overheard(got, |length| neighbour::advertisement_claim(icmp6.get(..length)?))
                }
            };
            self.budget.spend().await;
            if let Some(error) = failed {
                known.log.say(Line::Receive(error.to_string()));
                // Such as an interface that is down; without a pause the loop would spin.
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    fn change(&mut self, change: ReceiverCommand, known: &mut KnownPeers) {
        if let ReceiverCommand::Sockets(six, sockets) = change {
            *(if six { &mut self.v6 } else { &mut self.v4 }) = sockets;
        } else {
            known.change(change);
        }
        self.filter(known);
    }

    /// Makes the kernel drop packets that are no longer wanted.
    fn filter(&self, known: &mut KnownPeers) {
        let keys = known.members.keys();
        known.wanted.vrids = keys.map(|key| (key.six, key.vrid)).collect();
        let addresses: Vec<IpAddr> = known
            .members
            .values()
            .flat_map(|member| &member.addresses)
            .copied()
            .collect();
        for (six, sockets) in [(false, &self.v4), (true, &self.v6)] {
            let Some(sockets) = sockets else {
                continue;
            };
            known
                .wanted
                .attach(six, &sockets.raw, &sockets.strangers, &self.log);
            if let Err(error) = sockets.claims.filter(filters::claims(six, &addresses)) {
                self.log.say(Line::Filter(error.to_string()));
            }
        }
        self.wanted.send_replace(Arc::new(known.wanted.clone()));
    }
}

async fn receive(sockets: Option<&FamilySockets>, buffer: &mut [u8]) -> io::Result<Datagram> {
    match sockets {
        Some(sockets) => sockets.raw.receive(buffer).await,
        None => std::future::pending().await,
    }
}

async fn overhear(sockets: Option<&FamilySockets>, buffer: &mut [u8]) -> io::Result<usize> {
    match sockets {
        Some(sockets) => sockets.claims.receive(buffer).await,
        None => std::future::pending().await,
    }
}

impl KnownPeers {
    fn change(&mut self, change: ReceiverCommand) {
        match change {
            ReceiverCommand::Join(key, member) => {
                self.members.insert(key, member);
            }
            ReceiverCommand::Leave(key) => {
                self.members.remove(&key);
            }
            ReceiverCommand::Senders(senders, coverage) => {
                (self.wanted.senders, self.coverage) = (senders, coverage);
                self.said.clear();
            }
            ReceiverCommand::Routers(routers) => self.wanted.routers = routers,
            ReceiverCommand::Own(macs) => self.own = macs,
            // Handled by `Receiver` itself.
            ReceiverCommand::Sockets(..) => {}
        }
    }

    /// Returns a failure to receive.
    fn took(&mut self, got: io::Result<Datagram>, buffer: &[u8]) -> Option<io::Error> {
        let datagram = match got {
            Ok(datagram) => datagram,
            Err(error) => return Some(error),
        };
        let payload = buffer.get(datagram.payload.clone()).unwrap_or_default();
        if let Err((reject, why)) = self.deliver(&datagram, payload) {
            self.rejected.raise(reject);
            let from = datagram.from;
            if self.first(from, Some(reject)) {
                self.log.say(Line::Rejected { from, why });
            }
        }
        None
    }

    fn deliver(&mut self, datagram: &Datagram, payload: &[u8]) -> Result<(), (Reject, String)> {
        let from = datagram.from;
        // The kernel may have had no room for every sender, so the packet is checked again.
        let ours = |key| self.members.get(&key);
        let (member, advertisement, coverage) = self.wanted.judge(datagram, payload, ours)?;
        if member.version != advertisement.version {
            let version = advertisement.version.number();
            let why = format!("version {version}, {} here", member.version.number());
            return Err((Reject::Version, why));
        }
        raise(&member.counts.received);
        if advertisement.priority == 0 {
            raise(&member.counts.resignations_received);
        }
        let event = Event::Received {
            from,
            advertisement,
        };
        // An error means that the virtual router has ended.
        member.notes.send(Note::Event(event)).unwrap_or_default();
        let covers = member.version == Version::V3 && coverage != self.coverage;
        if covers && from.is_ipv4() && self.first(from, None) {
            let theirs = coverage;
            self.log.say(Line::Coverage { from, theirs });
        }
        Ok(())
    }

    /// Is this the first time? Always false once too many senders were logged.
    fn first(&mut self, from: IpAddr, what: Option<Reject>) -> bool {
        self.said.len() < REMEMBERED && self.said.insert((from, what))
    }

    fn overheard(
        &self,
        got: io::Result<usize>,
        read: impl Fn(usize) -> Option<(IpAddr, Mac)>,
    ) -> Option<io::Error> {
        let length = match got {
            Ok(length) => length,
            Err(error) => return Some(error),
        };
        let (address, by) = read(length)?;
        let mut holder = self
            .members
            .iter()
            .filter(|(_, member)| member.addresses.contains(&address));
        let (key, member) = holder.next()?;
        if !self.own.contains(&by) && by != neighbour::virtual_mac(key.vrid, key.six) {
            let event = Event::Claimed { address, by };
            member.notes.send(Note::Event(event)).unwrap_or_default();
        }
        None
    }
}
