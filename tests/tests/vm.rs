//! Linux 6.1 is the oldest kernel we promise to work on, and four queues are what a real card has; neither is what
//! the tests run on otherwise.

use std::path::Path;
use std::process::Command;

#[test]
fn the_data_plane_works_on_linux_6_1_behind_a_card_of_four_queues() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut command = Command::new(env!("CARGO"));
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
    for check in ["ok the card has four receive queues"] {
        assert!(
            said.lines().any(|line| line == check),
            "{check} is missing from\n{said}"
        );
    }
}
