//! `cargo xtask dist`: what an operator installs, below `target/dist`.
//!
//! ```text
//! contents   the one table: what is installed where
//! program    the program: built, stripped, its debug symbols apart; what it writes (completions, manual) and needs (glibc)
//! notices    the licences of all crates in the program
//! tree       the table's files below a root directory, all with the time of the commit
//! deb        the tree as ober_VERSION_amd64.deb, and the symbols as ober-dbgsym
//! rpm        the tree as ober-VERSION-1.x86_64.rpm
//! tarball    the tree with install.sh, which installs and removes it where there is no package manager
//! oci        a container image: Debian with HAProxy, and the tree
//! sbom       the list of all crates in the program
//! ```
//!
//! The same program gives the same bytes: nothing of the machine, the clock or the order of directories is in a package.

mod contents;
mod deb;
mod notices;
mod oci;
mod program;
mod rpm;
mod sbom;
mod tarball;
#[cfg(test)]
mod tests;
mod tree;

use crate::setup;
use crate::shell::{command, read, root, target};
use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use ober_programs::{GIT, Purpose, SHA256SUM};
use program::Program;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// A kind of package.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// The package for Debian and Ubuntu
    Deb,
    /// The debug symbols of the program, for Debian and Ubuntu
    Dbgsym,
    /// The package for RHEL, Alma and Rocky
    Rpm,
    /// The files and an install.sh, for other systems
    Tarball,
    /// A container image with `HAProxy`, for podman and docker
    Oci,
    /// The list of all crates in the program, for programs that look for vulnerable ones
    Sbom,
}

/// What `cargo xtask dist` is given.
#[derive(Args)]
pub(crate) struct Dist {
    /// The packages to make; all unless named
    formats: Vec<Format>,
    /// A program built with `--profile dist`, such as the one that was tested, in place of building it
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    /// Makes VERSION-NUMBER of VERSION: the same release, packaged again
    #[arg(long, value_name = "NUMBER")]
    revision: Option<u32>,
}

/// What every format is made of.
pub(crate) struct Release {
    program: Program,
    version: String,
    /// The time of every file.
    time: SystemTime,
    /// Where packages are put.
    into: PathBuf,
    /// They are worth the time that it takes to make them small.
    is_small: bool,
}

/// The release that is worked on.
const VERSION: &str = env!("CARGO_PKG_VERSION");

impl Dist {
    pub(crate) fn run(&self) -> Result<()> {
        setup::ensure(&[Purpose::Build, Purpose::Dist, Purpose::Release])?;
        let all = Format::value_variants();
        let formats = match self.formats.as_slice() {
            [] => all,
            some => some,
        };
        let made = Order {
            program: self.program.as_deref(),
            revision: self.revision,
            formats,
            given_away: true,
        }
        .make()?;
        for package in &made {
            let length = fs::metadata(package)
                .with_context(|| format!("look at {}", package.display()))?
                .len();
            println!("dist: {} ({} kB)", package.display(), length / 1000);
        }
        write_sums(&made)
    }
}

/// Which packages are made of which program.
pub(crate) struct Order<'a> {
    /// Built for them if there is none.
    pub(crate) program: Option<&'a Path>,
    pub(crate) revision: Option<u32>,
    pub(crate) formats: &'a [Format],
    /// Other people get them: the program is held to its size, and packages are made small. Tests may package a program that
    /// is not optimised, and want it soon.
    pub(crate) given_away: bool,
}

impl Order<'_> {
    pub(crate) fn make(&self) -> Result<Vec<PathBuf>> {
        let into = target().join("dist");
        let work = into.join("work");
        if work.exists() {
            fs::remove_dir_all(&work).with_context(|| format!("remove {}", work.display()))?;
        }
        fs::create_dir_all(&work).with_context(|| format!("create {}", work.display()))?;
        let made = self.make_in(&work, into)?;
        fs::remove_dir_all(&work).with_context(|| format!("remove {}", work.display()))?;
        Ok(made)
    }

    fn make_in(&self, work: &Path, into: PathBuf) -> Result<Vec<PathBuf>> {
        let built = match self.program {
            Some(program) => root().join(program),
            None => program::build(&into)?,
        };
        let program = Program::strip(&built, work)?;
        if self.given_away {
            program.must_be_small()?;
        }
        let release = Release {
            program,
            version: self
                .revision
                .map_or_else(|| VERSION.to_owned(), |it| format!("{VERSION}-{it}")),
            time: time()?,
            into,
            is_small: self.given_away,
        };
        let tree = work.join("tree");
        tree::fill(&tree, &release)?;
        let one = |format: &Format| match format {
            Format::Deb => deb::package(&tree, work, &release),
            Format::Dbgsym => deb::symbols(work, &release),
            Format::Rpm => rpm::package(&tree, work, &release),
            Format::Tarball => tarball::pack(&tree, &release),
            Format::Oci => oci::pack(&tree, work, &release),
            Format::Sbom => sbom::write(&release),
        };
        self.formats.iter().map(one).collect()
    }
}

/// The time that all files get: `SOURCE_DATE_EPOCH` as distributions set it, otherwise that of the commit.
fn time() -> Result<SystemTime> {
    let seconds = match env::var("SOURCE_DATE_EPOCH") {
        Ok(given) => given,
        Err(_) => read(command(&GIT).args(["log", "-1", "--format=%ct"])).context(
            "ask git for the time of the commit; without git, set SOURCE_DATE_EPOCH in seconds since 1970",
        )?,
    };
    let seconds = seconds.trim().parse();
    let seconds = seconds.context("read the time of the release in seconds since 1970")?;
    Ok(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

impl Release {
    /// The time of its files in seconds since 1970.
    fn seconds(&self) -> String {
        let since = self.time.duration_since(SystemTime::UNIX_EPOCH);
        since.map_or(0, |it| it.as_secs()).to_string()
    }
}

/// Writes `SHA256SUMS` beside the packages, as `sha256sum --check` reads it.
fn write_sums(packages: &[PathBuf]) -> Result<()> {
    let Some(directory) = packages.first().and_then(|it| it.parent()) else {
        return Ok(());
    };
    let names = packages.iter().filter_map(|package| package.file_name());
    let mut sum = command(&SHA256SUM);
    let sums = read(sum.current_dir(directory).args(names))?;
    ensure!(!sums.is_empty(), "sha256sum wrote nothing");
    let file = directory.join("SHA256SUMS");
    fs::write(&file, sums).with_context(|| format!("write {}", file.display()))
}
