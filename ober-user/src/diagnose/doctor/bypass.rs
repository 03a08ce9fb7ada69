//! Ways to clients that no XDP program looks at. The socket lookup judges new connections on every interface; it does not see
//! later packets of a connection, nor packets for the node itself.

use std::{collections::BTreeMap, net::IpAddr};

use crate::diagnose::finding::Finding;

const PART: &str = "interfaces";

/// A listed address that this node reaches by an interface without our program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bypass {
    pub interface: String,
    pub list: String,
    pub address: IpAddr,
}

/// One finding an interface.
pub(super) fn judge(bypasses: &[Bypass]) -> Vec<Finding> {
    let mut by_interface = BTreeMap::<&str, &Bypass>::new();
    for way in bypasses {
        by_interface.entry(&way.interface).or_insert(way);
    }
    let finding = |(interface, way): (&str, &Bypass)| {
        let reason = format!(
            "{} of list {} is reached by it, and no program of ours is on it: a client that comes in by it is judged \
             once, when a connection begins",
            way.address, way.list
        );
        Finding::warning(PART, interface, reason).advice(format!(
            "add {interface} to `node.interfaces`; without it a client that is taken off its list keeps its connections, and \
             the list of routers does not apply there"
        ))
    };
    by_interface.into_iter().map(finding).collect()
}
