//! Reads the kernel's counters, per CPU and per worker, into [`Counters`].

use std::{collections::BTreeMap, net::IpAddr, path::Path};

use aya::maps::{MapError, PerCpuValues};
use ober_common::abi::{
    self, BANK, BANKS, CELLS, CPUS, SERVICES, Service, VERDICTS, Verdict, VerdictCounters, WORKERS,
    WorkerCounters,
};
use serde::{Deserialize, Serialize};

use crate::dataplane::{Maps, losses_counted, maps::Plain};

/// The name under which packets of no service are counted.
pub const NODE: &str = "node";

/// A service and the index of its counters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedService {
    /// 1 to 255.
    pub index: u32,
    pub name: String,
    pub vip: IpAddr,
    pub port: u16,
}

/// Every counter of the data plane.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Counters {
    /// The first is the node itself, with the packets of no service.
    pub services: Vec<ServiceCounters>,
    /// Steered packets that were lost on their way, by the CPU they were sent to.
    pub steer_dropped: BTreeMap<u32, u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ServiceCounters {
    pub index: u32,
    /// `node` for packets of no service.
    pub name: String,
    pub vip: Option<IpAddr>,
    pub port: Option<u16>,
    /// By verdict name, summed over CPUs and workers; verdicts that never happened are left out.
    pub verdicts: BTreeMap<String, Count>,
    /// The same, per CPU.
    pub cpus: BTreeMap<u32, BTreeMap<String, Count>>,
    /// By worker number: the sum of packets passed and packets steered to the worker's CPU.
    pub workers: BTreeMap<usize, Count>,
    /// New connections by what the socket lookup did: `assigned`, `denied`, `no_worker`, `no_socket`.
    pub lookups: BTreeMap<String, u64>,
    /// SYNs of TCP that XDP let go to a worker. Each makes the kernel look for a socket, unless something on this node
    /// loses it before that.
    #[serde(default)]
    pub syns: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    pub packets: u64,
    pub bytes: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "read place {index} of the counters in map {map}: {source}; run as root or with CAP_BPF"
    )]
    Read {
        map: &'static str,
        index: u32,
        source: MapError,
    },
    #[error(
        "read the counters of service {name}: its index {index} is not below {SERVICES}; reload the configuration"
    )]
    Index { name: String, index: u32 },
}

/// Reads every counter: the node's own first, then those of the services in the order given.
pub fn read(maps: &Maps, names: &[NamedService]) -> Result<Counters, Error> {
    let banks = Banks::read(maps)?;
    let node = one(maps, &banks, 0, NODE)?;
    let services = names.iter().map(|service| {
        Ok(ServiceCounters {
            vip: Some(service.vip),
            port: Some(service.port),
            ..one(maps, &banks, service.index, &service.name)?
        })
    });
    let services = std::iter::once(Ok(node)).chain(services);
    Ok(Counters {
        services: services.collect::<Result<_, Error>>()?,
        steer_dropped: steer_dropped(maps)?,
    })
}

fn one(maps: &Maps, banks: &Banks, index: u32, name: &str) -> Result<ServiceCounters, Error> {
    if index >= SERVICES {
        return Err(Error::Index {
            name: name.into(),
            index,
        });
    }
    let error = |map| move |source| Error::Read { map, index, source };
    let cells = banks.join(maps, index)?;
    let lookups: Vec<abi::Lookups> = maps
        .lookups
        .get(&index, 0)
        .map_err(error("LOOKUPS"))?
        .iter()
        .map(|plain| plain.0)
        .collect();
    Ok(ServiceCounters {
        index,
        name: name.into(),
        syns: syns(maps, index)?,
        ..tally(&cells, &lookups)
    })
}

fn syns(maps: &Maps, index: u32) -> Result<u64, Error> {
    let error = |source| Error::Read {
        map: "SYNS",
        index,
        source,
    };
    Ok(maps.syns.get(&index, 0).map_err(error)?.iter().sum())
}

/// SYNs of a service that XDP let go to a worker, and lookups of a socket for it. The SYNs are read first, so each of them
/// that is missing among the lookups has not arrived there yet, or never will.
pub fn arrivals(maps: &Maps, index: u32) -> Result<Arrivals, Error> {
    let syns = syns(maps, index)?;
    let error = |source| Error::Read {
        map: "LOOKUPS",
        index,
        source,
    };
    let per_cpu = maps.lookups.get(&index, 0).map_err(error)?;
    let lookups = per_cpu
        .iter()
        .flat_map(|it| LOOKUPS.map(|(_, of)| of(&it.0)))
        .fold(0, u64::saturating_add);
    Ok(Arrivals { syns, lookups })
}

/// New connections of a service as XDP and as the socket lookup counted them, since the maps were made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arrivals {
    pub syns: u64,
    pub lookups: u64,
}

