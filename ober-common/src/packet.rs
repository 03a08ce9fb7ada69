//! Reading headers without ever passing the end of the frame. The same code runs in the kernel and in host tests; it
//! takes addresses instead of a slice because the kernel's verifier follows pointer comparisons, not slice lengths.
//!
//! ```text
//! Ethernet [VLAN [VLAN]] -+- IPv4 [options] ----+- TCP/UDP ports           -> Flow
//!                         +- IPv6 [extensions] -+- ICMP error [quoted IP]  -> Flow of the quoted packet
//!                                               +- later fragment          -> Fragment
//!                                               +- anything else           -> Bare
//! ```

use crate::flow::{Flow, Ip};

/// The bytes of a frame that may be read: `start..end` are addresses.
#[derive(Clone, Copy)]
pub struct Frame {
    start: usize,
    end: usize,
}

/// What the headers say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// Neither IPv4 nor IPv6.
    Other,
    /// A flow, the packet's own or the one an ICMP error quotes.
    Flow {
        flow: Flow,
        extent: Extent,
        quoted: bool,
    },
    /// TCP or UDP to an address nobody asked for. The IP packet says it ends at `ip_end` of the frame.
    Elsewhere { ip_end: usize },
    /// A fragment that is not the first.
    Fragment { destination: Ip },
    /// IP without ports we judge.
    Bare { source: Ip, protocol: u8 },
    /// The frame ends before what it promises, contradicts itself, or has more headers than [`EXTENSIONS`].
    /// `destination` is `None` when not even that can be read; `::` is an address like any other.
    Malformed { destination: Option<Ip> },
}

/// Where the IP packet says it ends, and where the last byte we judge by stands; both counted from the frame's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    pub ip_end: usize,
    pub judged_end: usize,
}

impl Extent {
    /// Does the IP packet hold what was read (not link padding), and the frame all of the IP packet?
    #[inline(always)]
    pub const fn fits(self, frame_length: usize) -> bool {
        self.judged_end <= self.ip_end && self.ip_end <= frame_length
    }
}

/// IPv6 extension headers we follow. RFC 8200 lists seven kinds, each to appear once; nobody sends more than three.
pub const EXTENSIONS: usize = 6;
/// VLAN tags we follow.
const TAGS: usize = 2;

const ETH_VLAN: u16 = 0x8100;
const ETH_QINQ: u16 = 0x88a8;
const ETH_IPV4: u16 = 0x0800;
const ETH_IPV6: u16 = 0x86dd;

pub const ICMP: u8 = 1;
pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
pub const ICMPV6: u8 = 58;
pub const VRRP: u8 = 112;

/// Bytes of an ICMP header before the packet it quotes.
const ICMP_HEADER: usize = 8;

impl Frame {
    /// # Safety
    /// `start..end` must be readable memory for as long as the frame is used.
    #[inline(always)]
    pub const unsafe fn new(start: usize, end: usize) -> Self {
        Self { start, end }
    }

    /// The `N` bytes at `offset`, if the frame reaches that far.
    #[inline(always)]
    fn span<const N: usize>(self, offset: usize) -> Option<Span<N>> {
        let at = address(self.start, offset);
        (at + N <= self.end).then_some(Span(at))
    }
}

/// `start + offset`, computed once: the verifier trusts the very register it saw compared, and the compiler would
/// rather compute the sum again than keep it.
#[cfg(target_arch = "bpf")]
#[inline(always)]
fn address(start: usize, offset: usize) -> usize {
    let sum;
    // SAFETY: an addition of two registers; no memory is touched.
    unsafe {
        core::arch::asm!("{0} += {1}", inout(reg) start => sum, in(reg) offset, options(pure, nomem, nostack));
    }
    sum
}

#[cfg(not(target_arch = "bpf"))]
#[inline(always)]
const fn address(start: usize, offset: usize) -> usize {
    start + offset
}

/// `N` bytes that were proven to lie within the frame.
#[derive(Clone, Copy)]
struct Span<const N: usize>(usize);

impl<const N: usize> Span<N> {
    #[inline(always)]
    fn get<T: Copy, const AT: usize>(self) -> T {
        const { assert!(AT + size_of::<T>() <= N) };
        let at = (self.0 + AT) as *const T;
        // SAFETY: within the span by the assertion above; `T` is an integer here, valid for any bytes. BPF loads need
        // no alignment where the kernel says so, and its verifier refuses the program elsewhere; `read_unaligned`
        // would be split into single bytes.
        #[cfg(target_arch = "bpf")]
        return unsafe { core::ptr::read(at) };
        // SAFETY: as above; alignment is not assumed.
        #[cfg(not(target_arch = "bpf"))]
        return unsafe { core::ptr::read_unaligned(at) };
    }

