//! The ingress program: it decides one verdict for each packet.

use core::cell::Cell;

use aya_ebpf::{
    bindings::{xdp_action, xdp_md},
    macros::xdp,
    programs::XdpContext,
};
use aya_log_ebpf::info;
use ober_common::{
    abi::{Node, Service, Verdict},
    flow::Flow,
    packet::{
        Destination, Ends, Extent, Link, Near, Parsed, Piece, Plain, VRRP, link, parse, plain_ipv4,
        plain_ipv6,
    },
};

use crate::{
    access,
    count::{count, count_for, count_syn, length, may_report, report},
    maps::NODE,
    routing,
    scattered::Scattered,
    steer,
};

/// 1: malformed packets are also logged through aya-log. Set when the program is loaded; at 0 the verifier removes the code.
#[unsafe(no_mangle)]
static PACKET_LOG: u8 = 0;

/// Ethernet pads shorter frames to this length in bytes, without the check sequence (IEEE 802.3 section 3.2.8).
const FILLED: usize = 60;

/// The kernel gives the loopback interface of every network namespace this number.
const LOOPBACK_INTERFACE: usize = 1;

#[xdp(frags)]
pub(crate) fn ober(ctx: XdpContext) -> u32 {
    let node = NODE.get();
    // SAFETY: the kernel keeps the frame's memory for the run of the program.
    let frame = unsafe { Near::new(ctx.data(), ctx.data_end()) };
    // When there is a list of routers, routing protocols are judged at every destination.
    let wanted = |destination| node.routers != 0 || steer::may_be_vip(node, destination);
    // Each family has its own copy of `plain`, so that the copy for IPv4 needs no registers for halves of addresses
    // that are always zero.
    match link(frame) {
        Link::Ipv4(offset) => plain(&ctx, node, plain_ipv4(frame, offset, wanted)),
        Link::Ipv6(offset) => plain(&ctx, node, plain_ipv6(frame, offset, wanted)),
        Link::Other => not_ours(length(&ctx)),
        Link::Short | Link::Tagged => ober_whole(ctx.ctx),
    }
}

/// Judges the most frequent packets in a few steps: those for no service, those denied and those for a worker. All
/// others go to [`ober_whole`].
#[inline(always)]
fn plain(ctx: &XdpContext, node: &Node, plain: Plain) -> u32 {
    let (flow, extent, opens) = match plain {
        Plain::Flow {
            flow,
            extent,
            opens,
        } => (flow, extent, opens),
        Plain::Elsewhere(ip_end) => return not_ours(length_holding(ctx, ip_end)),
        Plain::Else => return ober_whole(ctx.ctx),
    };
    let length = length_holding(ctx, extent.ip_end);
    if !extent.fits(length) {
        return ober_whole(ctx.ctx);
    }
    match steer::service(node, &flow) {
        Some(service) => serve(ctx, node, service, &flow, opens, length),
        None if node.routers != 0 && routing::speaks(&flow) => ober_whole(ctx.ctx),
        None => not_ours(length),
    }
}

/// Reads all of the headers, in whichever buffers the driver put them. The first buffer may end within the headers, or
/// be empty.
///
/// The verifier checks a global function once by itself, not once for every path that leads to it.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn ober_whole(ctx: *mut xdp_md) -> u32 {
    let ctx = XdpContext::new(ctx);
    let node = NODE.get();
    let refused = Cell::new(false);
    let parsed = parse(Scattered::new(&ctx, length(&ctx), &refused));
    if refused.get() {
        return drop(
            &ctx,
            node,
            &Flow::default(),
            Verdict::Unreadable,
            0,
            length(&ctx),
        );
    }
    act(&ctx, node, parsed)
}

#[inline(always)]
fn act(ctx: &XdpContext, node: &Node, parsed: Parsed) -> u32 {
    match parsed {
        Parsed::Flow {
            flow,
            ends,
            extent,
            piece,
            quoted,
            opens,
        } => {
            let packet = Packet {
                flow,
                ends,
                extent,
                first: matches!(piece, Piece::First),
                quoted,
                opens,
            };
            judge(ctx, node, &packet)
        }
        Parsed::Bare {
            ends,
            protocol,
            extent,
            piece,
        } => {
            let first = matches!(piece, Piece::First);
            no_service(ctx, node, &Packet::bare(ends, protocol, extent, first))
        }
        Parsed::Fragment { ends, extent } => {
            fragment(ctx, node, &Packet::bare(ends, 0, extent, false))
        }
        Parsed::Other => not_ours(length(ctx)),
        Parsed::Short { destination } | Parsed::Malformed { destination } => {
            malformed(ctx, node, destination)
        }
        Parsed::Loopback if node.loopback != 0 && ctx.ingress_ifindex() == LOOPBACK_INTERFACE => {
            not_ours(length(ctx))
        }
        Parsed::Loopback => drop(
            ctx,
            node,
            &Flow::default(),
            Verdict::Loopback,
            0,
            length(ctx),
        ),
    }
}

/// A packet whose headers were read.
#[derive(Clone, Copy)]
struct Packet {
    flow: Flow,
    ends: Ends,
    extent: Extent,
    /// The first of several fragments.
    first: bool,
    quoted: bool,
    /// Asks for a new TCP connection.
    opens: bool,
}

impl Packet {
    #[inline(always)]
    fn bare(ends: Ends, protocol: u8, extent: Extent, first: bool) -> Self {
        Self {
            flow: Flow {
                client: ends.source,
                vip: ends.destination,
                protocol,
                ..Flow::default()
            },
            ends,
            extent,
            first,
            quoted: false,
            opens: false,
        }
    }