/// Every cell of a service, one array for each CPU. See [`abi::cell`].
pub fn cells(maps: &Maps, index: u32) -> Result<Vec<[abi::Count; CELLS]>, Error> {
    Banks::read(maps)?.join(maps, index)
}

/// The same for several services; the values that they share are read once.
pub fn table(
    maps: &Maps,
    services: std::ops::Range<u32>,
) -> Result<Vec<Vec<[abi::Count; CELLS]>>, Error> {
    let banks = Banks::read(maps)?;
    services.map(|index| banks.join(maps, index)).collect()
}

/// The cells that name no worker, of all services and CPUs, one value for each bank.
struct Banks(Vec<PerCpuValues<Plain<VerdictCounters>>>);

impl Banks {
    fn read(maps: &Maps) -> Result<Self, Error> {
        let map = "VERDICT_COUNTERS";
        let bank = |index| {
            let error = |source| Error::Read { map, index, source };
            maps.verdicts.get(&index, 0).map_err(error)
        };
        (0u32..)
            .take(BANKS)
            .map(bank)
            .collect::<Result<_, Error>>()
            .map(Self)
    }

    /// Every cell of a service, one array for each CPU.
    fn join(&self, maps: &Maps, index: u32) -> Result<Vec<[abi::Count; CELLS]>, Error> {
        let map = "WORKER_COUNTERS";
        let error = |source| Error::Read { map, index, source };
        let workers = maps.workers.get(&index, 0).map_err(error)?;
        let place = index as usize % SERVICES as usize;
        let on_cpu = |(cpu, workers): (usize, &Plain<WorkerCounters>)| {
            let mut cells = [abi::Count::default(); CELLS];
            for (part, bank) in cells.chunks_exact_mut(BANK).zip(&self.0) {
                part.copy_from_slice(&bank[cpu].0.services[place]);
            }
            cells[VERDICTS..].copy_from_slice(&workers.0.cells);
            cells
        };
        Ok(workers.iter().enumerate().map(on_cpu).collect())
    }
}

/// Steered packets that were lost; `None`: the programs that count them are not attached, or the counters cannot be read.
pub fn lost(maps: &Maps, directory: &Path) -> Option<u64> {
    let counted = losses_counted(directory);
    let lost = steer_dropped(maps).ok().filter(|_| counted)?;
    Some(lost.into_values().fold(0, u64::saturating_add))
}

/// Packets whose headers the program could not read.
pub fn unreadable(maps: &Maps) -> u64 {
    let cells = cells(maps, 0).unwrap_or_default();
    let packets = |cells: &[abi::Count; CELLS]| cells[abi::cell(Verdict::Unreadable, 0)].packets;
    cells.iter().map(packets).fold(0, u64::saturating_add)
}

/// Steered packets that were lost, for each CPU that packets were ever steered to.
pub fn steer_dropped(maps: &Maps) -> Result<BTreeMap<u32, u64>, Error> {
    let map = "STEER_DROPS";
    let lost = |index: u32| {
        let error = |source| Error::Read { map, index, source };
        let counts = maps.steer_drops.get(&index, 0).map_err(error)?;
        let lost = counts.iter().map(|count| count.0.queue + count.0.memory);
        Ok((index, lost.fold(0, u64::saturating_add)))
    };
    let queues = (0..CPUS).filter(|cpu| maps.cpus.get(*cpu, 0).is_ok());
    queues.map(lost).collect()
}

/// Sums over all services and CPUs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Packets that the XDP program has judged.
    pub packets: u64,
    /// Those of them that it dropped.
    pub drops: u64,
}

/// Sums up all that the XDP program counted; per worker, only for services in force.
pub fn totals(maps: &Maps) -> Result<Totals, Error> {
    let mut totals = Totals::default();
    for (bank, cpus) in Banks::read(maps)?.0.iter().enumerate() {
        let verdicts = Verdict::ALL.get(bank * BANK..).unwrap_or_default();
        let services = cpus.iter().flat_map(|cpu| &cpu.0.services);
        for (verdict, count) in services.flat_map(|it| verdicts.iter().zip(it)) {
            totals.packets = totals.packets.saturating_add(count.packets);
            if verdict.drops() {
                totals.drops = totals.drops.saturating_add(count.packets);
            }
        }
    }
    for Service { index, .. } in maps.services() {
        let map = "WORKER_COUNTERS";
        let error = |source| Error::Read { map, index, source };
        for cpu in maps.workers.get(&index, 0).map_err(error)?.iter() {
            let packets = cpu.0.cells.iter().map(|count| count.packets);
            totals.packets = packets.fold(totals.packets, u64::saturating_add);
        }
    }
    Ok(totals)
}

