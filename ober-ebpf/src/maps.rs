//! Every map on one page. Sizes that depend on the machine are set when the programs are loaded.

use aya_ebpf::{
    bindings::BPF_F_MMAPABLE,
    macros::map,
    maps::{Array, CpuMap, LpmTrie, PerCpuArray, RingBuf, SockMap},
};
use ober_common::abi::{
    CPUS, Counters, HostLine, LISTS, Lookups, Node, Page, PageIndex, PrefixKey, RINGS, Ring,
    SERVICES, SOCKETS, ServiceTable, TABLES,
};

/// Key, seed, switches and workers: what every packet may need.
#[map]
pub(crate) static NODE: Array<Node> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// (VIP, protocol, port) to service, perfect-hashed by user space: the table in force and the one being filled.
#[map]
pub(crate) static SERVICE_TABLE: Array<ServiceTable> =
    Array::with_max_entries(TABLES, BPF_F_MMAPABLE);

/// Two rings a service: the one in force and the one being filled.
#[map]
pub(crate) static RING_TABLE: Array<Ring> = Array::with_max_entries(RINGS, BPF_F_MMAPABLE);

/// IPv4 access lists, first level.
#[map]
pub(crate) static PAGE_INDEX: Array<PageIndex> = Array::with_max_entries(LISTS, BPF_F_MMAPABLE);

/// IPv4 access lists, second level, shared by all lists.
#[map]
pub(crate) static PAGES: Array<Page> = Array::with_max_entries(1024, BPF_F_MMAPABLE);

/// IPv6 host addresses of all lists.
#[map]
pub(crate) static HOST_LINES: Array<HostLine> = Array::with_max_entries(131_072, BPF_F_MMAPABLE);

/// IPv6 prefixes of all lists. Asked only for lists that have any.
#[map]
pub(crate) static PREFIXES: LpmTrie<PrefixKey, u32> =
    LpmTrie::with_max_entries(1024, 1 /* BPF_F_NO_PREALLOC */);

/// One verdict a packet.
#[map]
pub(crate) static COUNTERS: PerCpuArray<Counters> = PerCpuArray::with_max_entries(SERVICES, 0);

/// What became of new connections.
#[map]
pub(crate) static LOOKUPS: PerCpuArray<Lookups> = PerCpuArray::with_max_entries(SERVICES, 0);

/// Sampled drops.
#[map]
pub(crate) static DROPS: RingBuf = RingBuf::with_byte_size(1 << 18, 0);

/// The listening sockets, `Service::sockets` plus the worker's number.
#[map]
pub(crate) static SOCKET_TABLE: SockMap = SockMap::with_max_entries(SOCKETS, 0);

/// Queues to the workers' CPUs.
#[map]
pub(crate) static CPU_QUEUES: CpuMap = CpuMap::with_max_entries(CPUS, 0);
