//! A table a topic: facts, verdict, words.

use super::*;
use crate::{
    config::tests::{ConfigDirectory, LEAST},
    diagnose::finding::Verdict::{self, Failed, Warning},
    haproxy::version::{Library, Program},
    machine::realtime::Priority,
    system::ownership::Foreign,
};

mod interfaces;

const GOOD: Verdict = Verdict::Ok;

fn config(more: &str) -> Config {
    let config = ConfigDirectory::new().parse(&format!("{LEAST}{more}"));
    config.unwrap_or_else(|error| panic!("{error}"))
}

/// The same facts but for a change.
fn but<F: Clone>(facts: &F, change: impl FnOnce(&mut F)) -> F {
    let mut facts = facts.clone();
    change(&mut facts);
    facts
}

const BGP: &str = "\n[bgp]\nas = 65001\n[[bgp.neighbours]]\naddress = '10.0.0.1'\nas = 65000\n";

/// Compares the worst finding of a topic; each finding that is not good must have advice.
#[track_caller]
fn worst(findings: &[Finding], verdict: Verdict, object: &str, words: &str) {
    for finding in findings {
        let advised = finding.advice.is_some();
        assert_eq!(advised, finding.verdict != GOOD, "{finding:?}");
    }
    let most = findings.iter().map(|it| it.verdict).max().unwrap();
    let found = findings.iter().find(|it| it.verdict == most).unwrap();
    assert_eq!(found.verdict, verdict, "{findings:#?}");
    assert!(found.object.contains(object), "{findings:#?}");
    let advice = found.advice.as_deref().unwrap_or_default();
    let said = format!("{}; {advice}", found.reason);
    assert!(said.contains(words), "{words}: {said}");
}

#[test]
fn doctor_requires_a_kernel_that_is_new_enough_and_has_the_needed_features() {
    let good = kernel::KernelFacts {
        release: "6.1.0-26-amd64".into(),
        bpffs: true,
        pins: None,
        missing_capabilities: None,
        signatures: true,
    };
    let release = |text: &str| but(&good, |it| it.release = text.into());
    let missing = but(&good, |it| {
        it.missing_capabilities = Some("not enough privileges:\n  CAP_BPF: open".into());
    });
    let unsigned = but(&good, |it| it.signatures = false);
    let unmounted = but(&good, |it| it.bpffs = false);
    let strange = but(&good, |it| {
        it.pins = Some("it belongs to user 65534".into());
    });
    let (plain, signed) = (config(BGP), config(&format!("{BGP}password = 'x'")));
    for (config, facts, verdict, object, words) in [
        (
            &plain,
            good.clone(),
            GOOD,
            "release",
            "Linux 6.1.0-26-amd64",
        ),
        (&plain, release("7.0-rc1"), GOOD, "release", "Linux 7.0-rc1"),
        (&plain, release("5.15.0"), Failed, "release", "too old"),
        (
            &plain,
            release("6.0.19"),
            Failed,
            "release",
            "6.1 is the oldest",
        ),
        (&plain, release("strange"), Warning, "release", "no version"),
        (&plain, unmounted, Warning, "/sys/fs/bpf", "mount -t bpf"),
        (&plain, strange, Failed, "pins", "belongs to user 65534"),
        (&plain, missing, Failed, "capabilities", "CAP_BPF"),
        (&plain, unsigned.clone(), GOOD, "release", ""),
        (&signed, unsigned, Failed, "signatures", "CONFIG_TCP_MD5SIG"),
    ] {
        worst(&kernel::judge(Some(config), &facts), verdict, object, words);
    }
}

#[test]
fn doctor_requires_haproxy_with_tls_that_accepts_the_configuration() {
    let program = |library: Option<&str>| {
        Ok(Program {
            version: "3.2.1".into(),
            tls_library: library.map(ToOwned::to_owned),
            kind: Library::Other,
        })
    };
    let openssl = Some("OpenSSL 3.0.1");
    let refusal = Err("line 3:\nunknown".to_owned());
    let absent = Err("no such file".to_owned());
    for (program, validated, verdict, words) in [
        (
            program(openssl),
            Ok(()),
            GOOD,
            "version 3.2.1 with OpenSSL 3.0.1",
        ),
        (program(None), Ok(()), Failed, "a build with TLS"),
        (program(openssl), refusal.clone(), Failed, "line 3: unknown"),
        (absent, refusal, Failed, "bootstrap --only packages"),
    ] {
        let facts = haproxy::HaproxyFacts {
            program,
            validated,
            as_root: Vec::new(),
        };
        worst(&haproxy::judge(&config(""), &facts), verdict, "", words);
    }
}

