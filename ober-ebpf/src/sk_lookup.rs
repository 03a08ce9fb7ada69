//! The socket of a new connection: the same service, list and ring as XDP, so both name the same worker. The kernel
//! runs it for new TCP connections and for UDP packets without a connected socket, never for packets of established
//! connections. It checks the access lists and the list of routers again, because a packet may come by an interface
//! without an XDP program, out of a tunnel, or in fragments.

use aya_ebpf::{
    bindings::{bpf_sk_lookup, sk_action},
    macros::sk_lookup,
    programs::SkLookupContext,
};
use ober_common::{
    abi::{Lookups, Node},
    address::Ip,
    flow::Flow,
};

use crate::{
    access,
    maps::{LOOKUPS, NODE, SOCKET_TABLE},
    routing, steer,
};

const AF_INET: u32 = 2;

#[sk_lookup]
pub(crate) fn ober_lookup(ctx: SkLookupContext) -> u32 {
    let node = NODE.get();
    let Some(flow) = flow(&ctx) else {
        return counted(0, |lookups| &mut lookups.denied, sk_action::SK_DROP);
    };
    let Some(service) = steer::service(node, &flow) else {
        return no_service(node, &flow);
    };
    let counted = |raise, action| counted(service.index, raise, action);
    if !access::admits(node, service, flow.client) {
        return counted(|lookups| &mut lookups.denied, sk_action::SK_DROP);
    }
    let Some(worker) = steer::worker(node, service, &flow) else {
        return counted(|lookups| &mut lookups.no_worker, sk_action::SK_DROP);
    };
    #[expect(
        clippy::cast_possible_truncation,
        reason = "worker numbers are below 64"
    )]
    match SOCKET_TABLE.redirect_sk_lookup(&ctx, service.sockets + worker as u32, 0) {
        Ok(()) => counted(|lookups| &mut lookups.assigned, sk_action::SK_PASS),
        Err(_) => counted(|lookups| &mut lookups.no_socket, sk_action::SK_DROP),
    }
}

/// A packet for no service goes to the kernel, except a routing protocol from an address that is not on the list of
/// routers.
#[inline(always)]
fn no_service(node: &Node, flow: &Flow) -> u32 {
    let stranger = node.routers != 0 && routing::speaks(flow) && !access::is_router(flow.client);
    if stranger {
        return counted(0, |lookups| &mut lookups.denied, sk_action::SK_DROP);
    }
    sk_action::SK_PASS
}

#[inline(always)]
fn counted(service: u32, raise: fn(&mut Lookups) -> &mut u64, action: u32) -> u32 {
    if let Some(lookups) = LOOKUPS.get_ptr_mut(service) {
        // SAFETY: the slot is this CPU's own.
        *raise(unsafe { &mut *lookups }) += 1;
    }
    action
}

/// The flow of the new connection. The kernel gives the remote address and port in network order, the local port in
/// host order. `None`: an IPv6 packet with an IPv4-mapped address, which lists and services would take for IPv4.
#[inline(always)]
fn flow(ctx: &SkLookupContext) -> Option<Flow> {
    // SAFETY: the kernel hands a valid context for the run of the program.
    let lookup: &bpf_sk_lookup = unsafe { &*ctx.lookup };
    let (client, vip) = if lookup.family == AF_INET {
        (
            Ip::from_v4(lookup.remote_ip4),
            Ip::from_v4(lookup.local_ip4),
        )
    } else {
        let (client, vip) = (wide(lookup.remote_ip6), wide(lookup.local_ip6));
        if client.is_mapped() || vip.is_mapped() {
            return None;
        }
        (client, vip)
    };
    Some(Flow {
        client,
        vip,
        client_port: u16::from_be(lookup.remote_port),
        port: lookup.local_port as u16,
        protocol: lookup.protocol as u8,
    })
}

#[inline(always)]
fn wide(words: [u32; 4]) -> Ip {
    let join = |first: u32, second: u32| u64::from(second) << 32 | u64::from(first);
    if cfg!(target_endian = "little") {
        Ip {
            hi: join(words[0], words[1]),
            lo: join(words[2], words[3]),
        }
    } else {
        Ip {
            hi: join(words[1], words[0]),
            lo: join(words[3], words[2]),
        }
    }
}
