//! Reads the facts, as the only part of `doctor` that reads anything.
//!
//! It never judges what it finds.

mod interfaces;

use std::{collections::BTreeMap, fs, net::IpAddr, path::Path, time::Duration};

use ipnet::IpNet;
use nix::{
    ifaddrs::getifaddrs,
    sys::{
        resource::{Resource, getrlimit},
        socket::SockaddrIn,
    },
};
use ober_common::abi::Verdict;
use socket2::{Domain, Socket, Type};

use super::{
    MachineFacts, Running, files, haproxy as haproxy_facts, host as host_facts, kernel, packets,
    ports, realtime, speaking, sysctls,
};
use crate::{
    announce::addresses,
    api::status::{Counters, Status},
    config::Config,
    dataplane::{
        self,
        interface::{gather::Snapshot, topology},
    },
    haproxy,
    host::{
        Host,
        parts::{firewall, limits, packages, qdisc, sysctl, time, users, watchdog},
        platform::Platform as _,
        record::{Author, Record},
        wants::{Configured, Wants},
    },
    machine::realtime::{Priority, Thread},
    protocols::vrrp::configured::Instance,
    system::{file, netlink, ownership::Foreign, privilege, sockopt},
};

use interfaces::{Look, find_ways};

/// How long packets are waited for.
const WHILE: Duration = Duration::from_secs(1);

pub(super) async fn all<C>(
    config: &Config,
    status: Option<Box<Status>>,
    counters: C,
) -> (MachineFacts, Option<Running>)
where
    C: AsyncFn() -> Counters,
{
    let mut running = None;
    let mut received = [BTreeMap::new(), BTreeMap::new()];
    if let Some(status) = status {
        let (before, first) = (packets(), counters().await);
        tokio::time::sleep(WHILE).await;
        received = [before, packets()];
        let counters = [first, counters().await];
        running = Some(Running { status, counters });
    }
    let now = Snapshot::take().ok();
    let look = Look {
        config,
        now: now.as_ref(),
        running: running.as_ref(),
        received: &received,
    };
    let interface = |name: &String| look.interface(name);
    let facts = MachineFacts {
        kernel: kernel(Some(config)),
        interfaces: config.node.interfaces.iter().map(interface).collect(),
        node: running.as_ref().map(|running| {
            let plane = &running.status.data_plane;
            super::interfaces::Node {
                steering: plane.steering,
                why: plane.steering_reason.clone(),
                unexplained_drops: plane.unexplained_drops,
            }
        }),
        bypasses: now
            .as_ref()
            .map_or_else(Vec::new, |now| find_ways(config, now)),
        packets: running.as_ref().map(packets_lost),
        haproxy: haproxy(config, running.as_ref()).await,
        realtime: realtime::RealtimeFacts {
            priority: priority(running.as_ref()),
        },
        files: files(running.as_ref()),
        ports: ports::PortFacts {
            daemon: running.is_some(),
            bound: bound(),
        },
        speaking: speaking::SpeakingFacts {
            own: own(config).await,
        },
        sysctls: sysctls(config, now.as_ref()),
        host: host(Some(config)).await,
        clock: time::look(),
    };
    (facts, running)
}

/// Addresses that VRRP would move, and that something else put on this node.
async fn own(config: &Config) -> Vec<Foreign> {
    let instances = config.vrrp.iter().flat_map(|vrrp| &vrrp.instances);
    let held: Vec<IpAddr> = instances.flat_map(Instance::held).collect();
    let noted = addresses::noted(config).unwrap_or_default();
    netlink::foreign(&held, &noted).await.unwrap_or_default()
}

/// `config`: `None` before there is one.
pub(super) fn kernel(config: Option<&Config>) -> kernel::KernelFacts {
    let bpffs = config.map_or(Path::new(kernel::BPFFS), |it| &it.node.bpffs);
    let release = read("/proc/sys/kernel/osrelease").unwrap_or_default();
    let signs = || {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        sockopt::md5(&socket, IpAddr::from([192, 0, 2, 1]), b"x")
    };
    kernel::KernelFacts {
        release,
        bpffs: dataplane::is_bpffs(bpffs),
        pins: config
            .and_then(|it| dataplane::judge_room(bpffs, &it.node.instance).err())
            .map(|error| error.to_string()),
        missing_capabilities: privilege::require(&privilege::DAEMON)
            .err()
            .map(|missing| missing.to_string()),
        signatures: signs().is_ok(),
    }
}

