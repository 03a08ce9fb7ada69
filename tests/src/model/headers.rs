//! The headers of a frame, read from the documents that define them. Every byte is read by `bytes.get`, so no missing byte can
//! be read; a missing byte that is needed makes the packet malformed.

use std::net::{Ipv4Addr, Ipv6Addr};

use ober_common::{
    address::{Address, Ip},
    flow::Flow,
};

/// The content of a frame, before it is judged whether it concerns the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Not IP.
    Other,
    /// The packet's own flow, or the one an ICMP error quotes, seen from the client. `opens`: its TCP header has SYN and not
    /// ACK.
    Flow {
        flow: Flow,
        outer: Outer,
        quoted: bool,
        opens: bool,
    },
    /// A fragment whose ports travelled in another one.
    LaterFragment { outer: Outer },
    /// IP without ports that we know.
    Bare { outer: Outer, protocol: u8 },
    /// `destination` is `None` when not even that was there, or does not matter.
    Malformed { destination: Option<Address> },
    /// From or to an address of loopback.
    Loopback,
}

/// The packet itself, whatever it carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outer {
    pub source: Address,
    pub destination: Address,
    /// Where the IP packet ends by its own length.
    pub ip_end: usize,
    /// The end of the bytes on which the verdict rests.
    pub judged_end: usize,
    /// More fragments follow.
    pub first: bool,
}

/// Hop-by-hop, routing, fragment, authentication, destination options, mobility, HIP, shim6: the extension headers of
/// RFC 8200 section 4 and of the IANA registry that may stand before a transport header.
pub const EXTENSION_KINDS: [u8; 8] = [0, 43, 44, 51, 60, 135, 139, 140];

const MOST_EXTENSIONS: usize = 6;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;

/// Missing bytes or a contradiction, in a packet for this address (if it could be read).
struct Fault {
    destination: Option<Address>,
}

/// An IP packet whose own headers were all there.
struct Datagram {
    version: u8,
    source: Address,
    destination: Address,
    /// What comes after options and extension headers, and where.
    protocol: u8,
    payload: usize,
    end: usize,
    part: Part,
}

/// Which part of a datagram a packet is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Whole,
    First,
    Later,
}

impl Part {
    /// From the fragment's offset and the flag for more.
    fn new(offset: u16, more: bool) -> Self {
        match (offset, more) {
            (0, false) => Self::Whole,
            (0, true) => Self::First,
            _ => Self::Later,
        }
    }
}

impl Datagram {
    /// The fault of a packet whose headers do not end well. RFC 7112: a first fragment has them all, so its destination does
    /// not count.
    fn fault(&self) -> Fault {
        Fault {
            destination: (self.part != Part::First).then_some(self.destination),
        }
    }

    fn outer(&self, judged_end: usize) -> Outer {
        Outer {
            source: self.source,
            destination: self.destination,
            ip_end: self.end,
            judged_end,
            first: self.part == Part::First,
        }
    }
}

/// Reads a frame from its Ethernet header on.
pub fn read(frame: &[u8]) -> Reading {
    let mut at = 12;
    let mut tags = 0;
    loop {
        // IEEE 802.3 section 3.2.6 (the type), 802.1Q section 9.6 (a tag is a type and two bytes of its own).
        match number(frame, at, 2) {
            None => return Reading::Malformed { destination: None },
            Some(0x8100 | 0x88a8) if tags < 2 => tags += 1,
            Some(0x0800) => return datagram(frame, ipv4(frame, at + 2)),
            Some(0x86dd) => return datagram(frame, ipv6(frame, at + 2)),
            // Linux takes any number of priority tags off.
            Some(0x8100 | 0x88a8) => return Reading::Malformed { destination: None },
            Some(_) => return Reading::Other,
        }
        at += 4;
    }
}

/// `width` bytes at `at` as a number, most significant byte first.
fn number(frame: &[u8], at: usize, width: usize) -> Option<usize> {
    let bytes = frame.get(at..at + width)?;
    Some(
        bytes
            .iter()
            .fold(0, |number, byte| number << 8 | usize::from(*byte)),
    )
}

fn byte(frame: &[u8], at: usize) -> Option<u8> {
    frame.get(at).copied()
}

