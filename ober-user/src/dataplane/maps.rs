//! The maps in user space. The daemon opens them, and so do commands that run without it.

use std::{
    os::fd::{AsFd as _, AsRawFd as _},
    path::Path,
    time::Instant,
};

use aya::Ebpf;
use aya::maps::{CpuMap, LpmTrie, Map, MapData, MapError, MapInfo, PerCpuArray, RingBuf, SockMap};
use aya_obj::generated::{BPF_F_MMAPABLE, bpf_map_type::BPF_MAP_TYPE_ARRAY};
use ober_common::abi::{
    BANKS, BgpPorts, Budget, CPUS, HostLine, LISTS, Lookups, Node, Page, PageIndex, PrefixKey,
    RINGS, Ring, SERVICES, SOCKETS, ServiceTable, SteerDrops, TABLES, TAGGED, Tags,
    VerdictCounters, WorkerCounters,
};

use super::{Error, memory::Memory};
use crate::{config::Limits, machine::drive};

/// Bytes of an array's key.
const KEY: u32 = 4;

/// Marks a value of the kernel contract as plain bytes for aya.
#[repr(transparent)]
#[derive(Clone, Copy, Debug)]
pub struct Plain<T>(pub T);
// SAFETY: integers only, no padding; sizes asserted in `ober_common::abi`.
unsafe impl aya::Pod for Plain<VerdictCounters> {}
// SAFETY: as above.
unsafe impl aya::Pod for Plain<WorkerCounters> {}
// SAFETY: as above.
unsafe impl aya::Pod for Plain<Lookups> {}
// SAFETY: as above.
unsafe impl aya::Pod for Plain<SteerDrops> {}
// SAFETY: as above.
unsafe impl aya::Pod for Plain<PrefixKey> {}

/// Name and shape of a map: what a pin must look like to be adopted.
pub(super) struct Shape {
    pub(super) name: &'static str,
    pub(super) value: usize,
    pub(super) entries: u32,
    /// The programs' section in place of the map, for a map whose one value the programs address directly.
    pub(super) section: Option<&'static str>,
}

/// Every map, with the sizes that these limits ask for.
pub(super) fn shapes(limits: &Limits) -> [Shape; MAPS] {
    let [
        node,
        ports,
        events,
        table,
        rings,
        index,
        pages,
        lines,
        tags,
        prefixes,
        verdicts,
        workers,
        lookups,
        syns,
        steer_drops,
        drops,
        sockets,
        cpus,
    ] = NAMES;
    let shape = |name, value, entries| Shape {
        name,
        value,
        entries,
        section: None,
    };
    let direct = |name, section, value| Shape {
        section: Some(section),
        ..shape(name, value, 1)
    };
    let lines_count = host_lines(limits.ipv6_hosts);
    let banks = u32::try_from(BANKS).unwrap_or(u32::MAX);
    [
        direct(node, ".bss.NODE", size_of::<Node>()),
        direct(ports, ".bss.BGP_PORTS", size_of::<BgpPorts>()),
        direct(events, ".bss.EVENTS", size_of::<[Budget; CPUS as usize]>()),
        direct(
            table,
            ".bss.SERVICE_TABLE",
            size_of::<[ServiceTable; TABLES]>(),
        ),
        direct(rings, ".bss.RING_TABLE", size_of::<[Ring; RINGS]>()),
        direct(
            index,
            ".bss.PAGE_INDEX",
            size_of::<[PageIndex; LISTS as usize]>(),
        ),
        direct(
            pages,
            ".bss.PAGES",
            limits.ipv4_pages as usize * size_of::<Page>(),
        ),
        shape(lines, size_of::<HostLine>(), lines_count),
        direct(
            tags,
            ".bss.HOST_TAGS",
            (lines_count / TAGGED) as usize * size_of::<Tags>(),
        ),
        shape(prefixes, 4, limits.ipv6_prefixes),
        shape(verdicts, size_of::<VerdictCounters>(), banks),
        shape(workers, size_of::<WorkerCounters>(), SERVICES),
        shape(lookups, size_of::<Lookups>(), SERVICES),
        shape(syns, size_of::<u64>(), SERVICES),
        shape(steer_drops, size_of::<SteerDrops>(), CPUS),
        shape(drops, 0, 1 << 18),
        shape(sockets, 4, SOCKETS),
        shape(cpus, 4, CPUS),
    ]
}

/// How many entries a map has. For a map that the programs address directly, the parts of its value.
pub(super) fn entries(name: &str, info: &MapInfo) -> u32 {
    let part = match name {
        "EVENTS" => size_of::<Budget>(),
        "SERVICE_TABLE" => size_of::<ServiceTable>(),
        "RING_TABLE" => size_of::<Ring>(),
        "PAGE_INDEX" => size_of::<PageIndex>(),
        "PAGES" => size_of::<Page>(),
        "HOST_TAGS" => size_of::<Tags>(),
        _ => return info.max_entries(),
    };
    u32::try_from(info.value_size() as usize / part).unwrap_or(u32::MAX)
}

