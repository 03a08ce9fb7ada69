//! The frames by which neighbours learn the MAC of an address, and whole frames around advertisements.
//!
//! ```text
//! Ethernet   to 6, from 6, type 2
//! ARP        hardware 1, protocol 0x0800, lengths 6 and 4, operation; sender's MAC and address, target's (RFC 826)
//! ICMPv6     type 136, code 0, checksum, R S O and reserved 4, target 16, option 2 of 8 bytes: its MAC (RFC 4861)
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{
    event::Mac,
    packet::{self, Vrid, folded, plain},
};

pub(super) const ARP: u16 = 0x0806;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const ICMPV6: u8 = 58;
/// The `ICMPv6` type of a neighbour advertisement.
pub(super) const ADVERTISEMENT: u8 = 136;
/// From a router, unsolicited, overriding the cached entry (RFC 9568 section 6.4.1).
const ROUTER_OVERRIDE: [u8; 4] = [0xa0, 0, 0, 0];
const BROADCAST: Mac = Mac([0xff; 6]);
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// Network control, the class of routing protocols.
pub(super) const PRECEDENCE: u8 = 0xc0;
/// The packet has passed no router.
pub(super) const TTL: u8 = 255;

/// RFC 9568 section 7.3.
pub(super) fn virtual_mac(vrid: Vrid, six: bool) -> Mac {
    Mac([0, 0, 0x5e, 0, if six { 2 } else { 1 }, vrid.0.get()])
}

/// The MAC of a multicast group (RFC 1112 section 6.4, RFC 2464 section 7).
fn group_mac(group: IpAddr) -> Mac {
    match group {
        IpAddr::V4(group) => {
            let [_, b, c, d] = group.octets();
            Mac([1, 0, 0x5e, b & 0x7f, c, d])
        }
        IpAddr::V6(group) => {
            let [.., a, b, c, d] = group.octets();
            Mac([0x33, 0x33, a, b, c, d])
        }
    }
}

fn ethernet(to: Mac, from: Mac, kind: u16) -> Vec<u8> {
    [&to.0[..], &from.0[..], &kind.to_be_bytes()].concat()
}

/// A frame that tells all hosts on the link that `address` has `mac`: a gratuitous ARP request, or an unsolicited neighbour
/// advertisement.
pub(super) fn claim(address: IpAddr, mac: Mac) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => arp(address, mac),
        IpAddr::V6(address) => advertisement(address, mac),
    }
}

