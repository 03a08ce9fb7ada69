//! Addresses in the kernel, and the VIPs among them. Beside it: one question without a runtime (`question`), TCP connections
//! (`connections`), interfaces (`links`), what drivers report (`ethtool`) and their support of XDP (`netdev`).
//!
//! `routes` finds the interface by which an address is reached. A question that fails is an error, never an empty answer.

pub mod connections;
pub mod ethtool;
pub mod links;
pub mod netdev;
pub mod question;
pub mod routes;

use std::{collections::BTreeSet, io, net::IpAddr};

use futures_util::TryStreamExt as _;
use rtnetlink::{
    Handle, LinkDummy, LinkUnspec, new_connection,
    packet_route::{
        address::{AddressAttribute, AddressHeaderFlags, AddressMessage},
        link::InfoKind,
    },
};

use crate::system::ownership::{self, Foreign};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("open a netlink socket: {source}")]
    Open { source: io::Error },
    #[error("read the addresses of this node: {source}")]
    Read { source: rtnetlink::Error },
    #[error(
        "add VIP {vip} to {interface}: {reason}; set node.vip_interface to an interface that is there, or \"\" to add VIPs yourself"
    )]
    Add {
        vip: IpAddr,
        interface: String,
        reason: String,
    },
    #[error(
        "make or remove the dummy interface {name} for the VIPs: {source}; node.vip_interface may name another"
    )]
    Dummy {
        name: String,
        source: rtnetlink::Error,
    },
    #[error("remove VIP {vip} from this node: {source}")]
    Remove {
        vip: IpAddr,
        source: rtnetlink::Error,
    },
}

fn open() -> Result<Handle, Error> {
    let (connection, handle, _) = new_connection().map_err(|source| Error::Open { source })?;
    tokio::spawn(connection);
    Ok(handle)
}

async fn all(handle: &Handle) -> Result<Vec<AddressMessage>, Error> {
    let all = handle.address().get().execute().try_collect().await;
    all.map_err(|source| Error::Read { source })
}

/// The addresses that do not expire. Those of VRRP do: VRRP manages them itself, and they may come or go at any time.
async fn lasting(handle: &Handle) -> Result<Vec<AddressMessage>, Error> {
    let mut all = all(handle).await?;
    all.retain(ownership::is_lasting);
    Ok(all)
}

pub fn address_of(message: &AddressMessage) -> Option<IpAddr> {
    let find = |wanted: fn(&AddressAttribute) -> Option<IpAddr>| {
        message.attributes.iter().find_map(wanted)
    };
    // On point-to-point links `Address` is the other end; `Local` is always this node's.
    find(|attribute| {
        if let AddressAttribute::Local(address) = attribute {
            Some(*address)
        } else {
            None
        }
    })
    .or_else(|| {
        find(|attribute| {
            if let AddressAttribute::Address(address) = attribute {
                Some(*address)
            } else {
                None
            }
        })
    })
}

/// Every usable source address of this network namespace, including those that expire.
pub async fn addresses() -> Result<Vec<IpAddr>, Error> {
    let doubtful = AddressHeaderFlags::Dadfailed;
    let all = all(&open()?).await?;
    let usable = all
        .iter()
        .filter(|it| !it.header.flags.contains(doubtful))
        .filter_map(address_of);
    Ok(usable.collect())
}

/// Every address of this network namespace that does not expire.
pub async fn lasting_addresses() -> Result<Vec<IpAddr>, Error> {
    let lasting = lasting(&open()?).await?;
    Ok(lasting.iter().filter_map(address_of).collect())
}

/// Which of these addresses were put on this node by others than Herr Ober. `noted`: those that an older daemon wrote down as
/// its own.
pub async fn foreign(wanted: &[IpAddr], noted: &BTreeSet<IpAddr>) -> Result<Vec<Foreign>, Error> {
    let all = all(&open()?).await?;
    let found = all.iter().filter_map(|message| {
        let address = address_of(message).filter(|address| wanted.contains(address))?;
        let ours =
            ownership::is_ours(message) || noted.contains(&address) && ownership::is_host(message);
        (!ours).then(|| Foreign {
            address,
            prefix_length: message.header.prefix_len,
            interface: named(message.header.index),
        })
    });
    Ok(found.collect())
}

/// The name of the interface with this number; `None`: it is gone.
pub fn name_of(index: u32) -> Option<String> {
    let name = nix::net::if_::if_indextoname(index).ok()?;
    // For a number that no interface has, nix returns an empty name, not an error.
    name.into_string().ok().filter(|name| !name.is_empty())
}

fn named(index: u32) -> String {
    name_of(index).unwrap_or_else(|| format!("interface {index}"))
}

