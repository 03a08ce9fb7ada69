//! A table a topic: facts, verdict, words.

use super::*;
use crate::{
    config::{
        XdpMode,
        tests::{LEAST, Place},
    },
    finding::Verdict,
    haproxy::version::{Library, Program},
    realtime::Priority,
};

fn config(more: &str) -> Config {
    let config = Place::new().parse(&format!("{LEAST}{more}"));
    config.unwrap_or_else(|error| panic!("{error}"))
}

fn with_xdp(mode: XdpMode) -> Config {
    let mut config = config("");
    config.node.xdp = mode;
    config
}

const BGP: &str = "\n[bgp]\nas = 65001\n[[bgp.neighbours]]\naddress = '10.0.0.1'\nas = 65000\n";

/// The worst of a topic, with its words; and whoever is not well has advice.
#[track_caller]
fn worst(findings: Vec<Finding>, verdict: Verdict, object: &str, words: &str) {
    for finding in &findings {
        assert_eq!(
            finding.advice.is_some(),
            finding.verdict != Verdict::Ok,
            "{finding:?}"
        );
    }
    let most = findings.iter().map(|it| it.verdict).max().unwrap();
    let found = findings.iter().find(|it| it.verdict == most).unwrap();
    assert_eq!(found.verdict, verdict, "{findings:#?}");
    assert!(found.object.contains(object), "{findings:#?}");
    let said = format!(
        "{}; {}",
        found.reason,
        found.advice.clone().unwrap_or_default()
    );
    assert!(said.contains(words), "{words}: {said}");
}

#[test]
fn the_kernel_must_be_new_enough_and_give_what_is_asked_of_it() {
    let good = kernel::Facts {
        release: "6.1.0-26-amd64".into(),
        bpffs: true,
        missing_capabilities: None,
        jit: Some(true),
        signatures: true,
    };
    let release = |text: &str| kernel::Facts {
        release: text.into(),
        ..good.clone()
    };
    let missing = Some("not enough privileges:\n  CAP_BPF: open".to_owned());
    let (plain, signed) = (config(BGP), config(&format!("{BGP}password = 'x'")));
    use Verdict::{Failed, Ok, Warning};
    for (config, facts, verdict, object, words) in [
        (&plain, good.clone(), Ok, "release", "Linux 6.1.0-26-amd64"),
        (&plain, release("7.0-rc1"), Ok, "release", "Linux 7.0-rc1"),
        (&plain, release("5.15.0"), Failed, "release", "too old"),
        (
            &plain,
            release("6.0.19"),
            Failed,
            "release",
            "6.1 is the oldest",
        ),
        (&plain, release("strange"), Warning, "release", "no version"),
        (
            &plain,
            kernel::Facts {
                bpffs: false,
                ..good.clone()
            },
            Warning,
            "/sys/fs/bpf",
            "mount -t bpf",
        ),
        (
            &plain,
            kernel::Facts {
                missing_capabilities: missing,
                ..good.clone()
            },
            Failed,
            "capabilities",
            "CAP_BPF",
        ),
        (
            &plain,
            kernel::Facts {
                jit: Some(false),
                ..good.clone()
            },
            Warning,
            "bpf_jit_enable",
            "interpreted",
        ),
        (
            &plain,
            kernel::Facts {
                jit: None,
                ..good.clone()
            },
            Ok,
            "release",
            "",
        ),
        (
            &plain,
            kernel::Facts {
                signatures: false,
                ..good.clone()
            },
            Ok,
            "release",
            "",
        ),
        (
            &signed,
            kernel::Facts {
                signatures: false,
                ..good.clone()
            },
            Failed,
            "signatures",
            "CONFIG_TCP_MD5SIG",
        ),
    ] {
        worst(kernel::judge(config, &facts), verdict, object, words);
    }
}

