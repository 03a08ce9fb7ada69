//! `[[bgp.neighbours]]`.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use ober_common::packet::BGP_PORT;

use super::{At, Fault, Judge, Key, Span, raw};
use crate::{
    config::{
        sections::bfd::Bfd,
        text::{
            error::suggestion,
            notation::{AsNumber, Secret},
            secret::Kind,
        },
    },
    protocols::bgp::{
        configured::{BfdMode, Hops, Neighbour, Password, Supervision},
        connection::{LEAST_HOLD_TIME, Remote},
        message::Family,
    },
};

/// The kernel's longest key (`TCP_MD5SIG_MAXKEYLEN`), in bytes.
const LONGEST_PASSWORD: usize = 80;
const HOLD_TIME: Duration = Duration::from_secs(9);
/// The kernel's limits, in bytes (`TCP_MIN_MSS`, `MAX_TCP_WINDOW`).
const LEAST_MSS: u16 = 88;
const LARGEST_MSS: u16 = 32767;
const CONNECT_RETRY: Duration = Duration::from_secs(5);
const PASSWORD: Kind = Kind {
    key: "password",
    what: "the password",
    make: "make it with `(umask 077; cat > FILE)`, the same as on the neighbour",
};
/// The value of `bfd` that is not a profile.
const OFF: &str = "off";

