//! Reads headers and never reads past the end of the frame. The same code runs in the kernel and in tests on the host.
//!
//! ```text
//! Ethernet [VLAN [VLAN]] -+- IPv4 [options] ----+- TCP/UDP ports           -> Flow
//!                         +- IPv6 [extensions] -+- ICMP error [quoted IP]  -> Flow of the quoted packet
//!                                               +- later fragment          -> Fragment
//!                                               +- anything else           -> Bare
//! ```

mod frame;
mod link;

pub use frame::{Bytes, Copied, Frame, Integer, Near, Span};
pub use link::{Link, link};

use crate::{address::Ip, flow::Flow};

/// What the headers say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// Neither IPv4 nor IPv6.
    Other,
    /// A flow, the packet's own or the one an ICMP error quotes. `opens`: it asks for a new TCP connection.
    Flow {
        flow: Flow,
        ends: Ends,
        extent: Extent,
        piece: Piece,
        quoted: bool,
        opens: bool,
    },
    /// A fragment that is not the first.
    Fragment { ends: Ends, extent: Extent },
    /// IP without ports by which it could be judged.
    Bare {
        ends: Ends,
        protocol: u8,
        extent: Extent,
        piece: Piece,
    },
    /// The frame ends within the headers.
    Short { destination: Destination },
    /// The headers contradict themselves, or there are more than [`EXTENSIONS`] or [`TAGS`].
    Malformed { destination: Destination },
    /// One of the addresses is a loopback address, which no packet from outside has.
    Loopback,
}

/// The packet's own addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    pub source: Ip,
    pub destination: Ip,
}

/// The destination of a packet, as far as it could be read. `None`: it is unknown, or the packet is wrong for every
/// destination. `::` is an address like any other.
pub type Destination = Option<Ip>;

/// Is this a whole packet or a fragment?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    Whole,
    /// The first of several fragments.
    First,
    Later,
}

/// Where the IP packet ends according to its header, and where the bytes end by which it is judged; both as offsets
/// from the start of the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    pub ip_end: usize,
    pub judged_end: usize,
}

impl Extent {
    /// Does the IP packet contain all bytes that were read (none of them link padding), and the frame the whole IP packet?
    #[inline(always)]
    pub const fn fits(self, frame_length: usize) -> bool {
        self.judged_end <= self.ip_end && self.ip_end <= frame_length
    }
}

/// IPv6 extension headers we follow. RFC 8200 lists seven kinds, each to appear once; no known sender uses more than three.
pub const EXTENSIONS: usize = 6;
/// VLAN tags we follow.
pub const TAGS: usize = 2;

pub const ICMP: u8 = 1;
pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
pub const ICMPV6: u8 = 58;
pub const VRRP: u8 = 112;

/// BGP (RFC 4271 section 4).
pub const BGP_PORT: u16 = 179;

/// BFD over one hop (RFC 5881 section 4) and over several (RFC 5883 section 5).
pub const BFD_PORTS: [u16; 2] = [3784, 4784];

/// Bytes of a TCP header up to its flags, the flags included (RFC 9293 section 3.1).
const TO_FLAGS: usize = 14;
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

/// Bytes of an ICMP header before the packet it quotes.
const ICMP_HEADER: usize = 8;

/// Reads the headers of a frame.
#[inline(always)]
pub fn parse(frame: impl Frame) -> Parsed {
    match link(frame) {
        Link::Ipv4(offset) => ipv4(frame, offset),
        Link::Ipv6(offset) => ipv6(frame, offset),
        Link::Other => Parsed::Other,
        Link::Short => Parsed::Short { destination: None },
        Link::Tagged => Parsed::Malformed { destination: None },
    }
}

/// The most frequent packets: whole TCP or UDP without extension headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plain {
    Flow {
        flow: Flow,
        extent: Extent,
        /// Does it ask for a new TCP connection?
        opens: bool,
    },
    /// To an address that is not wanted; where the IP packet ends according to its header.
    Elsewhere(usize),
    /// Any other packet; [`parse`] reads it.
    Else,
}

