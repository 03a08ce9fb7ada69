//! `[[bgp.announcements]]`.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{At, Fault, Judge, community::Aliases, raw};
use crate::{config::text::notation::Prefix, protocols::bgp::configured::Announcement};

/// Some routers drop paths with more ASs, and fewer are enough to lose.
pub(super) const MOST_PREPENDED: u8 = 32;

impl Judge<'_> {
    pub(super) fn announcement(
        &mut self,
        raw: raw::Announcement,
        aliases: &Aliases,
        vips: &[IpAddr],
        neighbours: &[IpAddr],
    ) -> Announcement {
        let prepend = raw.prepend.0.is_some();
        let depth = self.number("prepend", raw.prepend, 0, 0..=MOST_PREPENDED);
        let aggregates = raw.aggregates.map(|written| self.aggregates(written));
        let as_path = raw.as_path.map(|written| self.as_path(written));
        Announcement {
            as_path,
            vips: self.among("VIP of a service", raw.vips, vips),
            neighbours: self.among("neighbour", raw.neighbours, neighbours),
            announce: raw.announce.0.map(|at| at.value),
            med: raw.med.0.map(|at| at.value),
            local_pref: raw.local_pref.0.map(|at| at.value),
            prepend: prepend.then_some(depth),
            communities: raw
                .communities
                .map(|written| self.communities(written, aliases)),
            host_routes: raw
                .host_routes
                .0
                .map(|at| at.value)
                .or(aggregates.is_some().then_some(false)),
            aggregates,
        }
    }

    fn as_path(&mut self, written: Vec<At<u32>>) -> Vec<u32> {
        if let Some(at) = written.get(usize::from(MOST_PREPENDED)) {
            let message = format!("more than {MOST_PREPENDED} autonomous systems in `as_path`");
            let help = "some routers drop such a path; fewer are long enough to lose";
            self.refuse(Fault::new(at.span.clone(), message).help(help));
        }
        let number = |at| self.as_number("as_path", at);
        written.into_iter().map(number).collect()
    }

    fn among(&mut self, what: &str, written: Vec<At<IpAddr>>, known: &[IpAddr]) -> Vec<IpAddr> {
        let mut all = Vec::new();
        for At { value, span } in written {
            if !known.contains(&value) {
                let known: Vec<String> = known.iter().map(IpAddr::to_string).collect();
                let help = format!("known: {}", known.join(", "));
                self.refuse(Fault::new(span, format!("{value} is no {what}")).help(help));
            }
            all.push(value);
        }
        all
    }

    fn aggregates(&mut self, written: Vec<At<Prefix>>) -> Vec<IpNet> {
        let mut all = Vec::new();
        for At {
            value: Prefix(value),
            span,
        } in written
        {
            if value != value.trunc() {
                let message = format!("{value} has bits set behind its length");
                let help = format!("write \"{}\"", value.trunc());
                self.refuse(Fault::new(span, message).help(help));
            }
            all.push(value);
        }
        all
    }
}
