//! Every program that tests, demo, benchmark and xtask start, in one [`table`], and the only way to start one.
//!
//! ```text
//! table: IP, HAPROXY, ... --- command(), args() ---> Command --- spawn, output, status
//!        UNSHARE, ...  --- before(options, inner) -----^   a program that starts another takes a Command
//!        SH ---------------- script, in_turn ----------^   a shell that finds only what it was given
//! built here or written by a test: Command::own(path) -^
//! ```
//!
//! `cargo xtask setup` installs what the table names, so a program that it does not know cannot be started: [`Program`]
//! has no constructor outside the table, and `clippy.toml` forbids the standard library's `Command::new` to the
//! packages that use this one.
//!
//! ```
//! ober_programs::SLEEP.args(["0"]).status().unwrap();
//! ```
//!
//! ```compile_fail
//! const TCPDUMP: ober_programs::Program = ober_programs::Program { name: "tcpdump", ..ober_programs::SLEEP };
//! ```

mod command;
mod shell;
mod table;

use std::{
    env,
    ffi::OsStr,
    fmt,
    path::{Path, PathBuf},
};

pub use command::Command;
pub use shell::Shell;
pub use table::*;

/// What a program is wanted for. The commands of xtask name theirs, so that the demo does not wait for QEMU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Compiling both halves.
    Build,
    /// Building bpf-linker itself.
    Linker,
    /// Running a node: demo, tests, benchmark.
    Node,
    /// What tests alone start.
    Test,
    Bench,
    Fuzz,
    Vm,
    /// Another Debian release: its HAProxy, its kernels, a bare root of it.
    Release,
    /// What operators install.
    Dist,
    /// A whole Debian in an emulator.
    Machine,
    Ci,
}

/// Where a program comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// This Debian package.
    Debian(&'static str),
    /// This component of the Rust toolchain, which comes with cargo unless it is named in rust-toolchain.toml.
    Rust(&'static str),
    /// `cargo install` of exactly this version.
    Cargo(&'static str),
}

/// A program that setup installs. Its values are the constants of the table.
#[derive(Debug)]
pub struct Program {
    /// A name in the search path, or a file when it begins with a slash.
    name: &'static str,
    origin: Origin,
    purpose: Purpose,
    reason: &'static str,
    /// Arguments with which it prints its version, or does nothing.
    question: &'static [&'static str],
    /// Its exit status after that.
    end: i32,
}

impl Program {
    /// The name of its file.
    pub fn name(&self) -> &'static str {
        self.name.rsplit('/').next().unwrap_or(self.name)
    }

    pub const fn origin(&self) -> Origin {
        self.origin
    }

    pub const fn purpose(&self) -> Purpose {
        self.purpose
    }

    pub const fn reason(&self) -> &'static str {
        self.reason
    }

    /// The program's file, if the machine has it.
    pub fn find(&self) -> Option<PathBuf> {
        if self.name == "cargo" {
            // The cargo that runs this program, if one does.
            if let Some(cargo) = env::var_os("CARGO").filter(|cargo| is_program(Path::new(cargo))) {
                return Some(cargo.into());
            }
        }
        // An absolute name joined to a directory is that name.
        let mut places = search_path().into_iter().map(|dir| dir.join(self.name));
        places.find(|file| is_program(file))
    }

    /// The program's file; its bare name where the machine lacks it, and starting that fails.
    pub fn path(&self) -> PathBuf {
        self.find().unwrap_or_else(|| self.name.into())
    }

    pub fn command(&self) -> Command {
        self.at(self.path())
    }

    pub fn args(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
        let mut command = self.command();
        command.args(arguments);
        command
    }

    /// This program from another place, such as that of another release.
    pub fn at(&self, file: impl AsRef<OsStr>) -> Command {
        Command::of(file.as_ref(), format!("{self:#}"))
    }

    /// Starts it once: the first line of its output, or why it does not run.
    pub fn answer(&self) -> Result<String, String> {
        let ran = self.args(self.question).output();
        let output = ran.map_err(|error| error.to_string())?;
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).trim().to_owned();
        let line = said.lines().next().unwrap_or_default().to_owned();
        if output.status.code() == Some(self.end) {
            return Ok(line);
        }
        let words = self.question.join(" ");
        let name = self.name();
        Err(format!(
            "`{name} {words}` ended with {}: {said}",
            output.status
        ))
    }

    /// Whether the installed program has this version.
    pub fn is_version(&self, version: &str) -> bool {
        self.find().is_some()
            && self
                .answer()
                .is_ok_and(|said| said.split_whitespace().any(|word| word == version))
    }
}

/// Plain: its path, for texts that name it to another program. `{:#}`: for people, with its origin.
impl fmt::Display for Program {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !out.alternate() {
            return self.path().display().fmt(out);
        }
        let name = self.name();
        match self.origin {
            Origin::Debian(package) => write!(out, "{name} (Debian package {package})"),
            Origin::Rust(component) => write!(out, "{name} (Rust's {component})"),
            Origin::Cargo(version) => write!(out, "{name} {version} (by cargo)"),
        }
    }
}

/// A program whose arguments end in another command, which it starts.
#[derive(Debug)]
pub struct Starter(Program);

impl Starter {
    /// Itself with these options, then the other command with its environment and directory.
    pub fn before(
        &self,
        options: impl IntoIterator<Item = impl AsRef<OsStr>>,
        inner: &Command,
    ) -> Command {
        let mut command = self.0.args(options);
        command.hand_over(inner);
        command
    }

    pub const fn program(&self) -> &Program {
        &self.0
    }
}

/// A file that is no program, of a Debian package.
#[derive(Debug)]
pub struct Material {
    /// Below one of the directories in which Debian's architectures keep libraries, or absolute.
    file: &'static str,
    pub package: &'static str,
    pub purpose: Purpose,
    pub reason: &'static str,
}

impl Material {
    pub fn name(&self) -> &'static str {
        self.file.rsplit('/').next().unwrap_or(self.file)
    }

    /// Where it is, if the machine has it.
    pub fn find(&self) -> Option<PathBuf> {
        let libraries = std::fs::read_dir("/usr/lib").into_iter().flatten();
        let places = libraries.flatten().map(|place| place.path());
        places
            .map(|place| place.join(self.file))
            .find(|file| file.exists())
    }
}

fn is_program(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    file.metadata()
        .is_ok_and(|facts| facts.is_file() && facts.permissions().mode() & 0o111 != 0)
}

/// Where cargo keeps its registry, and in `bin` what `cargo install` has made.
pub fn cargo_home() -> PathBuf {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")));
    home.unwrap_or_default()
}

/// The caller's search path, then where cargo installs (absent when cargo came from a package) and where system tools
/// live (absent for many users).
pub fn search_path() -> Vec<PathBuf> {
    let given = env::var_os("PATH").unwrap_or_default();
    let more = [
        cargo_home().join("bin"),
        "/usr/local/sbin".into(),
        "/usr/sbin".into(),
        "/sbin".into(),
    ];
    env::split_paths(&given).chain(more).collect()
}

#[cfg(test)]
mod tests;
