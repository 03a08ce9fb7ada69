//! The addresses of virtual routers on their interface, on a thread of its own: the kernel may let a change of an
//! address wait for others' (`rtnl`), and advertisements must not wait with it.
//!
//! Here too the neighbours' caches are told of an address, once it is there.
//!
//! Addresses have a lifetime in the kernel and are renewed while their virtual router is master, so those of a daemon
//! that was killed, or whose clock stands still, leave by themselves.

use std::{collections::BTreeMap, io, net::IpAddr, sync::Arc};

use futures_util::{Stream, StreamExt as _, TryStreamExt as _};
use rtnetlink::{
    Handle, LinkUnspec, MulticastGroup, new_multicast_connection,
    packet_core::{NetlinkMessage, NetlinkPayload},
    packet_route::{
        RouteNetlinkMessage,
        address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope, CacheInfo},
        link::LinkFlags,
    },
};
use tokio::sync::{mpsc, oneshot};

use super::{
    super::{
        Event, LIFETIME, Mac, Pace,
        claims::{self, Claim, Claims},
        neighbour,
    },
    Key,
    instance::{Counts, Note, raise},
    interface::Interface,
    log::{Line, Log},
    sockets::Frames,
};
use crate::{
    config::vrrp::{Form, Instance, Scope, Vrrp},
    drive::{Coarse, due, now},
    file,
    machine::Machine as _,
    netlink::address_of,
    realtime,
};

mod macvlan;

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
    /// How fast that goes, and on which interfaces beside its own.
    Claims(Pace, Vec<Interface>),
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
        further: Vec<Interface>,
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
            further: Vec::new(),
            claims: Claims::default(),
            up: false,
        };
        thread.spawn(keep.run(stale, inbox, monitor));
        let keeper = Self {
            orders,
            _thread: thread,
        };
        keeper.send(Order::Claims(config.pace, further));
        Ok(keeper)
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
    /// Where addresses are claimed too.
    further: Vec<Interface>,
    claims: Claims,
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
        if let Err(error) = promote(&self.interface.name, &self.form) {
            self.log.say(Line::Promotion(error.to_string()));
        }
        self.look_at_link().await;
        let mut clock = Coarse;
        loop {
            let paced = self.claims.deadline();
            tokio::select! {
                order = inbox.recv() => match order {
                    Some(order) => self.obey(order).await,
                    None => return,
                },
                Some((message, _)) = monitor.next() => self.noticed(message),
                () = due(&mut clock, paced) => {
                    let due = self.claims.tick(now());
                    self.send(due);
                }
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
                    && let Some(index) = index_of(&macvlan::name(&self.interface, key))
                    && let Err(error) = self.handle.link().del(index).execute().await
                {
                    self.log.say(Line::Removal(key, error.to_string()));
                }
            }
            Order::Hold(key) => self.hold(key).await,
            Order::Release(key) => self.release(key).await,
            Order::Claim(key, times) => self.claim(key, times),
            Order::Claims(pace, further) => {
                self.further = further;
                self.claims(claims::Event::Pace(pace));
            }
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
        // Duplicate address detection would take a second, and VRRP is what settles who has it. A home address (RFC 6275)
        // would be preferred as a source, but only among those that are not deprecated (RFC 6724 section 5, rules 3 and 4).
        let mut flags = AddressFlags::Nodad;
        // Over IPv6 such a route would take the lifetime of the VIP, even where the node had it before.
        if address.is_ipv6() || !self.form.ipv4_prefix_route {
            flags |= AddressFlags::Noprefixroute;
        }
        attributes.push(AddressAttribute::Flags(flags));
        request.execute().await
    }

    fn request(&self, index: u32, address: IpAddr) -> rtnetlink::AddressAddRequest {
        let Form {
            ipv4_length,
            ipv6_length,
            label,
            scope,
            ipv4_prefix_route: _,
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

    fn claim(&mut self, key: Key, times: u8) {
        let Some(kept) = self.members.get(&key) else {
            return;
        };
        let mac = kept.member.virtual_mac.unwrap_or(self.interface.mac);
        // The virtual MAC is at home on the interface of VRRP alone.
        let further = self.further.iter().map(|it| (it.index, it.mac));
        let places: Vec<_> = further.chain([(self.interface.index, mac)]).collect();
        let claims = kept.held.iter().flat_map(|&(_, address)| {
            places.iter().map(move |&(interface, mac)| Claim {
                interface,
                address,
                mac,
            })
        });
        let burst = claims::Event::Burst(claims.collect(), times);
        self.claims(burst);
    }

    fn claims(&mut self, event: claims::Event) {
        let due = self.claims.on(now(), event);
        self.send(due);
    }

    fn send(&mut self, due: Vec<Claim>) {
        let mut failed = None;
        for claim in due {
            let Claim {
                interface,
                address,
                mac,
            } = claim;
            let holds = |kept: &Kept| kept.held.iter().any(|(_, held)| *held == address);
            let mut members = self.members.iter();
            let Some((key, kept)) = members.find(|(_, kept)| holds(kept)) else {
                continue;
            };
            let frame = neighbour::claim(address, mac);
            match self.frames.send_by(interface, &frame) {
                Ok(()) => raise(&kept.member.counts.claims_sent),
                Err(error) => {
                    let why = format!("tell the neighbours of {address}: {error}");
                    failed = Some((claim, Line::Unsent(*key, why)));
                }
            }
        }
        // Of many alike, one is said.
        if let Some((claim, line)) = failed {
            self.log.say(line);
            self.claims(claims::Event::Failed(claim));
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

    async fn remove(&mut self, key: Key, index: u32, address: IpAddr) {
        self.claims(claims::Event::Cease(address));
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

/// Of the IPv4 addresses of one network on an interface the first is primary, and with it the others would leave.
fn promote(interface: &str, form: &Form) -> io::Result<()> {
    if form.ipv4_length == 32 {
        return Ok(());
    }
    let key = format!("/proc/sys/net/ipv4/conf/{interface}/promote_secondaries");
    if file::kernel_text(&key)?.trim() == "1" {
        return Ok(());
    }
    file::kernel_write(key, "1")
}

fn index_of(name: &str) -> Option<u32> {
    nix::net::if_::if_nametoindex(name).ok()
}
