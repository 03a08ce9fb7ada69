//! What a bare Debian or Ubuntu machine lacks, found by looking and installed when asked. Safe to run again: what is
//! there is left alone, and with nothing missing it neither asks the network nor changes a thing.

mod packages;

use crate::shell::{self, command, find, quiet, read, run};
use anyhow::{Context, Result, bail};
use packages::{COMPONENTS, Component, PACKAGES, Package};
use std::fs;
use std::os::unix::fs::MetadataExt;

/// What something is wanted for. Commands name theirs, so that the demo does not wait for QEMU.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Compiling both halves.
    Build,
    /// Building bpf-linker itself.
    Linker,
    /// Running a node: demo, tests, benchmark.
    Node,
    /// What tests alone compare with.
    Test,
    Bench,
    Fuzz,
    Vm,
    Ci,
}

impl Purpose {
    /// What working on the repository takes. [`Purpose::Linker`] follows from [`Purpose::Build`].
    pub(crate) const WORK: [Self; 6] = [
        Self::Build,
        Self::Node,
        Self::Test,
        Self::Bench,
        Self::Fuzz,
        Self::Vm,
    ];
    /// And what a commit must pass.
    pub(crate) const ALL: [Self; 7] = [
        Self::Build,
        Self::Node,
        Self::Test,
        Self::Bench,
        Self::Fuzz,
        Self::Vm,
        Self::Ci,
    ];
}

/// The linker that rustc runs for the BPF target. The version is part of what was tested.
const BPF_LINKER: &str = "0.13.0";
/// The licence check.
const CARGO_DENY: &str = "0.20.2";
const LLVM: &str = "/usr/lib/llvm-22";
const BPFFS: &str = "/sys/fs/bpf";

