//! The addresses of virtual routers on their interface, on a thread of its own: the kernel may let a change of an
//! address wait for others' (`rtnl`), and advertisements must not wait with it.
//!
//! Here too the neighbours' caches are told of an address, once it is there.
//!
//! Addresses have a lifetime in the kernel and are renewed while their virtual router is master, so those of a daemon
//! that was killed, or whose clock stands still, leave by themselves.

use std::{collections::BTreeMap, fs, io, net::IpAddr, sync::Arc};

use futures_util::{Stream, StreamExt as _, TryStreamExt as _};
use rtnetlink::{
    Handle, LinkMacVlan, LinkUnspec, MulticastGroup, new_multicast_connection,
    packet_core::{NetlinkMessage, NetlinkPayload},
    packet_route::{
        RouteNetlinkMessage,
        address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope, CacheInfo},
        link::{LinkFlags, MacVlanMode},
    },
};
use tokio::sync::{mpsc, oneshot};

use super::{
    super::{Event, LIFETIME, Mac, neighbour},
    Key,
    instance::{Counts, Note, raise},
    interface::Interface,
    log::{Line, Log},
    sockets::Frames,
};
use crate::{
    config::vrrp::{Form, Instance, Scope, Vrrp},
    netlink::address_of,
    realtime,
};

/// One virtual router's.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) addresses: Vec<IpAddr>,
    /// On an interface of its own, with this MAC.
    pub(super) virtual_mac: Option<Mac>,
    pub(super) notes: mpsc::UnboundedSender<Note>,
    pub(super) counts: Arc<Counts>,
}

#[derive(Debug)]
pub(super) enum Order {
    /// A new one, or other addresses from the next `Hold` on.
    Join(Key, Member),
    Leave(Key),
    Hold(Key),
    Release(Key),
    /// Tell the neighbours' caches of its addresses, so many times.
    Claim(Key, u8),
    /// Answered when everything before is done.
    Flush(oneshot::Sender<()>),
}

/// Dropped, it stops renewing.
#[derive(Debug)]
pub(super) struct Keeper {
    orders: mpsc::UnboundedSender<Order>,
    _thread: realtime::Thread,
}

impl Keeper {
    /// Nobody can be holding the addresses of the configuration yet: what is there of them was left by an earlier daemon.
    pub(super) fn start(
        interface: Interface,
        config: &Vrrp,
        frames: Arc<Frames>,
        log: Log,
    ) -> io::Result<Self> {
        let stale = config.instances.iter().flat_map(Instance::held).collect();
        let thread = realtime::Thread::start()?;
        let (orders, inbox) = mpsc::unbounded_channel();
        let (handle, monitor) = {
            let _inside = thread.enter();
            let groups = [
                MulticastGroup::Link,
                MulticastGroup::Ipv4Ifaddr,
                MulticastGroup::Ipv6Ifaddr,
            ];
            let (connection, handle, monitor) = new_multicast_connection(&groups)?;
            thread.spawn(connection);
            (handle, monitor)
        };
        let keep = Keep {
            handle,
            interface,
            form: config.form.clone(),
            frames,
            log,
            members: BTreeMap::new(),
            up: false,
        };
        thread.spawn(keep.run(stale, inbox, monitor));
        Ok(Self {
            orders,
            _thread: thread,
        })
    }

    pub(super) fn orders(&self) -> mpsc::UnboundedSender<Order> {
        self.orders.clone()
    }

    pub(super) fn send(&self, order: Order) {
        // The thread lives as long as this.
        self.orders.send(order).unwrap_or_default();
    }

    /// Returns when all that was ordered is done.
    pub(super) async fn flushed(&self) {
        let (done, wait) = oneshot::channel();
        self.send(Order::Flush(done));
        wait.await.unwrap_or_default();
    }
}

struct Kept {
    member: Member,
    /// What it has on which interface.
    held: Vec<(u32, IpAddr)>,
}

struct Keep {
    handle: Handle,
    interface: Interface,
    form: Form,
    frames: Arc<Frames>,
    log: Log,
    members: BTreeMap<Key, Kept>,
    up: bool,
}

/// A message the kernel sent by itself, and from where.
type Notice = (
    NetlinkMessage<RouteNetlinkMessage>,
    rtnetlink::sys::SocketAddr,
);

impl Keep {
    async fn run(
        mut self,
        stale: Vec<IpAddr>,
        mut inbox: mpsc::UnboundedReceiver<Order>,
        mut monitor: impl Stream<Item = Notice> + Unpin,
    ) {
        if let Err(error) = self.remove_stale(&stale).await {
            self.log.say(Line::Stale(error.to_string()));
        }
        self.look_at_link().await;
        loop {
            tokio::select! {
                order = inbox.recv() => match order {
                    Some(order) => self.obey(order).await,
                    None => return,
                },
                Some((message, _)) = monitor.next() => self.noticed(message),
            }
        }
    }

