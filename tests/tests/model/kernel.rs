//! The real programs on the real kernel, set up as a [`Target`] says, and run on bytes.

use std::net::Ipv6Addr;

use aya::{
    maps::{MapData, RingBuf},
    programs::{TestRun, TestRunOptions},
};
use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};
use ober_common::abi::{CELLS, Count, Drop, RING_SLOTS, Ring, SERVICES};
use ober_tests::{
    lab::Host,
    model::{Action, List, Prefix},
    packets::{Case, Shape, Target},
    plane::Lists,
};
use ober_user::{
    config::Limits,
    dataplane::{Switches, Wanted, access, counters, maps::drops},
    names::entries::Entries,
};

/// Few IPv6 lines, so that the crowd of hosts spills over them.
const LIMITS: Limits = Limits {
    ipv4_pages: 64,
    ipv6_hosts: 512,
    ipv6_prefixes: 64,
    expansion: 1000,
    steer_queue: 2048,
    servers: 1000,
};
const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;
const XDP_REDIRECT: u32 = 4;
/// The kernel refuses to run XDP on less than an Ethernet header, so only the host tests have shorter frames.
pub(crate) const SHORTEST: usize = 14;
/// A frame of at most this many bytes lies in one buffer.
const ONE_BUFFER: usize = 2048;

/// What the program did with one packet.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) action: Action,
    /// Service, cell and what the cell rose by; exactly one in a sound run.
    pub(crate) rises: Vec<(u32, usize, Count)>,
    /// Services whose count of SYNs rose, and by how much.
    pub(crate) syns: Vec<(u32, u64)>,
    /// The report of it; only drops have one.
    pub(crate) report: Option<Drop>,
}

/// A loaded data plane that is attached to nothing; dropping it removes its pins.
pub(crate) struct Kernel {
    lists: Lists,
    reports: RingBuf<MapData>,
    services: u32,
    before: Vec<[Count; CELLS]>,
    syns: Vec<u64>,
    splits: bool,
}

impl Kernel {
    /// Loads the programs and fills the maps. Keeps this thread to the CPU the target says it is on.
    pub(crate) fn load(name: &str, target: &mut Target) -> Self {
        target.node.here = stay_on_one_cpu();
        let lists = Lists::with(name, LIMITS);
        target.node.key = lists.plane.maps.node.read(0).key;
        let services = u32::try_from(target.node.services.len()).unwrap() + 1;
        let reports = drops(lists.plane.directory()).unwrap();
        let mut kernel = Self {
            reports,
            lists,
            services,
            before: Vec::new(),
            syns: Vec::new(),
            splits: false,
        };
        kernel.fill(target);
        kernel.sample(1);
        // Every drop, however fast they come.
        kernel.rate(1_000_000_000);
        kernel.splits = kernel.can_split();
        kernel.before = kernel.counters();
        kernel.syns = kernel.syns();
        while kernel.report().is_some() {}
        kernel
    }

    /// Runs the program on a frame.
    pub(crate) fn run(&mut self, case: &Case) -> Outcome {
        let action = match self.execute(&case.bytes, case.first_buffer).unwrap() {
            XDP_DROP => Action::Drop,
            XDP_PASS => Action::Pass,
            XDP_REDIRECT => Action::Redirect,
            other => panic!("the program returned {other}\n{}", case.describe()),
        };
        let after = self.counters();
        let rises = rises(&self.before, &after);
        self.before = after;
        let counted = self.syns();
        let before = std::mem::replace(&mut self.syns, counted);
        let syns = (0..)
            .zip(before.iter().zip(&self.syns))
            .filter(|(_, (before, after))| before != after)
            .map(|(service, (before, after))| (service, after - before))
            .collect();
        let report = self.report();
        Outcome {
            action,
            rises,
            syns,
            report,
        }
    }

    /// The case as this kernel can run it: before Linux 6.18 the first buffer's size cannot be chosen.
    pub(crate) fn fit(&self, mut case: Case) -> Case {
        if !self.splits {
            case.first_buffer = None;
            case.bytes.truncate(ONE_BUFFER);
            case.shapes
                .retain(|shape| !self.out_of_reach().contains(shape));
        }
        case
    }