/// Reads an IPv4 packet when it is one of the most frequent kind; its ports only when its destination is `wanted`.
#[inline(always)]
pub fn plain_ipv4(frame: impl Frame, offset: usize, wanted: impl Fn(Ip) -> bool) -> Plain {
    match ipv4_header(frame, offset) {
        Ok(header) => plain(frame, &header, wanted),
        Err(_) => Plain::Else,
    }
}

/// As [`plain_ipv4`], for IPv6.
#[inline(always)]
pub fn plain_ipv6(frame: impl Frame, offset: usize, wanted: impl Fn(Ip) -> bool) -> Plain {
    match ipv6_header(frame, offset) {
        Ok(header) => plain(frame, &header, wanted),
        Err(_) => Plain::Else,
    }
}

#[inline(always)]
fn plain(frame: impl Frame, header: &Header, wanted: impl Fn(Ip) -> bool) -> Plain {
    let usual = !header.loops
        && matches!(header.piece, Piece::Whole)
        && matches!(header.protocol, TCP | UDP);
    if !usual {
        return Plain::Else;
    }
    // Checked before the ports are read: a packet to another destination may be truncated there.
    if !wanted(header.ends.destination) {
        return Plain::Elsewhere(header.ip_end);
    }
    // A frame that ends before the flags of TCP would is rare, so UDP has no reading of its own here.
    let Some(transport) = frame.bytes::<TO_FLAGS>(header.next) else {
        return Plain::Else;
    };
    Plain::Flow {
        flow: header.flow(&transport),
        extent: header.extent(4),
        opens: header.opens(&transport),
    }
}

/// An IP header: its addresses, and what follows it and where.
#[derive(Clone, Copy)]
struct Header {
    ends: Ends,
    protocol: u8,
    /// Offset of what follows the header and its options or extensions.
    next: usize,
    ip_end: usize,
    piece: Piece,
    /// One of the addresses is a loopback address.
    loops: bool,
}

/// Why the rest of a packet cannot be read.
enum Fault {
    Short(Destination),
    Wrong(Destination),
}

impl Fault {
    #[inline(always)]
    const fn parsed(self) -> Parsed {
        match self {
            Self::Short(destination) => Parsed::Short { destination },
            Self::Wrong(destination) => Parsed::Malformed { destination },
        }
    }
}

impl Header {
    /// The destination to report with a fault behind this header. `None` for a first fragment that ends within its
    /// headers: the kernel joins it with later ones, which are not judged, so its content is unknown (RFC 7112, RFC
    /// 1858).
    #[inline(always)]
    const fn fault_destination(&self) -> Destination {
        match self.piece {
            Piece::First => None,
            Piece::Whole | Piece::Later => Some(self.ends.destination),
        }
    }

    /// `judged`: how many bytes behind the header the packet is judged by.
    #[inline(always)]
    const fn extent(&self, judged: usize) -> Extent {
        Extent {
            ip_end: self.ip_end,
            judged_end: self.next + judged,
        }
    }

    #[inline(always)]
    fn flow(&self, ports: &impl Bytes) -> Flow {
        Flow {
            client: self.ends.source,
            vip: self.ends.destination,
            client_port: ports.half::<0>(),
            port: ports.half::<2>(),
            protocol: self.protocol,
        }
    }

    /// Does this TCP header ask for a new connection? No other packet makes the kernel look for a listening socket, but the
    /// last one of a handshake with SYN cookies.
    #[inline(always)]
    fn opens(&self, transport: &impl Bytes) -> bool {
        self.protocol == TCP && transport.byte::<13>() & (SYN | ACK) == SYN
    }

    #[inline(always)]
    const fn bare(&self, judged: usize) -> Parsed {
        Parsed::Bare {
            ends: self.ends,
            protocol: self.protocol,
            extent: self.extent(judged),
            piece: self.piece,
        }
    }

    #[inline(always)]
    const fn fragment(&self) -> Parsed {
        Parsed::Fragment {
            ends: self.ends,
            extent: self.extent(0),
        }
    }
}

