//! The first start of an instance: it works, or leaves nothing.

use std::{fs::Permissions, net::TcpListener, os::unix::fs::PermissionsExt as _};

use ober_programs::SETPRIV;
use ober_tests::{
    lab::VIP4,
    nodes::one::{Settings, Stage},
};

use crate::{Fault, everywhere, fault, nothing_is_applied, run, run_command, with};

fn refused(stage: &Stage, fault: &Fault) {
    let refusal = with(stage, fault, || run(stage));
    refusal.says(fault.code, &fault.words);
    nothing_is_applied(stage, fault);
}

#[test]
fn a_first_start_that_fails_names_the_fault_and_leaves_nothing_and_the_next_one_works() {
    let settings = Settings {
        xdp: "native",
        ..Settings::default()
    };
    let mut stage = Stage::new("first", &settings).expect("build the stage");
    stage
        .cluster
        .node
        .ip(&["link add br9 type bridge", "link set br9 up"])
        .expect("an interface without native XDP");
    for fault in everywhere(&stage) {
        refused(&stage, &fault);
    }
    refused(&stage, &refused_by_the_driver());
    refused(
        &stage,
        &fault(
            "vip_interface = \"lo\"",
            "vip_interface = \"in7\"",
            1,
            &["in7", "node.vip_interface"],
        ),
    );
    stage.start().expect("and now it starts");
    crate::store(&stage);
}

/// The driver of the second interface refuses when the first already has its program.
pub(crate) fn refused_by_the_driver() -> Fault {
    fault("[\"in0\"]", "[\"in0\", \"br9\"]", 1, &["br9", "node.xdp"])
}

#[test]
fn an_unwritable_state_directory_ends_a_first_start_at_whichever_step_it_shows() {
    let stage = Stage::new("unwritable", &Settings::default()).expect("build the stage");
    // The configuration will hold the key.
    std::fs::set_permissions(&stage.ober.config, Permissions::from_mode(0o600)).expect("hide it");
    // Not even root can make a directory in /proc.
    let unwritable = |file| {
        let words = ["/proc/ober/state", file, "its directory must be writable"];
        fault("state = \"", "state = \"/proc/ober/state\" #", 1, &words)
    };
    let key = "sample = 1\ncluster_key = \"00112233445566778899aabbccddeeff\"";
    for fault in [
        unwritable("cluster.key"),
        // With a key given, the first thing kept is the note of the VIPs ...
        unwritable("vips.json").and("sample = 1", key),
        // ... or else the addresses of servers.
        unwritable("rgw.json")
            .and("sample = 1", key)
            .and("vip_interface = \"lo\"", "vip_interface = \"\"")
            .and("servers = [", "servers = [\"localhost:9000\", "),
    ] {
        refused(&stage, &fault);
    }
}

#[test]
fn a_metrics_port_in_use_is_named_and_nothing_is_applied() {
    let mut stage = Stage::new("port", &Settings::default()).expect("build the stage");
    let holder = stage
        .cluster
        .node
        .run(|| TcpListener::bind("127.0.0.1:8404"))
        .expect("enter the node")
        .expect("take the port");
    run(&stage).says(1, &["127.0.0.1:8404", "node.metrics"]);
    nothing_is_applied(&stage, &"metrics port in use");
    drop(holder);
    stage.start().expect("free again, it starts");
    assert!(stage.verdict(VIP4, 80, "denied").is_ok());
}

#[test]
fn a_start_without_root_names_the_missing_capabilities() {
    let stage = Stage::new("nobody", &Settings::default()).expect("build the stage");
    let ober = stage.ober.ober(&["run"]).expect("ober-user");
    let nobody = ["--reuid=65534", "--regid=65534", "--clear-groups", "--"];
    run_command(&stage, &mut SETPRIV.before(nobody, &ober))
        .says(1, &["CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON"]);
    nothing_is_applied(&stage, &"not root");
}
