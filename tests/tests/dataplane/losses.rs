//! Steered packets that a CPU's queue has no room for are counted, so that the figures add up to what the kernel got.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    time::{Duration, Instant},
};

use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};
use ober_common::abi::{RING_SLOTS, Ring, Verdict};
use ober_tests::{
    lab::{
        Host, Lab,
        wire::{CARD, Wire, seal},
    },
    packets::{TCP, frame, ip, tcp},
    plane::{LIMITS, Lists},
};
use ober_user::{
    config::Limits,
    dataplane::{
        Wanted,
        counters::{self, NamedService},
        losses_counted,
    },
};

const VIP: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 2);
const PORT: u16 = 443;
/// Frames sent in a row, enough for a queue of one to be found full.
const FRAMES: u16 = 20_000;
const PATIENCE: Duration = Duration::from_secs(30);

/// The service's counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counted {
    passed: u64,
    steered: u64,
    lost: u64,
}

fn counted(lists: &Lists, index: u32, there: u32) -> Counted {
    let service = NamedService {
        name: "s3".into(),
        vip: VIP.into(),
        port: PORT,
        index,
    };
    let counters = counters::read(&lists.plane.maps, &[service]).unwrap();
    let packets = |verdict: Verdict| {
        let count = counters.services[1].verdicts.get(verdict.name());
        count.map_or(0, |count| count.packets)
    };
    let on_others = counters.steer_dropped.iter().filter(|it| *it.0 != there);
    assert_eq!(on_others.map(|it| *it.1).sum::<u64>(), 0);
    Counted {
        passed: packets(Verdict::Passed),
        steered: packets(Verdict::Steered),
        lost: counters.steer_dropped[&there],
    }
}

/// TCP segments that the host's kernel got, whatever became of them.
fn segments(host: &Host) -> u64 {
    let text = host
        .run(|| fs::read_to_string("/proc/thread-self/net/snmp"))
        .unwrap()
        .unwrap();
    let mut lines = text.lines().filter(|line| line.starts_with("Tcp:"));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let mut pairs = names.split(' ').zip(values.split(' '));
    let (_, value) = pairs.find(|(name, _)| *name == "InSegs").unwrap();
    value.parse().unwrap()
}

/// Two CPUs of this machine; this thread stays on the first.
fn two_cpus() -> [u32; 2] {
    let myself = Pid::from_raw(0);
    let allowed = sched_getaffinity(myself).unwrap();
    let mut cpus = (0..CpuSet::count()).filter(|cpu| allowed.is_set(*cpu).unwrap());
    let [here, there] =
        [cpus.next(), cpus.next()].map(|cpu| cpu.expect("two CPUs to steer between"));
    let mut only = CpuSet::new();
    only.set(here).unwrap();
    sched_setaffinity(myself, &only).unwrap();
    [here, there].map(|cpu| u32::try_from(cpu).unwrap())
}

fn hosts(lab: &Lab) -> [Host; 2] {
    let [node, sender] = ["node", "sender"].map(|name| lab.host(name).unwrap());
    // A report of IPv6 that a timer sends on the other CPU has the kernel poll `in0` there; the frames that wait are then steered
    // the other way.
    for host in [&node, &sender] {
        for scope in ["all", "default"] {
            let key = format!("net.ipv6.conf.{scope}.disable_ipv6");
            host.sysctl(&key, "1").unwrap();
        }
    }
    let pair = format!("link add out0 type veth peer name in0 netns {}", node.pid());
    sender.ip(&[&pair, "link set out0 up"]).unwrap();
    let lines = [
        format!("link set in0 address {CARD}"),
        "link set in0 up".into(),
        "addr add 10.78.0.1/24 dev in0".into(),
        format!("addr add {VIP}/32 dev lo"),
    ];
    node.ip(&lines).unwrap();
    for scope in ["all", "in0"] {
        node.sysctl(&format!("net.ipv4.conf.{scope}.rp_filter"), "0")
            .unwrap();
    }
    [node, sender]
}

/// A plane with one open service of two workers, one on each CPU, whose queues hold one packet.
fn plane(cpus: [u32; 2]) -> (Lists, u32) {
    let limits = Limits {
        steer_queue: 1,
        ..LIMITS
    };
    let mut lists = Lists::with("losses", limits);
    let wanted = Wanted {
        vip: VIP.into(),
        protocol: TCP,
        port: PORT,
        list: None,
    };
    let index = lists.plane.set_services(&[wanted]).unwrap()[0];
    let mut ring = Ring {
        slots: [0; RING_SLOTS],
    };
    for (slot, worker) in ring.slots.iter_mut().zip([1, 2].into_iter().cycle()) {
        *slot = worker;
    }
    lists.plane.set_ring(&ring);
    lists.plane.set_workers(&cpus, true).unwrap();
    (lists, index)
}

fn send(wire: &Wire) {
    for number in 0..FRAMES {
        // RST: the kernel counts it and answers nothing.
        let mut segment = tcp(1024 + number, PORT, b"");
        segment.bytes[13] = 4;
        let [from, to] = [CLIENT, VIP].map(IpAddr::from);
        let mut bytes = frame(&[], ip(from, to, TCP, segment)).bytes;
        seal(&mut bytes);
        wire.send(&bytes);
    }
}

#[test]
fn counted_packets_minus_lost_ones_equal_those_that_the_kernel_received() {
    let lab = Lab::new("losses").unwrap();
    let [node, sender] = hosts(&lab);
    let cpus = two_cpus();
    let (mut lists, index) = plane(cpus);
    let attach = |lists: &mut Lists| {
        let attached = node.run(|| lists.plane.attach(&["in0".to_owned()]));
        attached.unwrap().unwrap();
        assert!(
            losses_counted(lists.plane.directory()),
            "losses are counted"
        );
    };
    attach(&mut lists);
    let wire = sender.run(|| Wire::new("out0")).unwrap().unwrap();
    for round in 1..=2 {
        send(&wire);
        let began = Instant::now();
        let (counted, got) = loop {
            let (counted, got) = (counted(&lists, index, cpus[1]), segments(&node));
            let all = counted.passed + counted.steered == round * u64::from(FRAMES);
            let even = counted.passed + counted.steered - counted.lost == got;
            if all && even || began.elapsed() > PATIENCE {
                break (counted, got);
            }
        };
        let Counted {
            passed,
            steered,
            lost,
        } = counted;
        println!("passed {passed}, steered {steered}, lost {lost}; the kernel got {got}");
        assert_eq!(passed + steered, round * u64::from(FRAMES), "{counted:?}");
        assert_eq!(passed + steered - lost, got, "{counted:?}");
        assert!(passed > 0 && lost > 0 && lost < steered, "{counted:?}");
        // The next start takes programs and figures over.
        lists.again();
        attach(&mut lists);
    }
}
