//! Linux 6.1 is the oldest kernel that Ober supports, real cards have several queues, here four, and a Debian kernel has VRF
//! devices; other tests run on none of these.

use ober_programs::CARGO;
use std::path::Path;

/// The checks by name, so that one that is left out is noticed.
const CHECKS: [&str; 16] = [
    "the card has four receive queues",
    "every program passes the verifier",
    "XDP attaches in native mode",
    "a listed IPv4 client is served",
    "an unlisted IPv4 client is dropped and counted",
    "the open IPv4 service serves every client",
    "an IPv4 client is let in and shut out live",
    "a listed IPv6 client is served",
    "an unlisted IPv6 client is dropped and counted",
    "the open IPv6 service serves every client",
    "an IPv6 client is let in and shut out live",
    "a megabyte sent in segments of the sender's choice arrives",
    "flows land on all four queues and every CPU judges some",
    "connections spread over the workers and arrive on their CPUs",
    "in a VRF no client is served without tcp_l3mdev_accept, and doctor says so",
    "in a VRF with tcp_l3mdev_accept every client is served",
];

#[test]
fn the_data_plane_works_on_linux_6_1_behind_a_card_of_four_queues() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut command = CARGO.command();
    command
        .current_dir(root)
        .args(["run", "--quiet", "--package", "xtask", "--"]);
    let output = command
        .args(["vm", "--guest", env!("CARGO_BIN_EXE_guest")])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{complaint}");
    assert!(said.contains("vm: booting Linux 6.1."), "{said}");
    assert!(said.contains(", 0 failed"), "{said}");
    for check in CHECKS {
        assert!(
            said.lines()
                .any(|line| line.strip_prefix("ok ") == Some(check)),
            "{check} is missing from\n{said}"
        );
    }
}