#[test]
fn doctor_reports_a_missing_list_of_routers_and_a_vip_that_is_the_nodes_own() {
    let listed = |mut config: Config| {
        config.node.routers = Some("routers".to_owned());
        config
    };
    let none = speaking::SpeakingFacts::default();
    assert_eq!(speaking::judge(&config(""), &none), []);
    for (config, verdict, words) in [
        (config(BGP), Warning, "may speak BGP with it"),
        (
            config(&format!("{BGP}bfd = 'fast'")),
            Warning,
            "may speak BGP and BFD with it",
        ),
        (listed(config(BGP)), GOOD, ""),
    ] {
        let found = speaking::judge(&config, &none);
        worst(&found, verdict, "node.routers", words);
    }
    let own = speaking::SpeakingFacts {
        own: vec![Foreign {
            address: "172.31.9.1".parse().unwrap(),
            prefix_length: 24,
            interface: "in0".to_owned(),
        }],
    };
    worst(
        &speaking::judge(&config(""), &own),
        Failed,
        "VIP 172.31.9.1",
        "172.31.9.1/24 on in0",
    );
}

#[test]
fn doctor_requires_sched_fifo_for_timers_too_fast_for_an_ordinary_thread() {
    let slow = config(&format!("{BGP}bfd = 'fast'"));
    let ultra = config(&format!("{BGP}bfd = 'ultra'"));
    let vrrp = config(
        "\n[vrrp]\npeers = ['10.0.0.2', '2001:db8::2']\nadvertisement_interval = '10ms'\n\
         [[vrrp.instances]]\nvips = ['192.0.2.10']\npriority = 100\n",
    );
    for (config, priority, verdict, object, words) in [
        (&ultra, Priority::Realtime, GOOD, "SCHED_FIFO", ""),
        (&slow, Priority::Nice, Warning, "SCHED_FIFO", "CAP_SYS_NICE"),
        (
            &slow,
            Priority::Ordinary,
            Warning,
            "SCHED_FIFO",
            "no nice -20",
        ),
        (
            &ultra,
            Priority::Nice,
            Failed,
            "BFD profile ultra",
            "10ms is not kept",
        ),
        (&vrrp, Priority::Nice, Failed, "VRRP", "10ms is not kept"),
    ] {
        let facts = realtime::RealtimeFacts { priority };
        worst(&realtime::judge(config, facts), verdict, object, words);
    }
}

#[test]
fn doctor_requires_enough_open_files_for_the_connections() {
    let few = config("\n[workers]\nmax_connections = 1000\n");
    for (hard, most, raises, verdict, words) in [
        (
            2200,
            2200,
            false,
            GOOD,
            "2200 are needed for 1000 connections",
        ),
        (2199, 1 << 20, false, Warning, "LimitNOFILE"),
        (1024, 1 << 20, true, GOOD, ""),
        (1024, 2000, true, Warning, "fs.nr_open"),
    ] {
        let facts = files::FileFacts { hard, most, raises };
        worst(&files::judge(&few, &facts), verdict, "open files", words);
    }
}

