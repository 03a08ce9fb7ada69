//! The demo, the tests and the benchmark: sets up their needs, then calls cargo.

use crate::setup;
use crate::shell::{cargo, run};
use anyhow::Result;
use ober_programs::Purpose;

/// The demo of the main job. Built with optimisation, since it moves real traffic.
pub(crate) fn demo(arguments: &[String]) -> Result<()> {
    setup::ensure(&[Purpose::Build, Purpose::Node])?;
    run_program("demo", arguments)
}

/// The benchmark, with the figures and their targets.
pub(crate) fn bench(arguments: &[String]) -> Result<()> {
    setup::ensure(&[Purpose::Build, Purpose::Node, Purpose::Bench])?;
    run_program("bench", arguments)
}

/// Builds all programs, since one starts others that are beside it, then runs the one asked for.
fn run_program(name: &str, arguments: &[String]) -> Result<()> {
    run_built(name, &["--release"], arguments)
}

/// Random faults and invariants. Built without optimisation: overflow checks and assertions find more.
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

/// Builds the daemon, the S3 server and the rest, beside each other in the target directory.
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

/// Runs every test of every package, or those that the arguments pick.
pub(crate) fn test(arguments: &[String]) -> Result<()> {
    setup::ensure(&setup::WORK)?;
    build(&[])?;
    let mut command = cargo();
    command.arg("test");
    if !arguments
        .iter()
        .any(|word| word == "-p" || word.starts_with("--package"))
    {
        // The kernel half has no host tests: ober-user compiles it, and the kernel's verifier judges it.
        command.args(["--workspace", "--exclude", "ober-ebpf"]);
    }
    run(command.args(["--no-fail-fast"]).args(arguments))
}