const MAPS: usize = 18;

/// Names of the maps, which are the names of their pins.
pub(super) const NAMES: [&str; MAPS] = [
    "NODE",
    "BGP_PORTS",
    "EVENTS",
    "SERVICE_TABLE",
    "RING_TABLE",
    "PAGE_INDEX",
    "PAGES",
    "HOST_LINES",
    "HOST_TAGS",
    "PREFIXES",
    "VERDICT_COUNTERS",
    "WORKER_COUNTERS",
    "LOOKUPS",
    "SYNS",
    "STEER_DROPS",
    "DROPS",
    "SOCKET_TABLE",
    "CPU_QUEUES",
];

/// The maps of counters, whose shape does not depend on the configuration.
pub(super) const COUNTERS: [&str; 5] = [
    "VERDICT_COUNTERS",
    "WORKER_COUNTERS",
    "LOOKUPS",
    "SYNS",
    "STEER_DROPS",
];

/// The numbers of pages and of words of tags, which the loader writes into the programs.
pub(super) fn counts(limits: &Limits) -> [u32; 2] {
    [limits.ipv4_pages, host_lines(limits.ipv6_hosts) / TAGGED]
}

/// Lines for this many hosts: at most one address for each line of three, so that a line rarely spills.
fn host_lines(hosts: u32) -> u32 {
    hosts.clamp(64, 1 << 26).next_power_of_two()
}

impl Shape {
    /// Does the pinned map have this shape?
    pub(super) fn fits(&self, directory: &Path) -> bool {
        let Ok(info) = MapInfo::from_pin(directory.join(self.name)) else {
            return false;
        };
        // Values of a CPUMAP have 4 or 8 bytes; the kernel reports the size the map was made with.
        let value = info.value_size() as usize;
        info.max_entries() == self.entries && (value == self.value || self.name == "CPU_QUEUES")
    }

    /// Makes and pins the map, if the programs address its value directly and it is not pinned yet.
    pub(super) fn ensure(&self, directory: &Path) -> Result<(), MapError> {
        let pin = directory.join(self.name);
        if self.section.is_none() || pin.exists() {
            return Ok(());
        }
        let value = u32::try_from(self.value).unwrap_or(u32::MAX);
        let map = aya_obj::Map::new_from_params(
            BPF_MAP_TYPE_ARRAY as u32,
            KEY,
            value,
            self.entries,
            BPF_F_MMAPABLE,
        );
        let map = MapData::create(map, self.name, None)?;
        map.pin(pin).map_err(|error| MapError::PinError {
            name: Some(self.name.into()),
            error,
        })
    }

    /// Replaces the map that the loader made for the section by the pinned map, under the same descriptor, before the
    /// programs are loaded into the kernel. The loader cannot be given the pinned map: it would write the section's
    /// zeros into it.
    pub(super) fn stand_in(&self, programs: &Ebpf, directory: &Path) -> Result<(), MapError> {
        let Some(section) = self.section else {
            return Ok(());
        };
        let Some(Map::Array(made)) = programs.map(section) else {
            return Err(MapError::InvalidName {
                name: section.into(),
            });
        };
        let pinned = MapData::from_pin(directory.join(self.name))?;
        let [from, to] = [&pinned, made].map(|map| map.fd().as_fd().as_raw_fd());
        // SAFETY: both descriptors are open, and `made` still owns the second one after the call.
        if unsafe { libc::dup3(from, to, libc::O_CLOEXEC) } < 0 {
            return Err(std::io::Error::last_os_error().into());
        }
        Ok(())
    }
}

impl Shape {
    /// Pins the map that the programs use, unless its pin exists.
    pub(super) fn pin_again(&self, programs: &Ebpf, directory: &Path) -> Result<(), Error> {
        let pin = directory.join(self.name);
        if pin.exists() {
            return Ok(());
        }
        let error = |source: Box<dyn std::error::Error + Send + Sync>| Error::Pins {
            path: pin.clone(),
            source: std::io::Error::other(source),
        };
        let name = self.section.unwrap_or(self.name);
        let map = programs
            .map(name)
            .ok_or_else(|| error(format!("the programs have no map {name}").into()))?;
        map.pin(&pin).map_err(|source| error(source.into()))
    }
}