fn packets_lost(running: &Running) -> packets::PacketFacts {
    let plane = &running.status.data_plane;
    let [before, after] = &running.counters;
    let lost = |counters: &Counters| counters.steer_dropped.values().sum::<u64>();
    let fragments = |counters: &Counters| {
        let refused = counters
            .services
            .iter()
            .filter_map(|it| it.verdicts.get(Verdict::FragmentDenied.name()));
        refused.map(|count| count.packets).sum::<u64>()
    };
    packets::PacketFacts {
        unreadable: plane.unreadable,
        fragments: fragments(after).saturating_sub(fragments(before)),
        steering: plane.steering,
        lost: plane.steer_dropped.map(|_| after.steer_dropped.clone()),
        losing: lost(after).saturating_sub(lost(before)),
    }
}

/// Packets each interface of this namespace took in, by `/proc/net/dev`.
fn packets() -> BTreeMap<String, u64> {
    let text = read("/proc/thread-self/net/dev").unwrap_or_default();
    let line = |line: &str| {
        let (name, numbers) = line.split_once(':')?;
        let packets = numbers.split_whitespace().nth(1)?.parse().ok()?;
        Some((name.trim().to_owned(), packets))
    };
    text.lines().filter_map(line).collect()
}

/// The HAProxy of the search path.
pub(super) async fn packages() -> Option<packages::PackageFacts> {
    packages::look(&Host::here(), &Wants::default()).await.ok()
}

async fn haproxy(config: &Config, running: Option<&Running>) -> haproxy_facts::HaproxyFacts {
    let workers = running.map(|it| it.status.workers.iter());
    let program = haproxy::version::probe(&config.workers.haproxy).await;
    let validated = haproxy::validate(config).await;
    haproxy_facts::HaproxyFacts {
        program: program.map_err(|error| error.to_string()),
        validated: validated.map_err(|error| error.to_string()),
        as_root: workers
            .into_iter()
            .flatten()
            .flat_map(|it| it.as_root.clone())
            .collect(),
    }
}

/// A running daemon says only whether its thread is realtime; which priority it has otherwise does not matter.
fn priority(running: Option<&Running>) -> Priority {
    match running {
        Some(running) if running.status.bfd.realtime => Priority::Realtime,
        Some(_) => Priority::Nice,
        None => Thread::start().map_or(Priority::Ordinary, |thread| thread.priority()),
    }
}

/// A running daemon has raised its limit as far as it could.
fn files(running: Option<&Running>) -> files::FileFacts {
    let daemon = running.and_then(|it| hard_limit(it.status.pid?));
    let (_, ours) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((0, 0));
    let hard = daemon.unwrap_or(ours);
    files::FileFacts {
        hard,
        most: number("/proc/sys/fs/nr_open").unwrap_or(hard),
        raises: daemon.is_none() && privilege::require(&privilege::LIMITS).is_ok(),
    }
}

/// The hard limit on open files of another process.
fn hard_limit(process: u32) -> Option<u64> {
    let text = read(&format!("/proc/{process}/limits"))?;
    let mut lines = text.lines();
    let numbers = lines.find_map(|line| line.strip_prefix("Max open files"))?;
    numbers.split_whitespace().nth(1)?.parse().ok()
}

fn bound() -> Vec<ports::Bound> {
    use ports::Protocol::{Raw, Tcp, Udp};
    let tables = [
        (Tcp, "tcp"),
        (Tcp, "tcp6"),
        (Udp, "udp"),
        (Udp, "udp6"),
        (Raw, "raw"),
        (Raw, "raw6"),
    ];
    let table = |(protocol, name): (ports::Protocol, &str)| {
        let text = read(&format!("/proc/thread-self/net/{name}"));
        ports::read(protocol, &text.unwrap_or_default())
    };
    tables.into_iter().flat_map(table).collect()
}

