//! VRRP advertisements as bytes. An IP payload of protocol 112:
//!
//! ```text
//! version 3, RFC 9568 section 5.1             version 2, RFC 3768 section 5.1
//!  0               1               2               3
//! +-------+-------+---------------+---------------+---------------+
//! |Version| Type 1| Virtual Rtr ID|    Priority   |     Count     |
//! +-------+-------+---------------+---------------+---------------+
//! | 0 |Max Advertise Interval, cs |            Checksum           |   version 3
//! |  Auth Type 0  |  Interval, s  |            Checksum           |   version 2
//! +---------------+---------------+---------------+---------------+
//! |            Count addresses of 4 bytes (IPv6: 16) each         |
//! +---------------------------------------------------------------+
//! |            8 bytes of authentication data                     |   version 2 only
//! +---------------------------------------------------------------+
//! ```
//! The checksum covers all of it; in version 3 also a pseudo-header, but for IPv4 implementations differ: RFC 9568 section
//! 5.2.8 leaves it out, RFC 5798 can be read both ways, keepalived and FRR include it.
//!
//! Over IPv6 the pseudo-header is never left out.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    num::NonZeroU8,
    time::Duration,
};

use schemars::JsonSchema;
use serde::Deserialize;

/// The number of VRRP among the protocols of IP.
pub const PROTOCOL: u8 = 112;
const ADVERTISEMENT: u8 = 1;
const HEADER: usize = 8;
/// Bytes of authentication data in version 2, which receivers ignore (RFC 3768 section 5.3.10).
const AUTHENTICATION: usize = 8;
/// The largest number of 12 bits.
const LONGEST: u16 = 4095;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// RFC 3768; IPv4 and whole seconds only.
    V2,
    /// RFC 5798 and 9568.
    V3,
}

impl Version {
    pub fn number(self) -> u8 {
        match self {
            Self::V2 => 2,
            Self::V3 => 3,
        }
    }
}

/// Identifies a virtual router on a link: 1 to 255, for IPv4 and IPv6 separately.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vrid(pub NonZeroU8);

impl fmt::Display for Vrid {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// The time between two advertisements, in hundredths of a second. Never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Interval(u16);

impl Interval {
    pub const SECOND: Self = Self(100);

    /// `None` when the version cannot express it.
    pub fn new(version: Version, period: Duration) -> Option<Self> {
        let hundredths = u16::try_from(period.as_millis() / 10).ok()?;
        let interval = Self(hundredths);
        let expressible = match version {
            Version::V2 => hundredths.is_multiple_of(100) && hundredths / 100 <= 255,
            Version::V3 => hundredths <= LONGEST,
        };
        (expressible && hundredths > 0 && interval.duration() == period).then_some(interval)
    }

    pub fn duration(self) -> Duration {
        Duration::from_millis(10) * u32::from(self.0)
    }
}

/// What the checksum of version 3 over IPv4 covers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Coverage {
    /// A pseudo-header too, as keepalived and FRR have it.
    #[default]
    PseudoHeader,
    /// The message alone: RFC 9568 and Cisco.
    Message,
}

/// One advertisement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advertisement {
    pub version: Version,
    pub vrid: Vrid,
    /// 0: its sender resigns as master. 255: it owns the addresses.
    pub priority: u8,
    pub interval: Interval,
    /// All of one family, at most 255.
    pub addresses: Vec<IpAddr>,
}

/// Why bytes are no valid advertisement, in the order of RFC 9568 section 7.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("version {0}, which is neither 2 nor 3 over this family")]
    Version(u8),
    #[error("type {0}, which is no advertisement")]
    Type(u8),
    #[error("{0} bytes, which is less than its count says")]
    Length(usize),
    #[error("a wrong checksum")]
    Checksum,
    #[error("authentication of type {0}, which RFC 3768 abolished; switch it off there")]
    Authentication(u8),
    #[error("VRID 0")]
    Vrid,
    #[error("an advertisement interval of zero")]
    Interval,
    #[error("no address")]
    Empty,
}

impl Advertisement {
    /// The bytes after the IP header. `source` and `destination` are for the checksum.
    pub fn encode(&self, coverage: Coverage, source: IpAddr, destination: IpAddr) -> Vec<u8> {
        let count = u8::try_from(self.addresses.len()).unwrap_or(u8::MAX);
        let kind = self.version.number() << 4 | ADVERTISEMENT;
        let mut bytes = vec![kind, self.vrid.0.get(), self.priority, count];
        match self.version {
            // A version 2 interval is at most 255 seconds: `Interval::new`.
            Version::V2 => bytes.extend((self.interval.0 / 100).to_be_bytes()),
            Version::V3 => bytes.extend(self.interval.0.to_be_bytes()),
        }
        bytes.extend([0, 0]);
        for address in self.addresses.iter().take(usize::from(count)) {
            match address {
                IpAddr::V4(address) => bytes.extend(address.octets()),
                IpAddr::V6(address) => bytes.extend(address.octets()),
            }
        }
        if self.version == Version::V2 {
            bytes.extend([0; AUTHENTICATION]);
        }
        let sum = match (self.version, source.is_ipv4(), coverage) {
            (Version::V2, ..) | (Version::V3, true, Coverage::Message) => plain(&bytes),
            (Version::V3, ..) => pseudo(PROTOCOL, source, destination, &bytes) + plain(&bytes),
        };
        if let Some(place) = bytes.get_mut(6..8) {
            place.copy_from_slice(&(!folded(sum)).to_be_bytes());
        }
        bytes
    }

