//! The section `[limits]`.

use std::ops::RangeInclusive;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::{judge::Judge, text::notation::Key};

/// Page 0 is the empty one and page 1 the full one, so the first page of a list is 2.
const FEWEST_PAGES: u32 = 3;
/// Far more than a million addresses need; a larger number is a typing error.
const MOST_ENTRIES: u32 = 1 << 24;
/// The kernel's maximum; a shorter queue than the minimum loses packets of a single interrupt.
const STEER_QUEUE: RangeInclusive<u32> = 64..=16_384;
/// The work to merge and write the servers of a worker is linear; this many take a second.
const MOST_SERVERS: u32 = 100_000;

/// Sizes fixed at the start.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Limits")]
pub(crate) struct Raw {
    /// Pages of 65,536 IPv4 addresses, 8 KiB each, over all lists.
    ipv4_pages: Key<u32>,
    /// IPv6 host addresses over all lists.
    ipv6_hosts: Key<u32>,
    /// IPv6 prefixes over all lists.
    ipv6_prefixes: Key<u32>,
    /// Names or addresses one list may expand to.
    expansion: Key<u32>,
    /// Steered packets that may wait for a CPU, 64 to 16384; further ones are dropped.
    steer_queue: Key<u32>,
    /// Servers one backend may have, 1 to 100,000. A source that names more has failed.
    servers: Key<u32>,
}

/// Sizes fixed when the maps are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Pages of 65,536 IPv4 addresses, 8 KiB each.
    pub ipv4_pages: u32,
    /// IPv6 host addresses over all lists.
    pub ipv6_hosts: u32,
    /// IPv6 prefixes over all lists.
    pub ipv6_prefixes: u32,
    /// Names or addresses that one list may expand to.
    pub expansion: usize,
    /// Steered packets that may wait for a CPU.
    pub steer_queue: u32,
    /// Servers of one backend, and servers that one source may return.
    pub servers: usize,
}

impl Judge<'_> {
    pub(crate) fn limits(&mut self, limits: Raw) -> Limits {
        let pages = FEWEST_PAGES..=u32::from(u16::MAX);
        let servers = self.number("servers", limits.servers, 4096, 1..=MOST_SERVERS);
        let expansion = self.number("expansion", limits.expansion, 1_000_000, 1..=MOST_ENTRIES);
        Limits {
            ipv4_pages: self.number("ipv4_pages", limits.ipv4_pages, 1024, pages),
            ipv6_hosts: self.number("ipv6_hosts", limits.ipv6_hosts, 131_072, 1..=MOST_ENTRIES),
            ipv6_prefixes: self.number(
                "ipv6_prefixes",
                limits.ipv6_prefixes,
                1024,
                1..=MOST_ENTRIES,
            ),
            expansion: usize::try_from(expansion).unwrap_or(usize::MAX),
            steer_queue: self.number("steer_queue", limits.steer_queue, 2048, STEER_QUEUE),
            servers: usize::try_from(servers).unwrap_or(usize::MAX),
        }
    }
}
