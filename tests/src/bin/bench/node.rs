//! Our data plane, loaded beside any other and never attached, with the services and lists the measures need.

use anyhow::Result;
use aya::programs::ProgramFd;
use ober_common::{
    abi::{RING_SLOTS, Ring},
    packet::TCP,
};
use ober_tests::plane;
use ober_user::{
    config::{Config, Limits},
    dataplane::{Plane, Wanted, access::replace, detach},
    names::entries::Entries,
};

use crate::packets::Family;

const BPFFS: &str = "/sys/fs/bpf";
const KEY: [u64; 2] = [0x9e37_79b9_7f4a_7c15, 0xd1b5_4a32_d192_ed03];
/// Drops between two sampled ones, the default of the configuration.
const SAMPLE: u32 = 1024;
/// Port of the first list's service; the next list's has the next.
const PORT: u16 = 443;

/// A data plane with one service per list and family.
pub(crate) struct Node {
    instance: String,
    plane: Plane,
}

impl Node {
    /// List number `n` holds as many hosts of each family as `sizes[n]` says: every second client, from client 0.
    pub(crate) fn load(name: &str, sizes: &[u32]) -> Result<Self> {
        let instance = format!("bench-{name}-{}", std::process::id());
        let most = sizes.iter().copied().max().unwrap_or(1);
        let plane = Plane::load(&config(&instance, most), KEY)?;
        let mut node = Self { instance, plane };
        for (number, size) in sizes.iter().enumerate() {
            node.fill(u32::try_from(number)?, *size)?;
        }
        node.serve(sizes.len())?;
        Ok(node)
    }

    /// The port of the service with this list.
    pub(crate) const fn port(list: u16) -> u16 {
        PORT + list
    }

    /// Both workers on `cpu`; `steer`: packets go there.
    pub(crate) fn workers(&mut self, cpu: u32, steer: bool) -> Result<()> {
        Ok(self.plane.set_workers(&[cpu, cpu], steer)?)
    }

    pub(crate) fn program(&mut self) -> Result<ProgramFd> {
        Ok(self.plane.xdp()?.fd()?.try_clone()?)
    }

    fn serve(&mut self, lists: usize) -> Result<()> {
        let mut wanted = Vec::new();
        for (list, port) in (0..u32::try_from(lists)?).zip(PORT..) {
            wanted.extend(Family::ALL.map(|family| Wanted {
                vip: family.vip(),
                protocol: TCP,
                port,
                list: Some(list),
            }));
        }
        self.plane.set_services(&wanted)?;
        let mut ring = Ring {
            slots: [0; RING_SLOTS],
        };
        for (slot, worker) in ring.slots.iter_mut().zip([1, 2].into_iter().cycle()) {
            *slot = worker;
        }
        self.plane.set_ring(&ring);
        self.plane.set_switch(|node| &raw mut node.sample, SAMPLE);
        Ok(())
    }

    fn fill(&mut self, list: u32, size: u32) -> Result<()> {
        let mut entries = Entries::default();
        for family in Family::ALL {
            (0..size).for_each(|number| entries.push(family.client(number * 2)));
        }
        entries.settle();
        replace(&mut self.plane.maps, list, &entries)?;
        Ok(())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Err(error) = detach(BPFFS.as_ref(), &self.instance) {
            eprintln!("{error}");
        }
    }
}

fn config(instance: &str, hosts: u32) -> Config {
    let limits = Limits {
        ipv4_pages: 256,
        ipv6_hosts: hosts.max(131_072),
        ipv6_prefixes: 1024,
        expansion: 1000,
        steer_queue: 2048,
        servers: 1000,
    };
    let mut config = plane::config(instance, limits);
    config.node.sample = SAMPLE;
    config
}
