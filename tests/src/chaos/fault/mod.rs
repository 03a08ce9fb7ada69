//! Everything that is broken on purpose. A fault is a line of the [`FAULTS`]: its name, where it may happen, what the design
//! does not cover while it lasts, how long that is, and how it is done and undone.

mod disks;
mod kernel;
mod links;
mod lists;
mod machine;
mod orders;
mod peers;
mod processes;
mod sources;
mod storage;
mod texts;

use std::fmt;

use anyhow::Result;

use super::world::World;

pub(super) use processes::workers;

/// Where a fault may happen. At one place there is one fault at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nodes 0 and 1 are behind the router, node 2 is beside keepalived.
    Node,
    /// FRR.
    Router,
    Keepalived,
    /// The storage host of a site, with its S3 servers.
    Storage,
    /// The name server of a site.
    Names,
    /// The list of servers that a site's nodes ask for over HTTP.
    Source,
    /// The machine on which all of them run.
    Machine,
}

impl Kind {
    pub const fn places(self) -> usize {
        match self {
            Self::Node => 3,
            Self::Storage | Self::Names | Self::Source => 2,
            Self::Router | Self::Keepalived | Self::Machine => 1,
        }
    }

    /// The site whose clients may notice; `None`: no client may.
    pub const fn site(self, place: usize) -> Option<Site> {
        match (self, place) {
            (Self::Node, 0 | 1) | (Self::Router, _) => Some(Site::Routed),
            (Self::Node | Self::Keepalived, _) => Some(Site::Shared),
            (Self::Storage | Self::Names | Self::Source, 0) => Some(Site::Routed),
            (Self::Storage | Self::Names | Self::Source, _) => Some(Site::Shared),
            (Self::Machine, _) => None,
        }
    }
}

/// Some of the clients, with their nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Site {
    /// Two nodes behind FRR.
    Routed,
    /// A node beside keepalived.
    Shared,
}

impl Site {
    pub const ALL: [Self; 2] = [Self::Routed, Self::Shared];
}

/// What clients of the site may notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Harm {
    /// Nothing: no attempt fails.
    Nothing,
    /// Connections are cut when it begins and when it is over; a repeated request is answered.
    Cuts,
    /// The same, but only unanswered probes show it.
    Freezes,
    /// As long as it lasts the site may be out of reach: there is one router.
    Outage,
}

/// One thing that breaks.
pub struct Fault {
    pub name: &'static str,
    pub kind: Kind,
    pub harm: Harm,
    /// Milliseconds, least and most.
    pub lasts: (u64, u64),
    pub(super) begin: Deed,
    pub(super) end: Deed,
}

/// Begins or ends a fault at a place.
pub(super) type Deed = fn(&World, usize) -> Result<()>;

impl fmt::Debug for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name)
    }
}