    /// The destination by which the packet is judged when it is truncated. `None` for a first fragment: later fragments
    /// may complete it in any way.
    #[inline(always)]
    fn fault_destination(&self) -> Destination {
        if self.first {
            None
        } else {
            Some(self.ends.destination)
        }
    }
}

#[inline(always)]
fn judge(ctx: &XdpContext, node: &Node, packet: &Packet) -> u32 {
    let flow = &packet.flow;
    let Some(service) = steer::service(node, flow) else {
        return no_service(ctx, node, packet);
    };
    let length = length(ctx);
    if !packet.extent.fits(length) {
        return drop(ctx, node, flow, Verdict::Malformed, service.index, length);
    }
    if packet.first && !may_fragment(node, packet.ends) {
        let verdict = if access::may_use(service, flow.client) {
            Verdict::FragmentDenied
        } else {
            Verdict::Denied
        };
        return drop(ctx, node, flow, verdict, service.index, length);
    }
    serve(ctx, node, service, flow, packet.opens, length)
}

/// A whole packet for a service.
#[inline(always)]
fn serve(
    ctx: &XdpContext,
    node: &Node,
    service: &Service,
    flow: &Flow,
    opens: bool,
    length: usize,
) -> u32 {
    if !access::admits(node, service, flow.client) {
        return drop(ctx, node, flow, Verdict::Denied, service.index, length);
    }
    let Some(worker) = steer::worker(node, service, flow) else {
        return drop(ctx, node, flow, Verdict::NoWorker, service.index, length);
    };
    if opens {
        count_syn(service.index);
    }
    let (verdict, action) = steer::to_cpu(node, worker);
    count_for(worker, service.index, verdict, length);
    action
}

/// A packet for no service goes to the kernel, with three exceptions: a truncated packet (see [`malformed`]), a routing
/// protocol from an address that is not on the list of routers, and a first fragment to a VIP from a source that may
/// send it none.
#[inline(always)]
fn no_service(ctx: &XdpContext, node: &Node, packet: &Packet) -> u32 {
    let (flow, length) = (&packet.flow, length(ctx));
    if !packet.extent.fits(length) {
        return malformed(ctx, node, packet.fault_destination());
    }
    let routing = flow.protocol == VRRP || !packet.quoted && routing::speaks(flow);
    if node.routers != 0 && routing {
        if access::is_router(flow.client) {
            return not_ours(length);
        }
        return drop(ctx, node, flow, Verdict::RouterDenied, 0, length);
    }
    // The later fragments of this packet are judged by the same rule, whatever the ports in the first one are.
    if packet.first && !may_fragment(node, packet.ends) {
        return drop(ctx, node, flow, Verdict::FragmentDenied, 0, length);
    }
    not_ours(length)
}

/// A later fragment.
#[inline(always)]
fn fragment(ctx: &XdpContext, node: &Node, packet: &Packet) -> u32 {
    let length = length(ctx);
    if !packet.extent.fits(length) {
        return malformed(ctx, node, packet.fault_destination());
    }
    if !steer::is_vip(node, packet.ends.destination) {
        return not_ours(length);
    }
    if !may_fragment(node, packet.ends) {
        return drop(ctx, node, &packet.flow, Verdict::FragmentDenied, 0, length);
    }
    count(0, Verdict::Fragment, length);
    xdp_action::XDP_PASS
}

/// The kernel keeps a fragment in memory until its datagram is complete, and all senders share that memory. Senders on
/// none of a VIP's lists must not take it from those that are on one.
#[inline(always)]
fn may_fragment(node: &Node, ends: Ends) -> bool {
    node.fragments != 0
        || steer::mark(node, ends.destination)
            .is_none_or(|mark| access::on_any(mark.lists, ends.source))
}

/// Drops the packet when it is for one of our VIPs, when there is a list of routers (it may carry a routing protocol),
/// or when its destination is unknown. Passes it to the kernel otherwise.
#[inline(always)]
fn malformed(ctx: &XdpContext, node: &Node, destination: Destination) -> u32 {
    let others = |destination| node.routers == 0 && !steer::is_vip(node, destination);
    if destination.is_some_and(others) {
        return not_ours(length(ctx));
    }
    // SAFETY: a plain byte of the program's read-only data; the read is volatile because the loader sets the byte after
    // compilation.
    if unsafe { core::ptr::read_volatile(&raw const PACKET_LOG) } != 0 {
        info!(
            ctx,
            "malformed packet of {} bytes on interface {}",
            length(ctx),
            ctx.ingress_ifindex()
        );
    }
    let flow = Flow {
        vip: destination.unwrap_or_default(),
        ..Flow::default()
    };
    drop(ctx, node, &flow, Verdict::Malformed, 0, length(ctx))
}

/// The frame's length in bytes. The call that sums the buffers up costs 8 ns, half the cost of a denied packet. It is
/// made only for packets that go on behind the first buffer, and for frames whose first buffer is shorter than
/// Ethernet's shortest frame. For all others, bytes that a driver put into buffers behind the packet's end are not
/// counted.
#[inline(always)]
fn length_holding(ctx: &XdpContext, ip_end: usize) -> usize {
    let first_buffer = ctx.data_end() - ctx.data();
    if ip_end <= first_buffer && first_buffer >= FILLED {
        return first_buffer;
    }
    length(ctx)
}

#[inline(always)]
fn not_ours(length: usize) -> u32 {
    count(0, Verdict::NotOurs, length);
    xdp_action::XDP_PASS
}

/// Counts the drop. Reports the first of every `node.sample` drops, and no more than `node.event_rate` a second.
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
    if node.sample != 0 && before & u64::from(node.sample - 1) == 0 && may_report(node) {
        // The copy made here keeps the flow in registers for all the packets that are not reported.
        let flow = *flow;
        report(ctx, &flow, verdict, service);
    }
    xdp_action::XDP_DROP
}
