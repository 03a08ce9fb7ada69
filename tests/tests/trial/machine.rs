//! `ober-user doctor` on a node of the laboratory, with those faults that can be made there.

use std::{
    net::{TcpListener, UdpSocket},
    time::Duration,
};

use anyhow::ensure;
use ober_tests::{
    lab::until,
    nodes::routed::{Routed, Settings},
};
use ober_user::{
    config::Config,
    host::{
        self,
        parts::sysctl,
        wants::{Configured, Wants},
    },
};
use serde_json::Value;

use crate::bench::{Bench, Found, ask};

/// The finding about an object of a part.
#[track_caller]
fn of<'a>(found: &'a Found, part: &str, object: &str) -> &'a Value {
    let mut all = found.all().iter();
    let said = all.find(|it| it["part"] == part && it["object"] == object);
    said.unwrap_or_else(|| panic!("{part} {object}: {found:#?}"))
}

#[track_caller]
fn verdict(found: &Found, part: &str, object: &str, verdict: &str) {
    let said = of(found, part, object);
    assert_eq!(said["verdict"], verdict, "{said:#}");
    assert!(verdict == "ok" || said["advice"].is_string(), "{said:#}");
}

/// Those that a namespace has; those of the whole machine are not a test's to change.
fn settings_as_bootstrap_makes_them(bench: &Bench, config: &std::path::Path) {
    let live = || sysctl::live(&host::Host::here());
    let live = bench.node.run(live).expect("enter the node");
    let live = live.expect("its settings");
    let config = Config::load(config).expect("it is valid");
    let wants = Wants {
        configured: Some(Configured::of(&config)),
        ..Wants::default()
    };
    for row in sysctl::rows(&wants).filter(|it| it.key.starts_with("net.")) {
        let Some(value) = live.get(row.key).filter(|it| !row.is_met(it, &wants)) else {
            continue;
        };
        let better = row.better(value, &wants);
        bench.node.sysctl(row.key, &better).expect("set it");
    }
}

#[test]
fn doctor_inspects_a_whole_node_without_a_daemon_and_names_each_fault() {
    let bench = Bench::new("doctor");
    let listening = "[bgp]\nas = 65001\nlisten = ['0.0.0.0:179']\n[[bgp.neighbours]]\naddress = '10.9.0.2'\nas = 65002\n\
                     bfd = 'fast'\nfamilies = ['ipv4']\n";
    let ober = bench.config(None, "10.9.0.9:80", listening);
    settings_as_bootstrap_makes_them(&bench, &ober.config);
    for (key, value) in [
        ("net.ipv4.conf.eth0.arp_ignore", "0"),
        ("net.ipv4.conf.all.arp_ignore", "0"),
        ("net.ipv4.conf.eth0.rp_filter", "0"),
    ] {
        bench.node.sysctl(key, value).expect("set it");
    }
    let found = ask(&bench.node, &ober, &["doctor"]);
    assert_eq!(found.report["daemon"], false);
    for (part, object) in [
        ("kernel", "release"),
        ("kernel", "/sys/fs/bpf"),
        ("kernel", "capabilities"),
        ("interfaces", "eth0"),
        ("haproxy", "configuration"),
        ("limits", "open files"),
        ("ports", "all"),
    ] {
        verdict(&found, part, object, "ok");
    }
    let settings = found.all().iter().filter(|it| it["part"] == "sysctls");
    for setting in settings {
        let object = setting["object"].as_str().unwrap_or_default();
        // Of the whole machine, which may not be as bootstrap makes it.
        assert!(object == "kernel.panic" || object == "all", "{setting:#}");
    }
    assert_eq!(
        of(&found, "interfaces", "eth0")["details"]["driver"],
        "veth"
    );
    assert_eq!(found.code, 0, "{found:#?}");

    let sockets = bench.node.run(|| {
        (
            TcpListener::bind("0.0.0.0:179").expect("port 179"),
            UdpSocket::bind("0.0.0.0:3784").expect("port 3784"),
        )
    });
    bench
        .node
        .sysctl("net.core.somaxconn", "128")
        .expect("set it");
    let text = std::fs::read_to_string(&ober.config).expect("read it");
    let on_link = text
        .replace("'192.0.2.10'", "'10.9.0.100'")
        .replace("['eth0']", "['eth0', 'none9']");
    std::fs::write(&ober.config, on_link).expect("write it");
    let found = ask(&bench.node, &ober, &["doctor"]);
    drop(sockets);
    for (part, object, expected) in [
        ("ports", "TCP 0.0.0.0:179 (BGP)", "failed"),
        ("ports", "UDP port 3784 (BFD)", "failed"),
        ("sysctls", "net.core.somaxconn", "warning"),
        ("sysctls", "net.ipv4.conf.eth0.arp_ignore", "warning"),
        ("interfaces", "none9", "failed"),
    ] {
        verdict(&found, part, object, expected);
    }
    assert_eq!(
        (found.code, &found.report["verdict"]),
        (1, &"failed".into())
    );
    // The command leaves no files behind.
    assert!(!bench.lab.directory().join("state").exists());
    assert!(!bench.lab.directory().join("run").exists());
}

#[test]
fn doctor_passes_a_serving_node_and_fails_a_second_instance_on_it() {
    let mut stage = Routed::new("doctor-beside", &Settings::default()).expect("a fabric");
    stage.start(0).expect("a node that serves");
    // A session that ends because this machine is busy is rightly a failure: it comes back.
    let found = until("doctor finds no failure", Duration::from_mins(1), || {
        let found = ask(stage.node(0), &stage.ober[0], &["doctor"]);
        let failed = found.all().iter().filter(|it| it["verdict"] == "failed");
        let failed: Vec<_> = failed.collect();
        ensure!(failed.is_empty() && found.code == 0, "{failed:#?}");
        Ok(Some(found))
    })
    .expect("a node that serves");
    assert_eq!(found.report["daemon"], true);
    let config = Config::load(&stage.ober[0].config).expect("it is valid");
    let interface = &config.node.interfaces[0];
    verdict(&found, "interfaces", interface, "ok");
    // BFD comes in twenty times a second.
    verdict(&found, "interfaces", &format!("{interface} counters"), "ok");

    let text = std::fs::read_to_string(&stage.ober[0].config).expect("read it");
    let run = config.node.run.display().to_string();
    let text = text
        .replace(
            &format!("instance = \"{}\"", config.node.instance),
            "instance = \"second\"",
        )
        .replace(&run, &format!("{run}-second"));
    std::fs::write(&stage.ober[1].config, text).expect("write it");
    let found = ask(stage.node(0), &stage.ober[1], &["doctor"]);
    assert_eq!((&found.report["daemon"], found.code), (&false.into(), 1));
    verdict(&found, "interfaces", interface, "failed");
    let reason = of(&found, "interfaces", interface)["reason"]
        .as_str()
        .unwrap_or_default();
    assert!(reason.contains("another XDP program"), "{reason}");
    verdict(&found, "ports", "TCP 127.0.0.1:8404 (metrics)", "failed");
}
