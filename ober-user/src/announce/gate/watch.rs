//! Watches interfaces, addresses, attached programs and the disable file. The kernel reports changes of links and addresses
//! (rtnetlink); programs and the file are read at intervals, and after every change of a link.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use futures_util::{Stream, StreamExt as _, TryStreamExt as _};
use rtnetlink::{
    Handle as Netlink, MulticastGroup, new_multicast_connection,
    packet_core::NetlinkPayload,
    packet_route::{
        RouteNetlinkMessage,
        address::{AddressHeaderFlags, AddressMessage},
        link::{LinkAttribute, LinkFlags, LinkMessage},
    },
};
use tokio::{task::JoinHandle, time::MissedTickBehavior};

use super::News;
use crate::{
    config::{Config, paths, sections::gate::Interfaces},
    dataplane::PinnedLinks,
    system::{
        fact::{self, Kept},
        file, netlink,
    },
};

/// The kernel drops a notification when its queue for us is full; our picture is wrong for no longer than this.
const RECOUNT: Duration = Duration::from_secs(10);

/// What to watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchedFacts {
    pub interfaces: Vec<String>,
    /// How many of them must be up.
    pub need: Interfaces,
    /// Where the programs' links are pinned.
    pub pins: PathBuf,
    pub disable_file: Option<PathBuf>,
    /// Between two looks at what the kernel does not report.
    pub pace: Duration,
}

impl WatchedFacts {
    pub fn of(config: &Config) -> Self {
        Self {
            interfaces: config.node.interfaces.clone(),
            need: config.gate.interfaces,
            pins: paths::pins(&config.node.bpffs, &config.node.instance),
            disable_file: config.gate.disable_file.clone(),
            pace: config.gate.fast_interval,
        }
    }
}

/// The VIPs that the disable file names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Disabled {
    #[default]
    None,
    Only(BTreeSet<IpAddr>),
    All,
}

impl Disabled {
    /// Reads the file. Anything but a list of addresses disables all VIPs. An error: this node lacked a descriptor or memory to
    /// read it.
    pub fn read(path: &Path) -> io::Result<Self> {
        match file::text(path, file::Kind::Note) {
            Ok(text) => Ok(Self::parse(&text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::None),
            Err(error) if fact::is_shortage(&error) => Err(error),
            Err(_) => Ok(Self::All),
        }
    }

    fn parse(text: &str) -> Self {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let vips: Result<BTreeSet<IpAddr>, _> = lines.map(str::parse).collect();
        match vips {
            Ok(vips) if !vips.is_empty() => Self::Only(vips),
            Ok(_) | Err(_) => Self::All,
        }
    }

    /// Does the file disable this VIP?
    pub fn holds(&self, vip: IpAddr) -> bool {
        match self {
            Self::None => false,
            Self::Only(vips) => vips.contains(&vip),
            Self::All => true,
        }
    }
}

/// The task of the watcher, which ends when this is dropped.
#[derive(Debug)]
pub struct FactWatch(JoinHandle<()>);

impl Drop for FactWatch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Watches in the network namespace of the caller. Calls `tell` with all facts once, and then with every change at once.
pub async fn start(
    sight: WatchedFacts,
    tell: impl Fn(News) + Send + 'static,
) -> Result<FactWatch, netlink::Error> {
    let groups = [
        MulticastGroup::Link,
        MulticastGroup::Ipv4Ifaddr,
        MulticastGroup::Ipv6Ifaddr,
    ];
    // Subscribing comes before counting, or a change in between would be lost.
    let (connection, handle, messages) =
        new_multicast_connection(&groups).map_err(|source| netlink::Error::Open { source })?;
    tokio::spawn(connection);
    let mut table = Table::default();
    table.recount(&handle).await?;
    let mut watcher = Watcher {
        pinned: PinnedLinks::new(&sight.pins),
        attached: Kept::new("are the programs attached?"),
        file: Kept::new("which VIPs does the disable file name?"),
        sight,
        table,
        tell,
        reported: Vec::new(),
    };
    watcher.look();
    let messages = messages.map(|(message, _)| message.payload);
    Ok(FactWatch(tokio::spawn(async move {
        watcher.run(&handle, messages).await;
    })))
}

struct Watcher<T> {
    sight: WatchedFacts,
    pinned: PinnedLinks,
    attached: Kept<bool>,
    file: Kept<Disabled>,
    table: Table,
    tell: T,
    reported: Vec<News>,
}

impl<T: Fn(News)> Watcher<T> {
    async fn run(
        &mut self,
        handle: &Netlink,
        messages: impl Stream<Item = NetlinkPayload<RouteNetlinkMessage>>,
    ) {
        let mut messages = std::pin::pin!(messages);
        let every = |period| {
            let mut timer = tokio::time::interval(period);
            timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
            timer
        };
        let (mut looks, mut recounts) = (every(self.sight.pace), every(RECOUNT));
        loop {
            tokio::select! {
                message = messages.next() => match message {
                    Some(NetlinkPayload::InnerMessage(message)) => self.table.learn(&message),
                    Some(_) => self.recount(handle).await,
                    None => break,
                },
                _ = looks.tick() => {}
                _ = recounts.tick() => self.recount(handle).await,
            }
            self.look();
        }
        // Without the kernel's reports interfaces are unknown, which counts as down.
        tracing::error!(
            "the kernel no longer reports links and addresses, so nothing is announced; restart the daemon"
        );
        (self.tell)(News::Interface(false));
    }

