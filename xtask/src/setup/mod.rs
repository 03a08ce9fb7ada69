//! Finds what a bare Debian or Ubuntu machine lacks, and installs it when asked. Safe to run again: existing parts stay, and
//! with nothing missing it neither uses the network nor changes a thing.

use crate::shell::{self, command, quiet, read, run};
use anyhow::{Context, Result, bail};
use ober_programs::{
    APT_CACHE, APT_GET, BPF_LINKER, Command, MATERIALS, MOUNT, Material, Origin, PROGRAMS, Program,
    Purpose, RUSTC, RUSTUP,
};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What work on the repository needs. [`Purpose::Linker`] follows from [`Purpose::Build`].
pub(crate) const WORK: [Purpose; 9] = [
    Purpose::Build,
    Purpose::Node,
    Purpose::Test,
    Purpose::Bench,
    Purpose::Fuzz,
    Purpose::Vm,
    Purpose::Release,
    Purpose::Dist,
    Purpose::Machine,
];
/// The same, and what the checks of a commit need.
pub(crate) const ALL: [Purpose; 10] = [
    Purpose::Build,
    Purpose::Node,
    Purpose::Test,
    Purpose::Bench,
    Purpose::Fuzz,
    Purpose::Vm,
    Purpose::Release,
    Purpose::Dist,
    Purpose::Machine,
    Purpose::Ci,
];

const LLVM: &str = "/usr/lib/llvm-22";
const BPFFS: &str = "/sys/fs/bpf";
/// Characters of a program's own output that are shown: the rest of a terminal's line.
const WORDS: usize = 60;

/// One thing to have.
enum Need {
    Program(&'static Program),
    Material(&'static Material),
    RustSrc,
    BpfFs,
}

impl Need {
    fn name(&self) -> &'static str {
        match self {
            Self::Program(program) => program.name(),
            Self::Material(material) => material.name(),
            Self::RustSrc => "rust-src",
            Self::BpfFs => "BPF file system",
        }
    }

    /// The package or command that installs it.
    fn origin(&self) -> String {
        match self {
            Self::Program(program) => match program.origin() {
                Origin::Debian(package) => package.to_owned(),
                Origin::Rust(component) => format!("Rust: {component}"),
                Origin::Cargo(version) => format!("cargo: {version}"),
            },
            Self::Material(material) => material.package.to_owned(),
            Self::RustSrc => "Rust: rust-src".to_owned(),
            Self::BpfFs => format!("at {BPFFS}"),
        }
    }

    const fn reason(&self) -> &'static str {
        match self {
            Self::Program(program) => program.reason(),
            Self::Material(material) => material.reason,
            Self::RustSrc => "the kernel half builds its own `core`",
            Self::BpfFs => "programs and maps are pinned there",
        }
    }

    const fn package(&self) -> Option<&'static str> {
        match self {
            Self::Program(program) => match program.origin() {
                Origin::Debian(package) => Some(package),
                Origin::Rust(_) | Origin::Cargo(_) => None,
            },
            Self::Material(material) => Some(material.package),
            Self::RustSrc | Self::BpfFs => None,
        }
    }

    fn line(&self, state: &str, words: &str) -> String {
        format!("{state}  {:<20} {:<20} {words}", self.name(), self.origin())
    }

    fn is_met(&self) -> bool {
        match self {
            Self::Program(program) => match program.origin() {
                Origin::Cargo(version) => program.is_version(version),
                Origin::Debian(_) | Origin::Rust(_) => program.find().is_some(),
            },
            Self::Material(material) => material.find().is_some(),
            Self::RustSrc => has_rust_src(),
            Self::BpfFs => is_bpffs_mounted(),
        }
    }

    /// Starts a program. Returns what it says about itself, or why it does not run.
    fn answer(&self) -> Result<String, String> {
        match self {
            Self::Program(program) => program.answer(),
            Self::Material(_) | Self::RustSrc | Self::BpfFs => Ok(String::new()),
        }
    }

    fn install(&self) -> Result<()> {
        match self {
            Self::Program(program) => match program.origin() {
                Origin::Debian(_) => Ok(()),
                Origin::Rust(component) => install_component(component),
                Origin::Cargo(version) => cargo_install(program.name(), version),
            },
            Self::Material(_) => Ok(()),
            Self::RustSrc => install_component("rust-src"),
            Self::BpfFs => mount_bpffs(),
        }
    }
}

/// `cargo xtask setup`: installs everything and reports it.
pub(crate) fn all(ci: bool) -> Result<()> {
    let (there, missing) = look(wanted(ci));
    for need in &there {
        println!("{}", need.line("present", need.reason()));
    }
    install(&missing)?;
    println!("setup: complete");
    Ok(())
}

