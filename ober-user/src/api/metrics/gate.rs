//! Metrics of `crate::announce::gate`.

use super::{Family, Labels, counter, gauge, one};
use crate::{
    announce::gate::{Standing, State},
    api::status::gate::Gate,
};

pub(super) fn families(gates: &[Gate]) -> Vec<Family> {
    let each = |lines: fn(&Gate) -> Vec<(Labels, u64)>| {
        let of = |gate: &Gate| {
            let vip = one("vip", &gate.vip);
            let lines = lines(gate).into_iter();
            lines
                .map(move |(labels, value)| ([vip.clone(), labels].concat(), value))
                .collect::<Vec<_>>()
        };
        gates.iter().flat_map(of).collect::<Vec<_>>()
    };
    vec![
        gauge(
            "ober_vip_state",
            "1: the gate of the VIP is in this state.",
            each(|gate| {
                let line = |state: State| (one("state", state.name()), gate.state == state);
                let lines = State::ALL.into_iter().map(line);
                lines.map(|(labels, is)| (labels, u64::from(is))).collect()
            }),
        ),
        gauge(
            "ober_vip_standing",
            "1: this is what is announced to the neighbours for the VIP.",
            each(|gate| {
                let line = |it: Standing| (one("standing", it.name()), gate.standing == it);
                let lines = Standing::ALL.into_iter().map(line);
                lines.map(|(labels, is)| (labels, u64::from(is))).collect()
            }),
        ),
        counter(
            "ober_vip_transitions",
            "Changes of the gate's state by reason.",
            each(|gate| {
                let counts = gate.transitions.iter();
                counts
                    .map(|(reason, count)| (one("reason", reason), *count))
                    .collect()
            }),
        ),
        gauge(
            "ober_vip_connections_lost",
            "1: new connections are lost on this node, between XDP and the workers' sockets.",
            each(|gate| vec![(Labels::new(), u64::from(gate.lost))]),
        ),
        gauge(
            "ober_vip_workers_serving",
            "Workers that served in the last round of probes.",
            each(|gate| vec![(Labels::new(), gate.serving as u64)]),
        ),
        gauge(
            "ober_vip_servers_up",
            "Servers up behind the VIP in the eyes of the worker that saw the fewest.",
            each(|gate| {
                let up = gate.servers.iter();
                up.map(|up| (Labels::new(), *up as u64)).collect()
            }),
        ),
    ]
}