    async fn remove_stale(&mut self, stale: &[IpAddr]) -> Result<(), rtnetlink::Error> {
        let present: Vec<AddressMessage> =
            self.handle.address().get().execute().try_collect().await?;
        for message in present {
            if address_of(&message).is_some_and(|address| stale.contains(&address)) {
                self.handle.address().del(message).execute().await?;
            }
        }
        Ok(())
    }

    async fn look_at_link(&mut self) {
        let index = self.interface.index;
        let mut links = self.handle.link().get().match_index(index).execute();
        let up = match links.try_next().await {
            Ok(Some(link)) => running(link.header.flags),
            Ok(None) | Err(_) => false,
        };
        self.link(up);
    }

    fn link(&mut self, up: bool) {
        if up == self.up {
            return;
        }
        self.up = up;
        for kept in self.members.values() {
            kept.tell(Event::Link(up));
        }
    }

    async fn obey(&mut self, order: Order) {
        match order {
            Order::Join(key, member) => {
                let kept = Kept {
                    member,
                    held: Vec::new(),
                };
                kept.tell(Event::Link(self.up));
                let old = self.members.insert(key, kept);
                if let (Some(old), Some(new)) = (old, self.members.get_mut(&key)) {
                    new.held = old.held;
                }
            }
            Order::Leave(key) => {
                self.release(key).await;
                if let Some(kept) = self.members.remove(&key)
                    && kept.member.virtual_mac.is_some()
                    && let Some(index) = index_of(&macvlan(&self.interface, key))
                    && let Err(error) = self.handle.link().del(index).execute().await
                {
                    self.log.say(Line::Removal(key, error.to_string()));
                }
            }
            Order::Hold(key) => self.hold(key).await,
            Order::Release(key) => self.release(key).await,
            Order::Claim(key, times) => self.claim(key, times),
            Order::Flush(done) => done.send(()).unwrap_or_default(),
        }
    }

    async fn hold(&mut self, key: Key) {
        let Some(kept) = self.members.get(&key) else {
            return;
        };
        let (wanted, mac) = (kept.member.addresses.clone(), kept.member.virtual_mac);
        let before = kept.held.clone();
        let result = self.put(key, mac, &wanted).await;
        let event = match &result {
            Ok(_) => Event::Held,
            Err(_) => Event::Refused,
        };
        match result {
            Ok(held) => {
                let gone = before.iter().filter(|had| !held.contains(had));
                for (index, address) in gone {
                    self.remove(key, *index, *address).await;
                }
                if let Some(kept) = self.members.get_mut(&key) {
                    kept.held = held;
                }
            }
            Err(reason) => self.log.say(Line::Refused(key, reason)),
        }
        if let Some(kept) = self.members.get(&key) {
            kept.tell(event);
        }
    }

    async fn put(
        &mut self,
        key: Key,
        mac: Option<Mac>,
        wanted: &[IpAddr],
    ) -> Result<Vec<(u32, IpAddr)>, String> {
        let index = match mac {
            Some(mac) => self.macvlan_up(key, mac).await?,
            None => self.interface.index,
        };
        let mut held = Vec::with_capacity(wanted.len());
        for address in wanted {
            let added = self.add(index, *address).await;
            added.map_err(|error| format!("add {address}: {error}"))?;
            held.push((index, *address));
        }
        Ok(held)
    }

    /// Adds or renews.
    async fn add(&self, index: u32, address: IpAddr) -> Result<(), rtnetlink::Error> {
        let seconds = u32::try_from(LIFETIME.as_secs()).unwrap_or(u32::MAX);
        let mut request = self.request(index, address).replace();
        let mut lifetime = CacheInfo::default();
        lifetime.ifa_valid = seconds;
        // Never the source of this node's own IPv6 connections.
        lifetime.ifa_preferred = if address.is_ipv4() { seconds } else { 0 };
        let attributes = &mut request.message_mut().attributes;
        attributes.push(AddressAttribute::CacheInfo(lifetime));
        // Duplicate address detection would take a second, and VRRP is what settles who has it.
        let flags = AddressFlags::Nodad | AddressFlags::Noprefixroute;
        attributes.push(AddressAttribute::Flags(flags));
        request.execute().await
    }

    fn request(&self, index: u32, address: IpAddr) -> rtnetlink::AddressAddRequest {
        let Form {
            ipv4_length,
            ipv6_length,
            label,
            scope,
        } = &self.form;
        let length = if address.is_ipv4() {
            *ipv4_length
        } else {
            *ipv6_length
        };
        let mut request = self.handle.address().add(index, address, length);
        let message = request.message_mut();
        message.header.scope = match scope {
            Scope::Global => AddressScope::Universe,
            Scope::Link => AddressScope::Link,
            Scope::Host => AddressScope::Host,
        };
        if let Some(label) = label.as_ref().filter(|_| address.is_ipv4()) {
            let label = AddressAttribute::Label(label.clone());
            message.attributes.push(label);
        }
        request
    }