#[test]
fn an_interface_must_be_there_run_xdp_in_its_driver_and_let_it_see_what_comes() {
    let ready = interfaces::Facts {
        name: "eth1".into(),
        exists: true,
        driver: Some("virtio_net".into()),
        queues: Some(4),
        program: None,
        ours: false,
        native: None,
        sample: None,
    };
    let attached = |native| interfaces::Facts {
        program: Some(7),
        ours: true,
        native: Some(native),
        ..ready.clone()
    };
    let old = |driver: Option<&str>| interfaces::Facts {
        driver: driver.map(ToOwned::to_owned),
        ..ready.clone()
    };
    let sampled = |received, counted| interfaces::Facts {
        sample: Some(interfaces::Sample { received, counted }),
        ..attached(true)
    };
    let (auto, native, generic) = (
        config(""),
        with_xdp(XdpMode::Native),
        with_xdp(XdpMode::Generic),
    );
    use Verdict::{Failed, Ok, Warning};
    for (config, facts, verdict, object, words) in [
        (
            &auto,
            ready.clone(),
            Ok,
            "eth1",
            "virtio_net, which has native XDP, 4 queues",
        ),
        (
            &auto,
            interfaces::Facts {
                exists: false,
                ..ready.clone()
            },
            Failed,
            "eth1",
            "no such interface",
        ),
        (
            &auto,
            interfaces::Facts {
                program: Some(9),
                ..ready.clone()
            },
            Failed,
            "eth1",
            "id 9",
        ),
        (&auto, attached(true), Ok, "eth1", "native XDP, 4 queues"),
        (&auto, attached(false), Warning, "eth1", "guest_tso4"),
        (
            &auto,
            interfaces::Facts {
                driver: Some("r8169".into()),
                ..attached(false)
            },
            Warning,
            "eth1",
            "lro off",
        ),
        (&generic, attached(false), Ok, "eth1", "as configured"),
        (&auto, old(Some("r8169")), Warning, "eth1", "not known"),
        (&auto, old(None), Warning, "eth1", "an unknown driver"),
        (&native, old(Some("r8169")), Failed, "eth1", "node.xdp"),
        (&auto, sampled(1000, 990), Ok, "eth1", ""),
        (&auto, sampled(9, 0), Ok, "eth1", ""),
        (
            &auto,
            sampled(1000, 0),
            Failed,
            "eth1 counters",
            "mrg_rxbuf",
        ),
    ] {
        worst(interfaces::judge(config, &[facts]), verdict, object, words);
    }
}

#[test]
fn haproxy_must_be_there_with_tls_and_take_the_configuration() {
    let program = |library: Option<&str>| {
        Result::Ok(Program {
            version: "3.2.1".into(),
            tls_library: library.map(ToOwned::to_owned),
            kind: Library::Other,
        })
    };
    let openssl = Some("OpenSSL 3.0.1");
    use Verdict::{Failed, Ok};
    for (program, rehearsal, verdict, words) in [
        (
            program(openssl),
            Result::Ok(()),
            Ok,
            "version 3.2.1 with OpenSSL 3.0.1",
        ),
        (program(None), Result::Ok(()), Failed, "a build with TLS"),
        (
            program(openssl),
            Err("line 3:\nunknown".to_owned()),
            Failed,
            "line 3: unknown",
        ),
        (
            Err("no such file".to_owned()),
            Err(String::new()),
            Failed,
            "install haproxy",
        ),
    ] {
        let facts = haproxy::Facts { program, rehearsal };
        worst(haproxy::judge(&config(""), &facts), verdict, "", words);
    }
}

#[test]
fn what_is_faster_than_an_ordinary_thread_keeps_needs_sched_fifo() {
    let slow = config(&format!("{BGP}bfd = 'fast'"));
    let ultra = config(&format!("{BGP}bfd = 'ultra'"));
    let vrrp = config(
        "\n[vrrp]\npeers = ['10.0.0.2', '2001:db8::2']\nadvertisement_interval = '10ms'\n\
         [[vrrp.instances]]\nvips = ['192.0.2.10']\npriority = 100\n",
    );
    use Verdict::{Failed, Ok, Warning};
    for (config, priority, verdict, object, words) in [
        (&ultra, Priority::Realtime, Ok, "SCHED_FIFO", ""),
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
        let facts = realtime::Facts { priority };
        worst(realtime::judge(config, &facts), verdict, object, words);
    }
}