fn arp(address: Ipv4Addr, mac: Mac) -> Vec<u8> {
    let mut frame = ethernet(BROADCAST, mac, ARP);
    frame.extend([0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend(mac.0);
    frame.extend(address.octets());
    frame.extend(BROADCAST.0);
    frame.extend(address.octets());
    frame
}

fn advertisement(address: Ipv6Addr, mac: Mac) -> Vec<u8> {
    let mut message = vec![ADVERTISEMENT, 0, 0, 0];
    message.extend(ROUTER_OVERRIDE);
    message.extend(address.octets());
    message.extend([2, 1]);
    message.extend(mac.0);
    let sum = plain(&message) + packet::pseudo(ICMPV6, address.into(), ALL_NODES.into(), &message);
    if let Some(place) = message.get_mut(2..4) {
        place.copy_from_slice(&(!folded(sum)).to_be_bytes());
    }
    ipv6(ICMPV6, mac, address, ALL_NODES, &message)
}

/// A whole frame that carries an advertisement from a virtual MAC to the group.
pub(super) fn multicast(from: Mac, source: IpAddr, group: IpAddr, message: &[u8]) -> Vec<u8> {
    match (source, group) {
        (IpAddr::V6(source), IpAddr::V6(group)) => {
            ipv6(packet::PROTOCOL, from, source, group, message)
        }
        (IpAddr::V4(source), IpAddr::V4(group)) => ipv4(from, source, group, message),
        // An instance has one family.
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => Vec::new(),
    }
}

fn ipv4(from: Mac, source: Ipv4Addr, group: Ipv4Addr, message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(20 + message.len()).unwrap_or(u16::MAX);
    let [high, low] = length.to_be_bytes();
    let mut header = vec![
        0x45,
        PRECEDENCE,
        high,
        low,
        0,
        0,
        0x40,
        0,
        TTL,
        packet::PROTOCOL,
    ];
    header.extend([0, 0]);
    header.extend(source.octets());
    header.extend(group.octets());
    let sum = !folded(plain(&header));
    if let Some(place) = header.get_mut(10..12) {
        place.copy_from_slice(&sum.to_be_bytes());
    }
    let mut frame = ethernet(group_mac(group.into()), from, IPV4);
    frame.extend(header);
    frame.extend(message);
    frame
}

fn ipv6(next: u8, from: Mac, source: Ipv6Addr, group: Ipv6Addr, message: &[u8]) -> Vec<u8> {
    let mut frame = ethernet(group_mac(group.into()), from, IPV6);
    let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
    frame.extend([0x60 | PRECEDENCE >> 4, PRECEDENCE << 4, 0, 0]);
    frame.extend(length.to_be_bytes());
    frame.extend([next, TTL]);
    frame.extend(source.octets());
    frame.extend(group.octets());
    frame.extend(message);
    frame
}

/// The address and MAC that the sender of an ARP frame claims; `None` for a probe (RFC 5227), which only asks.
pub fn arp_claim(frame: &[u8]) -> Option<(IpAddr, Mac)> {
    let arp = frame.get(14..)?;
    if arp.get(..6)? != [0, 1, 8, 0, 6, 4] {
        return None;
    }
    let mac = Mac(arp.get(8..14)?.try_into().ok()?);
    let octets: [u8; 4] = arp.get(14..18)?.try_into().ok()?;
    let address = Ipv4Addr::from(octets);
    (!address.is_unspecified()).then_some((address.into(), mac))
}

/// The address and MAC that a neighbour advertisement claims; `message` starts at its `ICMPv6` header.
pub fn advertisement_claim(message: &[u8]) -> Option<(IpAddr, Mac)> {
    let octets: [u8; 16] = message.get(8..24)?.try_into().ok()?;
    let mut options = message.get(24..)?;
    loop {
        let (&kind, &units) = (options.first()?, options.get(1)?);
        let length = usize::from(units) * 8;
        let option = options.get(..length).filter(|option| !option.is_empty())?;
        if kind == 2 {
            let mac = option.get(2..8)?.try_into().ok()?;
            return Some((Ipv6Addr::from(octets).into(), Mac(mac)));
        }
        options = options.get(length..)?;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CARD: Mac = Mac([2, 0, 0, 0, 0, 9]);

    #[test]
    fn a_gratuitous_arp_is_broadcast_with_the_same_sender_and_target_address() {
        let frame = claim([10, 77, 9, 1].into(), CARD);
        let wanted = [
            &[0xff; 6][..],
            &CARD.0,
            &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1],
            &CARD.0,
            &[10, 77, 9, 1],
            &[0xff; 6],
            &[10, 77, 9, 1],
        ];
        assert_eq!(frame, wanted.concat());
        assert_eq!(arp_claim(&frame), Some(([10, 77, 9, 1].into(), CARD)));
    }

    #[test]
    fn a_neighbour_advertisement_has_the_override_flag_and_a_valid_checksum() {
        let address: Ipv6Addr = "fd77:9::1".parse().unwrap();
        let frame = claim(address.into(), CARD);
        assert_eq!(
            frame[..14],
            [0x33, 0x33, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9, 0x86, 0xdd]
        );
        assert_eq!(frame[14..22], [0x6c, 0, 0, 0, 0, 32, 58, 255]);
        let message = &frame[54..];
        assert_eq!((message[0], message[4]), (136, 0xa0));
        let sum = plain(message) + packet::pseudo(58, address.into(), ALL_NODES.into(), message);
        assert_eq!(folded(sum), 0xffff);
        assert_eq!(advertisement_claim(message), Some((address.into(), CARD)));
    }

    #[test]
    fn an_advertisement_from_a_virtual_mac_is_a_whole_frame() {
        let mac = virtual_mac(Vrid(51.try_into().unwrap()), false);
        assert_eq!(mac.to_string(), "00:00:5e:00:01:33");
        let frame = multicast(
            mac,
            [10, 0, 0, 1].into(),
            [224, 0, 0, 18].into(),
            b"message",
        );
        assert_eq!(frame[..6], [1, 0, 0x5e, 0, 0, 0x12]);
        assert_eq!(frame[6..12], mac.0);
        assert_eq!(folded(plain(&frame[14..34])), 0xffff);
        assert_eq!(
            (frame[22], frame[23], &frame[34..]),
            (255, 112, &b"message"[..])
        );
    }

    proptest! {
        #[test]
        fn reading_a_claim_from_arbitrary_bytes_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            arp_claim(&bytes);
            advertisement_claim(&bytes);
        }
    }
}
