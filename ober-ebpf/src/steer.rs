//! Finds the service and the worker of a flow, and sends its packets to the worker's CPU.

use aya_ebpf::{bindings::xdp_action, helpers::bpf_get_smp_processor_id};
use ober_common::{
    abi::{Node, Service, Verdict, WORKERS},
    address::Ip,
    flow::{Flow, hash, ring_slot, service_hash, service_table, vip_bit},
};

use crate::maps::{CPU_QUEUES, RING_TABLE, SERVICE_TABLE};

/// May this be one of our VIPs? For most packets the answer is no, and nothing more is looked up.
#[inline(always)]
pub(crate) fn may_be_vip(node: &Node, address: Ip) -> bool {
    let (word, bit) = vip_bit(address);
    node.vips[word] >> bit & 1 == 1
}

/// The service a flow belongs to.
#[inline(always)]
pub(crate) fn service(node: &Node, flow: &Flow) -> Option<&'static Service> {
    let seed = node.seed;
    let table = &SERVICE_TABLE.get()[service_table(seed)];
    let hash = service_hash(seed, flow.vip, flow.protocol, flow.port);
    let slot = &table.slots[hash.slot(table.moved[hash.group()])];
    slot.is(flow.vip, flow.protocol, flow.port).then_some(slot)
}

/// The slot that marks an address as one of our VIPs, whatever its protocols and ports; both are zero in that slot.
#[inline(always)]
pub(crate) fn mark(node: &Node, address: Ip) -> Option<&'static Service> {
    let flow = Flow {
        vip: address,
        ..Flow::default()
    };
    service(node, &flow)
}

/// Is the address one of our VIPs?
#[inline(always)]
pub(crate) fn is_vip(node: &Node, address: Ip) -> bool {
    mark(node, address).is_some()
}

/// The worker the flow's ring slot names.
#[inline(always)]
pub(crate) fn worker(node: &Node, service: &Service, flow: &Flow) -> Option<usize> {
    let ring = RING_TABLE.get().get(service.ring as usize)?;
    let slot = ring.slots[ring_slot(hash(node.key, flow))];
    (slot != 0).then(|| (usize::from(slot) - 1) & (WORKERS - 1))
}

/// Sends the packet to the worker's CPU. Passes it to the kernel when this is that CPU, or when it cannot be sent there.
#[inline(always)]
pub(crate) fn to_cpu(node: &Node, worker: usize) -> (Verdict, u32) {
    let target = node.workers[worker];
    // SAFETY: a helper without arguments.
    let here = unsafe { bpf_get_smp_processor_id() };
    if node.steer == 0 || target.steerable == 0 || target.cpu == here {
        return (Verdict::Passed, xdp_action::XDP_PASS);
    }
    match CPU_QUEUES.redirect(target.cpu, 0) {
        Ok(action) => (Verdict::Steered, action),
        Err(_) => (Verdict::Passed, xdp_action::XDP_PASS),
    }
}
