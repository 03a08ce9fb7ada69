//! What a start, a change and the comparison with the kernel share: how a configuration becomes what the kernel holds.

use std::{
    collections::{BTreeSet, HashMap},
    net::SocketAddr,
};

use anyhow::Context as _;

use crate::{
    config::{Access, Config, Fragments},
    dataplane::{
        self, Attached, Maps, Plane, Switches, Wanted, access,
        interface::{
            gather::Snapshot,
            steer::{self, Candidate, Decision},
        },
    },
    haproxy::Listening,
    lists::AccessLists,
    protocols::routers::Routers,
};

/// Puts services, sockets, workers and switches into the kernel.
pub(super) fn put_services(
    config: &Config,
    plane: &mut Plane,
    access_lists: &AccessLists,
    sockets: &[Listening],
) -> anyhow::Result<()> {
    let wanted = wanted(config, access_lists)?;
    let indexes = plane.set_services(&wanted)?;
    let mut of_listener: HashMap<_, Vec<&Listening>> = HashMap::new();
    for socket in sockets {
        let listener = (socket.service.as_str(), socket.port);
        of_listener.entry(listener).or_default().push(socket);
    }
    for (index, kernel) in indexes.iter().zip(config.vip_listeners()) {
        let listener = (kernel.service.name.as_str(), kernel.listener.port);
        for &socket in of_listener.get(&listener).into_iter().flatten() {
            if socket.family.holds(kernel.vip) {
                plane.set_socket(*index, socket.worker, socket)?;
            }
        }
    }
    // Whether packets may be steered is decided when the interfaces are attached: until then it stays as it is.
    let steers = plane.maps.node.read(0).steer == 1;
    plane.set_workers(&config.workers.cpus, steers)?;
    plane.set_switches(&switches(config, access_lists));
    Ok(())
}

/// The switches that the kernel gets.
pub(super) fn switches(config: &Config, access_lists: &AccessLists) -> Switches {
    let node = &config.node;
    let (bgp_here, bgp_there) = bgp_ports(config);
    Switches {
        routers: node
            .routers
            .as_ref()
            .and_then(|list| access_lists.number(list)),
        sample: node.sample,
        event_rate: node.event_rate,
        fragments: node.fragments == Fragments::All,
        loopback: node.interfaces.iter().any(|name| name == "lo"),
        bgp_here,
        bgp_there,
    }
}

/// The ports on which this node listens for BGP, and those on which its neighbours do.
fn bgp_ports(config: &Config) -> (BTreeSet<u16>, BTreeSet<u16>) {
    let bgp = config.bgp.iter();
    let here = bgp
        .clone()
        .flat_map(|bgp| bgp.listen.iter().map(SocketAddr::port));
    let there = bgp.flat_map(|bgp| bgp.neighbours.iter().map(|it| it.port));
    (here.collect(), there.collect())
}

/// The routers that may speak routing protocols with this node, by the list in the kernel.
pub(super) fn routers(
    config: &Config,
    maps: &Maps,
    access_lists: &AccessLists,
) -> anyhow::Result<Routers> {
    let Some(list) = &config.node.routers else {
        return Ok(Routers::default());
    };
    let number = access_lists
        .number(list)
        .with_context(|| format!("read the list of routers {list}: there is no such list"))?;
    Ok(Routers::listed(access::read(maps, number)?))
}

/// The services that the kernel gets, in the order of [`Config::vip_listeners`]. An unknown list is an error: a service
/// without its list would be open.
pub(super) fn wanted(config: &Config, access_lists: &AccessLists) -> anyhow::Result<Vec<Wanted>> {
    let wanted = config.vip_listeners().map(|kernel| {
        let list = match &kernel.listener.access {
            Access::Open => None,
            Access::List(list) => Some(access_lists.number(list).with_context(|| {
                format!(
                    "restrict service {} to list {list}: there is no such list",
                    kernel.service.name
                )
            })?),
        };
        Ok(Wanted {
            vip: kernel.vip,
            protocol: ober_common::packet::TCP,
            port: kernel.listener.port.get(),
            list,
        })
    });
    wanted.collect()
}