    fn claim(&self, key: Key, times: u8) {
        let Some(kept) = self.members.get(&key) else {
            return;
        };
        let mac = kept.member.virtual_mac.unwrap_or(self.interface.mac);
        for (_, address) in kept
            .held
            .iter()
            .cycle()
            .take(kept.held.len() * usize::from(times))
        {
            match self.frames.send(&neighbour::claim(*address, mac)) {
                Ok(()) => raise(&kept.member.counts.claims_sent),
                Err(error) => {
                    let why = format!("tell the neighbours of {address}: {error}");
                    return self.log.say(Line::Unsent(key, why));
                }
            }
        }
    }

    async fn release(&mut self, key: Key) {
        let Some(kept) = self.members.get_mut(&key) else {
            return;
        };
        let held = std::mem::take(&mut kept.held);
        let virtual_mac = kept.member.virtual_mac.is_some();
        for &(index, address) in &held {
            self.remove(key, index, address).await;
        }
        if let (true, Some(&(index, _))) = (virtual_mac, held.first()) {
            // Silent, or a switch would learn its MAC here while another node uses it.
            let down = LinkUnspec::new_with_index(index).down().build();
            if let Err(error) = self.handle.link().set(down).execute().await {
                self.log.say(Line::Removal(key, error.to_string()));
            }
        }
    }

    async fn remove(&self, key: Key, index: u32, address: IpAddr) {
        let message = self.request(index, address).message_mut().clone();
        match self.handle.address().del(message).execute().await {
            Ok(()) => {}
            Err(error) if gone(&error) => {}
            Err(error) => {
                let reason = format!("remove {address}: {error}");
                self.log.say(Line::Removal(key, reason));
            }
        }
    }

    fn noticed(&mut self, message: NetlinkMessage<RouteNetlinkMessage>) {
        let NetlinkPayload::InnerMessage(message) = message.payload else {
            return;
        };
        if let RouteNetlinkMessage::NewLink(link) = &message {
            if link.header.index == self.interface.index {
                self.link(running(link.header.flags));
            }
        } else if let RouteNetlinkMessage::DelLink(link) = &message {
            if link.header.index == self.interface.index {
                self.link(false);
            }
        } else if let RouteNetlinkMessage::DelAddress(address) = &message
            && let Some(gone) = address_of(address)
        {
            let place = (address.header.index, gone);
            let holders = self.members.values();
            for kept in holders.filter(|kept| kept.held.contains(&place)) {
                kept.tell(Event::Lost);
            }
        }
    }

    /// The interface with the virtual MAC, made when there is none.
    async fn macvlan_up(&self, key: Key, mac: Mac) -> Result<u32, String> {
        let name = macvlan(&self.interface, key);
        if index_of(&name).is_none() {
            let link = LinkMacVlan::new(&name, self.interface.index, MacVlanMode::Bridge);
            let link = link.address(mac.0.to_vec()).build();
            let made = self.handle.link().add(link).execute().await;
            made.map_err(|error| format!("make the interface {name} with MAC {mac}: {error}"))?;
            quieten(&name, &self.interface.name)
                .map_err(|error| format!("set up the interface {name}: {error}"))?;
        }
        let index = index_of(&name).ok_or_else(|| format!("the interface {name} is gone"))?;
        let up = LinkUnspec::new_with_index(index).up().build();
        let set = self.handle.link().set(up).execute().await;
        set.map_err(|error| format!("set the interface {name} up: {error}"))?;
        Ok(index)
    }
}

impl Kept {
    fn tell(&self, event: Event) {
        // A virtual router that has ended needs no more news.
        self.member
            .notes
            .send(Note::Event(event))
            .unwrap_or_default();
    }
}

fn running(flags: LinkFlags) -> bool {
    flags.contains(LinkFlags::Up | LinkFlags::Running)
}

/// Nothing to remove is what was wanted.
fn gone(error: &rtnetlink::Error) -> bool {
    if let rtnetlink::Error::NetlinkError(message) = error {
        let code = message.raw_code().abs();
        return code == libc::EADDRNOTAVAIL || code == libc::ENODEV;
    }
    false
}

fn index_of(name: &str) -> Option<u32> {
    nix::net::if_::if_nametoindex(name).ok()
}

/// At most 15 letters, and of one interface, family and VRID.
fn macvlan(interface: &Interface, key: Key) -> String {
    let family = if key.six { 6 } else { 4 };
    format!("vr{}-{family}-{}", interface.index, key.vrid)
}

/// The interface with the virtual MAC answers for its own addresses alone, the one below it not for those; and a reply
/// may leave by the other of the two.
fn quieten(name: &str, below: &str) -> io::Result<()> {
    let set = |family: &str, interface: &str, key: &str, value: &str| {
        fs::write(
            format!("/proc/sys/net/{family}/conf/{interface}/{key}"),
            value,
        )
    };
    for interface in [name, below] {
        set("ipv4", interface, "arp_ignore", "1")?;
        // A question asked for a VIP from the other interface would teach its asker's MAC.
        set("ipv4", interface, "arp_announce", "2")?;
        set("ipv4", interface, "rp_filter", "2")?;
    }
    // No link-local address of its own, which would speak while this node is backup. A kernel without IPv6 has none.
    match set("ipv6", name, "addr_gen_mode", "1") {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}