    #[inline(always)]
    fn byte<const AT: usize>(self) -> u8 {
        self.get::<u8, AT>()
    }

    #[inline(always)]
    fn half<const AT: usize>(self) -> u16 {
        u16::from_be(self.get::<u16, AT>())
    }

    #[inline(always)]
    fn v4<const AT: usize>(self) -> Ip {
        Ip::from_v4(self.get::<u32, AT>())
    }
}

/// Reads the headers of a frame.
#[inline(always)]
pub fn parse(frame: Frame) -> Parsed {
    match link(frame) {
        Link::Ipv4(offset) => ipv4(frame, offset, |_| true),
        Link::Ipv6(offset) => ipv6(frame, offset, |_| true),
        Link::Other => Parsed::Other,
        Link::Short => Parsed::Malformed { destination: None },
    }
}

/// What a frame carries, and at which offset it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    Ipv4(usize),
    Ipv6(usize),
    Other,
    /// Not even that can be read.
    Short,
}

/// Reads the link header and its VLAN tags.
#[inline(always)]
pub fn link(frame: Frame) -> Link {
    let mut offset = 14;
    let Some(link) = frame.span::<14>(0) else {
        return Link::Short;
    };
    let mut kind = link.half::<12>();
    for _ in 0..TAGS {
        if kind != ETH_VLAN && kind != ETH_QINQ {
            break;
        }
        let Some(tag) = frame.span::<4>(offset) else {
            return Link::Short;
        };
        kind = tag.half::<2>();
        offset += 4;
    }
    match kind {
        ETH_IPV4 => Link::Ipv4(offset),
        ETH_IPV6 => Link::Ipv6(offset),
        _ => Link::Other,
    }
}

/// An IP header: what follows it, where, and between whom.
#[derive(Clone, Copy)]
struct Header {
    source: Ip,
    destination: Ip,
    protocol: u8,
    /// Offset of what follows the header and its options or extensions.
    next: usize,
    ip_end: usize,
    later_fragment: bool,
}

/// RFC 791. The error is the destination as far as it could be read.
#[inline(always)]
fn ipv4_header(frame: Frame, offset: usize) -> Result<Header, Option<Ip>> {
    let fixed = frame.span::<20>(offset).ok_or(None)?;
    let (source, destination) = (fixed.v4::<12>(), fixed.v4::<16>());
    let (version, protocol) = (fixed.byte::<0>(), fixed.byte::<9>());
    let (total, fragment) = (fixed.half::<2>(), fixed.half::<6>());
    let length = usize::from(version & 0xf) * 4;
    if version >> 4 != 4 || length < 20 {
        return Err(Some(destination));
    }
    Ok(Header {
        source,
        destination,
        protocol,
        next: offset + length,
        ip_end: offset + usize::from(total),
        later_fragment: fragment & 0x1fff != 0,
    })
}

/// RFC 8200 section 4.
#[inline(always)]
fn ipv6_header(frame: Frame, offset: usize) -> Result<Header, Option<Ip>> {
    let fixed = frame.span::<40>(offset).ok_or(None)?;
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
        return Err(Some(destination));
    }
    Ok(Header {
        source,
        destination,
        protocol,
        next: offset + 40,
        ip_end: offset + 40 + usize::from(payload),
        later_fragment: false,
    })
}

/// RFC 8200 section 4: follows the chain of extension headers to what they carry.
#[inline(always)]
fn extensions(frame: Frame, mut header: Header) -> Result<Header, Option<Ip>> {
    let destination = header.destination;
    let mut protocol = header.protocol;
    for _ in 0..EXTENSIONS {
        // `less` is not computed from `unit`: older verifiers lose track of a shift by a variable.
        let (unit, less) = match protocol {
            // Hop-by-hop, routing, destination options, mobility, HIP, shim6: length in 8 bytes, less the first.
            0 | 43 | 60 | 135 | 139 | 140 => (8, 1),
            // Authentication header, RFC 4302: length in 4 bytes, less two.
            51 => (4, 2),
            44 => (0, 0),
            _ => break,
        };
        // Every extension is at least this long (RFC 8200 section 4, RFC 4302), a fragment header exactly.
        let extension = frame.span::<8>(header.next).ok_or(Some(destination))?;
        protocol = extension.byte::<0>();
        if unit == 0 {
            header.later_fragment = extension.half::<2>() & 0xfff8 != 0;
            header.next += 8;
        } else {
            header.next += (usize::from(extension.byte::<1>()) + less) * unit;
        }
        header.protocol = protocol;
        if header.later_fragment {
            break;
        }
    }
    Ok(header)
}

/// Is this an extension header, so that the chain was longer than we follow?
#[inline(always)]
const fn is_extension(protocol: u8) -> bool {
    matches!(protocol, 0 | 43 | 44 | 51 | 60 | 135 | 139 | 140)
}