/// Adds to `interface` those VIPs that no interface has permanently, each as a host address with the daemon's mark. Returns the
/// added ones.
pub async fn add_vips(interface: &str, vips: &[IpAddr]) -> Result<Vec<IpAddr>, Error> {
    let handle = open()?;
    let present: Vec<IpAddr> = lasting(&handle)
        .await?
        .iter()
        .filter_map(address_of)
        .collect();
    let mut added = Vec::new();
    for vip in vips.iter().filter(|vip| !present.contains(vip)) {
        add(&handle, interface, *vip).await?;
        added.push(*vip);
    }
    if interface == "lo" && !added.is_empty() {
        // The kernel does not use an address on a loopback interface that is down.
        let up = LinkUnspec::new_with_name("lo").up().build();
        handle
            .link()
            .set(up)
            .execute()
            .await
            .map_err(|source| Error::Read { source })?;
    }
    Ok(added)
}

async fn add(handle: &Handle, interface: &str, vip: IpAddr) -> Result<(), Error> {
    let error = |reason: String| Error::Add {
        vip,
        interface: interface.into(),
        reason,
    };
    let index =
        nix::net::if_::if_nametoindex(interface).map_err(|errno| error(errno.to_string()))?;
    let length = if vip.is_ipv4() { 32 } else { 128 };
    let mut request = handle.address().add(index, vip, length);
    let attributes = &mut request.message_mut().attributes;
    attributes.push(ownership::mark());
    request
        .execute()
        .await
        .map_err(|source| error(source.to_string()))
}

/// Returns the dummy interface of that name, up and made if needed; `lo` where the kernel has no dummy interfaces.
pub async fn dummy_or_lo(name: &str) -> Result<String, Error> {
    if nix::net::if_::if_nametoindex(name).is_ok() {
        return Ok(name.into());
    }
    let handle = open()?;
    let failed = |source| Error::Dummy {
        name: name.into(),
        source,
    };
    let dummy = LinkDummy::new(name).up().build();
    match handle.link().add(dummy).execute().await {
        Ok(()) => {
            let marked = LinkUnspec::new_with_name(name).alias(ownership::ALIAS);
            let marked = handle.link().set(marked.build()).execute().await;
            marked.map_err(failed)?;
            Ok(name.into())
        }
        Err(rtnetlink::Error::NetlinkError(error)) if error.raw_code() == -libc::EOPNOTSUPP => {
            Ok("lo".into())
        }
        Err(source) => Err(failed(source)),
    }
}

/// Removes the dummy interface of that name if the daemon made it. `emptied`: interfaces whose unmarked addresses the daemon
/// removed; these identify an interface that a daemon from before the marks made.
pub async fn remove_dummy(name: &str, emptied: &BTreeSet<u32>) -> Result<(), Error> {
    let Ok(index) = nix::net::if_::if_nametoindex(name) else {
        return Ok(());
    };
    let handle = open()?;
    let failed = |source| Error::Dummy {
        name: name.into(),
        source,
    };
    let mut found = handle.link().get().match_index(index).execute();
    let Some(link) = found.try_next().await.map_err(failed)? else {
        return Ok(());
    };
    let made = ownership::is_marked_link(&link) || emptied.contains(&index);
    if !made || ownership::kind(&link) != Some(&InfoKind::Dummy) {
        return Ok(());
    }
    handle.link().del(index).execute().await.map_err(failed)
}

/// Removes the addresses with these values that the daemon added: those with its mark, and host addresses on one of `places`
/// that a daemon from before the marks noted. Returns the interfaces from which it removed unmarked ones.
pub async fn remove_vips(vips: &[IpAddr], places: &[String]) -> Result<BTreeSet<u32>, Error> {
    let handle = open()?;
    let mut unmarked = BTreeSet::new();
    for message in lasting(&handle).await? {
        let Some(vip) = address_of(&message).filter(|address| vips.contains(address)) else {
            continue;
        };
        let index = message.header.index;
        let marked = ownership::is_marked(&message);
        let noted = ownership::is_host(&message) && places.contains(&named(index));
        if !marked && !noted {
            continue;
        }
        if !marked {
            unmarked.insert(index);
        }
        match handle.address().del(message).execute().await {
            Err(source) if !is_gone(&source) => return Err(Error::Remove { vip, source }),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(unmarked)
}

/// Was there nothing to remove, as the caller wants?
pub(crate) fn is_gone(error: &rtnetlink::Error) -> bool {
    refused_with(error, &[libc::EADDRNOTAVAIL, libc::ENODEV])
}

/// Did the kernel answer with one of these error numbers?
pub(crate) fn refused_with(error: &rtnetlink::Error, codes: &[libc::c_int]) -> bool {
    matches!(error, rtnetlink::Error::NetlinkError(message)
        if codes.contains(&message.raw_code().abs()))
}
