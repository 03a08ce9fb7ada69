//! Metrics of interfaces, programs and maps.

use super::{Family, counter, gauge, one, plain};
use crate::api::status::{DataPlane, Interface, Map};

pub(super) fn families(plane: &DataPlane) -> Vec<Family> {
    let programs = plane.programs.iter().map(|program| {
        let labels = vec![
            ("program", program.name.clone()),
            ("id", program.id.to_string()),
            ("tag", program.tag.clone()),
        ];
        (labels, 1)
    });
    let sizes = plane
        .programs
        .iter()
        .map(|program| (one("program", &program.name), u64::from(program.size)));
    let maps = |value: fn(&Map) -> u64| {
        let line = |map: &Map| (one("map", &map.name), value(map));
        plane.maps.iter().map(line).collect::<Vec<_>>()
    };
    let more = vec![
        gauge(
            "ober_steering",
            "1: packets are sent to their worker's CPU.",
            plain(u64::from(plane.steering)),
        ),
        gauge(
            "ober_program_info",
            "The programs in the kernel.",
            programs.collect(),
        ),
        gauge(
            "ober_program_size_bytes",
            "Translated instructions.",
            sizes.collect(),
        ),
        gauge(
            "ober_map_entries",
            "Places in the map.",
            maps(|map| u64::from(map.entries)),
        ),
        gauge(
            "ober_map_memory_bytes",
            "Memory the kernel accounts to the map.",
            maps(|map| map.bytes),
        ),
    ];
    interfaces(plane).into_iter().chain(more).collect()
}

fn interfaces(plane: &DataPlane) -> Vec<Family> {
    let each = |value: fn(&Interface) -> u64| {
        let interfaces = plane.interfaces.iter();
        interfaces
            .map(|interface| (one("interface", &interface.name), value(interface)))
            .collect::<Vec<_>>()
    };
    // An unknown value has no line.
    let known = |value: fn(&Interface) -> Option<u64>| {
        let lines = plane
            .interfaces
            .iter()
            .filter_map(|interface| Some((one("interface", &interface.name), value(interface)?)));
        lines.collect::<Vec<_>>()
    };
    vec![
        gauge(
            "ober_interface_attached",
            "1: the XDP program runs on the interface.",
            known(|interface| interface.attached.map(u64::from)),
        ),
        gauge(
            "ober_interface_runs",
            "1: the program has met packets there; 0: packets came in and it met none.",
            known(|interface| interface.runs.map(u64::from)),
        ),
        counter(
            "ober_interface_driver_drops",
            "Packets the driver dropped at XDP, because a program said so or in spite of it.",
            known(|interface| interface.driver_drops),
        ),
        counter(
            "ober_unexplained_drops",
            "Packets that drivers dropped at XDP though no program asked for it, since the start of the daemon.",
            plain(plane.unexplained_drops),
        ),
        gauge(
            "ober_interface_mtu",
            "Its MTU.",
            each(|interface| u64::from(interface.mtu)),
        ),
        gauge(
            "ober_interface_fallback",
            "1: XDP is generic although the driver was to run it; `ober-user status` says why.",
            each(|interface| u64::from(interface.why_generic.is_some())),
        ),
        gauge(
            "ober_interface_native",
            "1: in the driver; 0: generic, several times slower.",
            each(|interface| u64::from(interface.native)),
        ),
        gauge(
            "ober_interface_queues",
            "Receive queues; 0: unknown.",
            each(|interface| u64::from(interface.queues)),
        ),
    ]
}