impl PartialEq for Fault {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

const fn fault(
    name: &'static str,
    kind: Kind,
    harm: Harm,
    lasts: (u64, u64),
    begin: Deed,
    end: Deed,
) -> Fault {
    Fault {
        name,
        kind,
        harm,
        lasts,
        begin,
        end,
    }
}

/// The end of a fault that is over as soon as it has begun.
#[expect(clippy::unnecessary_wraps, reason = "every deed has this form")]
fn nothing(_: &World, _: usize) -> Result<()> {
    Ok(())
}

use Harm::{Cuts, Freezes, Nothing, Outage};
use Kind::{Keepalived, Machine, Names, Node, Router, Source, Storage};

/// Milliseconds of a fault that is over at once, or soon.
const SHORT: (u64, u64) = (500, 1500);
const USUAL: (u64, u64) = (1000, 4000);

#[rustfmt::skip]
pub const FAULTS: &[Fault] = &[
    // Processes of a node.
    fault("the daemon is killed", Node, Cuts, USUAL, processes::kill_daemon, processes::start_daemon),
    fault("the daemon freezes", Node, Freezes, USUAL, processes::freeze_daemon, processes::thaw_daemon),
    fault("the daemon is stopped in order", Node, Cuts, USUAL, processes::stop_daemon, processes::start_daemon),
    fault("the daemon is killed and started at once", Node, Cuts, SHORT, processes::restart_daemon, nothing),
    fault("a second daemon is started", Node, Nothing, SHORT, processes::second_daemon, nothing),
    fault("the clock jumps a day ahead", Node, Nothing, USUAL, processes::clock_ahead, processes::clock_right),
    fault("the clock jumps an hour back", Node, Nothing, USUAL, processes::clock_back, processes::clock_right),
    fault("a worker is killed", Node, Cuts, SHORT, processes::kill_worker, nothing),
    fault("all workers are killed", Node, Cuts, SHORT, processes::kill_workers, nothing),
    fault("a worker freezes", Node, Freezes, USUAL, processes::freeze_worker, processes::thaw_workers),
    fault("all workers freeze", Node, Freezes, USUAL, processes::freeze_workers, processes::thaw_workers),
    // Its links.
    fault("the uplink goes down", Node, Cuts, USUAL, links::cut_uplink, links::mend_uplink),
    fault("the link to the storage goes down", Node, Cuts, USUAL, links::cut_storage, links::mend_storage),
    fault("the MTU is changed", Node, Nothing, USUAL, links::change_mtu, links::restore_mtu),
    // What is in its kernel.
    fault("a VIP is removed by hand", Node, Cuts, SHORT, kernel::remove_vip, nothing),
    fault("the XDP program is detached by hand", Node, Cuts, SHORT, kernel::detach_xdp, nothing),
    fault("the socket lookup is detached by hand", Node, Cuts, SHORT, kernel::detach_lookup, nothing),
    fault("the pins are removed", Node, Cuts, SHORT, kernel::remove_pins, nothing),
    fault("the BPF file system is unmounted", Node, Cuts, USUAL, kernel::unmount_bpffs, kernel::mount_bpffs),
    // Its disk.
    fault("the disk is full", Node, Nothing, USUAL, disks::fill, disks::free),
    fault("the disk is read-only", Node, Nothing, USUAL, disks::read_only, disks::writable),
    fault("the list on disk is damaged and the daemon killed", Node, Outage, SHORT, disks::damage_list, lists::mend),
    fault("a note on disk is damaged and the daemon killed", Node, Cuts, SHORT, disks::damage_note, processes::start_daemon),
    // Its texts.
    fault("a certificate is broken", Node, Nothing, USUAL, texts::break_certificate, texts::renew_certificate),
    fault("a certificate is removed", Node, Nothing, USUAL, texts::remove_certificate, texts::renew_certificate),
    fault("a certificate is renewed", Node, Nothing, SHORT, texts::renew_certificate, nothing),
    fault("a reload replaces the workers", Node, Nothing, USUAL, texts::reload_workers, texts::reload_back),
    fault("a reload changes the gate", Node, Nothing, USUAL, texts::reload_gate, texts::reload_back),
    fault("a reload adds a service", Node, Nothing, USUAL, texts::reload_service, texts::reload_back),
    fault("a reload of no TOML is refused", Node, Nothing, SHORT, texts::reload_nonsense, texts::put_back),
    fault("a reload of what HAProxy cannot do is refused", Node, Nothing, SHORT, texts::reload_impossible, texts::put_back),
    fault("the configuration is removed", Node, Nothing, SHORT, texts::remove_configuration, texts::put_back),
    // Orders and lists.
    fault("the node is drained", Node, Cuts, USUAL, orders::drain, orders::undrain),
    fault("a VIP is disabled", Node, Cuts, USUAL, orders::disable, orders::enable),
    fault("a server's weight is changed by hand", Node, Nothing, SHORT, orders::weigh_by_hand, nothing),
    fault("a list grows by four thousand", Node, Nothing, USUAL, lists::grow, lists::as_it_was),
    fault("addresses come and go one by one", Node, Nothing, SHORT, lists::one_by_one, lists::as_it_was),
    fault("a list that makes no sense is refused", Node, Nothing, SHORT, lists::nonsense, nothing),
    // Peers.
    fault("bgpd is killed", Router, Outage, SHORT, peers::kill_bgpd, peers::start_bgpd),
    fault("bgpd freezes for a moment", Router, Nothing, SHORT, peers::freeze_bgpd, peers::thaw_bgpd),
    fault("bfdd is killed", Router, Outage, SHORT, peers::kill_bfdd, peers::start_bfdd),
    fault("the router resets its sessions", Router, Outage, SHORT, peers::reset, nothing),
    fault("keepalived is killed", Keepalived, Nothing, USUAL, peers::kill_keepalived, peers::start_keepalived),
    fault("keepalived freezes", Keepalived, Nothing, USUAL, peers::freeze_keepalived, peers::thaw_keepalived),
    fault("keepalived is stopped in order", Keepalived, Nothing, USUAL, peers::stop_keepalived, peers::start_keepalived),
    // The storage.
    fault("an S3 server is killed", Storage, Cuts, USUAL, storage::kill, storage::start),
    fault("an S3 server freezes", Storage, Freezes, USUAL, storage::freeze, storage::thaw),
    // Servers that the nodes ask.
    fault("the name server is dead", Names, Nothing, USUAL, sources::kill_names, sources::start_names),
    fault("the name server freezes", Names, Nothing, USUAL, sources::freeze_names, sources::thaw_names),
    fault("the name server is slow", Names, Nothing, USUAL, sources::slow_names, sources::quick_names),
    fault("the name server answers SERVFAIL", Names, Nothing, USUAL, sources::fail_names, sources::restore_names),
    fault("the source of servers is dead", Source, Nothing, USUAL, sources::dead, sources::good),
    fault("the source of servers names one that is none", Source, Nothing, USUAL, sources::lie, sources::good),
    fault("the source of servers talks nonsense", Source, Nothing, USUAL, sources::nonsense, sources::good),
    fault("the source of servers knows none", Source, Nothing, USUAL, sources::empty, sources::good),
    fault("the source of servers stalls", Source, Nothing, USUAL, sources::stall, sources::good),
    fault("the source of servers floods", Source, Nothing, USUAL, sources::flood, sources::good),
    // The machine.
    fault("every CPU burns", Machine, Nothing, USUAL, machine::burn, machine::cool),
    fault("strangers flood the VIP", Machine, Nothing, SHORT, machine::knock, nothing),
];