#[test]
fn doctor_finds_ports_taken_by_other_programs_in_the_kernels_tables() {
    let tcp = "  sl  local_address rem_address   st\n   \
        0: 00000000:00B3 00000000:0000 0A 00000000:00000000\n   \
        1: 0100007F:20D4 00000000:0000 01 00000000:00000000\n";
    let udp6 = "  sl  local_address\n  9: 00000000000000000000000000000000:0EC8 0:0 07 0\n";
    let raw = "  sl  local_address\n  112: 00000000:0070 00000000:0000 07 0\n";
    let bgp = ports::read(ports::Protocol::Tcp, tcp);
    assert_eq!(bgp.len(), 1, "the other does not listen");
    let bfd = ports::read(ports::Protocol::Udp, udp6);
    let vrrp = ports::read(ports::Protocol::Raw, raw);
    let calls = config(&format!("{BGP}bfd = 'fast'"));
    let listens = config(&BGP.replace("as = 65001", "as = 65001\nlisten = ['0.0.0.0:179']"));
    let shares = config(
        "\n[vrrp]\npeers = ['10.0.0.2', '2001:db8::2']\n\
         [[vrrp.instances]]\nvips = ['192.0.2.10']\npriority = 100\n",
    );
    let taken = |at: &str| ports::Bound {
        protocol: ports::Protocol::Tcp,
        at: at.parse().unwrap(),
    };
    let (metrics, elsewhere) = (taken("127.0.0.1:8404"), taken("127.0.0.2:8404"));
    for (config, daemon, bound, verdict, object) in [
        (&calls, false, vec![], GOOD, "all"),
        (&calls, false, bgp.clone(), Warning, "TCP port 179"),
        (
            &listens,
            false,
            bgp.clone(),
            Failed,
            "TCP 0.0.0.0:179 (BGP)",
        ),
        (&listens, true, bgp, GOOD, "all"),
        (&calls, false, bfd.clone(), Failed, "UDP port 3784"),
        (&listens, false, bfd, GOOD, "all"),
        (&shares, false, vrrp.clone(), Warning, "IP protocol 112"),
        (&calls, false, vrrp, GOOD, "all"),
        (&calls, false, vec![metrics], Failed, "127.0.0.1:8404"),
        (&calls, false, vec![elsewhere], GOOD, "all"),
    ] {
        let facts = ports::PortFacts { daemon, bound };
        worst(&ports::judge(config, &facts), verdict, object, "");
    }
}

#[test]
fn doctor_judges_sysctls_only_if_they_affect_this_node() {
    let interface = sysctls::Interface {
        name: "eth1".into(),
        rp_filter: Some(1),
        arp_ignore: Some(0),
        networks: vec!["192.0.2.1/24".parse().unwrap()],
        vrf: None,
    };
    let facts = sysctls::SysctlFacts {
        live: [("net.core.somaxconn", "65535".to_owned())].into(),
        lacking: ["fq"].into(),
        accepts_vrf: Some(0),
        open_loopback: vec![],
        interfaces: vec![interface.clone()],
    };
    let with = |change: fn(&mut sysctls::Interface)| {
        but(&facts, |it| it.interfaces = vec![but(&interface, change)])
    };
    let live = |key: &'static str, value: &str| {
        but(&facts, |it| it.live = [(key, value.to_owned())].into())
    };
    let short = live("net.core.somaxconn", "4096");
    let interpreted = live("net.core.bpf_jit_enable", "0");
    let free = live("net.ipv4.ip_unprivileged_port_start", "1023");
    // This kernel has no other.
    let only = live("net.core.default_qdisc", "pfifo_fast");
    let in_vrf = with(|it| it.vrf = Some("red".into()));
    let accepted = but(&in_vrf, |it| it.accepts_vrf = Some(1));
    let open = but(&facts, |it| it.open_loopback = vec!["all".into()]);
    let mut two = config("");
    two.node.interfaces.push("eth2".to_owned());
    let (one, bgp) = (config(""), config(BGP));
    for (config, facts, verdict, object) in [
        (&one, facts.clone(), GOOD, "all"),
        (&one, short, Warning, "somaxconn"),
        (&one, interpreted, Warning, "bpf_jit_enable"),
        (&one, free, Warning, "ip_unprivileged_port_start"),
        (&one, only, GOOD, "all"),
        (&one, in_vrf, Failed, "tcp_l3mdev_accept"),
        (&one, accepted, GOOD, "all"),
        (&one, open, Failed, "net.ipv4.conf.all.route_localnet"),
        (&two, facts.clone(), Warning, "rp_filter"),
        (&two, with(|it| it.rp_filter = Some(2)), GOOD, "all"),
        (&bgp, facts.clone(), Warning, "arp_ignore"),
        (&bgp, with(|it| it.arp_ignore = Some(1)), GOOD, "all"),
        (&bgp, with(|it| it.networks.clear()), GOOD, "all"),
    ] {
        worst(&sysctls::judge(config, &facts), verdict, object, "");
    }
}

#[test]
fn doctor_requires_a_sane_clock_and_advises_time_synchronisation() {
    let now = 1_800_000_000;
    for (now, synchronised, verdict, words) in [
        (now, Some(true), GOOD, "kept right"),
        (now, None, GOOD, ""),
        (now, Some(false), Warning, "chrony"),
        (86_400, Some(true), Failed, "days behind"),
    ] {
        let facts = ClockFacts { now, synchronised };
        worst(&clock::judge(&facts), verdict, "time", words);
    }
}
