//! The real programs on the real kernel, set up as a [`Stage`] says, and run on bytes. Lists are laid out here by the
//! words of `ober_common::abi`, not by the daemon's code: what is under test is who reads them.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use aya::{
    maps::lpm_trie::Key,
    programs::{TestRun, TestRunOptions},
};
use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};
use ober_common::{
    abi::{
        CELLS, Count, Counters, PAGE_ALL, PAGE_NONE, PREFIX_LIST_BITS, PrefixKey, RING_SLOTS, Ring,
        SERVICES, SPILL,
    },
    flow::{Ip, host_line},
};
use ober_tests::{
    model::{Action, List, Prefix, address},
    packets::{Case, Shape, Stage},
};
use ober_user::{
    config::{Config, Limits, Node, Resolve, Steer, Workers, XdpMode},
    dataplane::{Plane, Wanted, detach, maps::Plain},
};

const BPFFS: &str = "/sys/fs/bpf";
/// Few, so that the crowd of IPv6 hosts spills over its lines.
const IPV6_LINES: u32 = 512;
const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;
const XDP_REDIRECT: u32 = 4;
/// The kernel refuses to run XDP on less than an Ethernet header, so shorter frames are the host tests' business.
pub const SHORTEST: usize = 14;
/// A frame of at most this many bytes lies in one buffer.
const ONE_BUFFER: usize = 2048;

/// What one packet did.
#[derive(Debug, PartialEq, Eq)]
pub struct Outcome {
    pub action: Action,
    /// Service, cell and what the cell rose by; exactly one in a sound run.
    pub rises: Vec<(u32, usize, Count)>,
}

/// A loaded data plane that is attached to nothing; its pins go with it.
pub struct Kernel {
    plane: Plane,
    instance: String,
    services: u32,
    before: Vec<Box<[Count; CELLS]>>,
    splits: bool,
}

impl Drop for Kernel {
    fn drop(&mut self) {
        detach(Path::new(BPFFS), &self.instance).unwrap();
    }
}

impl Kernel {
    /// Loads the programs and fills the maps. Pins this thread to the CPU the stage says it is on.
    pub fn load(name: &str, stage: &mut Stage) -> Self {
        stage.node.here = stay_on_one_cpu();
        let instance = format!("model-{name}-{}", std::process::id());
        let plane = Plane::load(&config(&instance), stage.node.key).unwrap();
        let services = u32::try_from(stage.node.services.len()).unwrap() + 1;
        let mut kernel = Self {
            plane,
            instance,
            services,
            before: Vec::new(),
            splits: false,
        };
        kernel.fill(stage);
        kernel.splits = kernel.can_split();
        kernel.before = kernel.counters();
        kernel
    }

    /// Runs the program on a frame.
    pub fn run(&mut self, case: &Case) -> Outcome {
        let action = match self.execute(&case.bytes, case.first_buffer).unwrap() {
            XDP_DROP => Action::Drop,
            XDP_PASS => Action::Pass,
            XDP_REDIRECT => Action::Redirect,
            other => panic!("the program returned {other}\n{}", case.describe()),
        };
        let after = self.counters();
        let rises = rises(&self.before, &after);
        self.before = after;
        Outcome { action, rises }
    }

    /// The case as this kernel can run it: before Linux 6.18 the first buffer's size cannot be chosen.
    pub fn fit(&self, mut case: Case) -> Case {
        if !self.splits {
            case.first_buffer = None;
            case.bytes.truncate(ONE_BUFFER);
            case.shapes
                .retain(|shape| !self.out_of_reach().contains(shape));
        }
        case
    }

