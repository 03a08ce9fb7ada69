//! Child processes: started from the root of the repository and found where cargo and the system install programs. Every error
//! names the command that failed.

use anyhow::{Context, Result, bail};
use ober_programs::{CARGO, Command, Program, search_path};
use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).to_path_buf()
}

/// The directory of cargo's build output and of xtask's downloads.
pub(crate) fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir))
}

/// A command at the root of the repository.
pub(crate) fn command(program: &Program) -> Command {
    at_root(program.command())
}

/// Sets the root of the repository as the directory, and a PATH with the programs of cargo and the system.
pub(crate) fn at_root(mut command: Command) -> Command {
    let path = env::join_paths(search_path())
        .unwrap_or_else(|_| OsString::from("/usr/sbin:/usr/bin:/sbin:/bin"));
    command.current_dir(root()).env("PATH", path);
    command
}

/// The cargo that runs xtask, or the one in the PATH. Cargo's variables about the xtask package are removed: with them, build
/// scripts that read them (ring's does) would run anew, here and in every later plain build.
pub(crate) fn cargo() -> Command {
    let mut cargo = command(&CARGO);
    cargo.stdin(Stdio::inherit());
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy();
        if [
            "CARGO_PKG_",
            "CARGO_MANIFEST_",
            "CARGO_BIN_",
            "CARGO_CRATE_",
        ]
        .iter()
        .any(|about| name.starts_with(about))
        {
            cargo.env_remove(&*name);
        }
    }
    cargo
}

/// Fills a directory beside its place, then renames it, so that it is either complete or missing.
pub(crate) fn whole(directory: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let beside = directory.with_extension("part");
    if beside.exists() {
        fs::remove_dir_all(&beside).with_context(|| format!("remove {}", beside.display()))?;
    }
    fs::create_dir_all(&beside).with_context(|| format!("create {}", beside.display()))?;
    fill(&beside)?;
    fs::rename(&beside, directory)
        .with_context(|| format!("rename {} to {}", beside.display(), directory.display()))
}

/// Runs it with its output shown.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("start {command:?}"))?;
    if !status.success() {
        bail!("{command:?} ended with {status}");
    }
    Ok(())
}

/// Runs it without output; what it wrote is shown only when it fails.
pub(crate) fn quiet(command: &mut Command) -> Result<()> {
    read(command).map(drop)
}

/// Runs it and returns what it wrote to standard output.
pub(crate) fn read(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("start {command:?}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{command:?} ended with {}: {}", output.status, said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
