//! `cargo xtask setup` sees what is missing. A tool is hidden by an empty file mounted over it, in a mount namespace
//! of the test's own.

use ober_programs::{CARGO, Command, MOUNT, SH, UMOUNT, UNSHARE, search_path};
use std::io;
use std::path::Path;
use std::process::Output;

/// Runs `cargo xtask setup --check` after these commands, whose mounts no other process sees.
fn check_after(first: &[Command]) -> io::Result<Output> {
    let mut check = CARGO.args(["run", "--quiet", "--package", "xtask"]);
    check.args(["--", "setup", "--check"]);
    check.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let all: Vec<&Command> = first.iter().chain([&check]).collect();
    UNSHARE.before(["--mount"], &SH.in_turn(&all)).output()
}

/// Mounts that hide a program wherever it lies.
fn hide(program: &str) -> Vec<Command> {
    let places = search_path().into_iter().map(|place| place.join(program));
    places
        .filter(|file| file.is_file())
        .map(|file| {
            let mut command = MOUNT.args(["--bind", "/dev/null"]);
            command.arg(file);
            command
        })
        .collect()
}

/// The packages and what else is missing, each once.
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
fn setup_check_finds_every_program_on_the_machine_that_runs_the_tests() {
    let output = check_after(&[]).unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(missing(&output), [""; 0]);
}

#[test]
fn setup_check_names_a_hidden_tool_and_fails() {
    for tool in ["haproxy", "bpftool", "qemu-system-x86_64", "bpf-linker"] {
        let output = check_after(&hide(tool)).unwrap();
        assert_eq!(output.status.code(), Some(1), "{tool}");
        assert!(
            missing(&output).iter().any(|name| name == tool),
            "{tool}: {}",
            String::from_utf8_lossy(&output.stdout)
        );
    }
}

#[test]
fn setup_check_reports_a_program_that_does_not_start_as_missing() {
    let scratch = tempfile::tempdir().unwrap();
    let broken = scratch.path().join("broken");
    std::fs::write(&broken, "#!/nowhere/interpreter\n").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&broken, mode).unwrap();
    let mut over = MOUNT.args(["--bind"]);
    over.arg(&broken).arg(Path::new("/usr/sbin/nsd"));
    let output = check_after(&[over]).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(missing(&output), ["nsd"]);
}

#[test]
fn setup_check_reports_a_missing_bpf_file_system() {
    let output = check_after(&[UMOUNT.args(["--lazy", "/sys/fs/bpf"])]).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(missing(&output), ["BPF"]);
}