/// All maps of one data plane.
pub struct Maps {
    pub node: Memory<Node>,
    pub bgp_ports: Memory<BgpPorts>,
    pub tables: Memory<ServiceTable>,
    pub rings: Memory<Ring>,
    pub index: Memory<PageIndex>,
    pub pages: Memory<Page>,
    pub lines: Memory<HostLine>,
    pub tags: Memory<Tags>,
    pub prefixes: LpmTrie<MapData, Plain<PrefixKey>, u32>,
    pub verdicts: PerCpuArray<MapData, Plain<VerdictCounters>>,
    pub workers: PerCpuArray<MapData, Plain<WorkerCounters>>,
    pub lookups: PerCpuArray<MapData, Plain<Lookups>>,
    pub syns: PerCpuArray<MapData, u64>,
    pub steer_drops: PerCpuArray<MapData, Plain<SteerDrops>>,
    pub sockets: SockMap<MapData>,
    pub cpus: CpuMap<MapData>,
    /// When a page of an access list was last given up; the time of opening until this process gives one up.
    pub pages_given_up: Instant,
}

impl Maps {
    /// Opens the maps pinned in `directory`.
    pub fn open(directory: &Path) -> Result<Self, Error> {
        let pin = |name: &'static str| {
            MapData::from_pin(directory.join(name)).map_err(|source| Error::OpenMap {
                name,
                directory: directory.into(),
                source: source.into(),
            })
        };
        let bad = |name: &'static str| {
            move |source: aya::maps::MapError| Error::OpenMap {
                name,
                directory: directory.into(),
                source: source.into(),
            }
        };
        Ok(Self {
            node: memory(directory, "NODE")?,
            bgp_ports: memory(directory, "BGP_PORTS")?,
            tables: memory(directory, "SERVICE_TABLE")?,
            rings: memory(directory, "RING_TABLE")?,
            index: memory(directory, "PAGE_INDEX")?,
            pages: memory(directory, "PAGES")?,
            lines: memory(directory, "HOST_LINES")?,
            tags: memory(directory, "HOST_TAGS")?,
            prefixes: Map::LpmTrie(pin("PREFIXES")?)
                .try_into()
                .map_err(bad("PREFIXES"))?,
            verdicts: Map::PerCpuArray(pin("VERDICT_COUNTERS")?)
                .try_into()
                .map_err(bad("VERDICT_COUNTERS"))?,
            workers: Map::PerCpuArray(pin("WORKER_COUNTERS")?)
                .try_into()
                .map_err(bad("WORKER_COUNTERS"))?,
            lookups: Map::PerCpuArray(pin("LOOKUPS")?)
                .try_into()
                .map_err(bad("LOOKUPS"))?,
            syns: Map::PerCpuArray(pin("SYNS")?)
                .try_into()
                .map_err(bad("SYNS"))?,
            steer_drops: Map::PerCpuArray(pin("STEER_DROPS")?)
                .try_into()
                .map_err(bad("STEER_DROPS"))?,
            sockets: Map::SockMap(pin("SOCKET_TABLE")?)
                .try_into()
                .map_err(bad("SOCKET_TABLE"))?,
            cpus: Map::CpuMap(pin("CPU_QUEUES")?)
                .try_into()
                .map_err(bad("CPU_QUEUES"))?,
            pages_given_up: drive::now(),
        })
    }
}

/// The kernel's id of a pinned map.
pub(super) fn number(directory: &Path, name: &'static str) -> Result<u32, Error> {
    let info = MapInfo::from_pin(directory.join(name));
    info.map(|info| info.id()).map_err(|source| Error::OpenMap {
        name,
        directory: directory.into(),
        source: source.into(),
    })
}

/// The ring buffer of sampled drops. For one reader at a time: an event that one reader takes is not seen by another.
pub fn drops(directory: &Path) -> Result<RingBuf<MapData>, Error> {
    let bad = |source: aya::maps::MapError| Error::OpenMap {
        name: "DROPS",
        directory: directory.into(),
        source: source.into(),
    };
    Map::RingBuf(MapData::from_pin(directory.join("DROPS")).map_err(bad)?)
        .try_into()
        .map_err(bad)
}

pub(super) fn memory<T: super::memory::Shared>(
    directory: &Path,
    name: &'static str,
) -> Result<Memory<T>, Error> {
    let bad = |source: std::io::Error| Error::OpenMap {
        name,
        directory: directory.into(),
        source: source.into(),
    };
    let other = |source: aya::maps::MapError| Error::OpenMap {
        name,
        directory: directory.into(),
        source: source.into(),
    };
    let data = MapData::from_pin(directory.join(name)).map_err(other)?;
    let info = data.info().map_err(other)?;
    let (value, part) = (info.value_size() as usize, size_of::<T>());
    if !value.is_multiple_of(part) || value == 0 {
        let text = format!("its values have {value} bytes, which are no whole number of {part}");
        return Err(bad(std::io::Error::other(text)));
    }
    let count = info.max_entries() as usize * (value / part);
    Memory::map(data.fd().as_fd(), count).map_err(bad)
}
