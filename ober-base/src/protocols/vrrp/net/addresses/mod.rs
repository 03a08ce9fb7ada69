//! The addresses of virtual routers on their interface, handled on a separate thread: the kernel may delay a change of an
//! address behind other changes (`rtnl`), and advertisements must not wait for that.
//!
//! Neighbours' caches are updated here too, once an address has been added.
//!
//! Addresses have a lifetime in the kernel and are renewed while their virtual router is master, so those of a daemon that was
//! killed or suspended disappear by themselves.
//!
//! `hold` adds, renews and removes, `claim` sends claims, `macvlan` makes the interface of a virtual MAC, `sysctls` what it needs
//! there. An address or an interface without the daemon's mark is never removed.

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
    note::{Counts, Note},
    sockets::Frames,
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

/// The addresses of one virtual router.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) addresses: Vec<IpAddr>,
    /// They are on a separate interface with this MAC.
    pub(super) virtual_mac: Option<Mac>,
    pub(super) notes: mpsc::UnboundedSender<Note>,
    pub(super) counts: Arc<Counts>,
}

#[derive(Debug)]
pub(super) enum AddressCommand {
    /// A new virtual router, or other addresses from the next `Hold` on.
    Join(Key, Member),
    Leave(Key),
    Hold(Key),
    Release(Key),
    /// Update the neighbours' caches of its addresses, with this many frames each.
    Claim(Key, u8),
    /// The pace of claims, and the interfaces beside its own that get them.
    Claims(Pace, Vec<Interface>),
    /// Remove these addresses if VRRP of an earlier daemon left them: no virtual router has them yet.
    Clear(Vec<IpAddr>),
    /// Restore the sysctls of the administrator's interfaces, on this thread, which changed them.
    Restore,
    /// Answered when all earlier orders are done.
    Flush(oneshot::Sender<()>),
}

/// When dropped, renewing ends.
#[derive(Debug)]
pub(super) struct AddressKeeper {
    orders: mpsc::UnboundedSender<AddressCommand>,
    _thread: realtime::Thread,
}

impl AddressKeeper {
    pub(super) fn start(
        interface: Interface,
        further: Vec<Interface>,
        config: &Vrrp,
        frames: Arc<Frames>,
        sysctls: Sysctls,
        log: Log,
    ) -> Result<Self, Error> {
        promote(&sysctls, &interface.name, &config.form)?;
        let failed = |source| Error::AddressKeeper { source };
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
        keeper.send(AddressCommand::Claims(config.pace, further));
        Ok(keeper)
    }

    pub(super) fn orders(&self) -> mpsc::UnboundedSender<AddressCommand> {
        self.orders.clone()
    }

    pub(super) fn send(&self, order: AddressCommand) {
        // The thread lives as long as this handle.
        self.orders.send(order).unwrap_or_default();
    }

    /// Returns when all earlier orders are done.
    pub(super) async fn flushed(&self) {
        let (done, wait) = oneshot::channel();
        self.send(AddressCommand::Flush(done));
        wait.await.unwrap_or_default();
    }
}

struct Kept {
    member: Member,
    /// Its addresses, each with its interface.
    held: Vec<(u32, IpAddr)>,
    /// Its separate interface, if that is up.
    own: Option<u32>,
}

struct Keep {
    handle: Handle,
    interface: Interface,
    form: Form,
    frames: Arc<Frames>,
    sysctls: Sysctls,
    log: Log,
    /// Further interfaces that get claims.
    further: Vec<Interface>,
    claims: Claims,
    members: BTreeMap<Key, Kept>,
    up: bool,
}

/// A message that the kernel sent on its own, and its sender.
type Notice = (
    NetlinkMessage<RouteNetlinkMessage>,
    rtnetlink::sys::SocketAddr,
);

impl Keep {
    async fn run(
        mut self,
        mut inbox: mpsc::UnboundedReceiver<AddressCommand>,
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

    async fn obey(&mut self, order: AddressCommand) {
        match order {
            AddressCommand::Join(key, member) => {
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
                    // A daemon that was killed left it up, and this virtual router is not yet master.
                    (None, Some(mac)) => self.silence_left(key, mac).await,
                    (None, None) => {}
                }
            }
            AddressCommand::Leave(key) => {
                self.release(key).await;
                if let Some(kept) = self.members.remove(&key)
                    && let Some(mac) = kept.member.virtual_mac
                    && let Err(reason) = self.remove_macvlan(key, mac).await
                {
                    self.log.say(Line::Removal(key, reason));
                }
            }
            AddressCommand::Hold(key) => self.hold(key).await,
            AddressCommand::Release(key) => self.release(key).await,
            AddressCommand::Claim(key, times) => self.claim(key, times),
            AddressCommand::Claims(pace, further) => {
                self.further = further;
                self.claims(claims::Event::Pace(pace));
            }
            AddressCommand::Clear(stale) => {
                if let Err(error) = self.remove_stale(&stale).await {
                    self.log.say(Line::Stale(error.to_string()));
                }
            }
            AddressCommand::Restore => {
                if let Err(error) = self.sysctls.restore() {
                    self.log.say(Line::Sysctls(error.to_string()));
                }
            }
            AddressCommand::Flush(done) => done.send(()).unwrap_or_default(),
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
            // Another program replaced the address by its own, which must not be renewed or removed.
            self.lost(address);
        }
    }

    /// The address was removed, or replaced by another program's.
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
        // An error means that the virtual router has ended.
        self.member
            .notes
            .send(Note::Event(event))
            .unwrap_or_default();
    }
}

fn running(flags: LinkFlags) -> bool {
    flags.contains(LinkFlags::Up | LinkFlags::Running)
}

/// Sets the sysctl without which the removal of the first (primary) IPv4 address of a network removes the others too, the
/// node's own included.
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
