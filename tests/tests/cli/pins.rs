//! The commands on the maps a daemon left pinned: the real kernel answers.

use std::path::Path;

use aya::programs::{TestRun as _, TestRunOptions};
use ober_common::abi::Verdict;
use ober_user::{
    config::{Access, Config},
    dataplane::{Plane, Wanted, access, detach, rendezvous},
    names::entries::Entries,
};
use serde_json::Value;

use crate::Node;

/// The data plane of the node's configuration, filled as a daemon would, and attached to nothing.
struct Left {
    node: Node,
    plane: Plane,
}

impl Left {
    fn new(name: &str) -> Self {
        let node = Node::new(name);
        let config = Config::load(&node.config()).unwrap();
        let mut plane = Plane::load(&config, [11, 22]).unwrap();
        // A daemon keeps the numbers with its lists; this plane is filled by the order of their names.
        let number = |list: &str| {
            let position = config.lists.keys().position(|name| name == list);
            u32::try_from(position.unwrap()).unwrap()
        };
        let wanted: Vec<Wanted> = config
            .vip_listeners()
            .map(|service| Wanted {
                vip: service.vip,
                protocol: 6,
                port: service.listener.port.get(),
                list: match &service.listener.access {
                    Access::Open => None,
                    Access::List(list) => Some(number(list)),
                },
            })
            .collect();
        plane.set_services(&wanted).unwrap();
        plane.set_workers(&[0, 1], false).unwrap();
        plane.set_ring(&rendezvous::fill(&[1, 1]));
        let mut entries = Entries::default();
        entries.push("10.1.0.1".parse().unwrap());
        entries.push("2001:db8:1::1".parse().unwrap());
        entries.settle();
        let list = number("frontend-http");
        access::replace(&mut plane.maps, list, &entries).unwrap();
        Self { node, plane }
    }

    /// Runs the XDP program on a SYN.
    fn packet(&mut self, client: [u8; 4], client_port: u16, port: u16) {
        let bytes = syn(client, client_port, port);
        let options = TestRunOptions {
            data_in: Some(&bytes),
            ..TestRunOptions::default()
        };
        self.plane.xdp().unwrap().test_run(options).unwrap();
    }

    fn explain(&self, from: &str, to: &str) -> Value {
        let ran = self.node.run(&["flow", "explain", from, to, "--json"]);
        assert_eq!(ran.code, 0, "{ran:?}");
        ran.json()
    }

    fn counters(&self) -> Value {
        let ran = self.node.run(&["counters", "--json"]);
        assert_eq!(ran.code, 0, "{ran:?}");
        ran.json()
    }
}

impl Drop for Left {
    fn drop(&mut self) {
        detach(Path::new("/sys/fs/bpf"), &self.node.instance).unwrap();
    }
}

/// Ethernet, IPv4, TCP; to 192.0.2.10.
fn syn(client: [u8; 4], client_port: u16, port: u16) -> Vec<u8> {
    let mut bytes = vec![0; 12];
    bytes.extend([8, 0]);
    bytes.extend([0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0]);
    bytes.extend(client);
    bytes.extend([192, 0, 2, 10]);
    bytes.extend(client_port.to_be_bytes());
    bytes.extend(port.to_be_bytes());
    bytes.extend([0; 16]);
    bytes
}

#[test]
fn flow_explain_predicts_how_the_kernel_treats_the_flow() {
    let mut left = Left::new("explain");
    let mut workers = [0u64; 2];
    for client_port in 40_000..40_016 {
        let changed_live = left.explain(&format!("10.1.0.1:{client_port}"), "192.0.2.10:80");
        assert_eq!(changed_live["verdict"], "passed", "{changed_live}");
        assert_eq!(
            (&changed_live["service_name"], &changed_live["list_name"]),
            (&"s3".into(), &"frontend-http".into())
        );
        let number = changed_live["slot"]["worker"]["number"].as_u64().unwrap();
        workers[usize::try_from(number).unwrap()] += 1;
        left.packet([10, 1, 0, 1], client_port, 80);
        let counted = left.counters();
        let counted = &counted["services"][1]["workers"];
        for (number, packets) in workers.iter().enumerate() {
            let seen = counted[number.to_string()]["packets"].as_u64().unwrap_or(0);
            assert_eq!(seen, *packets, "worker {number}: {counted}");
        }
    }
    assert!(workers.iter().all(|flows| *flows > 0), "{workers:?}");
}

#[test]
fn detach_of_an_instance_that_does_not_exist_fails() {
    let left = Left::new("present");
    for (instance, code, word) in [
        ("nope", 1, "there is no instance nope"),
        (left.node.instance.as_str(), 0, ""),
        (left.node.instance.as_str(), 1, "there is no instance"),
    ] {
        let ran = left.node.run(&["detach", "--instance", instance]);
        assert_eq!(ran.code, code, "{instance}: {ran:?}");
        assert!(ran.err.contains(word), "{instance}: {ran:?}");
    }
}

