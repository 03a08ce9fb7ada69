//! Counts each packet in one cell, and reports a sample of those that are dropped.

use aya_ebpf::{
    helpers::{
        bpf_get_smp_processor_id, bpf_jiffies64, bpf_ktime_get_ns, generated::bpf_xdp_get_buff_len,
    },
    programs::XdpContext,
};
use ober_common::{
    abi::{BANK, Budget, CPUS, Count, Drop, Node, SERVICES, VERDICTS, Verdict, WORKER_CELLS, cell},
    flow::Flow,
};

use crate::maps::{DROPS, EVENTS, SYNS, VERDICT_COUNTERS, WORKER_COUNTERS};

/// Counts a packet that goes to no worker in its one cell, and returns the packets counted there before.
#[inline(always)]
pub(crate) fn count(service: u32, verdict: Verdict, length: usize) -> u64 {
    let place = cell(verdict, 0);
    let Some(counters) = VERDICT_COUNTERS.get_ptr_mut((place / BANK) as u32) else {
        return 0;
    };
    let service = service as usize & (SERVICES as usize - 1);
    // SAFETY: the value is this CPU's own and XDP does not nest, so no other program changes it meanwhile.
    raise(
        unsafe { &mut (*counters).services[service][place % BANK] },
        length,
    )
}

/// Counts a packet that goes to a worker in its one cell.
#[inline(always)]
pub(crate) fn count_for(worker: usize, service: u32, verdict: Verdict, length: usize) {
    let Some(counters) = WORKER_COUNTERS.get_ptr_mut(service) else {
        return;
    };
    let place = (cell(verdict, worker) - VERDICTS) & (WORKER_CELLS - 1);
    // SAFETY: as in `count`.
    raise(unsafe { &mut (*counters).cells[place] }, length);
}

/// Counts a SYN that goes to a worker, beside its packet. Not inlined, so that it stays out of the path of other packets.
#[inline(never)]
pub(crate) fn count_syn(service: u32) {
    if let Some(syns) = SYNS.get_ptr_mut(service) {
        // SAFETY: as in `count`.
        unsafe { *syns += 1 };
    }
}

#[inline(always)]
fn raise(count: &mut Count, length: usize) -> u64 {
    let before = count.packets;
    count.packets = before + 1;
    count.bytes += length as u64;
    before
}

/// May this CPU report one more drop? A token bucket: `event_rate` reports a second, and as many at once. In a flood of
/// drops, each costs only a comparison with the tick in which the bucket was found empty.
#[inline(always)]
pub(crate) fn may_report(node: &Node) -> bool {
    // SAFETY: a helper without arguments.
    let here = unsafe { bpf_get_smp_processor_id() } as usize & (CPUS as usize - 1);
    // SAFETY: a place in the map's value that only this CPU writes, and XDP does not nest.
    let budget = unsafe { &mut (*EVENTS.place())[here] };
    // SAFETY: reads a counter of the kernel's.
    let tick = unsafe { bpf_jiffies64() };
    budget.empty != tick && take(node, budget, tick)
}

#[inline(never)]
fn take(node: &Node, budget: &mut Budget, tick: u64) -> bool {
    const SECOND: u64 = 1_000_000_000;
    if node.event_rate == 0 {
        return false;
    }
    // SAFETY: reads the clock, touches no memory of ours.
    let now = unsafe { bpf_ktime_get_ns() };
    let saved = budget.nanoseconds + now.wrapping_sub(budget.at).min(SECOND);
    let saved = saved.min(SECOND);
    let price = SECOND / u64::from(node.event_rate);
    budget.at = now;
    if saved < price {
        budget.nanoseconds = saved;
        budget.empty = tick;
        return false;
    }
    budget.nanoseconds = saved - price;
    true
}

/// Reports a dropped packet. Not inlined, so that it stays out of the path of packets that pass.
#[inline(never)]
pub(crate) fn report(ctx: &XdpContext, flow: &Flow, verdict: Verdict, service: u32) {
    let Some(mut entry) = DROPS.reserve::<Drop>(0) else {
        return;
    };
    entry.write(Drop {
        // SAFETY: reads the clock, touches no memory of ours.
        at: unsafe { bpf_ktime_get_ns() },
        source: flow.client.bytes(),
        destination: flow.vip.bytes(),
        source_port: flow.client_port,
        destination_port: flow.port,
        protocol: flow.protocol,
        pad: [0; 3],
        verdict: verdict as u32,
        service,
        interface: ctx.ingress_ifindex() as u32,
        length: length(ctx) as u32,
    });
    entry.submit(0);
}

/// The length in bytes of the whole frame, all its buffers included.
#[inline(always)]
pub(crate) fn length(ctx: &XdpContext) -> usize {
    // SAFETY: the context is the one the program was called with.
    (unsafe { bpf_xdp_get_buff_len(ctx.ctx) }) as usize
}