/// RFC 791.
#[inline(always)]
fn ipv4_header(frame: impl Frame, offset: usize) -> Result<Header, Fault> {
    let fixed = frame.bytes::<20>(offset).ok_or(Fault::Short(None))?;
    let [source, destination] = [fixed.get::<u32, 12>(), fixed.get::<u32, 16>()];
    let (version, protocol) = (fixed.byte::<0>(), fixed.byte::<9>());
    let (total, fragment) = (fixed.half::<2>(), fixed.half::<6>());
    let length = usize::from(version & 0xf) * 4;
    if version >> 4 != 4 || length < 20 {
        return Err(Fault::Wrong(Some(Ip::from_v4(destination))));
    }
    Ok(Header {
        ends: Ends {
            source: Ip::from_v4(source),
            destination: Ip::from_v4(destination),
        },
        protocol,
        next: offset + length,
        ip_end: offset + usize::from(total),
        // The fragment's offset and the flag "more fragments"; in most packets both are zero.
        piece: match fragment & 0x3fff {
            0 => Piece::Whole,
            MORE_V4 => Piece::First,
            _ => Piece::Later,
        },
        loops: is_loopback_v4(source) || is_loopback_v4(destination),
    })
}

const MORE_V4: u16 = 0x2000;

/// `raw`: in the byte order of the packet.
#[inline(always)]
const fn is_loopback_v4(raw: u32) -> bool {
    raw & u32::from_ne_bytes([0xff, 0, 0, 0]) == u32::from_ne_bytes([127, 0, 0, 0])
}

/// RFC 8200 section 4.
#[inline(always)]
fn ipv6_header(frame: impl Frame, offset: usize) -> Result<Header, Fault> {
    let fixed = frame.bytes::<40>(offset).ok_or(Fault::Short(None))?;
    let source = Ip {
        hi: fixed.get::<u64, 8>(),
        lo: fixed.get::<u64, 16>(),
    };
    let destination = Ip {
        hi: fixed.get::<u64, 24>(),
        lo: fixed.get::<u64, 32>(),
    };
    let (version, payload, protocol) = (fixed.byte::<0>(), fixed.half::<4>(), fixed.byte::<6>());
    if version >> 4 != 6 {
        return Err(Fault::Wrong(Some(destination)));
    }
    let mut loops = false;
    // Few addresses begin with eight zero bytes. The mapped and the loopback addresses do.
    if source.hi == 0 || destination.hi == 0 {
        // Lists and services keep IPv4 addresses in this form, so an IPv6 packet that has one must not be taken for IPv4.
        if source.is_mapped() || destination.is_mapped() {
            return Err(Fault::Wrong(None));
        }
        loops = source.is_loopback_v6() || destination.is_loopback_v6();
    }
    Ok(Header {
        ends: Ends {
            source,
            destination,
        },
        protocol,
        next: offset + 40,
        ip_end: offset + 40 + usize::from(payload),
        piece: Piece::Whole,
        loops,
    })
}

/// RFC 8200 section 4: follows the chain of extension headers to what they carry.
#[inline(always)]
fn extensions(frame: impl Frame, mut header: Header) -> Result<Header, Fault> {
    for _ in 0..EXTENSIONS {
        // `less` is not computed from `unit`: older verifiers lose the bounds of a shift by a variable.
        let (unit, less) = match header.protocol {
            // Hop-by-hop, routing, destination options, mobility, HIP, shim6: length in units of 8 bytes, less one.
            0 | 43 | 60 | 135 | 139 | 140 => (8, 1),
            // Authentication header, RFC 4302: length in units of 4 bytes, less two.
            51 => (4, 2),
            44 => (0, 0),
            _ => break,
        };
        // Every extension has at least 8 bytes (RFC 8200 section 4, RFC 4302), a fragment header exactly 8.
        let extension = frame
            .bytes::<8>(header.next)
            .ok_or(Fault::Short(header.fault_destination()))?;
        header.protocol = extension.byte::<0>();
        if unit == 0 {
            header.next += 8;
            match extension.half::<2>() & 0xfff9 {
                0 => {}
                MORE_V6 => header.piece = Piece::First,
                _ => {
                    header.piece = Piece::Later;
                    break;
                }
            }
        } else {
            header.next += (usize::from(extension.byte::<1>()) + less) * unit;
        }
    }
    Ok(header)
}

const MORE_V6: u16 = 1;

/// Is this one of the extension headers that [`extensions`] follows?
#[inline(always)]
const fn is_extension(protocol: u8) -> bool {
    matches!(protocol, 0 | 43 | 44 | 51 | 60 | 135 | 139 | 140)
}

