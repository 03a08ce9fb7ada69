//! Metrics of `crate::protocols::bgp`.

use super::{Family, Labels, counter, gauge, one};
use crate::{
    api::status::bgp::{Counts, Neighbour, PathState, Said},
    protocols::bgp::event::State,
};

pub(super) fn families(neighbours: &[Neighbour]) -> Vec<Family> {
    let each = |value: fn(&Neighbour) -> Option<u64>| {
        let line = |it: &Neighbour| Some((one("neighbour", &it.address), value(it)?));
        neighbours.iter().filter_map(line).collect::<Vec<_>>()
    };
    let states = neighbours.iter().flat_map(|it| {
        State::ALL.map(|state| {
            let labels = two(it, "state", state.name());
            (labels, u64::from(it.state == state))
        })
    });
    vec![
        gauge(
            "ober_bgp_neighbour_state",
            "1: the neighbour is in this state.",
            states.collect(),
        ),
        gauge(
            "ober_bgp_neighbour_state_seconds",
            "How long it has been in its state.",
            each(|it| Some(it.seconds)),
        ),
        counter(
            "ober_bgp_neighbour_flaps",
            "Sessions that were established and ended.",
            each(|it| Some(it.flaps)),
        ),
        gauge(
            "ober_bgp_neighbour_announced_prefixes",
            "Prefixes advertised to the neighbour.",
            each(|it| Some(it.announced.len() as u64)),
        ),
        gauge(
            "ober_bgp_neighbour_received_prefixes",
            "Prefixes the neighbour announces, where max_prefixes limits them.",
            each(|it| Some(it.prefixes_received)),
        ),
        counter(
            "ober_bgp_neighbour_malformed_updates",
            "UPDATEs with a wrong attribute that did not end the session.",
            each(|it| Some(it.malformed)),
        ),
        gauge(
            "ober_bgp_neighbour_bfd_up",
            "1: BFD says the neighbour is there.",
            each(|it| Some(u64::from(it.bfd? == PathState::Up))),
        ),
        counter(
            "ober_bgp_messages_sent",
            "Messages to the neighbour by kind.",
            messages(neighbours, |counts| counts.sent),
        ),
        counter(
            "ober_bgp_messages_received",
            "Messages of the neighbour by kind.",
            messages(neighbours, |counts| counts.received),
        ),
        gauge(
            "ober_bgp_last_notification_sent_info",
            "The last NOTIFICATION to the neighbour.",
            said(neighbours, |it| it.last_sent.as_ref()),
        ),
        gauge(
            "ober_bgp_last_notification_received_info",
            "The last NOTIFICATION of the neighbour.",
            said(neighbours, |it| it.last_received.as_ref()),
        ),
    ]
}

fn two(neighbour: &Neighbour, name: &'static str, value: &str) -> Labels {
    let mut labels = one("neighbour", &neighbour.address);
    labels.extend(one(name, value));
    labels
}

fn messages(neighbours: &[Neighbour], value: fn(&Counts) -> u64) -> Vec<(Labels, u64)> {
    let of = |it: &Neighbour| {
        let line = |(kind, counts): (&String, &Counts)| (two(it, "kind", kind), value(counts));
        it.messages.iter().map(line).collect::<Vec<_>>()
    };
    neighbours.iter().flat_map(of).collect()
}

fn said(neighbours: &[Neighbour], which: fn(&Neighbour) -> Option<&Said>) -> Vec<(Labels, u64)> {
    let line = |it: &Neighbour| {
        let Said { code, subcode, .. } = which(it)?;
        let mut labels = two(it, "code", &code.to_string());
        labels.extend(one("subcode", subcode));
        Some((labels, 1))
    };
    neighbours.iter().filter_map(line).collect()
}