/// One thing to be had.
enum Need {
    Package(&'static Package),
    Component(&'static Component),
    BpfLinker,
    BpfFs,
    CargoDeny,
}

impl Need {
    fn name(&self) -> String {
        match self {
            Self::Package(package) => package.name.into(),
            Self::Component(component) => component.name.into(),
            Self::BpfLinker => format!("bpf-linker {BPF_LINKER}"),
            Self::BpfFs => format!("BPF file system at {BPFFS}"),
            Self::CargoDeny => format!("cargo-deny {CARGO_DENY}"),
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Package(package) => package.reason,
            Self::Component(component) => component.reason,
            Self::BpfLinker => "links the kernel half",
            Self::BpfFs => "programs and maps are pinned there",
            Self::CargoDeny => "checks the licences of every dependency",
        }
    }

    fn line(&self) -> String {
        format!("{:<36} {}", self.name(), self.reason())
    }

    fn is_met(&self) -> bool {
        match self {
            Self::Package(package) => package.is_there(),
            Self::Component(component) => component.is_there(),
            Self::BpfLinker => is_version("bpf-linker", BPF_LINKER),
            Self::BpfFs => is_bpffs_mounted(),
            Self::CargoDeny => is_version("cargo-deny", CARGO_DENY),
        }
    }
}

/// `cargo xtask setup`: everything, said out loud.
pub(crate) fn all(ci: bool) -> Result<()> {
    let (there, missing) = look(wanted(ci));
    show("present", &there);
    install(missing)?;
    println!("setup: complete");
    Ok(())
}

/// `cargo xtask setup --check`: an error when something is missing.
pub(crate) fn check(ci: bool) -> Result<()> {
    let (there, missing) = look(wanted(ci));
    show("present", &there);
    show("missing", &missing);
    if !missing.is_empty() {
        bail!(
            "{} missing; `cargo xtask setup` installs what is",
            missing.len()
        );
    }
    Ok(())
}

/// What a command does first: silent when nothing is missing.
pub(crate) fn ensure(purposes: &[Purpose]) -> Result<()> {
    install(look(purposes).1)
}

const fn wanted(ci: bool) -> &'static [Purpose] {
    if ci { &Purpose::ALL } else { &Purpose::WORK }
}

fn show(state: &str, needs: &[Need]) {
    for need in needs {
        println!("{state}  {}", need.line());
    }
}

/// What is there and what is not, in the order in which it must be installed.
fn look(purposes: &[Purpose]) -> (Vec<Need>, Vec<Need>) {
    let wants = |purpose| purposes.contains(&purpose);
    let linker = wants(Purpose::Build) && !Need::BpfLinker.is_met();
    let packages = PACKAGES
        .iter()
        .filter(|package| wants(package.purpose) || (linker && package.purpose == Purpose::Linker));
    let mut needs: Vec<Need> = packages.map(Need::Package).collect();
    needs.extend(
        COMPONENTS
            .iter()
            .filter(|component| wants(component.purpose))
            .map(Need::Component),
    );
    if wants(Purpose::Build) {
        needs.push(Need::BpfLinker);
    }
    if wants(Purpose::Node) {
        needs.push(Need::BpfFs);
    }
    if wants(Purpose::Ci) {
        needs.push(Need::CargoDeny);
    }
    needs.into_iter().partition(Need::is_met)
}

/// Speaks on standard error: the command that called may have data for standard output.
fn install(missing: Vec<Need>) -> Result<()> {
    for need in &missing {
        eprintln!("missing  {}", need.line());
    }
    let packages: Vec<&str> = missing
        .iter()
        .filter_map(|need| match need {
            Need::Package(package) => Some(package.name),
            Need::Component(_) | Need::BpfLinker | Need::BpfFs | Need::CargoDeny => None,
        })
        .collect();
    if !packages.is_empty() {
        install_packages(&packages)?;
    }
    for need in missing {
        match need {
            Need::Package(_) => {}
            Need::Component(component) => install_component(component.name)?,
            Need::BpfLinker => install_bpf_linker()?,
            Need::BpfFs => mount_bpffs()?,
            Need::CargoDeny => cargo_install("cargo-deny", CARGO_DENY, &[])?,
        }
        if !need.is_met() {
            bail!(
                "{} is still missing after it was installed; look at the output above",
                need.name()
            );
        }
    }
    Ok(())
}

/// One transaction. The package lists are fetched only when apt cannot do without: none there yet, or too old.
fn install_packages(names: &[&str]) -> Result<()> {
    let wish = names.join(" ");
    if find("apt-get").is_none() {
        bail!("no apt-get here: install what these Debian packages hold by your own means: {wish}");
    }
    must_be_root(&format!("apt-get install {wish}"))?;
    eprintln!("install  apt-get install {wish}");
    if quiet(apt_get("install").args(names)).is_ok() {
        return Ok(());
    }
    eprintln!("install  apt-get update, as apt does not know or cannot fetch all of them");
    quiet(&mut apt_get("update"))?;
    let unknown: Vec<&&str> = names.iter().filter(|name| !is_known(name)).collect();
    if unknown.iter().any(|name| **name == "llvm-22-dev") {
        bail!(
            "apt does not know llvm-22-dev: this release's archive has no LLVM 22 (Debian 12 has it in its security \
             archive). Add that, or LLVM's own archive for this release, or put bpf-linker {BPF_LINKER} into the path"
        );
    }
    quiet(apt_get("install").args(names)).with_context(|| format!("install the packages {wish}"))
}

fn apt_get(verb: &str) -> std::process::Command {
    let mut apt = command("apt-get");
    apt.env("DEBIAN_FRONTEND", "noninteractive")
        .args(["-q", "-y", verb]);
    if verb == "install" {
        apt.arg("--no-install-recommends");
    }
    apt
}

/// Does apt have a version of the package to offer?
fn is_known(package: &str) -> bool {
    read(command("apt-cache").args(["show", "--no-all-versions", package]))
        .is_ok_and(|said| !said.is_empty())
}

fn must_be_root(what: &str) -> Result<()> {
    let owner = fs::metadata("/proc/self")
        .context("ask who we are in /proc/self")?
        .uid();
    if owner != 0 {
        bail!("`{what}` needs root: run `cargo xtask setup` once as root");
    }
    Ok(())
}

/// rust-toolchain.toml names these, and rustup then installs them by itself, unless it is told not to.
fn install_component(name: &str) -> Result<()> {
    if find("rustup").is_none() {
        bail!(
            "this Rust has no {name} and was not installed by rustup, which the build of the kernel half calls: \
             install rustup, then run this again"
        );
    }
    eprintln!("install  rustup component add {name}");
    run(command("rustup").args(["component", "add", name]))
}

fn is_version(program: &str, version: &str) -> bool {
    find(program).is_some()
        && read(command(program).arg("--version"))
            .is_ok_and(|said| said.split_whitespace().any(|word| word == version))
}

/// Built with the LLVM that rustc has: bpf-linker reads rustc's bitcode, and an older LLVM cannot.
fn install_bpf_linker() -> Result<()> {
    cargo_install(
        "bpf-linker",
        BPF_LINKER,
        &["--no-default-features", "--features", "llvm-22"],
    )
}

fn cargo_install(package: &str, version: &str, more: &[&str]) -> Result<()> {
    eprintln!("install  cargo install {package}@{version}, which takes a minute or two");
    let mut command = shell::cargo();
    command
        .args([
            "install",
            "--quiet",
            "--locked",
            "--force",
            "--version",
            version,
            package,
        ])
        .args(more);
    run(command.env("LLVM_PREFIX", LLVM))
}

fn is_bpffs_mounted() -> bool {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    mounts
        .lines()
        .any(|line| line.split_whitespace().skip(1).take(2).eq([BPFFS, "bpf"]))
}

fn mount_bpffs() -> Result<()> {
    must_be_root(&format!("mount -t bpf bpf {BPFFS}"))?;
    eprintln!("install  mount -t bpf bpf {BPFFS}");
    run(command("mount").args(["-t", "bpf", "bpf", BPFFS])).with_context(|| {
        format!(
            "mount the BPF file system at {BPFFS}; in a container, start it with that path mounted"
        )
    })
}