/// RFC 791 section 3.1.
fn ipv4(frame: &[u8], at: usize) -> Result<Datagram, Fault> {
    let unknown = Fault { destination: None };
    let Some(header) = frame.get(at..).and_then(|rest| rest.first_chunk::<20>()) else {
        return Err(unknown);
    };
    let [
        first,
        _,
        length_high,
        length_low,
        _,
        _,
        fragment_high,
        fragment_low,
        _,
        protocol,
        _,
        _,
        addresses @ ..,
    ] = *header;
    let [s0, s1, s2, s3, d0, d1, d2, d3] = addresses;
    let destination = Ipv4Addr::new(d0, d1, d2, d3).to_ipv6_mapped().octets();
    let words = first % 16;
    if first / 16 != 4 || words < 5 {
        return Err(Fault {
            destination: Some(destination),
        });
    }
    // The upper three bits of this field are flags; the third says that more fragments follow.
    let fragment = u16::from_be_bytes([fragment_high, fragment_low]);
    Ok(Datagram {
        version: 4,
        source: Ipv4Addr::new(s0, s1, s2, s3).to_ipv6_mapped().octets(),
        destination,
        protocol,
        payload: at + 4 * usize::from(words),
        end: at + usize::from(u16::from_be_bytes([length_high, length_low])),
        part: Part::new(fragment % 0x2000, fragment & 0x2000 != 0),
    })
}

/// RFC 8200 section 3.
fn ipv6(frame: &[u8], at: usize) -> Result<Datagram, Fault> {
    let Some(header) = frame.get(at..).and_then(|rest| rest.first_chunk::<40>()) else {
        return Err(Fault { destination: None });
    };
    let [
        first,
        _,
        _,
        _,
        length_high,
        length_low,
        next,
        _,
        addresses @ ..,
    ] = header;
    let mut source = Address::default();
    let mut destination = Address::default();
    source.copy_from_slice(&addresses[..16]);
    destination.copy_from_slice(&addresses[16..]);
    let fault = Fault {
        destination: Some(destination),
    };
    if first / 16 != 6 {
        return Err(fault);
    }
    let [from, to] = [source, destination].map(Ipv6Addr::from);
    if from.to_ipv4_mapped().or(to.to_ipv4_mapped()).is_some() {
        return Err(Fault { destination: None });
    }
    Ok(Datagram {
        version: 6,
        source,
        destination,
        protocol: *next,
        payload: at + 40,
        end: at + 40 + usize::from(u16::from_be_bytes([*length_high, *length_low])),
        part: Part::Whole,
    })
}

/// Walks the extension headers of IPv6, as many as we follow. None is shorter than eight bytes; one that promises more than
/// the frame holds shows as the absence of what comes after it.
fn extensions(frame: &[u8], mut datagram: Datagram) -> Result<Datagram, Fault> {
    if datagram.version != 6 {
        return Ok(datagram);
    }
    for _ in 0..MOST_EXTENSIONS {
        if datagram.part == Part::Later || !EXTENSION_KINDS.contains(&datagram.protocol) {
            break;
        }
        let rest = frame.get(datagram.payload..).unwrap_or_default();
        let Some([next, stated, high, low, ..]) = rest.first_chunk::<8>().copied() else {
            return Err(datagram.fault());
        };
        datagram.payload += match datagram.protocol {
            // RFC 8200 section 4.5: eight bytes; thirteen bits of offset, two reserved, one for more fragments.
            FRAGMENT => {
                let field = u16::from_be_bytes([high, low]);
                // One header that makes it a part is enough.
                match Part::new(field >> 3, field % 2 == 1) {
                    Part::Whole => {}
                    part => datagram.part = part,
                }
                8
            }
            // RFC 4302 section 2.2: in words of four bytes, less two.
            AUTHENTICATION => 4 * (usize::from(stated) + 2),
            // RFC 8200 sections 4.3 to 4.6, RFC 6275, RFC 7401, RFC 5533: in units of eight bytes, less the first.
            _ => 8 * (usize::from(stated) + 1),
        };
        datagram.protocol = next;
    }
    Ok(datagram)
}