/// Attaches the programs to the interfaces that are here, and decides again whether packets are steered.
pub(super) fn attach(config: &Config, plane: &mut Plane) -> anyhow::Result<()> {
    let before = plane.attached().to_vec();
    let interfaces = config.node.interfaces.iter();
    let here: Vec<String> = interfaces.filter(|name| is_here(name)).cloned().collect();
    let attached = plane.attach(&here)?;
    for it in attached.iter().filter(|it| !before.contains(it)) {
        let (interface, native) = (&it.interface, it.native);
        tracing::info!(interface, native, "XDP is attached");
    }
    steer(config, plane, &Snapshot::take()?)
}

/// Decides whether packets are steered, and puts that in force.
pub(super) fn steer(config: &Config, plane: &mut Plane, now: &Snapshot) -> anyhow::Result<()> {
    let decision = steering(config, plane, now);
    put_steering(config, plane, decision)
}

/// The decision whether packets are steered.
pub(super) fn steering(config: &Config, plane: &Plane, now: &Snapshot) -> Decision {
    let candidate = |attached: &Attached| {
        Some(Candidate {
            features: now.features(&attached.interface)?,
            native: Some(attached.native),
        })
    };
    let candidates: Vec<_> = plane.attached().iter().filter_map(candidate).collect();
    steer::decide(config.node.steer, config.workers.cpus.len(), &candidates)
}

/// Puts the decision in force; warns if steering was asked for and cannot be.
pub(super) fn put_steering(
    config: &Config,
    plane: &mut Plane,
    decision: Decision,
) -> anyhow::Result<()> {
    if plane.steering() != Some(&decision) {
        let Decision {
            steers,
            why,
            refused,
        } = &decision;
        if *refused {
            tracing::warn!(why, "packets are not steered to their workers' CPUs");
        } else {
            tracing::info!(
                steers,
                why,
                "it is decided whether packets are steered to their workers' CPUs"
            );
        }
    }
    Ok(plane.steer(&config.workers.cpus, decision)?)
}

/// Refuses a configuration with an interface that is not here, unless that is one of `known`: those are waited for.
pub(super) fn check_interfaces(known: &[String], config: &Config) -> anyhow::Result<()> {
    let interfaces = config.node.interfaces.iter();
    for interface in interfaces.filter(|name| !known.contains(name)) {
        nix::net::if_::if_nametoindex(interface.as_str())
            .with_context(|| format!("use interface {interface}: there is none of that name here; correct node.interfaces (`ip link` lists them)"))?;
    }
    Ok(())
}

/// The interfaces of the configuration that are not here.
pub(super) fn away(config: &Config) -> BTreeSet<&String> {
    let interfaces = config.node.interfaces.iter();
    interfaces.filter(|name| !is_here(name)).collect()
}

/// An interface that cannot be asked for counts as there: attaching to it says what is wrong.
fn is_here(interface: &str) -> bool {
    !matches!(dataplane::index(interface), Ok(None))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::ConfigDirectory;

    #[test]
    fn the_programs_know_the_ports_of_bgp_that_the_configuration_names() {
        let text = "[node]\ninterfaces = ['a']\n[bgp]\nas = 65001\nrouter_id = '192.0.2.1'\n\
                    listen = ['0.0.0.0:1790', '[::]:1790']\n\
                    [[bgp.neighbours]]\naddress = '192.0.2.254'\nas = 65000\n\
                    [[bgp.neighbours]]\naddress = '192.0.2.253'\nas = 65000\nport = 1791\n";
        let config = ConfigDirectory::new().parse(text).unwrap();
        let expected = ([1790].into(), [179, 1791].into());
        assert_eq!(bgp_ports(&config), expected);
    }
}