/// `cargo xtask setup --check`: an error when a thing is missing, or does not start.
pub(crate) fn check(ci: bool) -> Result<()> {
    let (there, missing) = look(wanted(ci));
    let mut wanting = missing.len();
    for need in &there {
        match need.answer() {
            Ok(words) => {
                let words: String = words.chars().take(WORDS).collect();
                println!("{}", need.line("present", &words));
            }
            Err(why) => {
                wanting += 1;
                println!("{}", need.line("missing", "is there and does not start"));
                eprintln!("{why}");
            }
        }
    }
    for need in &missing {
        println!("{}", need.line("missing", need.reason()));
    }
    if wanting > 0 {
        let more = if ci { " --ci" } else { "" };
        bail!("{wanting} missing; `cargo xtask setup{more}` installs what is");
    }
    Ok(())
}

/// The first step of every command: silent when nothing is missing.
pub(crate) fn ensure(purposes: &[Purpose]) -> Result<()> {
    install(&look(purposes).1)
}

const fn wanted(ci: bool) -> &'static [Purpose] {
    if ci { &ALL } else { &WORK }
}

/// What is there and what is missing, in the order of installation.
fn look(purposes: &[Purpose]) -> (Vec<Need>, Vec<Need>) {
    let wants = |purpose| purposes.contains(&purpose);
    let programs = PROGRAMS.iter().filter(|it| wants(it.purpose()));
    let mut needs: Vec<Need> = programs.map(Need::Program).collect();
    let linker = needs
        .iter()
        .any(|need| need.name() == BPF_LINKER.name() && !need.is_met());
    let materials = MATERIALS.iter();
    let materials =
        materials.filter(|it| wants(it.purpose) || (linker && it.purpose == Purpose::Linker));
    needs.extend(materials.map(Need::Material));
    if wants(Purpose::Build) {
        needs.push(Need::RustSrc);
    }
    if wants(Purpose::Node) {
        needs.push(Need::BpfFs);
    }
    needs.into_iter().partition(Need::is_met)
}

/// Prints to standard error: the calling command may write data to standard output.
fn install(missing: &[Need]) -> Result<()> {
    for need in missing {
        eprintln!("{}", need.line("missing", need.reason()));
    }
    let mut packages: Vec<&str> = missing.iter().filter_map(Need::package).collect();
    packages.sort_unstable();
    packages.dedup();
    if !packages.is_empty() {
        install_packages(&packages)?;
    }
    for need in missing {
        need.install()?;
        if !need.is_met() {
            bail!(
                "{} is still missing after {} was installed; look at the output above",
                need.name(),
                need.origin()
            );
        }
    }
    Ok(())
}

/// Installs in one transaction. Fetches the package lists only when apt needs it: none there yet, or too old.
fn install_packages(names: &[&str]) -> Result<()> {
    let wish = names.join(" ");
    if APT_GET.find().is_none() {
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
             archive). Add that, or LLVM's own archive for this release, or put {BPF_LINKER:#} into the path"
        );
    }
    quiet(apt_get("install").args(names)).with_context(|| format!("install the packages {wish}"))
}

fn apt_get(verb: &str) -> Command {
    let mut apt = command(&APT_GET);
    apt.env("DEBIAN_FRONTEND", "noninteractive")
        .args(["-q", "-y", verb]);
    if verb == "install" {
        apt.arg("--no-install-recommends");
    }
    apt
}

/// Does apt offer a version of the package?
fn is_known(package: &str) -> bool {
    read(command(&APT_CACHE).args(["show", "--no-all-versions", package]))
        .is_ok_and(|said| !said.is_empty())
}

pub(crate) fn must_be_root(what: &str) -> Result<()> {
    let owner = fs::metadata("/proc/self")
        .context("ask who we are in /proc/self")?
        .uid();
    if owner != 0 {
        bail!("`{what}` needs root: run `cargo xtask setup` once as root");
    }
    Ok(())
}

/// rust-toolchain.toml names these components; rustup installs them by itself unless that is switched off.
fn install_component(name: &str) -> Result<()> {
    if RUSTUP.find().is_none() {
        bail!(
            "this Rust has no {name} and was not installed by rustup, which the build of the kernel half calls: \
             install rustup, then run this again"
        );
    }
    eprintln!("install  rustup component add {name}");
    run(command(&RUSTUP).args(["component", "add", name]))
}

fn has_rust_src() -> bool {
    let root = read(command(&RUSTC).args(["--print", "sysroot"]));
    let file = "lib/rustlib/src/rust/library/core/src/lib.rs";
    root.is_ok_and(|root| Path::new(root.trim()).join(file).is_file())
}

/// bpf-linker is built with the LLVM of rustc: it reads rustc's bitcode, which an older LLVM cannot.
fn cargo_install(package: &str, version: &str) -> Result<()> {
    let more: &[&str] = match package {
        "bpf-linker" => &["--no-default-features", "--features", "llvm-22"],
        _ => &[],
    };
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
    // An account that may write there could replace the programs that filter packets.
    let words = ["-t", "bpf", "-o", "mode=0700", "bpf", BPFFS];
    let shown = format!("mount {}", words.join(" "));
    must_be_root(&shown)?;
    eprintln!("install  {shown}");
    run(command(&MOUNT).args(words)).with_context(|| {
        format!(
            "mount the BPF file system at {BPFFS}; in a container, start it with that path mounted"
        )
    })
}
