//! `cargo xtask setup` sees what is missing. A tool is hidden by an empty file mounted over it, in a mount namespace
//! of the test's own.

use std::io;
use std::process::{Command, Output};

/// Runs `cargo xtask setup --check` after a piece of shell, where nobody else sees what that mounts.
fn check_after(preparation: &str) -> io::Result<Output> {
    let script = format!("{preparation}\nexec \"$0\" run --quiet --package xtask -- setup --check");
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-e", "-c", &script, env!("CARGO")]);
    command
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
}

fn missing(output: &Output) -> Vec<String> {
    let said = String::from_utf8_lossy(&output.stdout);
    let names = said
        .lines()
        .filter_map(|line| line.strip_prefix("missing  "));
    names
        .filter_map(|rest| rest.split_whitespace().next())
        .map(str::to_owned)
        .collect()
}

#[test]
fn nothing_is_missing_where_the_tests_run() {
    let output = check_after("").unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(missing(&output), [""; 0]);
}

#[test]
fn a_hidden_tool_is_missed_by_name_and_by_exit_status() {
    for (tool, package) in [
        ("haproxy", "haproxy"),
        ("qemu-system-x86_64", "qemu-system-x86"),
        ("bpf-linker", "bpf-linker"),
    ] {
        let hide = format!(
            "for dir in $(echo \"$PATH\" | tr : ' ') /usr/sbin /sbin; do [ ! -f $dir/{tool} ] || mount --bind /dev/null $dir/{tool}; done"
        );
        let output = check_after(&hide).unwrap();
        assert_eq!(output.status.code(), Some(1), "{tool}");
        assert!(
            missing(&output).iter().any(|name| name == package),
            "{tool}: {}",
            String::from_utf8_lossy(&output.stdout)
        );
    }
}

#[test]
fn a_missing_bpf_file_system_is_noticed() {
    let output = check_after("umount --lazy /sys/fs/bpf").unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(missing(&output), ["BPF"]);
}
