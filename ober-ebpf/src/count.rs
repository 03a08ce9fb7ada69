//! One counter update a packet, and a sampled event for those that are dropped.

use aya_ebpf::{helpers::bpf_ktime_get_ns, programs::XdpContext};
use ober_common::{
    abi::{Drop, Verdict, cell},
    flow::Flow,
};

use crate::maps::{COUNTERS, DROPS};

/// Raises the packet's one cell and returns what it held before.
#[inline(always)]
pub(crate) fn count(service: u32, verdict: Verdict, worker: usize, length: usize) -> u64 {
    let Some(counters) = COUNTERS.get_ptr_mut(service) else {
        return 0;
    };
    // SAFETY: the slot is this CPU's own and XDP does not nest, so nobody else touches it meanwhile; `cell` is below
    // `CELLS` for every worker.
    let count = unsafe { &mut (*counters).cells[cell(verdict, worker)] };
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
