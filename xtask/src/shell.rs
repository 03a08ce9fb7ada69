//! Child processes: started from the root of the repository, found where cargo and the system install programs, and
//! never failing without saying which command it was.

use anyhow::{Context, Result, bail};
use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).to_path_buf()
}

/// Where cargo puts what it builds, and we what we download.
pub(crate) fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir))
}

/// Where `cargo install` puts programs.
fn cargo_bin() -> PathBuf {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")));
    home.unwrap_or_default().join("bin")
}

/// The caller's search path, then where cargo installs (absent when cargo came from a package) and where system tools
/// live (absent for many users).
pub(crate) fn search_path() -> Vec<PathBuf> {
    let given = env::var_os("PATH").unwrap_or_default();
    let more = [
        cargo_bin(),
        "/usr/local/sbin".into(),
        "/usr/sbin".into(),
        "/sbin".into(),
    ];
    env::split_paths(&given).chain(more).collect()
}

/// The program's file, if the machine has it.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let runs = |file: &PathBuf| {
        file.metadata()
            .is_ok_and(|facts| facts.is_file() && facts.permissions().mode() & 0o111 != 0)
    };
    search_path()
        .into_iter()
        .map(|dir| dir.join(program))
        .find(runs)
}

/// A command at the root of the repository.
pub(crate) fn command(program: &str) -> Command {
    let path = env::join_paths(search_path())
        .unwrap_or_else(|_| OsString::from("/usr/sbin:/usr/bin:/sbin:/bin"));
    let mut command = Command::new(find(program).unwrap_or_else(|| program.into()));
    command.current_dir(root()).env("PATH", path);
    command
}

/// The cargo that runs us, or the one in the path. Cargo tells us about our own package in the environment; passed on,
/// that would make the build scripts that ask for it (ring's does) run anew, here and in every later plain build.
pub(crate) fn cargo() -> Command {
    let mut cargo = command(&env::var("CARGO").unwrap_or_else(|_| "cargo".into()));
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

/// Fills a directory beside, then renames it: one of that name is always whole.
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

/// What was typed, for messages.
fn spell(command: &Command) -> String {
    let program = Path::new(command.get_program())
        .file_name()
        .unwrap_or(command.get_program());
    let words = std::iter::once(program).chain(command.get_args());
    words
        .map(|word| word.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}

/// Runs it in view.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("start `{}`", spell(command)))?;
    if !status.success() {
        bail!("`{}` ended with {status}", spell(command));
    }
    Ok(())
}

/// Runs it out of view; what it wrote is shown only when it fails.
pub(crate) fn quiet(command: &mut Command) -> Result<()> {
    read(command).map(drop)
}

/// Runs it and returns what it wrote to standard output.
pub(crate) fn read(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("start `{}`", spell(command)))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!(
            "`{}` ended with {}: {}",
            spell(command),
            output.status,
            said.trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
