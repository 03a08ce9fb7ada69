//! Status and counters as `OpenMetrics` text. Every verdict of every service has its line from the first scrape on, at
//! zero if need be: a rate can only be taken of a line that was there before.
//!
//! A file for each part of a status, each of which writes families of metrics; `data_plane` has the counters of the kernel.
//!
//! It never asks anything: it writes what it is given.

use std::{collections::BTreeMap, fmt, net::IpAddr};

use ober_common::abi::Verdict;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, text},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};

use crate::{
    api::status::{Count, Counters, List, ServiceCounters, Stage, Status, Worker},
    dataplane::counters::lookup_names,
};

/// The media type of [`render`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The text a scrape gets.
pub fn render(status: &Status, counters: &Counters) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Families(families(status, counters))));
    let mut out = String::new();
    text::encode(&mut out, &registry)?;
    Ok(out)
}

mod backends;
mod bfd;
mod bgp;
mod certificates;
mod data_plane;
mod disk;
mod gate;
mod reconcile;
mod vrrp;

type Labels = Vec<(&'static str, String)>;

#[derive(Clone, Copy, Debug)]
enum Kind {
    Counter,
    Gauge,
}

/// A metric and its lines.
#[derive(Debug)]
struct Family {
    name: &'static str,
    help: &'static str,
    kind: Kind,
    lines: Vec<(Labels, u64)>,
}

#[derive(Debug)]
struct Families(Vec<Family>);

impl Collector for Families {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for Family {
            name,
            help,
            kind,
            lines,
        } in &self.0
        {
            let kind_of = match kind {
                Kind::Counter => prometheus_client::metrics::MetricType::Counter,
                Kind::Gauge => prometheus_client::metrics::MetricType::Gauge,
            };
            let mut family = encoder.encode_descriptor(name, help, None, kind_of)?;
            if let [(labels, value)] = lines.as_slice()
                && labels.is_empty()
            {
                line(family, *kind, *value)?;
                continue;
            }
            for (labels, value) in lines {
                line(family.encode_family(labels)?, *kind, *value)?;
            }
        }
        Ok(())
    }
}

fn line(encoder: MetricEncoder<'_>, kind: Kind, value: u64) -> fmt::Result {
    match kind {
        Kind::Counter => ConstCounter::new(value).encode(encoder),
        Kind::Gauge => ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)).encode(encoder),
    }
}

fn gauge(name: &'static str, help: &'static str, lines: Vec<(Labels, u64)>) -> Family {
    Family {
        name,
        help,
        kind: Kind::Gauge,
        lines,
    }
}

fn counter(name: &'static str, help: &'static str, lines: Vec<(Labels, u64)>) -> Family {
    Family {
        kind: Kind::Counter,
        ..gauge(name, help, lines)
    }
}

fn families(status: &Status, counters: &Counters) -> Vec<Family> {
    let mut all = node(status);
    all.extend(disk::families(status));
    all.extend(traffic(counters));
    all.extend(reconcile::families(&status.reconcile));
    all.extend(workers(&status.workers));
    all.extend(lists(&status.lists));
    all.extend(data_plane::families(&status.data_plane));
    all.extend(backends::families(&status.backends));
    all.extend(certificates::families(&status.certificates));
    all.extend(gate::families(&status.gate));
    all.extend(bgp::families(&status.bgp));
    all.extend(bfd::families(&status.bfd));
    all.extend(vrrp::families(&status.vrrp));
    all
}

fn node(status: &Status) -> Vec<Family> {
    let build = vec![
        ("version", status.version.clone()),
        ("instance", status.instance.clone()),
    ];
    let present = status.services.iter().map(|service| {
        let place = place(&service.name, Some(service.vip), Some(service.port));
        (place, u64::from(service.vip_present))
    });
    let started = status.started.map(|at| (Labels::new(), at));
    let mut configuration = status.configuration.iter();
    let doubt = configuration.any(|configuration| configuration.doubt.is_some());
    vec![
        gauge("ober_build_info", "What runs here.", vec![(build, 1)]),
        gauge(
            "ober_healthy",
            "1: all interfaces are attached and a worker is in every ring.",
            plain(u64::from(status.healthy)),
        ),
        gauge(
            "ober_configuration_in_doubt",
            "1: a change failed, and so did the way back: the node is not as the configuration in force says.",
            plain(u64::from(doubt)),
        ),
        gauge(
            "ober_start_time_seconds",
            "When the daemon started, in seconds since 1970.",
            started.into_iter().collect(),
        ),
        gauge(
            "ober_service_vip_present",
            "1: the VIP is an address of this node.",
            present.collect(),
        ),
    ]
}

