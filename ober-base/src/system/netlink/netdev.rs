//! What the kernel reports about a driver's XDP support (generic netlink family `netdev`, Linux 6.3).

use rtnetlink::packet_core::{NLA_HEADER_SIZE, NlasIterator};

use super::question::{Family, Refusal, Want, ask};

/// The number of the family that lists the others (`linux/genetlink.h`).
const CONTROL: u16 = 0x10;
const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;
/// `linux/netdev.h`.
const GET_DEVICE: u8 = 1;
const INTERFACE: u16 = 1;
const XDP_FEATURES: u16 = 3;
/// Bytes of a generic netlink header: command, version, two reserved.
const HEADER: usize = 4;

/// What a driver does with XDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Xdp(u64);

impl Xdp {
    const BASIC: u64 = 1;
    const REDIRECT: u64 = 2;

    pub fn new(bits: u64) -> Self {
        Self(bits)
    }

    /// Does it run programs at all?
    pub fn native(self) -> bool {
        self.0 & Self::BASIC != 0
    }

    /// May a program send a packet elsewhere, such as to another CPU?
    pub fn redirects(self) -> bool {
        self.0 & Self::REDIRECT != 0
    }
}

/// The XDP support of the interface with this number; `None`: this kernel does not report it.
pub fn xdp(index: u32) -> Option<Xdp> {
    features(index).ok().flatten()
}

fn features(index: u32) -> Result<Option<Xdp>, Refusal> {
    let name = request(GET_FAMILY, FAMILY_NAME, b"netdev\0");
    let answer = ask(Family::Generic, CONTROL, Want::One, &name)?;
    let Some(family) = find(&answer, FAMILY_ID) else {
        return Ok(None);
    };
    let [low, high, ..] = family else {
        return Ok(None);
    };
    let family = u16::from_ne_bytes([*low, *high]);
    let device = request(GET_DEVICE, INTERFACE, &index.to_ne_bytes());
    let answer = ask(Family::Generic, family, Want::One, &device)?;
    let bits = find(&answer, XDP_FEATURES).and_then(|bits| bits.first_chunk());
    Ok(bits.map(|bits| Xdp(u64::from_ne_bytes(*bits))))
}

/// A command with one attribute.
fn request(command: u8, kind: u16, value: &[u8]) -> Vec<u8> {
    let length = NLA_HEADER_SIZE + value.len();
    let mut bytes = vec![command, 1, 0, 0];
    bytes.extend(u16::try_from(length).unwrap_or(u16::MAX).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn find(answers: &[Vec<u8>], kind: u16) -> Option<&[u8]> {
    let attributes = answers.iter().filter_map(|answer| answer.get(HEADER..));
    let mut all = attributes.flat_map(|bytes| NlasIterator::new(bytes).filter_map(Result::ok));
    let found = all.find(|it| it.kind() == kind)?.into_inner();
    // The buffer begins with this attribute and may hold further ones behind it.
    let length = usize::from(u16::from_ne_bytes(*found.first_chunk()?));
    found.get(NLA_HEADER_SIZE..length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_that_reports_xdp_support_reports_none_for_loopback() {
        let index = nix::net::if_::if_nametoindex("lo").unwrap();
        let release = crate::system::file::kernel_text("/proc/sys/kernel/osrelease").unwrap();
        let version = release.split('.').map_while(|it| it.parse().ok());
        let tells = version.take(2).collect::<Vec<u32>>() >= vec![6, 3];
        let answer = xdp(index);
        assert_eq!(answer.is_some(), tells);
        assert!(answer.is_none_or(|xdp| !xdp.native() && !xdp.redirects()));
    }
}
