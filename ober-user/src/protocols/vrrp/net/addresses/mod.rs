//! The addresses of virtual routers on their interface, on a thread of its own: the kernel may let a change of an
//! address wait for others' (`rtnl`), and advertisements must not wait with it.
//!
//! Here too the neighbours' caches are told of an address, once it is there.
//!
//! Addresses have a lifetime in the kernel and are renewed while their virtual router is master, so those of a daemon
//! that was killed, or whose clock stands still, leave by themselves.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use futures_util::{Stream, StreamExt as _, TryStreamExt as _};
use rtnetlink::{
    Handle, MulticastGroup, new_multicast_connection,
    packet_core::{NetlinkMessage, NetlinkPayload},
    packet_route::{RouteNetlinkMessage, address::AddressMessage, link::LinkFlags},
};
use tokio::sync::{mpsc, oneshot};

use super::{
    super::{
        Event, Mac, Pace,
        claims::{self, Claims},
    },
    Error, Key,
    interface::Interface,
    log::{Line, Log},
    sockets::Frames,
    world::{Counts, Note},
};
use crate::{
    machine::{
        Machine as _,
        drive::{Coarse, due, now},
        realtime,
    },
    protocols::vrrp::configured::{Form, Vrrp},
    system::{netlink::address_of, ownership},
};
pub(super) use sysctls::Sysctls;

mod claim;
mod hold;
mod macvlan;
mod sysctls;

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
    /// These were left by VRRP of an earlier daemon, if they are there: no virtual router has them yet.
    Clear(Vec<IpAddr>),
    /// The administrator's interfaces get their sysctls back, here, where they were changed.
    Restore,
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
    pub(super) fn start(
        interface: Interface,
        further: Vec<Interface>,
        config: &Vrrp,
        frames: Arc<Frames>,
        sysctls: Sysctls,
        log: Log,
    ) -> Result<Self, Error> {
        promote(&sysctls, &interface.name, &config.form)?;
        let failed = |source| Error::Keeper { source };
        let thread = realtime::Thread::start().map_err(failed)?;
        let (orders, inbox) = mpsc::unbounded_channel();
        let (handle, monitor) = {
            let _inside = thread.enter();
            let groups = [
                MulticastGroup::Link,
                MulticastGroup::Ipv4Ifaddr,
                MulticastGroup::Ipv6Ifaddr,
            ];
            let (connection, handle, monitor) =
                new_multicast_connection(&groups).map_err(failed)?;
            thread.spawn(connection);
            (handle, monitor)
        };
        let keep = Keep {
            handle,
            interface,
            form: config.form.clone(),
            frames,
            sysctls,
            log,
            members: BTreeMap::new(),
            further: Vec::new(),
            claims: Claims::default(),
            up: false,
        };
        thread.spawn(keep.run(inbox, monitor));
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
    /// The interface of its own that is up.
    own: Option<u32>,
}

struct Keep {
    handle: Handle,
    interface: Interface,
    form: Form,
    frames: Arc<Frames>,
    sysctls: Sysctls,
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
        mut inbox: mpsc::UnboundedReceiver<Order>,
        mut monitor: impl Stream<Item = Notice> + Unpin,
    ) {
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
                    own: None,
                };
                kept.tell(Event::Link(self.up));
                let mac = kept.member.virtual_mac;
                match (self.members.insert(key, kept), mac) {
                    (Some(old), _) => {
                        if let Some(new) = self.members.get_mut(&key) {
                            (new.held, new.own) = (old.held, old.own);
                        }
                    }
                    // A daemon that was killed left it up, and this virtual router is nobody's master yet.
                    (None, Some(mac)) => self.silence_left(key, mac).await,
                    (None, None) => {}
                }
            }
            Order::Leave(key) => {
                self.release(key).await;
                if let Some(kept) = self.members.remove(&key)
                    && let Some(mac) = kept.member.virtual_mac
                    && let Err(reason) = self.remove_macvlan(key, mac).await
                {
                    self.log.say(Line::Removal(key, reason));
                }
            }
            Order::Hold(key) => self.hold(key).await,
            Order::Release(key) => self.release(key).await,
            Order::Claim(key, times) => self.claim(key, times),
            Order::Claims(pace, further) => {
                self.further = further;
                self.claims(claims::Event::Pace(pace));
            }
            Order::Clear(stale) => {
                if let Err(error) = self.remove_stale(&stale).await {
                    self.log.say(Line::Stale(error.to_string()));
                }
            }
            Order::Restore => {
                if let Err(error) = self.sysctls.restore() {
                    self.log.say(Line::Sysctls(error.to_string()));
                }
            }
            Order::Flush(done) => done.send(()).unwrap_or_default(),
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
        } else if let RouteNetlinkMessage::DelAddress(address) = &message {
            self.lost(address);
        } else if let RouteNetlinkMessage::NewAddress(address) = &message
            && !ownership::is_ours(address)
        {
            // Somebody replaced it by one of their own, which is not to be renewed or taken away.
            self.lost(address);
        }
    }

    /// The address is no longer there, or no longer ours.
    fn lost(&mut self, message: &AddressMessage) {
        let Some(address) = address_of(message) else {
            return;
        };
        let place = (message.header.index, address);
        for kept in self.members.values_mut() {
            if kept.held.contains(&place) {
                kept.held.retain(|held| *held != place);
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

/// Of the IPv4 addresses of one network on an interface the first is primary, and with it the others would leave: the
/// node's own too.
fn promote(sysctls: &Sysctls, interface: &str, form: &Form) -> Result<(), Error> {
    if form.ipv4_length == 32 {
        return Ok(());
    }
    let set = sysctls.set("ipv4", interface, "promote_secondaries", "1");
    set.map_err(|source| Error::Promotion {
        interface: interface.to_owned(),
        source,
    })
}
