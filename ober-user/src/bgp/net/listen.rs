//! Where neighbours connect to.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    task::JoinHandle,
    time::sleep,
};

use super::{neighbour::Command, socket};
use crate::config::bgp::Neighbour;

/// Strangers that are remembered, so that each is logged once.
const MOST_REMEMBERED: usize = 256;

/// Who may come in, and who takes the connection.
pub(super) type Guests = BTreeMap<IpAddr, (Neighbour, mpsc::UnboundedSender<Command>)>;

/// One listening socket. Closed when dropped.
#[derive(Debug)]
pub(super) struct Door {
    pub(super) listener: Arc<TcpListener>,
    task: JoinHandle<()>,
}

impl Drop for Door {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Door {
    pub(super) fn open(
        at: SocketAddr,
        guests: watch::Receiver<Guests>,
        strangers: Arc<AtomicU64>,
    ) -> std::io::Result<Self> {
        let listener = Arc::new(socket::listen(at)?);
        let task = tokio::spawn(answer(listener.clone(), guests, strangers));
        Ok(Self { listener, task })
    }
}

async fn answer(
    listener: Arc<TcpListener>,
    guests: watch::Receiver<Guests>,
    strangers: Arc<AtomicU64>,
) {
    let mut known = BTreeSet::new();
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "accept a BGP connection");
                sleep(socket::BREATH).await;
                continue;
            }
        };
        let guest = guests.borrow().get(&peer.ip()).cloned();
        if let Some((_, commands)) = guest.filter(|(it, _)| socket::comes_from(it, peer)) {
            // A neighbour that is just being removed takes nothing.
            commands.send(Command::Accepted(stream)).unwrap_or_default();
            continue;
        }
        strangers.fetch_add(1, Ordering::Relaxed);
        if known.len() < MOST_REMEMBERED && known.insert(peer.ip()) {
            let address = peer.ip();
            tracing::warn!(%address, "BGP: refused a connection: no [[bgp.neighbours]] has this address");
        }
    }
}
