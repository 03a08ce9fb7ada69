//! Which packets only an address on the list of routers may send. XDP and `sk_lookup` both use it.

use ober_common::{
    abi::PortBits,
    flow::Flow,
    packet::{BFD_PORTS, TCP, UDP},
};

use crate::maps::BGP_PORTS;

/// Is this BGP or BFD? BGP in both directions: the answers of a neighbour to which this node has connected are BGP too.
#[inline(always)]
pub(crate) fn speaks(flow: &Flow) -> bool {
    match flow.protocol {
        TCP => {
            let ports = BGP_PORTS.get();
            among(&ports.here, flow.port) || among(&ports.there, flow.client_port)
        }
        UDP => BFD_PORTS.contains(&flow.port),
        _ => false,
    }
}

#[inline(always)]
fn among(ports: &PortBits, port: u16) -> bool {
    let mut word = usize::from(port >> 6);
    // SAFETY: changes one register. The compiler knows the bounds of the number and would leave out a mask; the
    // verifier of Linux 6.1 needs it, because it forgets the bounds of a number whose bytes were swapped.
    unsafe {
        core::arch::asm!("{0} &= 1023", inout(reg) word, options(pure, nomem, nostack));
    }
    ports[word & 1023] >> (port & 63) & 1 == 1
}