fn traffic(counters: &Counters) -> Vec<Family> {
    let verdicts = |what: Part| each(counters, |service| by_verdict(&service.verdicts, what));
    let workers = |what: Part| {
        each(counters, |service| {
            let workers = service.workers.iter();
            let line = |(number, count): (&usize, &Count)| (one("worker", number), what(count));
            workers.map(line).collect()
        })
    };
    let cpus = |what: Part| each(counters, |service| by_cpu(service, what));
    let lookups = each(counters, |service| {
        let count = |name| service.lookups.get(name).copied().unwrap_or_default();
        lookup_names()
            .map(|name| (one("result", name), count(name)))
            .collect()
    });
    vec![
        counter("ober_packets", "Packets by verdict.", verdicts(PACKETS)),
        counter(
            "ober_bytes",
            "Bytes of whole frames by verdict.",
            verdicts(BYTES),
        ),
        counter(
            "ober_worker_packets",
            "Packets let through to a worker.",
            workers(PACKETS),
        ),
        counter(
            "ober_worker_bytes",
            "Bytes of whole frames let through to a worker.",
            workers(BYTES),
        ),
        counter(
            "ober_cpu_packets",
            "Packets by verdict and the CPU they came in on.",
            cpus(PACKETS),
        ),
        counter(
            "ober_cpu_bytes",
            "Bytes of whole frames by verdict and the CPU they came in on.",
            cpus(BYTES),
        ),
        counter(
            "ober_lookups",
            "New connections by what the socket lookup did.",
            lookups,
        ),
        counter(
            "ober_syns",
            "SYNs of TCP let through to a worker. Each leads to a socket lookup, unless this node drops it before.",
            each(counters, |service| vec![(Labels::new(), service.syns)]),
        ),
        counter(
            "ober_steer_dropped",
            "Steered packets that the CPU they were for had no room for.",
            counters
                .steer_dropped
                .iter()
                .map(|(cpu, lost)| (one("cpu", cpu), *lost))
                .collect(),
        ),
    ]
}

type Part = fn(&Count) -> u64;
const PACKETS: Part = |count| count.packets;
const BYTES: Part = |count| count.bytes;

/// The lines of every service, each with the labels of the service before its own.
fn each(
    counters: &Counters,
    lines: impl Fn(&ServiceCounters) -> Vec<(Labels, u64)>,
) -> Vec<(Labels, u64)> {
    let of = |service: &ServiceCounters| {
        let place = place(&service.name, service.vip, service.port);
        let own = lines(service).into_iter();
        own.map(move |(labels, value)| ([place.clone(), labels].concat(), value))
            .collect::<Vec<_>>()
    };
    counters.services.iter().flat_map(of).collect()
}

fn by_verdict(counts: &BTreeMap<String, Count>, what: Part) -> Vec<(Labels, u64)> {
    let line = |verdict: Verdict| {
        let count = counts.get(verdict.name()).map_or(0, what);
        (one("verdict", verdict.name()), count)
    };
    Verdict::ALL.into_iter().map(line).collect()
}

fn by_cpu(service: &ServiceCounters, what: Part) -> Vec<(Labels, u64)> {
    let of = |(cpu, counts): (&u32, &BTreeMap<String, Count>)| {
        let cpu = one("cpu", cpu);
        let lines = counts.iter().map(move |(verdict, count)| {
            ([cpu.clone(), one("verdict", verdict)].concat(), what(count))
        });
        lines.collect::<Vec<_>>()
    };
    service.cpus.iter().flat_map(of).collect()
}

fn workers(workers: &[Worker]) -> Vec<Family> {
    let lines = |value: fn(&Worker) -> u64| {
        let line = |worker: &Worker| (one("worker", &worker.number), value(worker));
        workers.iter().map(line).collect::<Vec<_>>()
    };
    let cpus = workers
        .iter()
        .filter_map(|worker| Some((one("worker", &worker.number), u64::from(worker.cpu?))));
    vec![
        gauge(
            "ober_worker_up",
            "1: the worker's process is there and ready.",
            lines(|worker| u64::from(matches!(worker.state, Stage::Running | Stage::Replacing))),
        ),
        gauge(
            "ober_worker_in_ring",
            "1: new connections go to the worker.",
            lines(|worker| u64::from(worker.in_ring)),
        ),
        gauge(
            "ober_worker_cpu",
            "The CPU the worker is pinned to.",
            cpus.collect(),
        ),
        gauge(
            "ober_worker_draining",
            "Replaced processes that finish their connections.",
            lines(|worker| worker.draining.len() as u64),
        ),
        gauge(
            "ober_worker_draining_connections",
            "Connections of clients that replaced processes still have.",
            lines(|worker| {
                let counted = worker.finishing.iter().filter_map(|it| it.connections);
                counted.sum::<usize>() as u64
            }),
        ),
        counter(
            "ober_worker_restarts",
            "Ends of the worker that the daemon did not ask for.",
            lines(|worker| u64::from(worker.restarts)),
        ),
        gauge(
            "ober_worker_outdated",
            "Programs and libraries the worker runs that were replaced on disk since.",
            lines(|worker| worker.outdated.len() as u64),
        ),
    ]
}

