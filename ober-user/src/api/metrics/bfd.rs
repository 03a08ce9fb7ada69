//! Metrics of `crate::protocols::bfd`.

use super::{Family, Labels, counter, gauge, one, plain};
use crate::{
    api::status::bfd::{Bfd, KERNEL, Session},
    protocols::bfd::{Refusal, State},
};

pub(super) fn families(bfd: &Bfd) -> Vec<Family> {
    let each = |value: fn(&Session) -> u64| {
        let lines = bfd.sessions.iter();
        lines
            .map(|session| (place(session), value(session)))
            .collect()
    };
    let known = |value: fn(&Session) -> Option<u64>| {
        let lines = bfd.sessions.iter();
        lines
            .filter_map(|session| Some((place(session), value(session)?)))
            .collect()
    };
    let mut all = vec![
        gauge(
            "ober_bfd_realtime",
            "1: the thread of BFD is SCHED_FIFO; 0: it may be some milliseconds late.",
            plain(u64::from(bfd.realtime)),
        ),
        gauge(
            "ober_bfd_transmit_interval_microseconds",
            "Between our packets, as negotiated.",
            known(|session| session.transmit_microseconds),
        ),
        gauge(
            "ober_bfd_detection_time_microseconds",
            "Silence after which the peer is taken for gone, as negotiated.",
            known(|session| session.detection_microseconds),
        ),
        gauge(
            "ober_bfd_last_late_gap_microseconds",
            "Silence before the last packet that came late.",
            known(|session| session.last_late.map(|late| late.gap_microseconds)),
        ),
        counter(
            "ober_bfd_ups",
            "How often it came up.",
            each(|session| session.ups),
        ),
        counter(
            "ober_bfd_failures",
            "How often it went down without an administrator's word.",
            each(|session| session.failures),
        ),
        counter(
            "ober_bfd_packets_received",
            "Packets that were valid.",
            each(|session| session.received),
        ),
        counter(
            "ober_bfd_packets_sent",
            "Packets sent.",
            each(|session| session.sent),
        ),
        counter(
            "ober_bfd_send_failures",
            "Packets that could not be sent.",
            each(|session| session.send_failures),
        ),
        counter(
            "ober_bfd_packets_late",
            "Packets more than a quarter of an interval late.",
            each(|session| session.late),
        ),
    ];
    all.push(states(bfd));
    all.extend(drops(bfd));
    all
}

fn place(session: &Session) -> Labels {
    vec![
        ("peer", session.peer.to_string()),
        ("interface", session.interface.clone().unwrap_or_default()),
    ]
}

fn states(bfd: &Bfd) -> Family {
    let lines = bfd.sessions.iter().flat_map(|session| {
        State::ALL.map(|state| {
            let mut labels = place(session);
            labels.push(("state", state.name().to_owned()));
            (labels, u64::from(session.state == state))
        })
    });
    gauge(
        "ober_bfd_state",
        "1: the session is in this state.",
        lines.collect(),
    )
}

fn drops(bfd: &Bfd) -> [Family; 2] {
    let count = |drops: &std::collections::BTreeMap<String, u64>, why: &str| {
        drops.get(why).copied().unwrap_or_default()
    };
    let sessions = bfd.sessions.iter().flat_map(|session| {
        Refusal::ALL.map(|why| {
            let mut labels = place(session);
            labels.push(("reason", why.name().to_owned()));
            (labels, count(&session.drops, why.name()))
        })
    });
    let reasons = Refusal::ALL.into_iter().map(Refusal::name).chain([KERNEL]);
    let strays = reasons.map(|why| (one("reason", why), count(&bfd.drops, why)));
    [
        counter(
            "ober_bfd_packets_dropped",
            "Packets of a session's peer that were dropped.",
            sessions.collect(),
        ),
        counter(
            "ober_bfd_strays",
            "Packets that were for no session; reason kernel: dropped before the daemon read them, from a sender that is no \
             peer, with too low a TTL, or because the queue of the socket was full.",
            strays.collect(),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use crate::api::{metrics::render, sample, status::Counters};

    #[test]
    fn every_bfd_state_and_drop_reason_has_its_metric_line() {
        let text = render(&sample::status(), &Counters::default()).unwrap();
        for line in [
            r#"ober_bfd_state{peer="192.0.2.1",interface="",state="up"} 1"#,
            r#"ober_bfd_state{peer="192.0.2.1",interface="",state="down"} 0"#,
            r#"ober_bfd_detection_time_microseconds{peer="192.0.2.1",interface=""} 150000"#,
            r#"ober_bfd_packets_dropped_total{peer="192.0.2.1",interface="",reason="ttl"} 2"#,
            r#"ober_bfd_packets_dropped_total{peer="fe80::1",interface="eth1",reason="ttl"} 0"#,
            r#"ober_bfd_failures_total{peer="fe80::1",interface="eth1"} 1"#,
            r#"ober_bfd_strays_total{reason="version"} 5"#,
            "ober_bfd_realtime 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }
}
