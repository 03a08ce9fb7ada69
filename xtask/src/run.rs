//! The demo, the tests and the benchmark: what they need, then cargo.

use crate::setup::{self, Purpose};
use crate::shell::{cargo, run};
use anyhow::Result;

/// The programs that demo, tests and bench start as processes of their own: `ober-user` and the S3 server. `cargo run` and
/// `cargo test` would leave them as they are, or missing.
fn build_programs(release: bool) -> Result<()> {
    let mut command = cargo();
    command.args(["build", "--workspace", "--exclude", "ober-ebpf", "--bins"]);
    if release {
        command.arg("--release");
    }
    run(&mut command)
}

/// The main job, shown. Built with optimisation: it moves real traffic.
pub(crate) fn demo(arguments: &[String]) -> Result<()> {
    setup::ensure(&[Purpose::Build, Purpose::Node])?;
    build_programs(true)?;
    run(cargo()
        .args([
            "run",
            "--release",
            "--package",
            "ober-tests",
            "--bin",
            "demo",
            "--",
        ])
        .args(arguments))
}

/// Every test of every package, or what the arguments pick from them.
pub(crate) fn test(arguments: &[String]) -> Result<()> {
    setup::ensure(&Purpose::WORK)?;
    build_programs(arguments.iter().any(|word| word == "--release"))?;
    let mut command = cargo();
    command.arg("test");
    if !arguments
        .iter()
        .any(|word| word == "-p" || word.starts_with("--package"))
    {
        // The kernel half has no host tests: it is compiled by ober-user and judged by the kernel's verifier.
        command.args(["--workspace", "--exclude", "ober-ebpf"]);
    }
    run(command.args(["--no-fail-fast"]).args(arguments))
}

/// The figures and their targets.
pub(crate) fn bench(arguments: &[String]) -> Result<()> {
    setup::ensure(&[Purpose::Build, Purpose::Node, Purpose::Bench])?;
    build_programs(true)?;
    run(cargo()
        .args([
            "run",
            "--release",
            "--package",
            "ober-tests",
            "--bin",
            "bench",
            "--",
        ])
        .args(arguments))
}

/// The comparison of kernel programs and model, at nightly length.
pub(crate) fn fuzz(cases: u32) -> Result<()> {
    setup::ensure(&[Purpose::Build, Purpose::Node])?;
    let mut command = cargo();
    command.args([
        "test",
        "--release",
        "--package",
        "ober-tests",
        "--test",
        "model",
        "--",
        "--nocapture",
    ]);
    run(command.env("OBER_FUZZ_CASES", cases.to_string()))
}
