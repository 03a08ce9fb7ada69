//! The program of a package.

use crate::shell::{cargo, command, quiet, read, root, run};
use anyhow::{Context, Result, ensure};
use ober_programs::{Command, OBJCOPY, OBJDUMP, cargo_home};
use std::fs;
use std::path::{Path, PathBuf};

/// The stripped program, and its debug symbols.
pub(super) struct Program {
    pub(super) file: PathBuf,
    pub(super) symbols: PathBuf,
}

/// A shell whose completions the program writes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// The largest program that is given away, in bytes: a node downloads it, and keeps an old one beside the new one.
const LARGEST: u64 = 24_000_000;
/// The name of the file with the symbols, which the program carries so that debuggers find it.
pub(super) const SYMBOLS: &str = "ober-user.debug";

/// Builds the program for a package. Panics name their place in the source, so the directories of this machine are replaced
/// by names that are the same everywhere. Such a build has a target directory of its own, as cargo would build everything anew
/// in a common one.
pub(super) fn build(dist: &Path) -> Result<PathBuf> {
    let target = dist.join("build");
    let places = [(root(), "/ober"), (cargo_home(), "/cargo")];
    let flags = places.map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display()));
    let mut build = cargo();
    build
        .env("RUSTFLAGS", flags.join(" "))
        .args(["build", "--profile=dist", "--locked"])
        .args([
            "--package",
            "ober-user",
            "--bin",
            "ober-user",
            "--target-dir",
        ])
        .arg(&target);
    run(&mut build)?;
    Ok(target.join("dist/ober-user"))
}

impl Program {
    /// Parts a built program into one without symbols, and the symbols.
    pub(super) fn strip(built: &Path, into: &Path) -> Result<Self> {
        ensure!(
            built.is_file(),
            "{} is no program: build one with `cargo build --profile dist --package ober-user`",
            built.display()
        );
        let file = into.join("ober-user");
        let symbols = into.join(SYMBOLS);
        let copy = |option: &str| {
            let mut objcopy = command(&OBJCOPY);
            objcopy.arg(option);
            objcopy
        };
        quiet(copy("--only-keep-debug").args([built, &symbols]))?;
        let link = format!("--add-gnu-debuglink={}", symbols.display());
        quiet(copy("--strip-all").arg(link).args([built, &file]))?;
        Ok(Self { file, symbols })
    }

    /// Refuses a program that is too large to be given away.
    pub(super) fn must_be_small(&self) -> Result<()> {
        let facts = fs::metadata(&self.file);
        let size = facts
            .with_context(|| format!("look at {}", self.file.display()))?
            .len();
        ensure!(
            size <= LARGEST,
            "the stripped program has {size} bytes, more than {LARGEST}: it was built without `--profile dist`, or a new \
             dependency is too large"
        );
        Ok(())
    }

    /// What the program writes when it is given these words. It reads no configuration for any of them.
    fn says(&self, words: &[&str]) -> Result<String> {
        read(Command::own(&self.file).args(words))
    }

    /// The completions of a shell, for the program's name and for `ober`.
    pub(super) fn completions(&self, shell: Shell) -> Result<String> {
        let name = match shell {
            Shell::Bash => "bash",
            Shell::Zsh => "zsh",
            Shell::Fish => "fish",
        };
        both_names(shell, &self.says(&["completions", name])?)
    }

    /// Writes the pages of all commands.
    pub(super) fn manual(&self, into: &Path) -> Result<()> {
        quiet(Command::own(&self.file).arg("man").arg(into))
    }

    /// The oldest glibc that has all the program calls, such as `2.34`.
    pub(super) fn glibc(&self) -> Result<String> {
        needs(&read(command(&OBJDUMP).arg("-p").arg(&self.file))?)
    }
}

/// Makes a completion script complete `ober` as well.
pub(super) fn both_names(shell: Shell, script: &str) -> Result<String> {
    Ok(match shell {
        Shell::Bash => {
            let last = script
                .lines()
                .rfind(|line| line.trim_start().starts_with("complete -F"));
            let last = last.context("the completions for bash register no function")?;
            let other = last.trim().replace(" ober-user", " ober");
            ensure!(
                other.ends_with(" ober"),
                "the completions for bash are for another name: {last}"
            );
            format!("{script}{other}\n")
        }
        Shell::Zsh => {
            let first = "#compdef ober-user";
            ensure!(
                script.starts_with(first),
                "the completions for zsh do not begin with `{first}`"
            );
            script.replacen(first, "#compdef ober-user ober", 1)
        }
        Shell::Fish => format!("{script}complete -c ober -w ober-user\n"),
    })
}

/// The libraries of glibc and of GCC: the packages depend on what has them.
const LIBRARIES: [&str; 4] = [
    "libc.so.6",
    "libm.so.6",
    "libgcc_s.so.1",
    "ld-linux-x86-64.so.2",
];

/// Reads what `objdump -p` says of a program's libraries: the newest version of glibc that it names. Refuses a library that
/// the packages do not depend on.
pub(super) fn needs(said: &str) -> Result<String> {
    let libraries = said
        .lines()
        .filter_map(|line| line.trim().strip_prefix("NEEDED"));
    for library in libraries.map(str::trim) {
        ensure!(
            LIBRARIES.contains(&library),
            "the program loads {library}, which none of the packages that ours depend on has"
        );
    }
    let versions = said.split_whitespace().filter_map(|word| {
        let (major, minor) = word.strip_prefix("GLIBC_")?.split_once('.')?;
        let minor = minor.split('.').next()?;
        Some((major.parse::<u32>().ok()?, minor.parse::<u32>().ok()?))
    });
    let (major, minor) = versions
        .max()
        .context("the program names no version of glibc")?;
    Ok(format!("{major}.{minor}"))
}
