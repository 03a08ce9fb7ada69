//! What the kernel says of interfaces and addresses, and the VIPs on them.

use std::{collections::BTreeMap, io, net::IpAddr};

use futures_util::TryStreamExt as _;
use rtnetlink::{
    Handle, LinkDummy, LinkUnspec, new_connection,
    packet_route::{
        address::{AddressAttribute, AddressHeaderFlags, AddressMessage},
        link::{LinkAttribute, LinkMessage, LinkXdp},
    },
};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("open a netlink socket: {source}")]
    Open { source: io::Error },
    #[error("read the addresses of this node: {source}")]
    Read { source: rtnetlink::Error },
    #[error("read the interfaces of this node: {source}")]
    Links { source: rtnetlink::Error },
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
    let mut channels = Channels {
        command: ETHTOOL_GCHANNELS,
        ..Channels::default()
    };
    // SAFETY: this command reads and writes a structure of that shape.
    unsafe { ethtool(interface, &mut channels) }?;
    Some(channels.rx + channels.combined)
}

/// What drives the interface (`ETHTOOL_GDRVINFO`), such as `virtio_net`; `None` when the kernel does not tell.
pub fn driver(interface: &str) -> Option<String> {
    /// `struct ethtool_drvinfo` of linux/ethtool.h.
    #[repr(C)]
    struct Driver {
        command: u32,
        name: [u8; 32],
        others: [u8; 160],
    }
    const ETHTOOL_GDRVINFO: u32 = 0x3;
    let mut driver = Driver {
        command: ETHTOOL_GDRVINFO,
        name: [0; 32],
        others: [0; 160],
    };
    // SAFETY: this command reads and writes a structure of that shape, 196 bytes long.
    unsafe { ethtool(interface, &mut driver) }?;
    let name = driver.name.split(|byte| *byte == 0).next()?;
    let name = String::from_utf8_lossy(name).into_owned();
    (!name.is_empty()).then_some(name)
}

/// One question to the driver.
///
/// # Safety
/// `question` must begin with the number of its command and be of the shape that this command reads and writes.
unsafe fn ethtool<T>(interface: &str, question: &mut T) -> Option<()> {
    const SIOCETHTOOL: libc::Ioctl = 0x8946;
    // SAFETY: plain bytes, for which zero is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if interface.len() >= request.ifr_name.len() {
        return None;
    }
    for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes()) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_data = std::ptr::from_mut(question).cast();
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None).ok()?;
    // SAFETY: `request` names an interface and points at what the caller vouches for.
    let result = unsafe {
        libc::ioctl(
            std::os::fd::AsRawFd::as_raw_fd(&socket),
            SIOCETHTOOL,
            &raw mut request,
        )
    };
    (result == 0).then_some(())
}

/// The XDP program on each interface, by the interface's name.
pub async fn xdp_programs() -> Result<BTreeMap<String, u32>, Error> {
    let links = open()?.link().get().execute().try_collect::<Vec<_>>().await;
    let links = links.map_err(|source| Error::Links { source })?;
    let program = |link: &LinkMessage| {
        let name = link.attributes.iter().find_map(|it| match it {
            LinkAttribute::IfName(name) => Some(name.clone()),
            _ => None,
        })?;
        let id = link.attributes.iter().find_map(|it| match it {
            LinkAttribute::Xdp(all) => all.iter().find_map(|it| match it {
                LinkXdp::ProgId(id) => Some(*id),
                _ => None,
            }),
            _ => None,
        })?;
        Some((name, id))
    };
    Ok(links.iter().filter_map(program).collect())
}