#[test]
fn an_unlisted_client_and_a_packet_for_no_service_are_distinguished() {
    let mut left = Left::new("stranger");
    let stranger = left.explain("10.1.0.2:40000", "192.0.2.10:80");
    assert_eq!(
        (&stranger["verdict"], &stranger["slot"]),
        (&"denied".into(), &Value::Null)
    );
    assert_eq!(stranger["list"]["listed"], false);
    let nobody = left.explain("10.1.0.2:40000", "192.0.2.10:81");
    assert_eq!(
        (&nobody["verdict"], &nobody["service"]),
        (&"not_ours".into(), &Value::Null)
    );
    let wide = left.explain("[2001:db8:1::1]:40000", "[2001:db8::10]:80");
    assert_eq!(wide["verdict"], "passed");
    let text = left
        .node
        .run(&["flow", "explain", "10.1.0.2:40000", "192.0.2.10:80"]);
    assert!(
        text.out.contains("10.1.0.2 is not listed") && text.out.contains("denied: dropped"),
        "{text:?}"
    );
    left.packet([10, 1, 0, 2], 40_000, 80);
    left.packet([10, 1, 0, 2], 40_000, 81);
    let counters = left.counters();
    for (service, verdict) in [(0, Verdict::NotOurs), (1, Verdict::Denied)] {
        let count = &counters["services"][service]["verdicts"][verdict.name()];
        assert_eq!(
            (count["packets"].as_u64(), count["bytes"].as_u64()),
            (Some(1), Some(54)),
            "{counters}"
        );
    }
}

#[test]
fn lists_are_shown_checked_and_changed_without_a_daemon() {
    let left = Left::new("lists");
    let shown = left.node.run(&["acl", "show", "frontend-http"]);
    assert_eq!(shown.code, 0, "{shown:?}");
    for word in ["frontend-http: 2 addresses", "10.1.0.1", "2001:db8:1::1"] {
        assert!(shown.out.contains(word), "{word}: {shown:?}");
    }
    for (address, code) in [
        ("10.1.0.1", 0),
        ("10.1.0.2", 1),
        ("2001:db8:1::1", 0),
        ("2001:db8:1::2", 1),
    ] {
        assert_eq!(
            left.node.run(&["acl", "check", address]).code,
            code,
            "{address}"
        );
    }
    let tried = left
        .node
        .run(&["sync", "--frontend-http", "10.1.0.[2-4]", "--dry-run"]);
    assert_eq!(tried.code, 0, "{tried:?}");
    assert!(
        tried.out.contains("+ 10.1.0.2-10.1.0.4") && tried.out.contains("- 10.1.0.1"),
        "{tried:?}"
    );
    for (address, code) in [("10.1.0.1", 0), ("10.1.0.2", 1)] {
        let checked = left.node.run(&["acl", "check", address]);
        assert_eq!(
            checked.code, code,
            "{address}: a dry run must change nothing"
        );
    }
    let done = left.node.run(&["sync", "--frontend-http", "10.1.0.[2-4]"]);
    assert_eq!(done.code, 0, "{done:?}");
    for (address, code) in [("10.1.0.1", 1), ("10.1.0.2", 0), ("10.1.0.4", 0)] {
        assert_eq!(
            left.node.run(&["acl", "check", address]).code,
            code,
            "{address}"
        );
    }
    let changed_live = left.explain("10.1.0.3:40000", "192.0.2.10:80");
    assert_eq!(changed_live["verdict"], "passed");
}

#[test]
fn status_without_a_daemon_is_read_from_the_pins_and_says_that_none_runs() {
    let left = Left::new("status");
    let status = left.node.run(&["status", "--json"]);
    assert_eq!(status.code, 0, "{status:?}");
    let status = status.json();
    assert_eq!(
        (&status["pid"], &status["instance"]),
        (&Value::Null, &left.node.instance.as_str().into())
    );
    assert_eq!(status["services"].as_array().unwrap().len(), 2, "{status}");
    let text = left.node.run(&["status"]);
    assert!(
        text.out.contains("no daemon, read from the pinned maps"),
        "{text:?}"
    );
}

#[test]
fn watch_reads_the_drops_itself_if_no_daemon_does() {
    let mut left = Left::new("drops");
    left.plane.set_switch(|node| &raw mut node.sample, 1);
    left.plane.set_switch(|node| &raw mut node.event_rate, 100);
    let mut config = String::new();
    let args = left.node.args(&mut config, &["acl", "watch", "--json"]);
    let mut command = crate::ober(&args);
    let mut child = command
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    left.packet([10, 1, 0, 9], 40_001, 80);
    let mut line = String::new();
    let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut out, &mut line).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let drop: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        (&drop["source"], &drop["reason"], &drop["service"]),
        (&"10.1.0.9".into(), &"denied".into(), &"s3".into())
    );
}

#[test]
fn rates_are_printed_again_and_again_as_one_json_value_a_line() {
    let mut left = Left::new("rates");
    let mut config = String::new();
    let args = left
        .node
        .args(&mut config, &["counters", "--json", "--watch=0.3"]);
    let mut child = crate::ober(&args)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut next = || {
        let mut line = String::new();
        std::io::BufRead::read_line(&mut out, &mut line).unwrap();
        serde_json::from_str::<Value>(&line).unwrap()
    };
    next();
    (0..5).for_each(|port| left.packet([10, 1, 0, 9], 40_000 + port, 80));
    // The five packets fall into this interval or, if it ended between them, into two.
    let seen = |value: &Value| {
        value["difference"]["services"][1]["verdicts"]["denied"]["packets"]
            .as_u64()
            .unwrap_or(0)
    };
    let (first, second) = (next(), next());
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(seen(&first) + seen(&second), 5, "{first} {second}");
    assert!(first["seconds"].as_f64().unwrap() >= 0.3, "{first}");
}