    /// What [`Kernel::fit`] took away.
    pub fn out_of_reach(&self) -> &'static [Shape] {
        if self.splits {
            &[]
        } else {
            &[Shape::Jumbo, Shape::ShortFirstBuffer]
        }
    }

    /// Packets counted anywhere, in services that do not exist too.
    pub fn counted(&self) -> u64 {
        (0..SERVICES)
            .map(|index| {
                self.cells(index)
                    .iter()
                    .map(|count| count.packets)
                    .sum::<u64>()
            })
            .sum()
    }

    /// Turns the checks of routing protocols and the steering on or off, here and in the model.
    pub fn switch(&self, stage: &mut Stage, routers: Option<usize>, steer: bool) {
        stage.node.routers = routers;
        stage.node.steer = steer;
        let list = routers.map_or(0, |list| u32::try_from(list).unwrap() + 1);
        self.plane.set_switch(|node| &raw mut node.routers, list);
        self.plane
            .set_switch(|node| &raw mut node.steer, u32::from(steer));
    }

    fn execute(&mut self, bytes: &[u8], first_buffer: Option<usize>) -> Result<u32, String> {
        let mut context = [0; 24];
        let end = u32::try_from(first_buffer.unwrap_or(bytes.len())).unwrap();
        context[4..8].copy_from_slice(&end.to_ne_bytes());
        let options = TestRunOptions {
            data_in: Some(bytes),
            ctx_in: first_buffer.is_some().then_some(&context),
            ..TestRunOptions::new()
        };
        let ran = self.plane.xdp().unwrap().test_run(options);
        ran.map(|result| result.return_value)
            .map_err(|error| format!("{error:?} on {} bytes", bytes.len()))
    }

    fn can_split(&mut self) -> bool {
        let splits = self.execute(&[0; 60], Some(SHORTEST)).is_ok();
        if !splits {
            println!(
                "this kernel cannot choose the first buffer's size: multi-buffer frames are left out"
            );
        }
        splits
    }

    fn counters(&self) -> Vec<Box<[Count; CELLS]>> {
        (0..self.services).map(|index| self.cells(index)).collect()
    }

    /// A service's cells over all CPUs.
    fn cells(&self, index: u32) -> Box<[Count; CELLS]> {
        let mut sum = Box::new([Count::default(); CELLS]);
        for Plain(Counters { cells }) in self.plane.maps.counters.get(&index, 0).unwrap().iter() {
            for (sum, cell) in sum.iter_mut().zip(cells) {
                sum.packets += cell.packets;
                sum.bytes += cell.bytes;
            }
        }
        sum
    }

    fn fill(&mut self, stage: &mut Stage) {
        self.place_services(stage);
        self.place_workers(stage);
        let (mut pages, mut prefix_lists) = (BTreeMap::new(), 0);
        for (number, list) in (0..).zip(&stage.node.lists) {
            self.place_list(number, list, &mut pages, &mut prefix_lists);
        }
        self.plane
            .set_switch(|node| &raw mut node.prefix_lists, prefix_lists);
        self.switch(stage, stage.node.routers, stage.node.steer);
    }

    fn place_services(&mut self, stage: &mut Stage) {
        let wanted: Vec<Wanted> = stage
            .node
            .services
            .iter()
            .map(|service| Wanted {
                vip: Ipv6Addr::from(service.vip).to_canonical(),
                protocol: service.protocol,
                port: service.port,
                list: service.list.map(|list| u32::try_from(list).unwrap()),
            })
            .collect();
        let indices = self.plane.set_services(&wanted).unwrap();
        for (service, index) in stage.node.services.iter_mut().zip(indices) {
            service.index = index;
            let entry = self
                .plane
                .services()
                .into_iter()
                .find(|entry| entry.index == index)
                .unwrap();
            let mut ring = Ring {
                slots: [0; RING_SLOTS],
            };
            for (slot, worker) in ring.slots.iter_mut().zip(&service.ring) {
                *slot = worker.map_or(0, |worker| u16::try_from(worker).unwrap() + 1);
            }
            self.plane.maps.rings.fill(entry.ring as usize, &ring);
        }
    }

    fn place_workers(&mut self, stage: &Stage) {
        let last = stage
            .node
            .workers
            .iter()
            .map(|worker| worker.number)
            .max()
            .unwrap_or(0);
        let mut cpus = vec![0; last + 1];
        for worker in &stage.node.workers {
            cpus[worker.number] = worker.cpu;
        }
        self.plane.set_workers(&cpus, true).unwrap();
        for worker in stage.node.workers.iter().filter(|worker| !worker.steerable) {
            self.plane
                .set_switch(|node| &raw mut node.workers[worker.number].steerable, 0);
        }
    }

    fn place_list(
        &mut self,
        list: u32,
        content: &List,
        pages: &mut BTreeMap<(u32, u32), u16>,
        prefix_lists: &mut u32,
    ) {
        for prefix in &content.prefixes {
            match prefix.address {
                IpAddr::V4(first) => self.place_v4(list, first.to_bits(), prefix.length, pages),
                IpAddr::V6(host) if prefix.length == 128 => self.place_host(list, host),
                IpAddr::V6(_) => {
                    *prefix_lists |= 1 << list;
                    self.place_prefix(list, *prefix);
                }
            }
        }
    }

    fn place_v4(&self, list: u32, first: u32, length: u8, pages: &mut BTreeMap<(u32, u32), u16>) {
        let index = self.plane.maps.index.at(list as usize).as_ptr();
        let last = first + u32::try_from((1u64 << (32 - length)) - 1).unwrap();
        if length <= 16 {
            for upper in first >> 16..=last >> 16 {
                // SAFETY: within the mapped value; no packet runs while the maps are filled.
                unsafe { (*index).pages[upper as usize] = PAGE_ALL };
            }
            return;
        }
        let next = u16::try_from(pages.len()).unwrap() + 2;
        let page = *pages.entry((list, first >> 16)).or_insert(next);
        assert!(page != PAGE_NONE && usize::from(page) < self.plane.maps.pages.count());
        let words = self.plane.maps.pages.at(usize::from(page)).as_ptr();
        for address in first..=last {
            // SAFETY: as above.
            unsafe {
                (*index).pages[(first >> 16) as usize] = page;
                (*words).words[(address as usize >> 6) % 1024] |= 1 << (address % 64);
            }
        }
    }

    fn place_host(&self, list: u32, host: Ipv6Addr) {
        let (bytes, node) = (host.octets(), self.plane.maps.node.read(0));
        let home = host_line(node.key, Ip::from_bytes(bytes), node.line_mask);
        for step in 0..=SPILL {
            let line = self
                .plane
                .maps
                .lines
                .at(((home + step) & node.line_mask) as usize)
                .as_ptr();
            // SAFETY: within the mapped values; no packet runs while the maps are filled.
            let (line, first) = unsafe {
                (
                    &mut *line,
                    &mut *self.plane.maps.lines.at(home as usize).as_ptr(),
                )
            };
            let free = |way: &usize| line.lists[*way] == 0 || line.addresses[*way] == bytes;
            if let Some(way) = (0..line.lists.len()).find(free) {
                let fresh = line.lists[way] == 0;
                line.addresses[way] = bytes;
                line.lists[way] |= 1 << list;
                first.spilled += u32::from(step > 0 && fresh);
                return;
            }
        }
        panic!("no place for {host} within {SPILL} lines");
    }

    fn place_prefix(&mut self, list: u32, prefix: Prefix) {
        let data = PrefixKey {
            list: list.to_be_bytes(),
            address: address(prefix.address),
        };
        let key = Key::new(PREFIX_LIST_BITS + u32::from(prefix.length), Plain(data));
        self.plane.maps.prefixes.insert(&key, 1, 0).unwrap();
    }
}