/// Reads the headers from IPv4 on.
#[inline(always)]
fn ipv4(frame: impl Frame, offset: usize) -> Parsed {
    match ipv4_header(frame, offset) {
        Ok(header) if header.loops => Parsed::Loopback,
        Ok(header) => transport(frame, header, ICMP),
        Err(fault) => fault.parsed(),
    }
}

/// As [`ipv4`], for IPv6.
#[inline(always)]
fn ipv6(frame: impl Frame, offset: usize) -> Parsed {
    let fixed = match ipv6_header(frame, offset) {
        Ok(fixed) => fixed,
        Err(fault) => return fault.parsed(),
    };
    if fixed.loops {
        return Parsed::Loopback;
    }
    match extensions(frame, fixed) {
        Ok(header) => transport(frame, header, ICMPV6),
        Err(fault) => fault.parsed(),
    }
}

/// Reads the header that IP carries. `messages`: the protocol number of this IP version's ICMP.
#[inline(always)]
fn transport(frame: impl Frame, header: Header, messages: u8) -> Parsed {
    if matches!(header.piece, Piece::Later) {
        return header.fragment();
    }
    match header.protocol {
        TCP | UDP => ports(frame, header),
        protocol if protocol == messages => icmp(frame, header),
        // The chain is longer than we follow.
        protocol if messages == ICMPV6 && is_extension(protocol) => Parsed::Malformed {
            destination: header.fault_destination(),
        },
        _ => header.bare(0),
    }
}

/// The flow of a TCP or UDP header. One that ends before its flags has none.
#[inline(always)]
fn ports(frame: impl Frame, header: Header) -> Parsed {
    let (flow, opens) = if let Some(transport) = frame.bytes::<TO_FLAGS>(header.next) {
        (header.flow(&transport), header.opens(&transport))
    } else if let Some(ports) = frame.bytes::<4>(header.next) {
        (header.flow(&ports), false)
    } else {
        return Fault::Short(header.fault_destination()).parsed();
    };
    Parsed::Flow {
        flow,
        ends: header.ends,
        extent: header.extent(4),
        piece: header.piece,
        quoted: false,
        opens,
    }
}

/// An ICMP error belongs to the flow of the packet it quotes (RFC 792, RFC 4443 section 2.4 c). The extent is that of
/// the error itself: routers truncate the quoted packet, so the length in its header is not checked.
#[inline(always)]
fn icmp(frame: impl Frame, outer: Header) -> Parsed {
    let Some(kind) = frame.bytes::<1>(outer.next) else {
        return Fault::Short(outer.fault_destination()).parsed();
    };
    let at = outer.next + ICMP_HEADER;
    let inner = match (outer.protocol, kind.byte::<0>()) {
        // Destination unreachable, time exceeded, parameter problem.
        (ICMP, 3 | 11 | 12) => ipv4_header(frame, at),
        // Destination unreachable, packet too big, time exceeded, parameter problem.
        (ICMPV6, 1..=4) => ipv6_header(frame, at).and_then(|header| extensions(frame, header)),
        _ => return outer.bare(1),
    };
    let inner = match inner {
        Ok(inner) => inner,
        // The error is judged by its own destination, not by one in the quoted packet.
        Err(Fault::Short(_)) => return Fault::Short(outer.fault_destination()).parsed(),
        Err(Fault::Wrong(_)) => return Fault::Wrong(outer.fault_destination()).parsed(),
    };
    if matches!(inner.piece, Piece::Later) || !matches!(inner.protocol, TCP | UDP) {
        return outer.bare(1);
    }
    let Some(ports) = frame.bytes::<4>(inner.next) else {
        return Fault::Short(outer.fault_destination()).parsed();
    };
    // The quoted packet went from the VIP to the client, so source and destination change places.
    Parsed::Flow {
        flow: Flow {
            client: inner.ends.destination,
            vip: inner.ends.source,
            client_port: ports.half::<2>(),
            port: ports.half::<0>(),
            protocol: inner.protocol,
        },
        ends: outer.ends,
        extent: Extent {
            ip_end: outer.ip_end,
            judged_end: inner.next + 4,
        },
        piece: outer.piece,
        quoted: true,
        opens: false,
    }
}
