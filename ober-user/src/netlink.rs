//! What the kernel says of interfaces and addresses, and the VIPs on them.

use std::{io, net::IpAddr};

use futures_util::TryStreamExt as _;
use rtnetlink::{
    Handle, LinkDummy, LinkUnspec, new_connection,
    packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage},
};

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

/// The addresses that are there until somebody removes them. Those that VRRP holds expire, are its own business, and may
/// be about to come or go.
async fn lasting(handle: &Handle) -> Result<Vec<AddressMessage>, Error> {
    let all = handle.address().get().execute().try_collect().await;
    let mut all: Vec<AddressMessage> = all.map_err(|source| Error::Read { source })?;
    all.retain(|it| it.header.flags.contains(AddressHeaderFlags::Permanent));
    Ok(all)
}

pub(crate) fn address_of(message: &AddressMessage) -> Option<IpAddr> {
    let find = |wanted: fn(&AddressAttribute) -> Option<IpAddr>| {
        message.attributes.iter().find_map(wanted)
    };
    // On point-to-point links `Address` is the other end; `Local` is always ours.
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

/// Every address of this network namespace that does not expire.
pub async fn addresses() -> Result<Vec<IpAddr>, Error> {
    let handle = open()?;
    Ok(lasting(&handle)
        .await?
        .iter()
        .filter_map(address_of)
        .collect())
}

/// Adds those VIPs to `interface` that no interface has for good, each as a host address. Returns what was added.
pub async fn add_vips(interface: &str, vips: &[IpAddr]) -> Result<Vec<IpAddr>, Error> {
    let handle = open()?;
    let present: Vec<IpAddr> = lasting(&handle)
        .await?
        .iter()
        .filter_map(address_of)
        .collect();
    let mut added = Vec::new();
    for vip in vips.iter().filter(|vip| !present.contains(vip)) {
        let error = |reason: String| Error::Add {
            vip: *vip,
            interface: interface.into(),
            reason,
        };
        let index =
            nix::net::if_::if_nametoindex(interface).map_err(|errno| error(errno.to_string()))?;
        let length = if vip.is_ipv4() { 32 } else { 128 };
        handle
            .address()
            .add(index, *vip, length)
            .execute()
            .await
            .map_err(|source| error(source.to_string()))?;
        added.push(*vip);
    }
    if interface == "lo" && !added.is_empty() {
        // An address on a loopback that is down is no address.
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

/// The dummy interface of that name, made if need be, up; `lo` where the kernel has no dummy interfaces.
pub async fn dummy_or_lo(name: &str) -> Result<String, Error> {
    if nix::net::if_::if_nametoindex(name).is_ok() {
        return Ok(name.into());
    }
    let dummy = LinkDummy::new(name).up().build();
    match open()?.link().add(dummy).execute().await {
        Ok(()) => Ok(name.into()),
        Err(rtnetlink::Error::NetlinkError(error)) if error.raw_code() == -libc::EOPNOTSUPP => {
            Ok("lo".into())
        }
        Err(source) => Err(Error::Dummy {
            name: name.into(),
            source,
        }),
    }
}

/// Removes the dummy interface of that name, if it is there.
pub async fn remove_dummy(name: &str) -> Result<(), Error> {
    let Ok(index) = nix::net::if_::if_nametoindex(name) else {
        return Ok(());
    };
    let removed = open()?.link().del(index).execute().await;
    removed.map_err(|source| Error::Dummy {
        name: name.into(),
        source,
    })
}

/// Removes VIPs from wherever they last.
pub async fn remove_vips(vips: &[IpAddr]) -> Result<(), Error> {
    let handle = open()?;
    for message in lasting(&handle).await? {
        if let Some(vip) = address_of(&message).filter(|address| vips.contains(address)) {
            handle
                .address()
                .del(message)
                .execute()
                .await
                .map_err(|source| Error::Remove { vip, source })?;
        }
    }
    Ok(())
}

/// Receive queues in use, as the driver tells (`ETHTOOL_GCHANNELS`); `None` when it does not.
pub fn receive_queues(interface: &str) -> Option<u32> {
    /// `struct ethtool_channels` of linux/ethtool.h.
    #[repr(C)]
    #[derive(Default)]
    struct Channels {
        command: u32,
        max: [u32; 4],
        rx: u32,
        tx: u32,
        other: u32,
        combined: u32,
    }
    const ETHTOOL_GCHANNELS: u32 = 0x3c;
    const SIOCETHTOOL: libc::Ioctl = 0x8946;
    let mut channels = Channels {
        command: ETHTOOL_GCHANNELS,
        ..Channels::default()
    };
    // SAFETY: plain bytes, for which zero is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if interface.len() >= request.ifr_name.len() {
        return None;
    }
    for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes()) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_data = (&raw mut channels).cast();
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None).ok()?;
    // SAFETY: `request` names an interface and points at a structure of the size this command writes.
    let result = unsafe {
        libc::ioctl(
            std::os::fd::AsRawFd::as_raw_fd(&socket),
            SIOCETHTOOL,
            &raw mut request,
        )
    };
    (result == 0).then_some(channels.rx + channels.combined)
}
