//! The demo, the tests and the benchmark: sets up their needs, then calls cargo.

use crate::setup;
use crate::shell::{cargo, run};
use anyhow::Result;
use ober_programs::Purpose;

/// The main job, shown. Built as the tests are, which takes a third of the time that optimising takes and is done for them
/// too; the kernel half is always optimised.
pub(crate) fn demo(arguments: &[String]) -> Result<()> {
    setup::ensure(&[Purpose::Build, Purpose::Node])?;
    // The demo starts the other two, which stand beside it.
    build(&["--bin", "ober-user", "--bin", "s3-server", "--bin", "demo"])?;
    run_built("demo", &[], arguments)
}

/// The figures and their targets.
pub(crate) fn bench(arguments: &[String]) -> Result<()> {
    setup::ensure(&[Purpose::Build, Purpose::Node, Purpose::Bench])?;
    build(&["--bins", "--release"])?;
    run_built("bench", &["--release"], arguments)
}

/// Faults and invariants. Built without optimisation: checks of overflows and assertions find more.
pub(crate) fn chaos(arguments: &[String]) -> Result<()> {
    setup::ensure(&setup::WORK)?;
    build(&["--bins"])?;
    run_built("chaos", &[], arguments)
}

/// Runs a program, which may start others that were built before.
fn run_built(name: &str, profile: &[&str], arguments: &[String]) -> Result<()> {
    run(cargo()
        .arg("run")
        .args(profile)
        .args(["--quiet", "--package", "ober-tests", "--bin", name, "--"])
        .args(arguments))
}

/// Builds programs of the daemon and of the tests, beside each other in the target directory.
fn build(which: &[&str]) -> Result<()> {
    let packages = ["--package", "ober-user", "--package", "ober-tests"];
    run(cargo().arg("build").args(packages).args(which))
}

/// Runs every test of every package, or those that the arguments pick.
pub(crate) fn test(arguments: &[String]) -> Result<()> {
    setup::ensure(&setup::WORK)?;
    build(&["--bins"])?;
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
