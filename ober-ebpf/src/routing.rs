//! What the list of routers is asked for, at the interfaces and at the sockets alike.

use ober_common::{
    abi::PortBits,
    flow::Flow,
    packet::{BFD_PORTS, TCP, UDP},
};

use crate::maps::BGP_PORTS;

/// Is this BGP or BFD? BGP in both directions: what a neighbour answers when this node has called it, too.
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
    // SAFETY: changes one register. The compiler knows that so few bits are left and would not mask them; Linux 6.1
    // forgets the bounds of a number whose bytes were exchanged.
    unsafe {
        core::arch::asm!("{0} &= 1023", inout(reg) word, options(pure, nomem, nostack));
    }
    ports[word & 1023] >> (port & 63) & 1 == 1
}