    /// Reads the bytes after the IP header; returns the coverage of the checksum too.
    pub fn decode(
        bytes: &[u8],
        source: IpAddr,
        destination: IpAddr,
    ) -> Result<(Self, Coverage), Malformed> {
        let Some((head, rest)) = bytes.split_first_chunk::<HEADER>() else {
            return Err(Malformed::Length(bytes.len()));
        };
        let [kind, vrid, priority, count, high, low, _, _] = *head;
        let version = match (kind >> 4, source) {
            (2, IpAddr::V4(_)) => Version::V2,
            (3, _) => Version::V3,
            (other, _) => return Err(Malformed::Version(other)),
        };
        if kind & 0xf != ADVERTISEMENT {
            return Err(Malformed::Type(kind & 0xf));
        }
        let width = if source.is_ipv4() { 4 } else { 16 };
        let trailer = if version == Version::V2 {
            AUTHENTICATION
        } else {
            0
        };
        // RFC 9568 section 7.1 requires the packet to be complete; bytes behind it are ignored.
        let whole = bytes
            .get(..HEADER + usize::from(count) * width + trailer)
            .ok_or(Malformed::Length(bytes.len()))?;
        let covered = |bytes| covered(version, bytes, source, destination);
        let coverage = covered(whole)
            .or_else(|| covered(bytes))
            .ok_or(Malformed::Checksum)?;
        let hundredths = match version {
            Version::V2 if high != 0 => return Err(Malformed::Authentication(high)),
            Version::V2 => u16::from(low) * 100,
            // The four bits before the interval are reserved and ignored.
            Version::V3 => u16::from_be_bytes([high & 0x0f, low]),
        };
        if count == 0 {
            return Err(Malformed::Empty);
        }
        let vrid = NonZeroU8::new(vrid).map(Vrid).ok_or(Malformed::Vrid)?;
        if hundredths == 0 {
            return Err(Malformed::Interval);
        }
        let addresses = rest
            .chunks_exact(width)
            .take(usize::from(count))
            .filter_map(address);
        let advertisement = Self {
            version,
            vrid,
            priority,
            interval: Interval(hundredths),
            addresses: addresses.collect(),
        };
        Ok((advertisement, coverage))
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(octets) = <[u8; 4]>::try_from(bytes) {
        return Some(Ipv4Addr::from(octets).into());
    }
    let octets = <[u8; 16]>::try_from(bytes).ok()?;
    Some(Ipv6Addr::from(octets).into())
}

/// The coverage of the checksum; `None` when it is wrong either way.
fn covered(
    version: Version,
    bytes: &[u8],
    source: IpAddr,
    destination: IpAddr,
) -> Option<Coverage> {
    let message = plain(bytes);
    let whole = || folded(message + pseudo(PROTOCOL, source, destination, bytes)) == 0xffff;
    let alone = || folded(message) == 0xffff;
    match version {
        Version::V3 if whole() => Some(Coverage::PseudoHeader),
        Version::V3 if source.is_ipv4() && alone() => Some(Coverage::Message),
        Version::V2 if alone() => Some(Coverage::Message),
        Version::V2 | Version::V3 => None,
    }
}

/// The sum of the 16-bit words, RFC 1071. A datagram is too short to overflow it.
pub(super) fn plain(bytes: &[u8]) -> u32 {
    let words = bytes.chunks(2).map(|pair| match *pair {
        [high, low] => u32::from(u16::from_be_bytes([high, low])),
        [high] => u32::from(high) << 8,
        _ => 0,
    });
    words.sum()
}

/// RFC 768 for IPv4, RFC 8200 section 8.1 for IPv6: both sum addresses, protocol and length.
pub(super) fn pseudo(protocol: u8, source: IpAddr, destination: IpAddr, bytes: &[u8]) -> u32 {
    let of = |address: IpAddr| match address {
        IpAddr::V4(address) => plain(&address.octets()),
        IpAddr::V6(address) => plain(&address.octets()),
    };
    let length = u32::try_from(bytes.len()).unwrap_or_default();
    of(source) + of(destination) + u32::from(protocol) + length
}

pub(super) fn folded(sum: u32) -> u16 {
    let once = (sum & 0xffff) + (sum >> 16);
    let twice = (once & 0xffff) + (once >> 16);
    u16::try_from(twice).unwrap_or_default()
}

#[cfg(test)]
mod tests;
