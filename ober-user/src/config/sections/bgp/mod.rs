//! The section `[bgp]` and its neighbours.
//!
//! `raw` is the section as written; `neighbour`, `announcement` and `community` check its parts. The valid form is in
//! `protocols/bgp`. A password is never shown.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use super::bfd::Bfd;
use crate::{
    config::{
        Service,
        judge::Judge,
        text::{
            notation::{At, Key, Period},
            source::{Fault, Span},
        },
    },
    protocols::bgp::configured::{Bgp, Depreference},
};

mod announcement;
mod community;
mod neighbour;
mod raw;

pub(crate) use raw::Raw;

/// The longest time that End-of-RIB waits for the first verdicts.
const SETTLE: Duration = Duration::from_secs(30);
/// RFC 4271 section 4.2: 16 bits, in seconds.
const LONGEST_HOLD_TIME: Duration = Duration::from_secs(65535);

impl Judge<'_> {
    pub(crate) fn bgp(
        &mut self,
        raw: Option<At<Raw>>,
        services: &[Service],
        bfd: &Bfd,
    ) -> Option<Bgp> {
        let At { value: raw, span } = raw?;
        self.profiles_exist(&raw.neighbours, bfd);
        let asn = self.own_as(raw.asn, &span);
        let aliases = self.aliases(raw.communities);
        let listen: Vec<SocketAddr> = raw.listen.iter().map(|at| at.value).collect();
        let neighbours = self.neighbours(raw.neighbours, asn, !listen.is_empty(), &span);
        let vips: Vec<IpAddr> = services.iter().flat_map(|it| it.vips.clone()).collect();
        let addresses: Vec<IpAddr> = neighbours.iter().map(|it| it.address).collect();
        let announcements = raw
            .announcements
            .into_iter()
            .map(|at| self.announcement(at.value, &aliases, &vips, &addresses));
        Some(Bgp {
            asn,
            announcements: announcements.collect(),
            router_id: self.router_id(raw.router_id),
            listen: self.listen(raw.listen),
            neighbours,
            depreference: self.depreference(raw.depreference, &aliases),
            settle: self.period("settle", raw.settle, SETTLE),
        })
    }

    fn own_as(&mut self, key: Key<u32>, section: &Span) -> u32 {
        let Some(at) = key.0 else {
            let help =
                "write the number of the autonomous system of this node, for instance `as = 65001`";
            self.refuse(Fault::new(section.clone(), "`as` is missing in [bgp]").help(help));
            return 1;
        };
        self.as_number("as", at)
    }

    pub(super) fn as_number(&mut self, name: &str, at: At<u32>) -> u32 {
        // RFC 7607, RFC 6793 section 9, RFC 7300.
        if matches!(at.value, 0 | 23456 | 65535 | u32::MAX) {
            let message = format!("`{name}` is {}, which no network may have", at.value);
            let help = "64512 to 65534 are for private use";
            self.refuse(Fault::new(at.span, message).help(help));
        }
        at.value
    }

    fn router_id(&mut self, key: Key<Ipv4Addr>) -> Option<Ipv4Addr> {
        let At { value, span } = key.0?;
        if value.is_unspecified() || value.is_multicast() || value.is_broadcast() {
            let message = format!("{value} cannot be `router_id`");
            self.refuse(Fault::new(span, message).help("take an IPv4 address of this node"));
        }
        Some(value)
    }

    fn listen(&mut self, written: Vec<At<SocketAddr>>) -> Vec<SocketAddr> {
        let mut listen: BTreeMap<SocketAddr, Span> = BTreeMap::new();
        for At { value, span } in written {
            if value.ip().is_multicast() {
                self.refuse(Fault::new(
                    span.clone(),
                    format!("{value} is a multicast address"),
                ));
            }
            if let Some(first) = listen.insert(value, span.clone()) {
                self.refuse(Fault::new(span, format!("{value} is written twice")).first(first));
            }
        }
        listen.into_keys().collect()
    }

    fn depreference(
        &mut self,
        raw: raw::Depreference,
        aliases: &community::Aliases,
    ) -> Depreference {
        Depreference {
            med: raw.med.or(u32::MAX),
            local_pref: raw.local_pref.or(0),
            prepend: self.number("prepend", raw.prepend, 3, 0..=announcement::MOST_PREPENDED),
            communities: self.communities(raw.communities, aliases),
        }
    }

    /// A duration that BGP counts in whole seconds.
    fn seconds(&mut self, name: &str, key: Key<Period>, default: Duration) -> Duration {
        let span = key.span();
        let period = key.or(Period(default)).0;
        if period.subsec_nanos() != 0 || period > LONGEST_HOLD_TIME {
            let message = format!("`{name}` must be whole seconds, at most 65535");
            self.refuse(Fault::new(span, message));
        }
        period
    }
}