/// Reads the headers from IPv4 on, but of TCP and UDP only those to destinations that are `wanted`.
#[inline(always)]
pub fn ipv4(frame: Frame, offset: usize, wanted: impl Fn(Ip) -> bool) -> Parsed {
    let header = match ipv4_header(frame, offset) {
        Ok(header) => header,
        Err(destination) => return Parsed::Malformed { destination },
    };
    if header.later_fragment {
        return Parsed::Fragment {
            destination: header.destination,
        };
    }
    match header.protocol {
        TCP | UDP if !wanted(header.destination) && has_ports(frame, header.next) => {
            Parsed::Elsewhere {
                ip_end: header.ip_end,
            }
        }
        TCP | UDP => ports(frame, header, false),
        ICMP => icmp(frame, header),
        protocol => Parsed::Bare {
            source: header.source,
            protocol,
        },
    }
}

/// As [`ipv4`], for IPv6.
#[inline(always)]
pub fn ipv6(frame: Frame, offset: usize, wanted: impl Fn(Ip) -> bool) -> Parsed {
    let fixed = match ipv6_header(frame, offset) {
        Ok(header) => header,
        Err(destination) => return Parsed::Malformed { destination },
    };
    // Before the chain is followed: few packets have one, and most are for others.
    if matches!(fixed.protocol, TCP | UDP) {
        if !wanted(fixed.destination) && has_ports(frame, fixed.next) {
            return Parsed::Elsewhere {
                ip_end: fixed.ip_end,
            };
        }
        return ports(frame, fixed, false);
    }
    let header = match extensions(frame, fixed) {
        Ok(header) => header,
        Err(destination) => return Parsed::Malformed { destination },
    };
    if header.later_fragment {
        return Parsed::Fragment {
            destination: header.destination,
        };
    }
    match header.protocol {
        TCP | UDP => ports(frame, header, false),
        ICMPV6 => icmp(frame, header),
        protocol if is_extension(protocol) => Parsed::Malformed {
            destination: Some(header.destination),
        },
        protocol => Parsed::Bare {
            source: header.source,
            protocol,
        },
    }
}

#[inline(always)]
fn has_ports(frame: Frame, offset: usize) -> bool {
    frame.span::<4>(offset).is_some()
}

/// The flow of a TCP or UDP header, seen from the client: a quoted packet is one of ours going out, so it is turned.
#[inline(always)]
fn ports(frame: Frame, header: Header, quoted: bool) -> Parsed {
    let Some(ports) = frame.span::<4>(header.next) else {
        return Parsed::Malformed {
            destination: Some(header.destination),
        };
    };
    let (source, destination) = (ports.half::<0>(), ports.half::<2>());
    let Header {
        protocol,
        ip_end,
        next,
        ..
    } = header;
    let flow = if quoted {
        Flow {
            client: header.destination,
            vip: header.source,
            client_port: destination,
            port: source,
            protocol,
        }
    } else {
        Flow {
            client: header.source,
            vip: header.destination,
            client_port: source,
            port: destination,
            protocol,
        }
    };
    Parsed::Flow {
        flow,
        extent: Extent {
            ip_end,
            judged_end: next + 4,
        },
        quoted,
    }
}

/// An ICMP error belongs to the flow of the packet it quotes (RFC 792, RFC 4443 section 2.4 c). The extent is that of
/// the error itself: routers cut the quoted packet short, so what that one promises cannot be held against them.
#[inline(always)]
fn icmp(frame: Frame, outer: Header) -> Parsed {
    let malformed = Parsed::Malformed {
        destination: Some(outer.destination),
    };
    let Some(kind) = frame.span::<1>(outer.next) else {
        return malformed;
    };
    let quoted = outer.next + ICMP_HEADER;
    let inner = match (outer.protocol, kind.byte::<0>()) {
        // Destination unreachable, time exceeded, parameter problem.
        (ICMP, 3 | 11 | 12) => ipv4_header(frame, quoted),
        // Destination unreachable, packet too big, time exceeded, parameter problem.
        (ICMPV6, 1..=4) => ipv6_header(frame, quoted).and_then(|header| extensions(frame, header)),
        (protocol, _) => {
            return Parsed::Bare {
                source: outer.source,
                protocol,
            };
        }
    };
    let Ok(inner) = inner else {
        return malformed;
    };
    if inner.later_fragment || !matches!(inner.protocol, TCP | UDP) {
        return Parsed::Bare {
            source: outer.source,
            protocol: outer.protocol,
        };
    }
    match ports(frame, inner, true) {
        Parsed::Flow {
            flow,
            extent: Extent { judged_end, .. },
            quoted,
        } => Parsed::Flow {
            flow,
            extent: Extent {
                ip_end: outer.ip_end,
                judged_end,
            },
            quoted,
        },
        _ => malformed,
    }
}
