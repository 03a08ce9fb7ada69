//! The interfaces of this network namespace, from rtnetlink. `/sys/class/net` shows the namespace in which it was mounted
//! instead.

use rtnetlink::{
    packet_core::{Emitable as _, Parseable as _},
    packet_route::link::{LinkAttribute, LinkFlags, LinkInfo, LinkMessage, LinkXdp, XdpAttached},
};

use super::question::{Family, Refusal, Want, ask};

const GET_LINK: u16 = 18;

/// An XDP program attached to an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attached {
    /// Its kernel number.
    pub program: u32,
    /// Generic mode (the kernel runs it for any driver); otherwise the driver or the card runs it.
    pub generic: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    pub index: u32,
    pub name: String,
    /// `veth`, `vlan`, `bond`, ...; `None`: a device with a driver of its own.
    pub kind: Option<String>,
    pub mtu: u32,
    pub up: bool,
    pub loopback: bool,
    /// The interface below a VLAN or macvlan, or the other end of a veth, when it is in this namespace.
    pub below: Option<u32>,
    /// The bond, team, bridge or VRF that this interface belongs to.
    pub master: Option<u32>,
    /// Packets received since the interface was made.
    pub received: u64,
    pub xdp: Vec<Attached>,
    /// Its hardware address.
    pub address: Vec<u8>,
}

/// All interfaces.
pub fn all() -> Result<Vec<Link>, Refusal> {
    let mut question = vec![0; LinkMessage::default().buffer_len()];
    LinkMessage::default().emit(&mut question);
    let answers = ask(Family::Route, GET_LINK, Want::All, &question)?;
    let links = answers
        .iter()
        .filter_map(|one| LinkMessage::parse(one).ok());
    Ok(links.map(|link| read(&link)).collect())
}

fn read(message: &LinkMessage) -> Link {
    let flags = message.header.flags;
    let mut link = Link {
        index: message.header.index,
        up: flags.contains(LinkFlags::Up),
        loopback: flags.contains(LinkFlags::Loopback),
        ..Link::default()
    };
    let mut elsewhere = false;
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::Link(below) => link.below = Some(*below),
            LinkAttribute::LinkNetNsId(_) => elsewhere = true,
            LinkAttribute::Controller(master) => link.master = Some(*master),
            LinkAttribute::Address(address) => link.address.clone_from(address),
            LinkAttribute::Stats64(stats) => link.received = stats.rx_packets,
            LinkAttribute::LinkInfo(info) => link.kind = kind(info),
            LinkAttribute::Xdp(xdp) => link.xdp = programs(xdp),
            _ => {}
        }
    }
    // With `LinkNetNsId` the number belongs to another namespace.
    link.below = link.below.filter(|_| !elsewhere);
    link
}

fn kind(info: &[LinkInfo]) -> Option<String> {
    info.iter().find_map(|it| match it {
        LinkInfo::Kind(kind) => Some(kind.to_string()),
        _ => None,
    })
}

/// The kernel reports one program by its number and mode, several by one number for each mode.
fn programs(xdp: &[LinkXdp]) -> Vec<Attached> {
    let generic = xdp
        .iter()
        .any(|it| matches!(it, LinkXdp::Attached(XdpAttached::SocketBuffer)));
    let attached = |program: u32, generic| Some(Attached { program, generic });
    let by_mode = xdp.iter().filter_map(|it| match it {
        LinkXdp::DrvProgId(id) | LinkXdp::HwProgId(id) => attached(*id, false),
        LinkXdp::SkbProgId(id) => attached(*id, true),
        _ => None,
    });
    let mut all: Vec<Attached> = by_mode.collect();
    if all.is_empty() {
        all.extend(xdp.iter().filter_map(|it| match it {
            LinkXdp::ProgId(id) => attached(*id, generic),
            _ => None,
        }));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_found_with_its_number_and_its_mtu() {
        let all = all().unwrap();
        let lo = all.iter().find(|link| link.name == "lo").unwrap();
        let index = nix::net::if_::if_nametoindex("lo").unwrap();
        assert_eq!(
            (lo.index, lo.loopback, lo.kind.as_deref()),
            (index, true, None)
        );
        assert!(
            lo.mtu >= 1500 && lo.below.is_none() && lo.xdp.is_empty(),
            "{lo:?}"
        );
    }

    #[test]
    fn attached_programs_are_distinguished_by_their_mode() {
        let generic = LinkXdp::Attached(XdpAttached::SocketBuffer);
        let native = LinkXdp::Attached(XdpAttached::Driver);
        let attached = |program, generic| Attached { program, generic };
        for (answers, found) in [
            (vec![generic, LinkXdp::ProgId(7)], vec![attached(7, true)]),
            (
                vec![native, LinkXdp::ProgId(8), LinkXdp::DrvProgId(8)],
                vec![attached(8, false)],
            ),
            (vec![LinkXdp::Attached(XdpAttached::None)], vec![]),
            (
                vec![LinkXdp::HwProgId(3), LinkXdp::SkbProgId(4)],
                vec![attached(3, false), attached(4, true)],
            ),
        ] {
            assert_eq!(programs(&answers), found);
        }
    }
}
