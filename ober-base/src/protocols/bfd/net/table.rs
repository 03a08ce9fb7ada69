//! Finds the session that a packet belongs to, RFC 5880 section 6.3.

use std::{net::IpAddr, sync::Arc};

use nix::net::if_::if_nametoindex;
use tokio::{net::UdpSocket, sync::mpsc};

use super::{
    super::{Control, Discriminator, Drops, Event, Hops, Refusal},
    Key,
    world::Input,
};
use crate::system::{hash::Dice, sockopt};

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: Key,
    pub(super) discriminator: Discriminator,
    pub(super) inputs: mpsc::UnboundedSender<Input>,
}

/// A datagram received on one of the ports.
#[derive(Debug)]
pub(super) struct Datagram<'d> {
    pub(super) source: IpAddr,
    pub(super) destination: Option<IpAddr>,
    /// Index of the receiving interface.
    pub(super) interface: u32,
    pub(super) ttl: u8,
    pub(super) hops: Hops,
    pub(super) bytes: &'d [u8],
}

/// The sessions. There are few, so they are searched one by one.
#[derive(Debug, Default)]
pub(super) struct Table {
    entries: Vec<Entry>,
    /// Packets that belong to no session.
    strays: Drops,
    /// The receiving sockets.
    sockets: Vec<Arc<UdpSocket>>,
    /// Packets that the kernel dropped at sockets that are closed by now.
    dropped: u64,
}

impl Table {
    pub(super) fn add(&mut self, entry: Entry) {
        self.entries.push(entry);
    }

    pub(super) fn remove(&mut self, discriminator: Discriminator) {
        self.entries
            .retain(|entry| entry.discriminator != discriminator);
    }

    pub(super) fn strays(&self) -> Drops {
        self.strays
    }

    pub(super) fn watch(&mut self, socket: &Arc<UdpSocket>) {
        self.sockets.push(Arc::clone(socket));
    }

    pub(super) fn unwatch(&mut self, socket: &Arc<UdpSocket>) {
        self.sockets.retain(|other| !Arc::ptr_eq(other, socket));
        self.dropped += dropped(socket);
    }

    pub(super) fn dropped_by_the_kernel(&self) -> u64 {
        let sockets = self.sockets.iter();
        self.dropped + sockets.map(|socket| dropped(socket)).sum::<u64>()
    }

    /// A discriminator that no session has.
    pub(super) fn unused(&self, seed: u64) -> Discriminator {
        let mut dice = Dice(seed);
        loop {
            let [a, b, c, d, ..] = dice.roll().to_ne_bytes();
            let word = Discriminator::new(u32::from_ne_bytes([a, b, c, d]));
            let free = |word: &Discriminator| {
                self.entries
                    .iter()
                    .all(|entry| entry.discriminator != *word)
            };
            if let Some(word) = word.filter(free) {
                return word;
            }
        }
    }

    /// Delivers it to its session, or counts it.
    pub(super) fn deliver(&mut self, datagram: &Datagram<'_>) {
        let (entry, event) = match Control::decode(datagram.bytes) {
            Ok(control) => (
                self.of(&control, datagram),
                Event::Received {
                    control,
                    hops: datagram.hops,
                    ttl: datagram.ttl,
                },
            ),
            Err(why) => (self.at(datagram).ok_or(why), Event::Refused(why)),
        };
        match entry {
            // An error means that the session is just ending.
            Ok(entry) => entry.inputs.send(Input::Event(event)).unwrap_or_default(),
            Err(why) => self.strays.count(why),
        }
    }

    fn of(&self, control: &Control, datagram: &Datagram<'_>) -> Result<&Entry, Refusal> {
        match control.yours {
            Some(yours) => self
                .entries
                .iter()
                .find(|entry| entry.discriminator == yours)
                .ok_or(Refusal::YourDiscriminator),
            None => self.at(datagram).ok_or(Refusal::NoSession),
        }
    }

    /// Finds a session by addresses, RFC 5881 section 3: the only way while the peer does not know this end's discriminator.
    fn at(&self, datagram: &Datagram<'_>) -> Option<&Entry> {
        self.entries.iter().find(|entry| {
            let Key {
                peer,
                local,
                interface,
            } = &entry.key;
            let here = |name: &String| {
                if_nametoindex(name.as_str()).is_ok_and(|index| index == datagram.interface)
            };
            *peer == datagram.source
                && local.is_none_or(|local| datagram.destination == Some(local))
                && interface.as_ref().is_none_or(here)
        })
    }
}

/// A kernel that does not report drops counts as zero.
fn dropped(socket: &UdpSocket) -> u64 {
    sockopt::drops(socket).unwrap_or_default().into()
}