#[test]
fn open_files_must_do_for_the_connections() {
    let few = config("\n[workers]\nmax_connections = 1000\n");
    use Verdict::{Ok, Warning};
    for (hard, most, raises, verdict, words) in [
        (
            2200,
            2200,
            false,
            Ok,
            "2200 are needed for 1000 connections",
        ),
        (2199, 1 << 20, false, Warning, "LimitNOFILE"),
        (1024, 1 << 20, true, Ok, ""),
        (1024, 2000, true, Warning, "fs.nr_open"),
    ] {
        let facts = files::Facts { hard, most, raises };
        worst(files::judge(&few, &facts), verdict, "open files", words);
    }
}

#[test]
fn ports_that_others_have_are_found_in_the_tables_of_the_kernel() {
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
        "\n[vrrp]\npeers = ['10.0.0.2', '2001:db8::2']\n[[vrrp.instances]]\nvips = ['192.0.2.10']\npriority = 100\n",
    );
    let metrics = ports::Bound {
        protocol: ports::Protocol::Tcp,
        at: "127.0.0.1:8404".parse().unwrap(),
    };
    let elsewhere = ports::Bound {
        at: "127.0.0.2:8404".parse().unwrap(),
        ..metrics
    };
    use Verdict::{Failed, Ok, Warning};
    for (config, daemon, bound, verdict, object) in [
        (&calls, false, vec![], Ok, "all"),
        (&calls, false, bgp.clone(), Warning, "TCP port 179"),
        (
            &listens,
            false,
            bgp.clone(),
            Failed,
            "TCP 0.0.0.0:179 (BGP)",
        ),
        (&listens, true, bgp, Ok, "all"),
        (&calls, false, bfd.clone(), Failed, "UDP port 3784"),
        (&listens, false, bfd, Ok, "all"),
        (&shares, false, vrrp.clone(), Warning, "IP protocol 112"),
        (&calls, false, vrrp, Ok, "all"),
        (&calls, false, vec![metrics], Failed, "127.0.0.1:8404"),
        (&calls, false, vec![elsewhere], Ok, "all"),
    ] {
        let facts = ports::Facts { daemon, bound };
        worst(ports::judge(config, &facts), verdict, object, "");
    }
}

#[test]
fn sysctls_matter_where_what_they_do_would_be_met() {
    let interface = sysctls::Interface {
        name: "eth1".into(),
        rp_filter: Some(1),
        arp_ignore: Some(0),
        networks: vec!["192.0.2.1/24".parse().unwrap()],
    };
    let facts = sysctls::Facts {
        somaxconn: Some(4096),
        interfaces: vec![interface.clone()],
    };
    let with = |interface| sysctls::Facts {
        interfaces: vec![interface],
        ..facts.clone()
    };
    let mut two = config("");
    two.node.interfaces.push("eth2".to_owned());
    let (one, bgp) = (config(""), config(BGP));
    use Verdict::{Ok, Warning};
    for (config, facts, verdict, object) in [
        (&one, facts.clone(), Ok, "all"),
        (
            &one,
            sysctls::Facts {
                somaxconn: Some(128),
                ..facts.clone()
            },
            Warning,
            "somaxconn",
        ),
        (&two, facts.clone(), Warning, "rp_filter"),
        (
            &two,
            with(sysctls::Interface {
                rp_filter: Some(2),
                ..interface.clone()
            }),
            Ok,
            "all",
        ),
        (&bgp, facts.clone(), Warning, "arp_ignore"),
        (
            &bgp,
            with(sysctls::Interface {
                arp_ignore: Some(1),
                ..interface.clone()
            }),
            Ok,
            "all",
        ),
        (
            &bgp,
            with(sysctls::Interface {
                networks: vec![],
                ..interface.clone()
            }),
            Ok,
            "all",
        ),
    ] {
        worst(sysctls::judge(config, &facts), verdict, object, "");
    }
}

#[test]
fn the_clock_must_be_sane_and_should_be_kept_right() {
    let now = 1_800_000_000;
    use Verdict::{Failed, Ok, Warning};
    for (now, synchronised, verdict, words) in [
        (now, Some(true), Ok, "kept right"),
        (now, None, Ok, ""),
        (now, Some(false), Warning, "chrony"),
        (86_400, Some(true), Failed, "days behind"),
    ] {
        let facts = clock::Facts { now, synchronised };
        worst(clock::judge(&facts), verdict, "time", words);
    }
}