impl Judge<'_> {
    pub(super) fn neighbours(
        &mut self,
        written: Vec<At<raw::Neighbour>>,
        own: u32,
        listens: bool,
        section: &Span,
    ) -> Vec<Neighbour> {
        if written.is_empty() {
            let help = "add `[[bgp.neighbours]]` with `address` and `as`";
            self.refuse(Fault::new(section.clone(), "[bgp] has no neighbour").help(help));
        }
        let mut seen: BTreeMap<IpAddr, Span> = BTreeMap::new();
        let mut all = Vec::new();
        for At { value, span } in written {
            let Some(address) = value.address.0.clone() else {
                self.refuse(Fault::new(span, "a neighbour without `address`"));
                continue;
            };
            if let Some(first) = seen.insert(address.value, address.span.clone()) {
                let message = format!("two neighbours are at {}", address.value);
                self.refuse(Fault::new(address.span.clone(), message).first(first));
            }
            let before = self.forgiven();
            let neighbour = self.neighbour(value, &address, own, listens, &span);
            // A neighbour without its password is left out: another host could speak in its place.
            if self.forgiven() == before {
                all.push(neighbour);
            }
        }
        all
    }

    pub(super) fn profiles_exist(&mut self, neighbours: &[At<raw::Neighbour>], bfd: &Bfd) {
        let named = neighbours.iter().filter_map(|at| at.value.bfd.0.as_ref());
        for at in named.filter(|at| at.value != OFF && !bfd.profiles.contains_key(&at.value)) {
            let known: Vec<&str> = bfd.profiles.keys().map(String::as_str).collect();
            let message = format!("there is no BFD profile `{}`", at.value);
            self.refuse(Fault::new(at.span.clone(), message).help(suggestion(&at.value, &known)));
        }
    }

    fn neighbour(
        &mut self,
        raw: raw::Neighbour,
        address: &At<IpAddr>,
        own: u32,
        listens: bool,
        span: &Span,
    ) -> Neighbour {
        let at = address.value;
        let local_as = raw
            .local_as
            .0
            .map_or(own, |at| self.as_number("local_as", at));
        let remote = self.remote(raw.asn, at, local_as, span);
        let interface = raw.interface.0.map(|at| {
            self.interface(&at);
            at.value
        });
        self.reachable(address, interface.is_some());
        if let Some(passive) = raw.passive.0.as_ref().filter(|it| it.value && !listens) {
            let message = format!("neighbour {at} must connect, but [bgp] listens nowhere");
            let help = "write for instance `listen = [\"0.0.0.0:179\", \"[::]:179\"]` in [bgp]";
            self.refuse(Fault::new(passive.span.clone(), message).help(help));
        }
        let source = raw.source.0.map(|source| self.source(source, at));
        Neighbour {
            address: at,
            port: raw.port.0.map_or(BGP_PORT, |at| at.value.get()),
            remote,
            local_as,
            passive: raw.passive.or(false),
            password: self.password(raw.password, raw.password_file),
            hops: self.hops(raw.ttl_security, raw.multihop, remote, local_as),
            source,
            interface,
            hold_time: self.hold_time(raw.hold_time),
            keepalive: raw
                .keepalive
                .0
                .is_some()
                .then(|| self.period("keepalive", raw.keepalive, HOLD_TIME / 3)),
            connect_retry: self.period("connect_retry", raw.connect_retry, CONNECT_RETRY),
            delay_open: self.period_or_none("delay_open", raw.delay_open, Duration::ZERO),
            families: families(&raw.families),
            extended_next_hop: raw.extended_next_hop.or(true),
            next_hops: self.next_hops(raw.next_hops),
            mss: raw
                .mss
                .0
                .is_some()
                .then(|| self.number("mss", raw.mss, LEAST_MSS, LEAST_MSS..=LARGEST_MSS)),
            max_prefixes: raw
                .max_prefixes
                .0
                .map(|at| at.value)
                .filter(|most| *most > 0),
            bfd: raw
                .bfd
                .0
                .filter(|at| at.value != OFF)
                .map(|profile| Supervision {
                    profile: profile.value,
                    mode: raw.bfd_mode.or(BfdMode::Auto),
                    strict: raw.strict.or(false),
                }),
        }
    }

    fn remote(&mut self, key: Key<AsNumber>, address: IpAddr, own: u32, span: &Span) -> Remote {
        let Some(at) = key.0 else {
            let message = format!("neighbour {address} without `as`");
            let help = "write its number, `as = \"external\"`, `\"internal\"` or `\"auto\"`";
            self.refuse(Fault::new(span.clone(), message).help(help));
            return Remote::External;
        };
        match at.value {
            AsNumber::Internal => Remote::Internal,
            AsNumber::External => Remote::External,
            AsNumber::Auto => Remote::Auto,
            AsNumber::Of(asn) => {
                let asn = self.as_number(
                    "as",
                    At {
                        value: asn,
                        span: at.span,
                    },
                );
                if asn == own {
                    Remote::Internal
                } else {
                    Remote::Number(asn)
                }
            }
        }
    }

    fn reachable(&mut self, address: &At<IpAddr>, has_interface: bool) {
        let At { value, span } = address;
        let link_local = matches!(value, IpAddr::V6(v6) if v6.is_unicast_link_local());
        if link_local && !has_interface {
            let message = format!("{value} says nothing without the link it is on");
            let help = "write `interface = \"...\"` too";
            self.refuse(Fault::new(span.clone(), message).help(help));
        }
        let mapped = matches!(value, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some());
        if value.is_unspecified() || value.is_multicast() || mapped {
            self.refuse(Fault::new(
                span.clone(),
                format!("{value} is no neighbour's address"),
            ));
        }
    }

    fn source(&mut self, source: At<IpAddr>, address: IpAddr) -> IpAddr {
        if source.value.is_ipv4() != address.is_ipv4() {
            let message = format!("{address} cannot be reached from {}", source.value);
            let help = "`source` is an address of this node, of the neighbour's family";
            self.refuse(Fault::new(source.span, message).help(help));
        }
        source.value
    }

    fn hold_time(&mut self, key: Key<super::Period>) -> Duration {
        let span = key.span();
        let hold_time = self.seconds("hold_time", key, HOLD_TIME);
        if !hold_time.is_zero() && hold_time < LEAST_HOLD_TIME {
            let message = "`hold_time` must be at least 3 s (RFC 4271), or \"0\" for never";
            self.refuse(Fault::new(span, message).help("BFD notices sooner"));
        }
        hold_time
    }

    fn hops(&mut self, secure: Key<u8>, multihop: Key<u8>, remote: Remote, own: u32) -> Hops {
        if let (Some(secure), Some(multihop)) = (&secure.0, &multihop.0) {
            let message = "`ttl_security` and `multihop` are both written";
            let fault = Fault::new(multihop.span.clone(), message).first(secure.span.clone());
            self.refuse(fault.help("`ttl_security = 3` is both: at most three hops"));
        }
        if secure.0.is_some() {
            return Hops::Secure(self.number("ttl_security", secure, 1, 1..=254));
        }
        if multihop.0.is_some() {
            return Hops::Within(self.number("multihop", multihop, 1, 1..=255));
        }
        match remote {
            Remote::Internal => Hops::Any,
            Remote::Number(asn) if asn == own => Hops::Any,
            // The neighbour may be external.
            Remote::Number(_) | Remote::External | Remote::Auto => Hops::Link,
        }
    }

    fn next_hops(&mut self, written: Vec<At<IpAddr>>) -> Vec<IpAddr> {
        let mut all: Vec<IpAddr> = Vec::new();
        for At { value, span } in written {
            if all.iter().any(|other| other.is_ipv4() == value.is_ipv4()) {
                self.refuse(Fault::new(span, "two `next_hops` of one family"));
            } else if value.is_unspecified() || value.is_multicast() {
                self.refuse(Fault::new(span, format!("{value} is no next hop")));
            } else {
                all.push(value);
            }
        }
        all
    }

    fn password(&mut self, written: Key<Secret>, file: Key<String>) -> Option<Password> {
        let secret = self.secret(&PASSWORD, written, file)?;
        if secret.missing {
            return None;
        }
        let password = secret.text.trim_end_matches(['\n', '\r']).to_owned();
        if password.is_empty() || password.len() > LONGEST_PASSWORD {
            let message = format!(
                "the password has {} bytes, the kernel takes 1 to {LONGEST_PASSWORD}",
                password.len()
            );
            self.refuse(Fault::new(secret.span, message));
        }
        Some(Password(password))
    }
}

fn families(written: &[At<raw::FamilyName>]) -> BTreeSet<Family> {
    if written.is_empty() {
        return BTreeSet::from([Family::Ipv4, Family::Ipv6]);
    }
    let family = |at: &At<raw::FamilyName>| match at.value {
        raw::FamilyName::Ipv4 => Family::Ipv4,
        raw::FamilyName::Ipv6 => Family::Ipv6,
    };
    written.iter().map(family).collect()
}
