//! The demo, the tests and the benchmark: what they need, then cargo.

use crate::setup;
use crate::shell::{cargo, run};
use anyhow::Result;
use ober_programs::Purpose;

/// The main job, shown. Built with optimisation: it moves real traffic.
pub(crate) fn demo(arguments: &[String]) -> Result<()> {
    setup::ensure(&[Purpose::Build, Purpose::Node])?;
    run_program("demo", arguments)
}

/// The figures and their targets.
pub(crate) fn bench(arguments: &[String]) -> Result<()> {
    setup::ensure(&[Purpose::Build, Purpose::Node, Purpose::Bench])?;
    run_program("bench", arguments)
}

/// Builds everything that may run, since one program starts others that stand beside it, then runs the one asked for.
fn run_program(name: &str, arguments: &[String]) -> Result<()> {
    run_built(name, &["--release"], arguments)
}

/// Faults and invariants. Built without optimisation: checks of overflows and assertions find more.
pub(crate) fn chaos(arguments: &[String]) -> Result<()> {
    setup::ensure(&setup::WORK)?;
    run_built("chaos", &[], arguments)
}

fn run_built(name: &str, profile: &[&str], arguments: &[String]) -> Result<()> {
    build(profile)?;
    run(cargo()
        .arg("run")
        .args(profile)
        .args(["--quiet", "--package", "ober-tests", "--bin", name, "--"])
        .args(arguments))
}

/// The daemon, the S3 server and the rest, beside each other in the target directory.
fn build(profile: &[&str]) -> Result<()> {
    run(cargo()
        .args([
            "build",
            "--package",
            "ober-user",
            "--package",
            "ober-tests",
            "--bins",
        ])
        .args(profile))
}

/// Every test of every package, or what the arguments pick from them.
pub(crate) fn test(arguments: &[String]) -> Result<()> {
    setup::ensure(&setup::WORK)?;
    build(&[])?;
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
