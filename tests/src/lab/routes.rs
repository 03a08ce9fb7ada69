//! Changes of routes that a host's kernel reports, each with its moment.

use std::{
    net::IpAddr,
    sync::mpsc::{self, Receiver, RecvTimeoutError, Sender},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use futures_util::StreamExt;
use nix::sched::{CloneFlags, setns};
use rtnetlink::{
    MulticastGroup, new_multicast_connection,
    packet_core::NetlinkPayload,
    packet_route::{
        RouteNetlinkMessage,
        route::{RouteAddress, RouteAttribute, RouteMessage},
    },
};

use super::Host;

/// A route came, changed or went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    pub at: Instant,
    pub to: IpAddr,
    /// Next hops it has now; 0: it is gone.
    pub paths: usize,
}

/// Watches from its making on. The thread ends at the first event after this is dropped.
#[derive(Debug)]
pub struct Routes(Receiver<Seen>);

impl Routes {
    pub fn watch(host: &Host) -> Result<Self> {
        let (sender, receiver) = mpsc::channel();
        let (open, opened) = mpsc::channel();
        let namespace = host.namespace()?;
        std::thread::spawn(move || -> Result<()> {
            setns(namespace, CloneFlags::CLONE_NEWNET)?;
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(follow_routes(open, sender))
        });
        opened.recv().context("watch the routes of a host")?;
        Ok(Self(receiver))
    }

    /// The moment the route to `to` had this many next hops; earlier events are used up.
    pub fn until(&self, to: IpAddr, paths: usize, limit: Duration) -> Result<Instant> {
        let end = Instant::now() + limit;
        loop {
            match self
                .0
                .recv_timeout(end.saturating_duration_since(Instant::now()))
            {
                Ok(seen) if seen.to == to && seen.paths == paths => return Ok(seen.at),
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => {
                    bail!("the route to {to} has not got {paths} next hops within {limit:?}")
                }
                Err(RecvTimeoutError::Disconnected) => bail!("the watch on the routes ended"),
            }
        }
    }

    /// Forgets what was seen until now.
    pub fn forget(&self) {
        while self.0.try_recv().is_ok() {}
    }
}

async fn follow_routes(open: Sender<()>, sender: Sender<Seen>) -> Result<()> {
    let groups = [MulticastGroup::Ipv4Route, MulticastGroup::Ipv6Route];
    let (connection, _, mut messages) = new_multicast_connection(&groups)?;
    tokio::spawn(connection);
    open.send(())?;
    while let Some((message, _)) = messages.next().await {
        let at = Instant::now();
        if let Some((to, paths)) = seen(&message.payload) {
            sender.send(Seen { at, to, paths })?;
        }
    }
    Ok(())
}

/// A route and the next hops it has from now on.
fn seen(message: &NetlinkPayload<RouteNetlinkMessage>) -> Option<(IpAddr, usize)> {
    match message {
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewRoute(route)) => {
            Some((told_of(route)?, paths(route)))
        }
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelRoute(route)) => {
            Some((told_of(route)?, 0))
        }
        _ => None,
    }
}

fn told_of(route: &RouteMessage) -> Option<IpAddr> {
    route
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(to)) => Some(IpAddr::V4(*to)),
            RouteAttribute::Destination(RouteAddress::Inet6(to)) => Some(IpAddr::V6(*to)),
            _ => None,
        })
}

fn paths(route: &RouteMessage) -> usize {
    let many = route
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            RouteAttribute::MultiPath(hops) => Some(hops.len()),
            _ => None,
        });
    many.unwrap_or(1)
}
