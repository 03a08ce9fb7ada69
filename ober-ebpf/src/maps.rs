//! Every map on one page. Sizes that depend on the machine are set when the programs are loaded.

use core::{marker::PhantomData, mem::MaybeUninit};

use aya_ebpf::{
    bindings::BPF_F_MMAPABLE,
    macros::map,
    maps::{Array, CpuMap, LpmTrie, PerCpuArray, RingBuf, SockMap},
};
use ober_common::abi::{
    BANKS, BgpPorts, Budget, CPUS, HostLine, LISTS, Lookups, Node, Page, PageIndex, PrefixKey,
    RINGS, Ring, SERVICES, SOCKETS, ServiceTable, SteerDrops, TABLES, Tags, VerdictCounters,
    WorkerCounters,
};

/// The value of an array map with one entry. The loader writes the value's address into the programs, so a program
/// reads it without a lookup and without a check for null. Each such static has a section `.bss.NAME`, which stands for
/// the map pinned as `NAME`; the bytes of the section itself are never used.
#[repr(transparent)]
pub(crate) struct Direct<T>(MaybeUninit<u64>, PhantomData<T>);

// SAFETY: the value is made of integers, which the daemon and other CPUs change as whole words.
unsafe impl<T> Sync for Direct<T> {}

impl<T> Direct<T> {
    const ZERO: Self = Self(MaybeUninit::zeroed(), PhantomData);

    #[inline(always)]
    pub(crate) fn get(&'static self) -> &'static T {
        // SAFETY: the loader has checked that the map's value has the size of `T`; `T` is made of integers, for which
        // any bytes are valid.
        unsafe { &*self.place() }
    }

    /// The address of the value, for values that the program itself writes.
    #[inline(always)]
    pub(crate) fn place(&'static self) -> *mut T {
        let mut value = self.0.as_ptr() as usize;
        // SAFETY: the empty assembly touches no memory. It hides from the compiler which memory this is: the compiler
        // would see that no program writes there and replace every load by zero.
        unsafe {
            core::arch::asm!("/* {0} */", inout(reg) value, options(pure, nomem, nostack, preserves_flags));
        }
        value as *mut T
    }
}

/// As [`Direct`], for a value made of several `T`; the loader sets their number.
#[repr(transparent)]
pub(crate) struct Parts<T>(Direct<T>);

impl<T> Parts<T> {
    /// The part at `place`, if there is one. The loader wrote the number of parts into `count`, which is a constant to
    /// the verifier.
    #[inline(always)]
    pub(crate) fn get(&'static self, place: u32, count: &'static u32) -> Option<&'static T> {
        // SAFETY: a plain word of the program's read-only data; the read is volatile because the loader sets the word
        // after compilation.
        let count = unsafe { core::ptr::read_volatile(count) };
        if place >= count {
            return None;
        }
        // SAFETY: the map's value has `count` parts.
        Some(unsafe { &*core::ptr::from_ref(self.0.get()).add(place as usize) })
    }
}

/// Key, seed, switches and workers: the facts every packet may need.
#[unsafe(link_section = ".bss.NODE")]
#[unsafe(no_mangle)]
pub(crate) static NODE: Direct<Node> = Direct::ZERO;

/// Ports of BGP. Read only when there is a list of routers.
#[unsafe(link_section = ".bss.BGP_PORTS")]
#[unsafe(no_mangle)]
pub(crate) static BGP_PORTS: Direct<BgpPorts> = Direct::ZERO;

/// How many drops each CPU may still report.
#[unsafe(link_section = ".bss.EVENTS")]
#[unsafe(no_mangle)]
pub(crate) static EVENTS: Direct<[Budget; CPUS as usize]> = Direct::ZERO;

/// (VIP, protocol, port) to service, perfect-hashed by user space: the table in force and the one being filled.
#[unsafe(link_section = ".bss.SERVICE_TABLE")]
#[unsafe(no_mangle)]
pub(crate) static SERVICE_TABLE: Direct<[ServiceTable; TABLES]> = Direct::ZERO;

/// Two rings for each service: the one in force and the one being filled.
#[unsafe(link_section = ".bss.RING_TABLE")]
#[unsafe(no_mangle)]
pub(crate) static RING_TABLE: Direct<[Ring; RINGS]> = Direct::ZERO;

/// IPv4 access lists, first level.
#[unsafe(link_section = ".bss.PAGE_INDEX")]
#[unsafe(no_mangle)]
pub(crate) static PAGE_INDEX: Direct<[PageIndex; LISTS as usize]> = Direct::ZERO;

/// IPv4 access lists, second level, shared by all lists.
#[unsafe(link_section = ".bss.PAGES")]
#[unsafe(no_mangle)]
pub(crate) static PAGES: Parts<Page> = Parts(Direct::ZERO);
/// The number of pages, set when the programs are loaded.
#[unsafe(no_mangle)]
pub(crate) static PAGE_COUNT: u32 = 1;

/// IPv6 host addresses of all lists.
#[map]
pub(crate) static HOST_LINES: Array<HostLine> = Array::with_max_entries(131_072, BPF_F_MMAPABLE);

/// Bits that show of most unlisted IPv6 addresses that they are on no list.
#[unsafe(link_section = ".bss.HOST_TAGS")]
#[unsafe(no_mangle)]
pub(crate) static HOST_TAGS: Parts<Tags> = Parts(Direct::ZERO);
/// The number of words of tags, set when the programs are loaded.
#[unsafe(no_mangle)]
pub(crate) static TAG_COUNT: u32 = 1;

/// IPv6 prefixes of all lists. Looked up only for lists that have prefixes.
#[map]
pub(crate) static PREFIXES: LpmTrie<PrefixKey, u32> =
    LpmTrie::with_max_entries(1024, 1 /* BPF_F_NO_PREALLOC */);

/// Counters of packets that go to no worker. Each packet raises one cell, here or in [`WORKER_COUNTERS`].
#[map]
pub(crate) static VERDICT_COUNTERS: PerCpuArray<VerdictCounters> =
    PerCpuArray::with_max_entries(BANKS as u32, 0);

/// Counters of packets that go to a worker.
#[map]
pub(crate) static WORKER_COUNTERS: PerCpuArray<WorkerCounters> =
    PerCpuArray::with_max_entries(SERVICES, 0);

/// SYNs that XDP let go to a worker. Each makes the kernel look for a listening socket, unless it is lost on the way there.
#[map]
pub(crate) static SYNS: PerCpuArray<u64> = PerCpuArray::with_max_entries(SERVICES, 0);

/// What `sk_lookup` did with new connections.
#[map]
pub(crate) static LOOKUPS: PerCpuArray<Lookups> = PerCpuArray::with_max_entries(SERVICES, 0);

/// Steered packets that were lost, by the CPU they were sent to.
#[map]
pub(crate) static STEER_DROPS: PerCpuArray<SteerDrops> = PerCpuArray::with_max_entries(CPUS, 0);

/// Sampled drops.
#[map]
pub(crate) static DROPS: RingBuf = RingBuf::with_byte_size(1 << 18, 0);

/// The listening sockets, at `Service::sockets` plus the worker's number.
#[map]
pub(crate) static SOCKET_TABLE: SockMap = SockMap::with_max_entries(SOCKETS, 0);

/// Queues to the workers' CPUs.
#[map]
pub(crate) static CPU_QUEUES: CpuMap = CpuMap::with_max_entries(CPUS, 0);
