//! Steered packets that never arrive. The kernel queues them eight at a time. It drops those for which a CPU's queue
//! has no room or that CPU finds no memory, and reports both only by tracepoints.

use aya_ebpf::{
    helpers::bpf_get_smp_processor_id, macros::raw_tracepoint, programs::RawTracePointContext,
};
use ober_common::abi::SteerDrops;

use crate::maps::{NODE, STEER_DROPS};

/// `xdp_cpumap_enqueue(map_id, processed, drops, to_cpu)`: packets that one CPU tried to queue for another.
#[raw_tracepoint(tracepoint = "xdp_cpumap_enqueue")]
pub(crate) fn ober_enqueue(ctx: RawTracePointContext) -> i32 {
    add(&ctx, ctx.arg::<u32>(3), |drops| &mut drops.queue)
}

/// `xdp_cpumap_kthread(map_id, processed, drops, ...)`: packets that this CPU took from its queue.
#[raw_tracepoint(tracepoint = "xdp_cpumap_kthread")]
pub(crate) fn ober_dequeue(ctx: RawTracePointContext) -> i32 {
    // SAFETY: a helper without arguments.
    let here = unsafe { bpf_get_smp_processor_id() };
    add(&ctx, here, |drops| &mut drops.memory)
}

/// Counts the drops of this node's CPU map. The kernel calls the tracepoints for every CPU map of the machine.
#[inline(always)]
fn add(ctx: &RawTracePointContext, cpu: u32, count: fn(&mut SteerDrops) -> &mut u64) -> i32 {
    let (map, drops) = (ctx.arg::<u32>(0), ctx.arg::<u32>(2));
    if drops == 0 || map != NODE.get().cpu_queues {
        return 0;
    }
    if let Some(place) = STEER_DROPS.get_ptr_mut(cpu) {
        // SAFETY: the value is this CPU's own, and the kernel does not run the program again within itself.
        *count(unsafe { &mut *place }) += u64::from(drops);
    }
    0
}
