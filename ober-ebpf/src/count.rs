//! One counter update a packet, and a sampled event for those that are dropped.

use aya_ebpf::{helpers::bpf_ktime_get_ns, programs::XdpContext};
use ober_common::{
    abi::{Count, Drop, SERVICES, VERDICTS, Verdict, WORKER_CELLS, cell},
    flow::Flow,
};

use crate::maps::{DROPS, VERDICT_COUNTERS, WORKER_COUNTERS};

/// Raises the one cell of a packet that no worker gets and returns what it held before.
#[inline(always)]
pub(crate) fn count(service: u32, verdict: Verdict, length: usize) -> u64 {
    let Some(counters) = VERDICT_COUNTERS.get_ptr_mut(0) else {
        return 0;
    };
    let service = service as usize & (SERVICES as usize - 1);
    // SAFETY: the value is this CPU's own and XDP does not nest, so nobody else touches it meanwhile.
    raise(
        unsafe { &mut (*counters).services[service][cell(verdict, 0) & (VERDICTS - 1)] },
        length,
    )
}

/// Raises the one cell of a packet that a worker gets.
#[inline(always)]
pub(crate) fn count_for(worker: usize, service: u32, verdict: Verdict, length: usize) {
    let Some(counters) = WORKER_COUNTERS.get_ptr_mut(service) else {
        return;
    };
    let place = (cell(verdict, worker) - VERDICTS) & (WORKER_CELLS - 1);
    // SAFETY: as in `count`.
    raise(unsafe { &mut (*counters).cells[place] }, length);
}

#[inline(always)]
fn raise(count: &mut Count, length: usize) -> u64 {
    let before = count.packets;
    count.packets = before + 1;
    count.bytes += length as u64;
    before
}

/// Reports a dropped packet. Away from the path of packets that are let through.
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
        length: crate::xdp::length(ctx) as u32,
    });
    entry.submit(0);
}
