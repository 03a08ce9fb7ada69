//! Tells the addresses and interfaces of Herr Ober from others. Herr Ober marks what it adds to a node and removes only what
//! bears its mark; everything else is the administrator's, whatever its value is.
//!
//! A daemon from before the marks left two kinds of addresses: those of VRRP, which expire within [`LIFETIME`], and those for
//! BGP, which it noted on disk (`announce/addresses.rs`).

use std::{fmt, net::IpAddr, time::Duration};

use rtnetlink::packet_route::{
    address::{AddressAttribute, AddressHeaderFlags, AddressMessage, AddressProtocol},
    link::{InfoKind, LinkAttribute, LinkInfo, LinkMessage},
};

use crate::system::netlink::address_of;

/// The value of `IFA_PROTO` (Linux 5.18), which names the program that added the address. 1 to 3 are the kernel's, 18 is
/// keepalived's.
const MARK: AddressProtocol = AddressProtocol::Other(79);
/// How long an address of VRRP stays when the daemon does not renew it.
pub const LIFETIME: Duration = Duration::from_secs(4);
/// `IFLA_IFALIAS` of an interface the daemon made.
pub const ALIAS: &str = "made by Herr Ober";

/// The mark of an address that is about to be added.
pub(crate) fn mark() -> AddressAttribute {
    AddressAttribute::Protocol(MARK)
}

pub(crate) fn is_marked(message: &AddressMessage) -> bool {
    message
        .attributes
        .iter()
        .any(|attribute| *attribute == mark())
}

/// Does it stay until a program or an administrator removes it?
pub(crate) fn is_lasting(message: &AddressMessage) -> bool {
    message.header.flags.contains(AddressHeaderFlags::Permanent)
}

/// Was it added by VRRP, of this daemon or of an earlier one?
pub(crate) fn is_vrrps(message: &AddressMessage) -> bool {
    !is_lasting(message) && (is_marked(message) || expires_soon(message))
}

/// Was it added by any part of the daemon?
pub(crate) fn is_ours(message: &AddressMessage) -> bool {
    is_marked(message) || is_vrrps(message)
}

fn expires_soon(message: &AddressMessage) -> bool {
    message.attributes.iter().any(|attribute| {
        matches!(attribute, AddressAttribute::CacheInfo(info)
            if u64::from(info.ifa_valid) <= LIFETIME.as_secs())
    })
}

/// Does its prefix have the full length, 32 or 128?
pub(crate) fn is_host(message: &AddressMessage) -> bool {
    let length = message.header.prefix_len;
    match address_of(message) {
        Some(IpAddr::V4(_)) => length == 32,
        Some(IpAddr::V6(_)) => length == 128,
        None => false,
    }
}

/// An address that Herr Ober did not add.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreign {
    pub address: IpAddr,
    pub prefix_length: u8,
    pub interface: String,
}

impl fmt::Display for Foreign {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            address,
            prefix_length,
            interface,
        } = self;
        write!(out, "{address}/{prefix_length} on {interface}")
    }
}

/// Did the daemon make this interface?
pub(crate) fn is_marked_link(link: &LinkMessage) -> bool {
    link.attributes
        .iter()
        .any(|attribute| matches!(attribute, LinkAttribute::IfAlias(alias) if alias == ALIAS))
}

/// The kind of a virtual interface; `None`: it is not virtual.
pub(crate) fn kind(link: &LinkMessage) -> Option<&InfoKind> {
    let infos = link
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            LinkAttribute::LinkInfo(infos) => Some(infos),
            _ => None,
        });
    infos?.iter().find_map(|info| match info {
        LinkInfo::Kind(kind) => Some(kind),
        _ => None,
    })
}