/// The settings of bootstrap's table, and those of its values that this kernel has not.
pub(super) fn of_table() -> (
    BTreeMap<&'static str, String>,
    std::collections::BTreeSet<&'static str>,
) {
    let here = Host::here();
    let lacking = sysctl::lacking(&here).unwrap_or_default();
    (sysctl::live(&here).unwrap_or_default(), lacking)
}

/// What bootstrap makes of a machine. `config`: `None` before there is one.
pub(super) async fn host(config: Option<&Config>) -> host_facts::HostFacts {
    let here = Host::here();
    let wants = Wants {
        configured: config.map(Configured::of),
        ..Wants::default()
    };
    let watchdog = match Record::read(&here.root, Author::Bootstrap) {
        Ok(record) => watchdog::look(&here, &record).await.ok(),
        Err(_) => None,
    };
    let active = ["systemctl", "is-active", "haproxy.service"];
    let systemd = here.has_systemd();
    let state = config.map_or(Path::new("/var/lib"), |it| &it.node.state);
    host_facts::HostFacts {
        qdisc: qdisc::look(&here, &wants).await.ok(),
        watchdog,
        account: here.root.user(users::ACCOUNT).unwrap_or_default(),
        exposed: users::exposed(&here).unwrap_or_default(),
        limits: limits::look(&here).unwrap_or_default(),
        haproxy_service: systemd && here.machine.run(&active).await.is_ok_and(|it| it.success),
        space: space(state),
        firewall: firewall::look(&here).await,
        wants,
    }
}

/// Of the directory, or of the one that it will be made in.
fn space(directory: &Path) -> Option<host_facts::Space> {
    let there = directory.ancestors().find(|it| it.exists())?;
    let facts = nix::sys::statvfs::statvfs(there).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(facts.fragment_size());
    Some(host_facts::Space {
        directory: directory.display().to_string(),
        free: bytes(facts.blocks_available()),
        whole: bytes(facts.blocks()),
    })
}

fn sysctls(config: &Config, now: Option<&Snapshot>) -> sysctls::SysctlFacts {
    let (live, lacking) = of_table();
    let larger = |interface: &str, key: &str| {
        let of = |scope: &str| number(&format!("/proc/sys/net/ipv4/conf/{scope}/{key}"));
        of(interface).max(of("all"))
    };
    let vrf = |name: &str| {
        let now = now?;
        topology::vrf(&now.links, now.link(name)?).map(|it| it.name.clone())
    };
    let interface = |name: &String| sysctls::Interface {
        name: name.clone(),
        rp_filter: larger(name, "rp_filter"),
        arp_ignore: larger(name, "arp_ignore"),
        networks: networks(name),
        vrf: vrf(name),
    };
    sysctls::SysctlFacts {
        live,
        lacking,
        accepts_vrf: number("/proc/sys/net/ipv4/tcp_l3mdev_accept"),
        open_loopback: open_loopback(),
        interfaces: config.node.interfaces.iter().map(interface).collect(),
    }
}

fn open_loopback() -> Vec<String> {
    let scopes = fs::read_dir("/proc/sys/net/ipv4/conf")
        .into_iter()
        .flatten()
        .flatten();
    let open = scopes.filter(|scope| {
        let value = file::kernel_text(scope.path().join("route_localnet"));
        value.is_ok_and(|value| value.trim() == "1")
    });
    let mut names: Vec<_> = open
        .map(|scope| scope.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// IPv4 networks of the interface; a host address has none.
fn networks(interface: &str) -> Vec<IpNet> {
    let all = getifaddrs().into_iter().flatten();
    let own = all.filter(|entry| entry.interface_name == interface);
    let network = |entry: nix::ifaddrs::InterfaceAddress| {
        let (address, mask) = (entry.address?, entry.netmask?);
        let [address, mask] = [address, mask].map(|it| it.as_sockaddr_in().map(SockaddrIn::ip));
        let network = IpNet::with_netmask(address?.into(), mask?.into()).ok()?;
        (network.prefix_len() < network.max_prefix_len()).then_some(network)
    };
    own.filter_map(network).collect()
}

fn read(path: &str) -> Option<String> {
    file::kernel_text(path)
        .ok()
        .map(|text| text.trim_end().to_owned())
}

fn number(path: &str) -> Option<u64> {
    read(path)?.parse().ok()
}
