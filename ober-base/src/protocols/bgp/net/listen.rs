//! The listening sockets.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use socket2::Socket;
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    task::{JoinHandle, JoinSet},
    time::sleep,
};

use super::{link::Link, socket, world::Command};
use crate::protocols::bgp::configured::Neighbour;

/// How many addresses without a neighbour are remembered, so that each is logged once.
const MOST_REMEMBERED: usize = 256;

/// The addresses that may connect, and the task that takes each connection.
pub(super) type Guests = BTreeMap<IpAddr, (Neighbour, mpsc::UnboundedSender<Command>)>;

/// One listening socket. Closed when dropped.
#[derive(Debug)]
pub(super) struct ListeningSocket {
    pub(super) listener: Arc<TcpListener>,
    /// `None`: connections wait in the kernel.
    task: Option<JoinHandle<()>>,
}

impl Drop for ListeningSocket {
    fn drop(&mut self) {
        self.task.iter().for_each(JoinHandle::abort);
    }
}

impl ListeningSocket {
    /// Must be called inside a runtime.
    pub(super) fn open(socket: Socket) -> std::io::Result<Self> {
        Ok(Self {
            listener: Arc::new(socket::listen(socket)?),
            task: None,
        })
    }

    /// Accepts connections from now on.
    pub(super) fn answer(&mut self, guests: &watch::Sender<Guests>, strangers: &Arc<AtomicU64>) {
        let answer = || {
            let (listener, guests) = (self.listener.clone(), guests.subscribe());
            tokio::spawn(answer(listener, guests, strangers.clone()))
        };
        self.task.get_or_insert_with(answer);
    }
}

async fn answer(
    listener: Arc<TcpListener>,
    guests: watch::Receiver<Guests>,
    strangers: Arc<AtomicU64>,
) {
    let (mut known, mut farewells) = (BTreeSet::new(), JoinSet::new());
    loop {
        while farewells.try_join_next().is_some() {}
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
            // An error means that the neighbour is just being removed.
            commands.send(Command::Accepted(stream)).unwrap_or_default();
            continue;
        }
        strangers.fetch_add(1, Ordering::Relaxed);
        Link::new(stream).refuse(&mut farewells);
        if known.len() < MOST_REMEMBERED && known.insert(peer.ip()) {
            let address = peer.ip();
            tracing::warn!(%address, "BGP: refused a connection: no [[bgp.neighbours]] has this address");
        }
    }
}
