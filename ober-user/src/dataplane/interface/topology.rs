//! Which interfaces are made of which.

use std::collections::BTreeSet;

use crate::system::netlink::links::Link;

/// Kinds that are made of their `below`. The `below` of a veth is its other end.
const UPON: [&str; 6] = ["vlan", "macvlan", "macvtap", "ipvlan", "macsec", "dsa"];
/// Kinds that read VLAN tags, or pass frames on with them.
const TAGGED: [&str; 4] = ["vlan", "bridge", "openvswitch", "macvtap"];

/// Kinds whose frames come from this machine, with checksums that are still to be filled in.
const UNFINISHED: [&str; 5] = ["veth", "tun", "tap", "netkit", "macvtap"];

/// The kind of the device, if it gets such frames.
pub fn unfinished(link: &Link) -> Option<&str> {
    let kind = link.kind.as_deref()?;
    UNFINISHED.contains(&kind).then_some(kind)
}

/// The devices that `of` is made of, down to the lowest: the NICs of a bond, the base of a VLAN.
pub fn below<'l>(all: &'l [Link], of: &Link) -> Vec<&'l Link> {
    reach(all, of, |all, link| {
        let parts = all.iter().filter(|it| it.master == Some(link.index));
        let base = all.iter().filter(|it| stands_upon(link, it));
        parts.chain(base).collect()
    })
}

/// The devices that are made of `of`.
pub fn above<'l>(all: &'l [Link], of: &Link) -> Vec<&'l Link> {
    reach(all, of, |all, link| {
        let whole = all.iter().filter(|it| link.master == Some(it.index));
        let upon = all.iter().filter(|it| stands_upon(it, link));
        whole.chain(upon).collect()
    })
}

/// The device above `of` that needs the VLAN tags of frames which come in by `of`.
pub fn tagged_above<'l>(all: &'l [Link], of: &Link) -> Option<&'l Link> {
    let tagged = |link: &&Link| {
        link.kind
            .as_deref()
            .is_some_and(|kind| TAGGED.contains(&kind))
    };
    above(all, of).into_iter().find(tagged)
}

/// The VRF that contains `of` or a device made of it.
pub fn vrf<'l>(all: &'l [Link], of: &Link) -> Option<&'l Link> {
    let is_vrf = |link: &&Link| link.kind.as_deref() == Some("vrf");
    above(all, of).into_iter().find(is_vrf)
}

fn stands_upon(link: &Link, base: &Link) -> bool {
    let upon = link
        .kind
        .as_deref()
        .is_some_and(|kind| UPON.contains(&kind));
    upon && link.below == Some(base.index) && link.index != base.index
}

/// All devices that can be reached by repeated steps, each once, the nearest first.
fn reach<'l>(
    all: &'l [Link],
    from: &Link,
    step: impl Fn(&'l [Link], &Link) -> Vec<&'l Link>,
) -> Vec<&'l Link> {
    let mut seen = BTreeSet::from([from.index]);
    let mut found: Vec<&Link> = Vec::new();
    let mut next = step(all, from);
    while !next.is_empty() {
        next.retain(|link| seen.insert(link.index));
        found.extend(&next);
        next = next.into_iter().flat_map(|link| step(all, link)).collect();
    }
    found
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Number, name, kind, master and base; 0 stands for none.
    pub(crate) fn link(index: u32, name: &str, kind: &str, master: u32, below: u32) -> Link {
        let some = |number: u32| Some(number).filter(|number| *number != 0);
        Link {
            index,
            name: name.into(),
            kind: Some(kind.to_owned()).filter(|kind| !kind.is_empty()),
            master: some(master),
            below: some(below),
            mtu: 1500,
            up: true,
            ..Link::default()
        }
    }

    /// Two NICs in a bond, whose VLAN is a port of a bridge; a veth; a NIC in a VRF, with a VLAN of its own.
    pub(crate) fn stack() -> Vec<Link> {
        vec![
            link(1, "lo", "", 0, 0),
            link(2, "eth0", "", 4, 0),
            link(3, "eth1", "", 4, 0),
            link(4, "bond0", "bond", 0, 0),
            link(5, "bond0.100", "vlan", 6, 4),
            link(6, "br0", "bridge", 0, 0),
            link(7, "in0", "veth", 0, 8),
            link(8, "out0", "veth", 0, 7),
            link(9, "eth2", "", 10, 0),
            link(10, "red", "vrf", 0, 0),
            link(11, "eth2.5", "vlan", 0, 9),
        ]
    }

    fn names(links: Vec<&Link>) -> Vec<&str> {
        links.into_iter().map(|link| link.name.as_str()).collect()
    }

    fn named<'l>(all: &'l [Link], name: &str) -> &'l Link {
        all.iter().find(|link| link.name == name).unwrap()
    }

    #[test]
    fn a_stack_of_interfaces_is_followed_both_ways_and_excludes_the_veth_peer() {
        let all = stack();
        for (name, down, up) in [
            ("eth0", &[][..], &["bond0", "bond0.100", "br0"][..]),
            ("bond0", &["eth0", "eth1"], &["bond0.100", "br0"]),
            ("bond0.100", &["bond0", "eth0", "eth1"], &["br0"]),
            ("br0", &["bond0.100", "bond0", "eth0", "eth1"], &[]),
            ("in0", &[], &[]),
            ("eth2", &[], &["red", "eth2.5"]),
        ] {
            let of = named(&all, name);
            assert_eq!(names(below(&all, of)), down, "below {name}");
            assert_eq!(names(above(&all, of)), up, "above {name}");
        }
    }

    #[test]
    fn vlans_bridges_and_vrfs_are_found_wherever_they_are_above() {
        let all = stack();
        for (name, tagged, vrf_of) in [
            ("eth0", Some("bond0.100"), None),
            ("bond0.100", Some("br0"), None),
            ("eth2", Some("eth2.5"), Some("red")),
            ("in0", None, None),
        ] {
            let of = named(&all, name);
            let name_of = |link: Option<&'_ Link>| link.map(|it| it.name.clone());
            assert_eq!(name_of(tagged_above(&all, of)).as_deref(), tagged, "{name}");
            assert_eq!(name_of(vrf(&all, of)).as_deref(), vrf_of, "{name}");
        }
    }

    #[test]
    fn following_a_circle_of_interfaces_ends() {
        let all = [link(1, "a", "vlan", 2, 0), link(2, "b", "bridge", 1, 0)];
        assert_eq!(below(&all, &all[0]).len() + above(&all, &all[0]).len(), 2);
    }
}
