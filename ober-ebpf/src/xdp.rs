//! The ingress program: one verdict a packet.

use aya_ebpf::{
    bindings::xdp_action, helpers::generated::bpf_xdp_get_buff_len, macros::xdp,
    programs::XdpContext,
};
use aya_log_ebpf::info;
use ober_common::{
    abi::{Node, Verdict},
    flow::{Flow, Ip},
    packet::{Extent, Frame, Link, Parsed, TCP, UDP, VRRP, ipv4, ipv6, link},
};

use crate::{
    access,
    count::{count, count_for, report},
    maps::NODE,
    steer,
};

/// 1: malformed packets are also logged through aya-log. Set when the program is loaded; at 0 the verifier removes the code.
#[unsafe(no_mangle)]
static PACKET_LOG: u8 = 0;

const BGP_PORT: u16 = 179;
const BFD_PORTS: [u16; 2] = [3784, 4784];

#[xdp(frags)]
pub(crate) fn ober(ctx: XdpContext) -> u32 {
    let node = NODE.get();
    // SAFETY: the kernel keeps the frame's memory for the run of the program.
    let frame = unsafe { Frame::new(ctx.data(), ctx.data_end()) };
    // Routing protocols are judged wherever they go.
    let wanted = |destination| node.routers != 0 || steer::may_be_vip(node, destination);
    // Each family goes on to a copy of its own, so that IPv4 carries no halves of addresses about that are always zero.
    match link(frame) {
        Link::Ipv4(offset) => act(&ctx, node, ipv4(frame, offset, wanted)),
        Link::Ipv6(offset) => act(&ctx, node, ipv6(frame, offset, wanted)),
        Link::Other => not_ours(length(&ctx)),
        Link::Short => malformed(&ctx, node, Ip::default(), false),
    }
}

#[inline(always)]
fn act(ctx: &XdpContext, node: &Node, parsed: Parsed) -> u32 {
    match parsed {
        Parsed::Flow {
            flow,
            extent,
            quoted,
        } => judge(ctx, node, &flow, extent, quoted),
        Parsed::Bare {
            source,
            protocol: VRRP,
        } if node.routers != 0 => routing_protocol(
            ctx,
            node,
            &Flow {
                client: source,
                protocol: VRRP,
                ..Flow::default()
            },
            length(ctx),
        ),
        Parsed::Other | Parsed::Bare { .. } => not_ours(length(ctx)),
        Parsed::Elsewhere { ip_end } => not_ours(length_holding(ctx, ip_end)),
        Parsed::Fragment { destination } => fragment(ctx, node, destination),
        Parsed::Malformed { destination } => {
            let known = destination.is_some();
            malformed(ctx, node, destination.unwrap_or_default(), known)
        }
    }
}

/// The frame's length. A packet that ends in the first buffer leaves nothing but padding to others, which is not
/// counted; so only longer ones pay for the call that sums the buffers up.
#[inline(always)]
fn length_holding(ctx: &XdpContext, ip_end: usize) -> usize {
    let first_buffer = ctx.data_end() - ctx.data();
    if ip_end <= first_buffer {
        return first_buffer;
    }
    length(ctx)
}

/// The whole frame's length, all its buffers included.
#[inline(always)]
pub(crate) fn length(ctx: &XdpContext) -> usize {
    // SAFETY: the context is the one the program was called with.
    (unsafe { bpf_xdp_get_buff_len(ctx.ctx) }) as usize
}

#[inline(always)]
fn judge(ctx: &XdpContext, node: &Node, flow: &Flow, extent: Extent, quoted: bool) -> u32 {
    let length = length_holding(ctx, extent.ip_end);
    let Some(service) = steer::service(node, flow) else {
        if node.routers != 0 && !quoted && is_routing(flow) {
            let flow = *flow;
            return routing_protocol(ctx, node, &flow, length);
        }
        return not_ours(length);
    };
    if !extent.fits(length) {
        return drop(ctx, node, flow, Verdict::Malformed, service.index, length);
    }
    if !access::admits(node, service, flow.client) {
        return drop(ctx, node, flow, Verdict::Denied, service.index, length);
    }
    let Some(worker) = steer::worker(node, service, flow) else {
        return drop(ctx, node, flow, Verdict::NoWorker, service.index, length);
    };
    let (verdict, action) = steer::to_cpu(node, worker);
    count_for(worker, service.index, verdict, length);
    action
}

#[inline(always)]
fn is_routing(flow: &Flow) -> bool {
    flow.protocol == TCP && flow.port == BGP_PORT
        || flow.protocol == UDP && BFD_PORTS.contains(&flow.port)
}

#[inline(always)]
fn not_ours(length: usize) -> u32 {
    count(0, Verdict::NotOurs, length);
    xdp_action::XDP_PASS
}

/// Counts the drop, and reports one in `node.sample`, the first included.
#[inline(always)]
fn drop(
    ctx: &XdpContext,
    node: &Node,
    flow: &Flow,
    verdict: Verdict,
    service: u32,
    length: usize,
) -> u32 {
    let before = count(service, verdict, length);
    if node.sample != 0 && before & u64::from(node.sample - 1) == 0 {
        // A copy made here keeps the flow in registers for all the packets that are not reported.
        let flow = *flow;
        report(ctx, &flow, verdict, service);
    }
    xdp_action::XDP_DROP
}

/// BGP, BFD and VRRP, when only the routers on the list may speak them.
#[inline(never)]
fn routing_protocol(ctx: &XdpContext, node: &Node, flow: &Flow, length: usize) -> u32 {
    if access::listed(node, node.routers - 1, flow.client) {
        return not_ours(length);
    }
    drop(ctx, node, flow, Verdict::RouterDenied, 0, length)
}

#[inline(never)]
fn fragment(ctx: &XdpContext, node: &Node, destination: Ip) -> u32 {
    if !steer::is_vip(node, destination) {
        return not_ours(length(ctx));
    }
    count(0, Verdict::Fragment, length(ctx));
    xdp_action::XDP_PASS
}

/// Dropped when it is for one of our VIPs or when nobody can tell; else the kernel's business.
#[inline(never)]
fn malformed(ctx: &XdpContext, node: &Node, destination: Ip, known: bool) -> u32 {
    if known && !steer::is_vip(node, destination) {
        return not_ours(length(ctx));
    }
    // SAFETY: a plain byte of the program's read-only data; volatile because the loader sets it after compilation.
    if unsafe { core::ptr::read_volatile(&raw const PACKET_LOG) } != 0 {
        info!(
            ctx,
            "malformed packet of {} bytes on interface {}",
            length(ctx),
            ctx.ingress_ifindex()
        );
    }
    drop(
        ctx,
        node,
        &Flow {
            vip: destination,
            ..Flow::default()
        },
        Verdict::Malformed,
        0,
        length(ctx),
    )
}