    /// The shapes that [`Kernel::fit`] takes away.
    pub(crate) fn out_of_reach(&self) -> &'static [Shape] {
        if self.splits {
            &[]
        } else {
            &[Shape::Jumbo, Shape::ShortFirstBuffer]
        }
    }

    /// Packets counted anywhere, in services that do not exist too.
    pub(crate) fn counted(&self) -> u64 {
        let cells = self.cells(SERVICES);
        cells.iter().flatten().map(|count| count.packets).sum()
    }

    /// Turns the checks of routing protocols and the steering on or off, here and in the model.
    pub(crate) fn switch(&self, target: &mut Target, routers: Option<usize>, steer: bool) {
        target.node.routers = routers;
        target.node.steer = steer;
        let plane = &self.lists.plane;
        let event_rate = plane.maps.node.read(0).event_rate;
        plane.set_switches(&Switches {
            routers: routers.map(|list| u32::try_from(list).unwrap()),
            sample: plane.maps.node.read(0).sample,
            event_rate,
            fragments: target.node.fragments,
            loopback: false,
            bgp_here: target.node.bgp.here.iter().copied().collect(),
            bgp_there: target.node.bgp.there.iter().copied().collect(),
        });
        plane.set_switch(|node| &raw mut node.steer, u32::from(steer));
    }

    /// Reports one drop of every `one_in` of a kind.
    pub(crate) fn sample(&self, one_in: u32) {
        self.lists
            .plane
            .set_switch(|node| &raw mut node.sample, one_in);
    }

    /// Reports at most this many drops a second.
    pub(crate) fn rate(&self, a_second: u32) {
        self.lists
            .plane
            .set_switch(|node| &raw mut node.event_rate, a_second);
    }

    fn report(&mut self) -> Option<Drop> {
        let item = self.reports.next()?;
        assert_eq!(item.len(), size_of::<Drop>());
        // SAFETY: that many bytes are there, and any bytes are a valid report.
        Some(unsafe { item.as_ptr().cast::<Drop>().read_unaligned() })
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
        let ran = self.lists.plane.xdp().unwrap().test_run(options);
        ran.map(|result| result.return_value)
            .map_err(|error| format!("{error:?} on {} bytes", bytes.len()))
    }

    /// Can the first buffer's size be chosen?
    pub(crate) fn splits(&self) -> bool {
        self.splits
    }

    /// Everything is passed here, on this CPU, and no drop is reported.
    pub(crate) fn quiet(&self, target: &mut Target) {
        self.switch(target, target.node.routers, false);
        self.sample(0);
    }

    /// Attaches the programs to the host's interface `in0`.
    pub(crate) fn attach(&mut self, host: &Host) -> anyhow::Result<()> {
        let interfaces = ["in0".to_owned()];
        let plane = &mut self.lists.plane;
        host.run(|| plane.attach(&interfaces))??;
        Ok(())
    }

    fn can_split(&mut self) -> bool {
        let splits = self.execute(&[0; 60], Some(0)).is_ok();
        if !splits {
            println!(
                "this kernel cannot choose the first buffer's size: multi-buffer frames are left out"
            );
        }
        splits
    }

    /// The SYNs of each service.
    fn syns(&self) -> Vec<u64> {
        let maps = &self.lists.plane.maps;
        let of = |service| counters::arrivals(maps, service).unwrap().syns;
        (0..self.services).map(of).collect()
    }

    fn counters(&self) -> Vec<[Count; CELLS]> {
        self.cells(self.services)
    }

    /// The cells of the first `services` services over all CPUs.
    fn cells(&self, services: u32) -> Vec<[Count; CELLS]> {
        let services = counters::table(&self.lists.plane.maps, 0..services).unwrap();
        let sum = |cpus: Vec<[Count; CELLS]>| {
            let mut sum = [Count::default(); CELLS];
            for cells in cpus {
                for (sum, cell) in sum.iter_mut().zip(cells) {
                    sum.packets += cell.packets;
                    sum.bytes += cell.bytes;
                }
            }
            sum
        };
        services.into_iter().map(sum).collect()
    }

    fn fill(&mut self, target: &mut Target) {
        self.place_services(target);
        self.place_workers(target);
        for (number, list) in (0..).zip(&target.node.lists) {
            access::replace(self.lists.maps(), number, &entries(list)).unwrap();
        }
        self.switch(target, target.node.routers, target.node.steer);
    }

    fn place_services(&mut self, target: &mut Target) {
        let wanted: Vec<Wanted> = target
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
        let indices = self.lists.plane.set_services(&wanted).unwrap();
        for (service, index) in target.node.services.iter_mut().zip(indices) {
            service.index = index;
            let entry = self
                .lists
                .plane
                .maps
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
            self.lists.plane.maps.rings.fill(entry.ring as usize, &ring);
        }
    }

    fn place_workers(&mut self, target: &Target) {
        let last = target
            .node
            .workers
            .iter()
            .map(|worker| worker.number)
            .max()
            .unwrap_or(0);
        let mut cpus = vec![0; last + 1];
        for worker in &target.node.workers {
            cpus[worker.number] = worker.cpu;
        }
        self.lists.plane.set_workers(&cpus, true).unwrap();
        for worker in target
            .node
            .workers
            .iter()
            .filter(|worker| !worker.steerable)
        {
            self.lists
                .plane
                .set_switch(|node| &raw mut node.workers[worker.number].steerable, 0);
        }
    }
}

fn entries(list: &List) -> Entries {
    let mut entries = Entries::default();
    for Prefix { address, length } in &list.prefixes {
        entries.push_prefix(format!("{address}/{length}").parse().unwrap());
    }
    entries.settle();
    entries
}

fn rises(before: &[[Count; CELLS]], after: &[[Count; CELLS]]) -> Vec<(u32, usize, Count)> {
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
