//! `cargo xtask fuzz`: libFuzzer on every decoder of `tests/fuzz`, and the long comparison of kernel programs and model.
//!
//! The decoders are built with coverage counters, which the pinned stable compiler can do, in their own target directory so
//! that nothing else is rebuilt. An input that breaks a decoder is made small and put into its corpus, which the ordinary tests
//! read.

use crate::setup;
use crate::shell::{at_root, cargo, command, read, root, run, target};
use anyhow::{Context, Result, bail, ensure};
use ober_programs::{Command, Purpose, RUSTC};
use std::fs;
use std::path::{Path, PathBuf};

/// Compiler options that libFuzzer needs. `fuzzing` is the cfg that libfuzzer-sys looks for.
const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";
/// Longer inputs find nothing new: a BGP message has at most 4096 bytes, and a test of a session has some of them.
const LONGEST: u32 = 8192;
/// Seconds to make one finding small.
const SHRINKING: u32 = 20;
const KERNEL: &str = "kernel";

/// Fuzzes one target or all of them.
pub(crate) fn all(only: Option<&str>, seconds: u32, cases: u32) -> Result<()> {
    let decoders = decoders()?;
    if let Some(name) = only {
        let known = name == KERNEL || decoders.iter().any(|decoder| decoder == name);
        ensure!(
            known,
            "{name} is no target; there are {KERNEL}, {}",
            decoders.join(", ")
        );
    }
    let wanted: Vec<String> = decoders
        .into_iter()
        .filter(|decoder| only.is_none_or(|name| name == decoder))
        .collect();
    if only.is_none_or(|name| name == KERNEL) {
        kernel(cases)?;
    }
    if wanted.is_empty() {
        return Ok(());
    }
    let program = build()?;
    let mut findings = Vec::new();
    for decoder in wanted {
        findings.extend(try_out(&program, &decoder, seconds)?);
    }
    ensure!(
        findings.is_empty(),
        "{} inputs break their decoder; `cargo xtask test -p ober-fuzz` shows how: {}",
        findings.len(),
        findings.join(", ")
    );
    println!("fuzz: nothing found");
    Ok(())
}

/// Compares the kernel programs with the model, at nightly length.
fn kernel(cases: u32) -> Result<()> {
    setup::ensure(&[Purpose::Build, Purpose::Node])?;
    let mut command = cargo();
    command.args(["test", "--release", "--package", "ober-tests"]);
    command.args(["--test", "model", "--", "--nocapture"]);
    run(command.env("OBER_FUZZ_CASES", cases.to_string()))
}

fn corpora() -> PathBuf {
    root().join("tests/corpus")
}

fn decoders() -> Result<Vec<String>> {
    let mut names = names_in(&corpora())?;
    names.sort();
    Ok(names)
}

fn names_in(directory: &Path) -> Result<Vec<String>> {
    let entries =
        fs::read_dir(directory).with_context(|| format!("list {}", directory.display()))?;
    entries
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect()
}

/// Builds the program and returns its path.
fn build() -> Result<PathBuf> {
    setup::ensure(&[Purpose::Build, Purpose::Fuzz])?;
    let host = read(command(&RUSTC).args(["--print", "host-tuple"]))?;
    let host = host.trim();
    let place = target().join("fuzz");
    // `--target` is given so that the flags do not reach build scripts and macros. Some optimisation makes the fuzzer ten times
    // as fast, with all checks kept.
    let mut command = cargo();
    command
        .args(["build", "--package", "ober-fuzz", "--bin", "fuzz"])
        .args(["--features", "libfuzzer", "--target", host, "--target-dir"])
        .arg(&place)
        .env("RUSTFLAGS", FLAGS)
        .env("CARGO_PROFILE_DEV_OPT_LEVEL", "1");
    run(&mut command)?;
    Ok(place.join(host).join("debug/fuzz"))
}

/// Fuzzes one decoder; returns the files of its findings, below `tests/corpus`.
fn try_out(program: &Path, decoder: &str, seconds: u32) -> Result<Vec<String>> {
    println!("== {decoder}, {seconds} s");
    let work = target().join("fuzz");
    // Inputs that reach new code are kept for the next run.
    let (grown, found) = (
        work.join("corpus").join(decoder),
        work.join("found").join(decoder),
    );
    for directory in [&grown, &found] {
        fs::create_dir_all(directory).with_context(|| format!("create {}", directory.display()))?;
    }
    let mut command = libfuzzer(program, decoder);
    command
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-max_len={LONGEST}"))
        .args(["-timeout=10", "-rss_limit_mb=1024", "-print_final_stats=1"])
        .arg(format!("-artifact_prefix={}/", found.display()))
        .arg(&grown)
        .arg(corpora().join(decoder));
    let status = command.status().context("start the fuzzer")?;
    let names = names_in(&found)?;
    if names.is_empty() && !status.success() {
        bail!("the fuzzer ended with {status} and left nothing that shows why");
    }
    names
        .iter()
        .map(|name| keep(program, decoder, &found.join(name)))
        .collect()
}

fn libfuzzer(program: &Path, decoder: &str) -> Command {
    let mut command = at_root(Command::own(program));
    command.env("OBER_FUZZ_TARGET", decoder);
    command
}

/// Shrinks a finding to the smallest input that still breaks the decoder, and moves it into the corpus.
fn keep(program: &Path, decoder: &str, finding: &Path) -> Result<String> {
    let small = finding.with_extension("small");
    let mut command = libfuzzer(program, decoder);
    command
        .args(["-minimize_crash=1", "-timeout=10"])
        .arg(format!("-max_total_time={SHRINKING}"))
        .arg(format!("-exact_artifact_path={}", small.display()))
        .arg(finding);
    // The exit status is ignored: the program ends with a failure, since it runs an input that breaks the decoder.
    command.output().context("make a finding small")?;
    let best = if small.exists() { &small } else { finding };
    let name = finding.file_name().unwrap_or_default().to_string_lossy();
    let name = format!("{decoder}/found-{}.bin", name.get(..16).unwrap_or(&name));
    let to = corpora().join(&name);
    fs::copy(best, &to).with_context(|| format!("write {}", to.display()))?;
    for used in [finding, &small] {
        match fs::remove_file(used) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("remove {}", used.display()));
            }
            Ok(()) | Err(_) => {}
        }
    }
    Ok(name)
}
