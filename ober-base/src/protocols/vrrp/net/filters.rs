//! The packets that the sockets of VRRP accept: the kernel drops those that cannot be for a virtual router of this node, so
//! that a stranger's flood costs the real-time thread nothing.
//!
//! The administrator still learns of them: a second socket accepts exactly the dropped ones, and an ordinary task reads a few a
//! second to log which senders are refused and why.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use tokio::{runtime, sync::watch, task::JoinHandle};

use super::{
    super::packet::{Advertisement, Coverage, Vrid},
    Key,
    log::{Line, Log},
    receive::{REMEMBERED, Reject, Rejected, Senders},
    sockets::{Datagram, GROUP4, GROUP6, LARGEST, Raw},
};
use crate::protocols::{
    filter::{self, Block, Field},
    routers::Routers,
};

/// Pause between two packets of strangers that are read.
const PACE: Duration = Duration::from_millis(100);

/// The accepted senders of advertisements, and the virtual routers.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) senders: Senders,
    pub(super) routers: Routers,
    pub(super) vrids: BTreeSet<(bool, Vrid)>,
}

impl Wanted {
    /// Programs for the kernel, which uses the first one that it has room for.
    fn programs(&self, six: bool) -> Vec<Block> {
        match &self.senders {
            Senders::Peers(peers) => {
                let peers = peers
                    .iter()
                    .filter(|(peer, _)| self.routers.allow(**peer))
                    .map(|(peer, ttl)| (*peer, *ttl.start()));
                filter::senders(six, &peers.collect::<BTreeMap<IpAddr, u8>>())
            }
            Senders::Group => {
                let group = if six { GROUP6.into() } else { GROUP4.into() };
                let vrids: Vec<u8> = self
                    .vrids
                    .iter()
                    .filter(|(of, _)| *of == six)
                    .map(|(_, vrid)| vrid.0.get())
                    .collect();
                let ours = filter::least_ttl(six, u8::MAX)
                    .and(filter::one_of(six, filter::destination(six), &[group]))
                    .and(filter::payload_byte(six, 1, &vrids));
                let listed = self
                    .routers
                    .networks(six)
                    .map(|networks| filter::networks(six, &networks));
                vec![match listed {
                    Some(listed) => ours.and(listed),
                    None => ours,
                }]
            }
        }
    }

    /// Makes the kernel drop everything else, and pass that to the other socket.
    pub(super) fn attach(&self, six: bool, raw: &Raw, strangers: &Raw, log: &Log) {
        let programs = self.programs(six);
        if let Err(error) = raw.filter(&programs) {
            log.say(Line::Filter(error.to_string()));
        }
        let others = programs.first().map(|program| program.clone().inverted());
        if let Err(error) = strangers.filter(&[others.unwrap_or_else(Block::discard)]) {
            log.say(Line::Filter(error.to_string()));
        }
    }

    /// May the sender of this datagram send to this node?
    fn allow(&self, datagram: &Datagram) -> Result<(), (Reject, String)> {
        let Datagram { from, to, ttl, .. } = *datagram;
        if !self.routers.allow(from) {
            let why = "it is not on the list of routers (node.routers)".to_owned();
            return Err((Reject::Source, why));
        }
        self.senders.allow(from, to, ttl)
    }

    /// The advertisement, and the entry of its virtual router in `ours`; or why it is refused.
    pub(super) fn judge<T>(
        &self,
        datagram: &Datagram,
        payload: &[u8],
        ours: impl FnOnce(Key) -> Option<T>,
    ) -> Result<(T, Advertisement, Coverage), (Reject, String)> {
        self.allow(datagram)?;
        let Datagram { from, to, .. } = *datagram;
        let decoded = Advertisement::decode(payload, from, to);
        let (advertisement, coverage) =
            decoded.map_err(|error| (error.into(), error.to_string()))?;
        let key = Key {
            six: from.is_ipv6(),
            vrid: advertisement.vrid,
        };
        let ours = ours(key).ok_or_else(|| {
            (
                Reject::Vrid,
                format!("no virtual router here has VRID {}", key.vrid),
            )
        })?;
        Ok((ours, advertisement, coverage))
    }

    /// Why the kernel dropped it; `Ok`: for a reason that no longer applies.
    fn dropped(&self, datagram: &Datagram, payload: &[u8]) -> Result<(), (Reject, String)> {
        let ours = |key: Key| self.vrids.contains(&(key.six, key.vrid)).then_some(());
        self.judge(datagram, payload, ours).map(drop)
    }
}

/// Takes claims of addresses that virtual routers have, by ARP or by a neighbour advertisement of this link.
pub(super) fn claims(six: bool, addresses: &[IpAddr]) -> Block {
    if six {
        let target = filter::one_of(true, Field::Own(8), addresses);
        filter::least_ttl(true, u8::MAX).and(target)
    } else {
        filter::one_of(false, Field::Network(14), addresses)
    }
}

/// A task that logs strangers; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Naming(JoinHandle<()>);

impl Drop for Naming {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Naming {
    pub(super) fn start(
        runtime: &runtime::Handle,
        raw: Arc<Raw>,
        wanted: watch::Receiver<Arc<Wanted>>,
        rejected: Arc<Rejected>,
        log: Log,
    ) -> Self {
        Self(runtime.spawn(strangers(raw, wanted, rejected, log)))
    }
}

/// Reads from time to time what the kernel dropped at the other socket.
async fn strangers(
    raw: Arc<Raw>,
    wanted: watch::Receiver<Arc<Wanted>>,
    rejected: Arc<Rejected>,
    log: Log,
) {
    let mut said = BTreeSet::new();
    let mut buffer = vec![0; LARGEST];
    loop {
        let datagram = match raw.receive(&mut buffer).await {
            Ok(datagram) => datagram,
            Err(error) => {
                log.say(Line::Receive(error.to_string()));
                tokio::time::sleep(PACE).await;
                continue;
            }
        };
        let payload = buffer.get(datagram.payload.clone()).unwrap_or_default();
        let wanted = Arc::clone(&wanted.borrow());
        if let Err((reject, why)) = wanted.dropped(&datagram, payload) {
            rejected.raise(reject);
            let from = datagram.from;
            if said.len() < REMEMBERED && said.insert((from, reject)) {
                log.say(Line::Rejected { from, why });
            }
        }
        tokio::time::sleep(PACE).await;
    }
}
