//! A machine's report in the form of `status`.

use std::time::Instant;

use crate::{
    api::status::bgp::{self, Counts, Opened, Said, Told},
    protocols::bgp::{
        configured::Neighbour,
        connection::Remote,
        event::Report,
        message::{Attributes, Kind, NextHop, Notification, Open},
    },
};

pub(super) fn neighbour(settings: &Neighbour, report: &Report, now: Instant) -> bgp::Neighbour {
    let ago = |at: Instant| now.saturating_duration_since(at).as_secs();
    let said = |last: &Option<(Instant, Notification)>| {
        last.as_ref().map(|(at, notification)| Said {
            code: notification.code,
            subcode: notification.subcode,
            name: notification.name().to_owned(),
            text: notification.text(),
            seconds: ago(*at),
        })
    };
    let agreed = report.agreed.as_ref();
    let configured = match settings.remote {
        Remote::Number(asn) => Some(asn),
        Remote::Internal => Some(settings.local_as),
        Remote::External | Remote::Auto => None,
    };
    let messages = Kind::ALL
        .iter()
        .zip(report.counts.sent)
        .zip(report.counts.received);
    bgp::Neighbour {
        address: settings.address,
        asn: agreed.map(|it| it.open.asn).or(configured),
        local_as: settings.local_as,
        id: agreed.map(|it| it.open.id),
        state: report.state.name().to_owned(),
        seconds: ago(report.since),
        flaps: report.flaps,
        hold_time: agreed.map(|it| it.hold_time.map_or(0, |time| time.as_secs())),
        families: agreed
            .map(|it| {
                it.terms
                    .families
                    .iter()
                    .map(|family| family.name().to_owned())
                    .collect()
            })
            .unwrap_or_default(),
        extended_next_hop: agreed.is_some_and(|it| it.terms.extended_next_hop),
        opened: report.opened.as_deref().map(opened),
        signed: settings.password.is_some(),
        bfd: settings.bfd.as_ref().map(|_| {
            let path = report.path.map_or("unknown", |path| path.name());
            path.to_owned()
        }),
        announced: report
            .told
            .iter()
            .map(|(prefix, said)| told(prefix.to_string(), said))
            .collect(),
        messages: messages
            .map(|((kind, sent), received)| (kind.name().to_owned(), Counts { sent, received }))
            .collect(),
        malformed: report.malformed,
        prefixes_received: report.heard as u64,
        last_sent: said(&report.last_sent),
        last_received: said(&report.last_got),
        last_failure: report
            .last_failure
            .as_ref()
            .map(|(_, failure)| failure.to_string()),
        last_failure_seconds: report.last_failure.as_ref().map(|(at, _)| ago(*at)),
    }
}

fn opened(open: &Open) -> Opened {
    let names = open.capabilities.names();
    Opened {
        asn: open.asn,
        id: open.id,
        hold_time: open.hold_time.as_secs(),
        capabilities: names.into_iter().map(ToOwned::to_owned).collect(),
    }
}

fn told(prefix: String, attributes: &Attributes) -> Told {
    let communities = &attributes.communities;
    let plain = communities
        .plain
        .iter()
        .map(|it| format!("{}:{}", it >> 16, it & 0xffff));
    let large = communities
        .large
        .iter()
        .map(|[a, b, c]| format!("{a}:{b}:{c}"));
    let extended = communities.extended.iter().map(|it| format!("0x{it:016x}"));
    Told {
        prefix,
        next_hop: match attributes.next_hop {
            NextHop::V4(address) => address.into(),
            NextHop::V6 { global, .. } => global.into(),
        },
        path: attributes.path.clone(),
        med: attributes.med,
        local_pref: attributes.local_pref,
        communities: plain.chain(large).chain(extended).collect(),
    }
}
