//! The decoders and how much memory each may ask for.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    num::NonZeroU16,
};

use ober_common::packet::{Link, Near, Parsed, Plain, link, parse, plain_ipv4, plain_ipv6};
use ober_user::{
    backends::discover::json::read,
    config::sections::discover::Json,
    protocols::{
        bfd::Control,
        vrrp::{neighbour, packet::Advertisement},
    },
    system::{
        tls::{Tls, Verify},
        url::{Endpoint, Url},
    },
};

use crate::{allocated, bgp, fence, hostlist};

/// A decoder and its law: what it asks the allocator for, given back or not, is at most `per_byte` times the input's
/// length and `fixed` bytes more.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The name in `cargo xtask fuzz`; the corpus is `tests/corpus/<name>`.
    pub name: &'static str,
    decode: fn(&[u8]),
    per_byte: usize,
    fixed: usize,
}

/// All of them, by name.
pub const ALL: [Target; 10] = [
    target("bfd", bfd, 0, 0),
    target("bgp", bgp::stream, 400, 2048),
    target("bgp-attributes", bgp::attributes, 400, 4096),
    target("bgp-session", bgp::session, 400, 64 * 1024),
    // Up to `MOST` names, each as long as the expression, read in three ways and with room to grow.
    target(
        "hostlist",
        hostlist::expression,
        12 * hostlist::MOST,
        64 * 1024,
    ),
    target(
        "hostlist-file",
        hostlist::file,
        12 * hostlist::MOST,
        64 * 1024,
    ),
    // Few servers are kept, each once; a text that has escapes is copied, and an error quotes the wrong text.
    target("json", json, 16, 64 * 1024),
    target("neighbour", claims, 0, 0),
    target("packet", packet, 0, 0),
    // 17 bytes are kept for an address of 4, in a list that grows by doubling, and good ones are read twice.
    target("vrrp", vrrp, 48, 64),
];

const fn target(name: &'static str, decode: fn(&[u8]), per_byte: usize, fixed: usize) -> Target {
    Target {
        name,
        decode,
        per_byte,
        fixed,
    }
}

/// The target of this name.
pub fn named(name: &str) -> Option<Target> {
    ALL.into_iter().find(|target| target.name == name)
}

impl Target {
    /// A target that is not in [`ALL`].
    pub const fn new(decode: fn(&[u8]), per_byte: usize) -> Self {
        target("another", decode, per_byte, 0)
    }

    /// Decodes, and checks the law; how many bytes the decoder asked for.
    ///
    /// # Panics
    /// When the law is broken.
    pub fn run(&self, bytes: &[u8]) -> usize {
        let asked = allocated::during(|| (self.decode)(bytes));
        let most = self.per_byte * bytes.len() + self.fixed;
        assert!(
            asked <= most,
            "{}: {} bytes of input made it ask for {asked} bytes of memory, of {most} it may",
            self.name,
            bytes.len(),
        );
        asked
    }
}

fn bfd(bytes: &[u8]) {
    if let Ok(control) = Control::decode(bytes) {
        let mut said = control.encode();
        // The length field may count more bytes than are read.
        said[3] = bytes[3];
        assert_eq!(said, bytes[..said.len()]);
    }
}

fn json(bytes: &[u8]) {
    let pointers = ["", "/host", "/port", "/weight", "/tier", "/name"].map(str::to_owned);
    let [items, host, port, weight, tier, name] = pointers;
    let json = Json {
        at: Url {
            at: Endpoint::Unix("/".into()),
            path: "/".to_owned(),
        },
        tls: Tls {
            verify: Verify::None,
            name: None,
            identity: None,
        },
        items,
        host,
        port,
        weight,
        tier,
        name,
    };
    if let Ok(found) = read(bytes, &json, NonZeroU16::MIN, hostlist::MOST) {
        assert!(found.len() <= hostlist::MOST);
    }
}

fn vrrp(bytes: &[u8]) {
    let v4: [IpAddr; 2] = [
        Ipv4Addr::new(10, 0, 0, 1).into(),
        Ipv4Addr::new(224, 0, 0, 18).into(),
    ];
    let v6: [IpAddr; 2] = [
        Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1).into(),
        Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12).into(),
    ];
    for [source, destination] in [v4, v6] {
        if let Ok((said, coverage)) = Advertisement::decode(bytes, source, destination) {
            assert!(said.addresses.len() * 4 <= bytes.len());
            let again = said.encode(coverage, source, destination);
            let read = Advertisement::decode(&again, source, destination);
            assert_eq!(read, Ok((said, coverage)));
        }
    }
}

fn claims(bytes: &[u8]) {
    if let Some((address, _)) = neighbour::arp_claim(bytes) {
        assert!(address.is_ipv4() && bytes.len() >= 32);
    }
    if let Some((address, _)) = neighbour::advertisement_claim(bytes) {
        assert!(address.is_ipv6() && bytes.len() >= 32);
    }
}

fn packet(bytes: &[u8]) {
    fence::with(bytes, |start, end| {
        // SAFETY: the addresses of bytes that live and do not change until this returns.
        let frame = unsafe { Near::new(start, end) };
        let parsed = parse(frame);
        if let Parsed::Flow { extent, .. } = parsed {
            assert!(extent.judged_end <= end - start);
        }
        let plain = match link(frame) {
            Link::Ipv4(offset) => plain_ipv4(frame, offset, |_| true),
            Link::Ipv6(offset) => plain_ipv6(frame, offset, |_| true),
            Link::Other | Link::Short | Link::Tagged => Plain::Else,
        };
        if let Plain::Flow {
            flow: short,
            opens: short_opens,
            ..
        } = plain
        {
            assert!(
                matches!(parsed, Parsed::Flow { flow, opens, .. } if flow == short && opens == short_opens)
            );
        }
    });
}
