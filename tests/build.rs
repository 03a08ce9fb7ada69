//! Tells the benchmark where the kernel half's build left the wrapper program, and compiles the clock that chaos makes jump.

use std::{env, path::PathBuf, process::Command};

use anyhow::{Context as _, Result, ensure};

fn main() -> Result<()> {
    if let Ok(objects) = env::var("DEP_OBER_EBPF_OBJECTS") {
        println!("cargo:rustc-env=OBER_OBJECTS={objects}");
    }
    clock()
}

/// It is loaded into a daemon that is built already, so it is no part of any program here.
#[expect(
    clippy::disallowed_methods,
    reason = "cargo names the compiler, which is there where this runs"
)]
fn clock() -> Result<()> {
    const SOURCE: &str = "shim/clock.rs";
    println!("cargo:rerun-if-changed={SOURCE}");
    let directory = PathBuf::from(env::var_os("OUT_DIR").context("OUT_DIR is not set")?);
    let library = directory.join("libclock.so");
    let rustc = env::var_os("RUSTC").context("RUSTC is not set")?;
    let mut command = Command::new(rustc);
    let options = ["--edition", "2024", "--crate-type", "cdylib", "-O"];
    command.args(options).arg("-o").arg(&library).arg(SOURCE);
    let status = command.status().context("run rustc")?;
    ensure!(
        status.success(),
        "compile {SOURCE}: rustc ended with {status}"
    );
    println!("cargo:rustc-env=OBER_CLOCK_SHIM={}", library.display());
    Ok(())
}