fn lists(lists: &[List]) -> Vec<Family> {
    let lines = |value: fn(&List) -> u64| {
        let line = |list: &List| (one("list", &list.name), value(list));
        lists.iter().map(line).collect::<Vec<_>>()
    };
    let synced = lists
        .iter()
        .filter_map(|list| Some((one("list", &list.name), list.synced?)));
    vec![
        gauge(
            "ober_list_addresses",
            "Addresses on the list; an IPv6 prefix counts as one.",
            lines(|list| list.count),
        ),
        gauge(
            "ober_list_unresolved",
            "Names of the list that did not resolve last time.",
            lines(|list| list.unresolved.len() as u64),
        ),
        gauge(
            "ober_list_failed",
            "1: the last sync failed and the list before it is in force.",
            lines(|list| u64::from(list.error.is_some())),
        ),
        gauge(
            "ober_list_last_sync_timestamp_seconds",
            "When a sync of the list was last applied, in seconds since 1970.",
            synced.collect(),
        ),
    ]
}

fn one(name: &'static str, value: &(impl ToString + ?Sized)) -> Labels {
    vec![(name, value.to_string())]
}

fn plain(value: u64) -> Vec<(Labels, u64)> {
    vec![(Labels::new(), value)]
}

/// Labels of a service; VIP and port are empty for the node itself, so that all lines have the same labels.
fn place(name: &str, vip: Option<IpAddr>, port: Option<u16>) -> Labels {
    vec![
        ("service", name.to_owned()),
        ("vip", vip.map(|vip| vip.to_string()).unwrap_or_default()),
        (
            "port",
            port.map(|port| port.to_string()).unwrap_or_default(),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::api::sample;

    fn text() -> String {
        render(&sample::status(), &sample::counters()).unwrap()
    }

    #[test]
    fn every_verdict_of_every_service_has_a_metric_even_at_zero() {
        let text = render(&sample::status(), &sample::counters()).unwrap();
        for verdict in Verdict::ALL {
            for place in [
                r#"service="node",vip="",port="""#,
                r#"service="s3",vip="192.0.2.10",port="443""#,
            ] {
                for metric in ["ober_packets_total", "ober_bytes_total"] {
                    let line = format!("{metric}{{{place},verdict=\"{}\"}} ", verdict.name());
                    assert_eq!(text.matches(&line).count(), 1, "{line}\n{text}");
                }
            }
        }
    }

    #[test]
    fn each_metric_carries_its_number_under_its_labels() {
        let text = text();
        for line in [
            r#"ober_packets_total{service="s3",vip="192.0.2.10",port="443",verdict="denied"} 7"#,
            r#"ober_bytes_total{service="s3",vip="192.0.2.10",port="443",verdict="denied"} 700"#,
            r#"ober_packets_total{service="s3",vip="192.0.2.10",port="443",verdict="fragment"} 0"#,
            r#"ober_worker_packets_total{service="s3",vip="192.0.2.10",port="443",worker="1"} 30"#,
            r#"ober_cpu_packets_total{service="s3",vip="192.0.2.10",port="443",cpu="1",verdict="denied"} 7"#,
            r#"ober_lookups_total{service="s3",vip="192.0.2.10",port="443",result="assigned"} 5"#,
            r#"ober_steer_dropped_total{cpu="0"} 0"#,
            r#"ober_steer_dropped_total{cpu="1"} 4"#,
            r#"ober_lookups_total{service="s3",vip="192.0.2.10",port="443",result="no_socket"} 0"#,
            r#"ober_worker_up{worker="0"} 1"#,
            r#"ober_worker_up{worker="1"} 0"#,
            r#"ober_worker_restarts_total{worker="1"} 3"#,
            r#"ober_list_addresses{list="frontend-http"} 12"#,
            r#"ober_list_unresolved{list="frontend-http"} 1"#,
            r#"ober_list_last_sync_timestamp_seconds{list="frontend-http"} 1700000000"#,
            r#"ober_interface_attached{interface="in0"} 1"#,
            r#"ober_interface_runs{interface="in0"} 1"#,
            r#"ober_interface_native{interface="in0"} 1"#,
            r#"ober_interface_fallback{interface="in0"} 0"#,
            r#"ober_interface_mtu{interface="in0"} 1500"#,
            r#"ober_interface_driver_drops_total{interface="in0"} 7"#,
            "ober_unexplained_drops_total 2",
            r#"ober_program_info{program="ober",id="17",tag="00112233"} 1"#,
            r#"ober_map_memory_bytes{map="PAGES"} 8388608"#,
            r#"ober_build_info{version="0.1.0",instance="main"} 1"#,
            r#"ober_bgp_neighbour_state{neighbour="192.0.2.254",state="established"} 1"#,
            r#"ober_bgp_neighbour_state{neighbour="192.0.2.254",state="idle"} 0"#,
            r#"ober_bgp_neighbour_flaps_total{neighbour="192.0.2.254"} 2"#,
            r#"ober_bgp_neighbour_announced_prefixes{neighbour="192.0.2.254"} 1"#,
            r#"ober_bgp_messages_sent_total{neighbour="192.0.2.254",kind="update"} 3"#,
            r#"ober_bgp_last_notification_received_info{neighbour="192.0.2.254",code="6",subcode="2"} 1"#,
            "ober_healthy 1",
            r#"ober_backend_servers{backend="rgw"} 2"#,
            r#"ober_backend_servers_down{backend="rgw"} 1"#,
            r#"ober_server_up{backend="rgw",server="rgw01",address="10.0.0.1:7480"} 0"#,
            r#"ober_discovery_failures_total{backend="rgw",source="srv _s3._tcp.test"} 3"#,
            r#"ober_discovery_failing{backend="rgw",source="srv _s3._tcp.test"} 1"#,
            r#"ober_certificate_not_after_timestamp_seconds{certificate="/etc/ober/s3.pem",names="s3.test,*.s3.test"} 1700864065"#,
            r#"ober_certificate_failed{certificate="/etc/ober/s3.pem",names="s3.test,*.s3.test"} 1"#,
            "ober_certificate_files_refused 1",
            r#"ober_certificate_worker_behind{worker="1"} 1"#,
            "ober_certificate_changes_total 4",
            r#"ober_acme_failures{names="s3.test"} 2"#,
            r#"ober_vip_state{vip="192.0.2.10",state="up"} 1"#,
            r#"ober_vip_state{vip="192.0.2.10",state="down"} 0"#,
            r#"ober_vip_standing{vip="192.0.2.10",standing="announced"} 1"#,
            r#"ober_vip_transitions_total{vip="192.0.2.10",reason="served"} 2"#,
            r#"ober_vip_workers_serving{vip="192.0.2.10"} 2"#,
            r#"ober_vip_servers_up{vip="192.0.2.10"} 3"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    /// What a strict parser of `OpenMetrics` refuses.
    #[test]
    fn each_metric_family_is_declared_once_followed_by_its_own_lines() {
        let text = text();
        let (mut declared, mut taken, mut lines) =
            (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let mut family = ("", "");
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                family = rest.split_once(' ').unwrap();
                let (name, kind) = family;
                let good =
                    |letter: char| letter.is_ascii_lowercase() || "_0123456789".contains(letter);
                assert!(
                    name.starts_with("ober_") && name.chars().all(good),
                    "{line}"
                );
                assert!(
                    declared.insert(format!("TYPE {name}")),
                    "declared twice: {line}"
                );
                assert!(!name.ends_with("_total"), "{line}");
                let suffixes: &[&str] = if kind == "counter" {
                    &["", "_total", "_created"]
                } else {
                    &[""]
                };
                for suffix in suffixes {
                    assert!(taken.insert(format!("{name}{suffix}")), "{line} clashes");
                }
            } else if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').unwrap();
                assert!(
                    declared.insert(format!("HELP {name}")),
                    "explained twice: {line}"
                );
                assert!(!help.is_empty(), "{line}");
            } else if !line.starts_with('#') {
                let (name, kind) = family;
                let suffix = if kind == "counter" { "_total" } else { "" };
                let (place, value) = line.rsplit_once(' ').unwrap();
                let found = place.split('{').next().unwrap();
                assert_eq!(found, format!("{name}{suffix}"), "{line}");
                assert!(value.parse::<f64>().is_ok(), "{line}");
                assert!(lines.insert(place), "twice: {line}");
            }
        }
        assert!(
            declared.contains("TYPE ober_vrrp_conflicts") && declared.len() > 100,
            "{}",
            declared.len()
        );
    }

    #[test]
    fn a_name_cannot_break_out_of_its_label() {
        let mut status = sample::status();
        status.lists[0].name = "a\"b\\c\nd".into();
        let text = render(&status, &Counters::default()).unwrap();
        assert!(
            text.contains(r#"ober_list_addresses{list="a\"b\\c\nd"} 12"#),
            "{text}"
        );
    }
}