fn datagram(frame: &[u8], datagram: Result<Datagram, Fault>) -> Reading {
    if let Ok(datagram) = &datagram
        && (looped(datagram.source) || looped(datagram.destination))
    {
        return Reading::Loopback;
    }
    let datagram = match datagram.and_then(|datagram| extensions(frame, datagram)) {
        Ok(datagram) => datagram,
        Err(Fault { destination }) => return Reading::Malformed { destination },
    };
    let (payload, protocol) = (datagram.payload, datagram.protocol);
    if datagram.part == Part::Later {
        let outer = datagram.outer(payload);
        return Reading::LaterFragment { outer };
    }
    let malformed = Reading::Malformed {
        destination: datagram.fault().destination,
    };
    match (datagram.version, protocol) {
        (_, TCP | UDP) => ports(frame, payload).map_or(malformed, |(from, to)| Reading::Flow {
            flow: flow(
                (datagram.source, from),
                (datagram.destination, to),
                protocol,
            ),
            outer: datagram.outer(payload + 4),
            quoted: false,
            opens: protocol == TCP && opens(frame, payload),
        }),
        (4, ICMP) | (6, ICMPV6) => icmp(frame, &datagram).unwrap_or(malformed),
        (6, more) if EXTENSION_KINDS.contains(&more) => malformed,
        _ => Reading::Bare {
            outer: datagram.outer(payload),
            protocol,
        },
    }
}

/// 127.0.0.0/8 (RFC 1122 section 3.2.1.3) and `::1` (RFC 4291 section 2.5.3) are on no wire.
fn looped(address: Address) -> bool {
    Ipv6Addr::from(address).to_canonical().is_loopback()
}

/// RFC 9293 section 3.1 and RFC 768: both begin with source and destination port.
fn ports(frame: &[u8], at: usize) -> Option<(u16, u16)> {
    let [a, b, c, d] = *frame.get(at..)?.first_chunk::<4>()?;
    Some((u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])))
}

/// RFC 9293 section 3.1: of the flags in the fourteenth byte, ACK has the value 16 and SYN the value 2.
fn opens(frame: &[u8], at: usize) -> bool {
    byte(frame, at + 13).is_some_and(|flags| flags & 2 != 0 && flags & 16 == 0)
}

fn flow(client: (Address, u16), vip: (Address, u16), protocol: u8) -> Flow {
    Flow {
        client: Ip::from_bytes(client.0),
        vip: Ip::from_bytes(vip.0),
        client_port: client.1,
        port: vip.1,
        protocol,
    }
}

/// RFC 792 and RFC 4443 section 3: an error carries, after eight bytes of its own, the packet that caused it. That one
/// was sent by us, so its destination is the client. `None`: something needed is missing.
fn icmp(frame: &[u8], datagram: &Datagram) -> Option<Reading> {
    let kind = byte(frame, datagram.payload)?;
    let other = Reading::Bare {
        outer: datagram.outer(datagram.payload + 1),
        protocol: datagram.protocol,
    };
    let at = datagram.payload + 8;
    let quoted = match (datagram.version, kind) {
        (4, 3 | 11 | 12) => ipv4(frame, at).ok()?,
        (6, 1..=4) => ipv6(frame, at)
            .and_then(|datagram| extensions(frame, datagram))
            .ok()?,
        _ => return Some(other),
    };
    if quoted.part == Part::Later || !matches!(quoted.protocol, TCP | UDP) {
        return Some(other);
    }
    let (from, to) = ports(frame, quoted.payload)?;
    Some(Reading::Flow {
        flow: flow(
            (quoted.destination, to),
            (quoted.source, from),
            quoted.protocol,
        ),
        outer: datagram.outer(quoted.payload + 4),
        quoted: true,
        opens: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_does_not_panic_on_arbitrary_headers() {
        for (at, kind) in [
            (12, 0x0800u16),
            (12, 0x86dd),
            (16, 0x0800),
            (20, 0x86dd),
            (12, 0x8100),
        ] {
            for (length, fill) in
                (0..200).flat_map(|length| (0..=255).map(move |fill| (length, fill)))
            {
                let mut frame = vec![fill; length];
                read(&frame);
                let Some(place) = frame.get_mut(at..at + 2) else {
                    continue;
                };
                place.copy_from_slice(&kind.to_be_bytes());
                read(&frame);
            }
        }
    }
}