fn rises(
    before: &[Box<[Count; CELLS]>],
    after: &[Box<[Count; CELLS]>],
) -> Vec<(u32, usize, Count)> {
    let mut rises = Vec::new();
    for (service, (before, after)) in (0..).zip(before.iter().zip(after)) {
        for (cell, (before, after)) in before.iter().zip(after.iter()).enumerate() {
            if before != after {
                let rise = Count {
                    packets: after.packets - before.packets,
                    bytes: after.bytes - before.bytes,
                };
                rises.push((service, cell, rise));
            }
        }
    }
    rises
}

/// Keeps this thread on the first CPU it may use and says which.
fn stay_on_one_cpu() -> u32 {
    let myself = Pid::from_raw(0);
    let allowed = sched_getaffinity(myself).unwrap();
    let first = (0..CpuSet::count())
        .find(|cpu| allowed.is_set(*cpu).unwrap())
        .unwrap();
    let mut only = CpuSet::new();
    only.set(first).unwrap();
    sched_setaffinity(myself, &only).unwrap();
    u32::try_from(first).unwrap()
}

fn config(instance: &str) -> Config {
    Config {
        node: Node {
            instance: instance.into(),
            interfaces: Vec::new(),
            xdp: XdpMode::Auto,
            steer: Steer::Auto,
            vip_interface: None,
            routers: None,
            cluster_key: None,
            state: PathBuf::from("/nonexistent"),
            run: PathBuf::from("/nonexistent"),
            bpffs: PathBuf::from(BPFFS),
            metrics: SocketAddr::from(([127, 0, 0, 1], 8404)),
            sample: 1,
            packet_log: false,
        },
        workers: Workers {
            cpus: vec![0, 1],
            haproxy: PathBuf::from("haproxy"),
            user: None,
            group: None,
            max_connections: 1000,
            drain: Duration::from_secs(1),
            backoff: Duration::from_millis(10),
            backoff_max: Duration::from_secs(1),
        },
        limits: Limits {
            ipv4_pages: 64,
            ipv6_hosts: IPV6_LINES,
            ipv6_prefixes: 64,
            expansion: 1000,
        },
        resolve: Resolve {
            interval: Duration::ZERO,
            timeout: Duration::from_secs(1),
            concurrency: 4,
            slurm_conf: None,
        },
        lists: BTreeMap::new(),
        services: Vec::new(),
        backends: BTreeMap::new(),
    }
}