    async fn recount(&mut self, handle: &Netlink) {
        if let Err(error) = self.table.recount(handle).await {
            tracing::warn!(%error, "read links and addresses again; the last reports are kept");
        }
    }

    fn look(&mut self) {
        let up = |interface: &&String| self.table.is_up(interface);
        let up: Vec<&String> = self.sight.interfaces.iter().filter(up).collect();
        let enough = match self.sight.need {
            Interfaces::Any => !up.is_empty(),
            Interfaces::All => up.len() == self.sight.interfaces.len(),
        };
        // An interface that is gone has no program, and needs none.
        let mut attached = self.pinned.looks_up();
        for interface in up {
            let index = self.table.index(interface);
            attached = attached.and(|| self.pinned.holds(interface, index));
        }
        let file = self
            .sight
            .disable_file
            .as_deref()
            .map_or(Ok(Disabled::None), Disabled::read);
        let file = self.file.learn(file.map_err(|error| error.to_string()));
        let facts = vec![
            News::Interface(enough),
            News::Program(self.attached.holds(attached)),
            News::Addresses(self.table.usable()),
            // Until the file was read once, every VIP counts as disabled.
            News::File(file.unwrap_or(Disabled::All)),
        ];
        for (number, fact) in facts.iter().enumerate() {
            if self.reported.get(number) != Some(fact) {
                (self.tell)(fact.clone());
            }
        }
        self.reported = facts;
    }
}

/// Links and addresses as the kernel reported them.
#[derive(Debug, Default)]
struct Table {
    /// By index: the name, is it up, is something at the other end?
    links: BTreeMap<u32, (String, LinkFlags)>,
    addresses: BTreeSet<(u32, IpAddr)>,
}

impl Table {
    async fn recount(&mut self, handle: &Netlink) -> Result<(), netlink::Error> {
        let error = |source| netlink::Error::Read { source };
        let links: Vec<LinkMessage> = handle
            .link()
            .get()
            .execute()
            .try_collect()
            .await
            .map_err(error)?;
        let addresses: Vec<AddressMessage> = handle
            .address()
            .get()
            .execute()
            .try_collect()
            .await
            .map_err(error)?;
        *self = Self::default();
        for link in &links {
            self.link(link);
        }
        for address in &addresses {
            self.address(address);
        }
        Ok(())
    }

    fn learn(&mut self, message: &RouteNetlinkMessage) {
        match message {
            RouteNetlinkMessage::NewLink(link) => self.link(link),
            RouteNetlinkMessage::DelLink(link) => drop(self.links.remove(&link.header.index)),
            RouteNetlinkMessage::NewAddress(address) => self.address(address),
            RouteNetlinkMessage::DelAddress(address) => {
                if let Some(ip) = netlink::address_of(address) {
                    self.addresses.remove(&(address.header.index, ip));
                }
            }
            // Only these kinds were subscribed to.
            _ => {}
        }
    }

    fn link(&mut self, link: &LinkMessage) {
        let name = link.attributes.iter().find_map(|attribute| {
            if let LinkAttribute::IfName(name) = attribute {
                Some(name.clone())
            } else {
                None
            }
        });
        if let Some(name) = name {
            let entry = (name, link.header.flags);
            self.links.insert(link.header.index, entry);
        }
    }

    /// An address counts once duplicate address detection has passed, or while it is optimistic (RFC 4429).
    fn address(&mut self, address: &AddressMessage) {
        let flags = address.header.flags;
        let doubtful = flags.contains(AddressHeaderFlags::Dadfailed)
            || (flags.contains(AddressHeaderFlags::Tentative)
                && !flags.contains(AddressHeaderFlags::Optimistic));
        if let Some(ip) = netlink::address_of(address) {
            let entry = (address.header.index, ip);
            if doubtful {
                self.addresses.remove(&entry);
            } else {
                self.addresses.insert(entry);
            }
        }
    }

    fn index(&self, interface: &str) -> Option<u32> {
        let mut links = self.links.iter();
        let found = links.find(|(_, (name, _))| name == interface);
        found.map(|(index, _)| *index)
    }

    fn is_up(&self, interface: &str) -> bool {
        let wanted = LinkFlags::Up | LinkFlags::Running;
        self.links
            .values()
            .any(|(name, flags)| name == interface && flags.contains(wanted))
    }

    /// An address on a link that is down is no address.
    fn usable(&self) -> BTreeSet<IpAddr> {
        let up = |index| {
            self.links
                .get(index)
                .is_some_and(|(_, flags)| flags.contains(LinkFlags::Up))
        };
        let usable = self.addresses.iter().filter(|(index, _)| up(index));
        usable.map(|(_, ip)| *ip).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disable_file_disables_all_vips_unless_it_lists_addresses() {
        let (a, b) = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        for (text, disabled) in [
            ("", [true, true]),
            ("\n \n", [true, true]),
            ("192.0.2.1\n", [true, false]),
            (" 192.0.2.2\n\n2001:db8::1", [false, true]),
            ("192.0.2.1\nmaintenance", [true, true]),
        ] {
            let file = Disabled::parse(text);
            assert_eq!([a, b].map(|vip| file.holds(vip)), disabled, "{text:?}");
        }
    }

    #[test]
    fn a_missing_disable_file_disables_no_vip_and_an_unreadable_one_disables_all() {
        let directory = tempfile::tempdir().unwrap();
        let vip = [192, 0, 2, 1].into();
        let holds = |path: &Path| Disabled::read(path).unwrap().holds(vip);
        assert!(!holds(&directory.path().join("none")));
        assert!(holds(directory.path()));
    }
}