/// Sums up what each CPU counted; both slices have one value for each CPU.
fn tally(cells: &[[abi::Count; CELLS]], lookups: &[abi::Lookups]) -> ServiceCounters {
    let mut sums = ServiceCounters::default();
    for (cpu, counters) in (0u32..).zip(cells) {
        for (cell, count) in counters.iter().enumerate() {
            let (Some((verdict, worker)), false) = (meaning(cell), count.packets == 0) else {
                continue;
            };
            let name = verdict.name();
            add(sums.verdicts.entry(name.into()).or_default(), count);
            let on_cpu = sums.cpus.entry(cpu).or_default();
            add(on_cpu.entry(name.into()).or_default(), count);
            if let Some(worker) = worker {
                add(sums.workers.entry(worker).or_default(), count);
            }
        }
    }
    for (name, of) in LOOKUPS {
        let count = lookups.iter().map(of).fold(0, u64::saturating_add);
        if count > 0 {
            sums.lookups.insert(name.into(), count);
        }
    }
    sums
}

type OfLookups = fn(&abi::Lookups) -> u64;

/// What the socket lookup counts, with the names that metrics and commands use.
const LOOKUPS: [(&str, OfLookups); 4] = [
    ("assigned", |lookups| lookups.assigned),
    ("denied", |lookups| lookups.denied),
    ("no_worker", |lookups| lookups.no_worker),
    ("no_socket", |lookups| lookups.no_socket),
];

/// The names of what the socket lookup counts.
pub fn lookup_names() -> impl Iterator<Item = &'static str> {
    LOOKUPS.iter().map(|(name, _)| *name)
}

fn add(sum: &mut Count, count: &abi::Count) {
    sum.packets = sum.packets.saturating_add(count.packets);
    sum.bytes = sum.bytes.saturating_add(count.bytes);
}

/// The inverse of [`abi::cell`].
fn meaning(cell: usize) -> Option<(Verdict, Option<usize>)> {
    if cell < VERDICTS {
        return Verdict::ALL.get(cell).map(|verdict| (*verdict, None));
    }
    let place = cell - VERDICTS;
    let verdict = if place < WORKERS {
        Verdict::Passed
    } else {
        Verdict::Steered
    };
    (cell < CELLS).then_some((verdict, Some(place % WORKERS)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: [abi::Count; CELLS] = [abi::Count {
        packets: 0,
        bytes: 0,
    }; CELLS];

    fn counted(what: &[(Verdict, usize, u64)]) -> [abi::Count; CELLS] {
        let mut counters = EMPTY;
        for (verdict, worker, packets) in what {
            counters[abi::cell(*verdict, *worker)] = abi::Count {
                packets: *packets,
                bytes: packets * 100,
            };
        }
        counters
    }

    fn count(packets: u64) -> Count {
        Count {
            packets,
            bytes: packets * 100,
        }
    }

    #[test]
    fn each_counter_cell_is_read_as_the_verdict_and_worker_the_kernel_counts_in_it() {
        for verdict in Verdict::ALL {
            for worker in 0..WORKERS {
                let (read, of) = meaning(abi::cell(verdict, worker)).unwrap();
                assert_eq!(read, verdict);
                let named = matches!(verdict, Verdict::Passed | Verdict::Steered);
                assert_eq!(of, named.then_some(worker));
            }
        }
        assert_eq!(meaning(CELLS), None);
    }

    #[test]
    fn counts_by_cpu_and_by_worker_add_up_to_the_counts_by_verdict() {
        let cells = [
            counted(&[
                (Verdict::Denied, 0, 5),
                (Verdict::Passed, 0, 10),
                (Verdict::Steered, 63, 3),
            ]),
            EMPTY,
            counted(&[(Verdict::Denied, 0, 2), (Verdict::Passed, 63, 4)]),
        ];
        let sums = tally(&cells, &[]);
        let verdicts = [("denied", 7), ("passed", 14), ("steered", 3)];
        assert_eq!(
            sums.verdicts,
            verdicts.map(|(name, n)| (name.into(), count(n))).into()
        );
        assert_eq!(sums.workers, [(0, count(10)), (63, count(7))].into());
        let cpu0 = [("denied", 5), ("passed", 10), ("steered", 3)];
        let cpu2 = [("denied", 2), ("passed", 4)];
        assert_eq!(
            sums.cpus,
            [
                (0, cpu0.map(|(name, n)| (name.into(), count(n))).into()),
                (2, cpu2.map(|(name, n)| (name.into(), count(n))).into()),
            ]
            .into()
        );
    }

    #[test]
    fn lookups_are_summed_over_the_cpus_and_zeros_are_left_out() {
        let on = |assigned, denied, no_socket| abi::Lookups {
            assigned,
            denied,
            no_socket,
            ..abi::Lookups::default()
        };
        let sums = tally(&[], &[on(3, 1, 0), on(4, 0, 2)]);
        let expected = [("assigned", 7), ("denied", 1), ("no_socket", 2)];
        assert_eq!(
            sums.lookups,
            expected.map(|(name, n)| (name.to_owned(), n)).into()
        );
    }
}
