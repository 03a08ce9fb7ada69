//! What a commit must pass, cheapest first.

use crate::setup;
use crate::shell::{self, cargo, target};
use anyhow::{Context, Result};
use ober_programs::Command;
use std::time::Instant;

/// Formatting, lints of both halves, licences, tests. Stops at the first that fails.
pub(crate) fn run() -> Result<()> {
    setup::ensure(&setup::ALL)?;
    step("formatting", cargo().args(["fmt", "--all", "--check"]))?;
    step(
        "licences, sources, banned packages",
        cargo().args(["deny", "check", "licenses", "bans", "sources"]),
    )?;
    crate::advisories::check()?;
    step(
        "lints",
        cargo().args(["clippy", "--all-targets", "--", "-D", "warnings"]),
    )?;
    step("lints of the kernel half", &mut kernel_lints())?;
    eprintln!("== tests");
    crate::run::test(&[])
}

/// Clippy for the kernel half, which compiles only for the BPF target, with the standard library's core built from source. It
/// has its own target directory, because `RUSTC_BOOTSTRAP` would make cargo rebuild the host's packages each time.
fn kernel_lints() -> Command {
    let mut command = cargo();
    command.env("RUSTC_BOOTSTRAP", "1").args([
        "clippy",
        "--package",
        "ober-ebpf",
        "--target",
        "bpfel-unknown-none",
    ]);
    command
        .args(["-Z", "build-std=core", "--target-dir"])
        .arg(target().join("kernel-lints"));
    command.args(["--", "-D", "warnings"]);
    command
}

fn step(name: &str, command: &mut Command) -> Result<()> {
    eprintln!("== {name}");
    let began = Instant::now();
    shell::run(command).with_context(|| name.to_owned())?;
    eprintln!(
        "== {name}: passed in {:.1} s",
        began.elapsed().as_secs_f32()
    );
    Ok(())
}
