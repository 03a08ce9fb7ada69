//! The commands of the repository. Built first on a machine that has only cargo, so it depends on nothing that needs
//! a C library, and every command begins by installing what it finds missing.

#![forbid(unsafe_code)]

mod advisories;
mod apt;
mod bare;
mod ci;
mod dist;
mod fuzz;
mod haproxy;
mod machine;
mod run;
mod setup;
mod shell;
mod vm;

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// The commands of the Herr Ober repository.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install what this machine lacks: system packages, rust-src, bpf-linker, the BPF file system
    Setup {
        /// Install nothing; list what is missing and exit 1 if there is anything
        #[arg(long)]
        check: bool,
        /// Also cargo-deny, which only `cargo xtask ci` needs
        #[arg(long)]
        ci: bool,
    },
    /// Run the main job in network namespaces and show, step by step, that it works
    Demo {
        /// Given to the demo: --stay, --json, --help
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Run every test of every package
    Test {
        /// Given to `cargo test`: -p PACKAGE, --test NAME, a filter, -- --nocapture
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Measure the data plane, the lists and the whole chain against their targets
    Bench {
        /// Given to the benchmark: --check, --json, --help
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Break a whole installation at random, again and again, and check all the time what must hold
    Chaos {
        /// Given to the program: --minutes, --seed, --only, --go-on, --loud, --list, --help
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Look for bytes that break a decoder, and for packets the kernel programs and the plain-Rust model differ on
    Fuzz {
        /// `kernel`, or a directory of tests/corpus; all of them unless given
        target: Option<String>,
        /// How long each decoder is tried
        #[arg(long, default_value_t = 60)]
        seconds: u32,
        /// Packets for the kernel programs
        #[arg(long, default_value_t = 100_000)]
        cases: u32,
    },
    /// Boot another kernel in QEMU with a four-queue virtio-net card and test the data plane there
    Vm {
        /// Debian package of the kernel; the newest Linux 6.1 that apt knows unless given
        kernel: Option<String>,
        /// Another Debian release to have it from, such as trixie-backports; its newest unless a package is named
        #[arg(long)]
        release: Option<String>,
        /// Cards of many kinds instead: is XDP where it should be, does it run, is the advice right?
        #[arg(long)]
        devices: bool,
        /// The guest program, already built
        #[arg(long, hide = true)]
        guest: Option<PathBuf>,
    },
    /// Run the tests that need HAProxy with that of another Debian release, which is unpacked and not installed
    Haproxy {
        /// Name of the release
        #[arg(default_value = "trixie")]
        release: String,
    },
    /// Set up a bare Debian release in a directory of its own and start every program there once; takes ten minutes
    Bare {
        /// Name of the release
        #[arg(default_value = "bookworm")]
        release: String,
    },
    /// Make what an operator installs: packages, their sums
    Dist(dist::Dist),
    /// Install our package on a real Debian with systemd, in QEMU, and try what an operator does with it
    Machine(machine::Machine),
    /// What a commit must pass: formatting, lints, licences, tests
    Ci,
}

fn main() -> ExitCode {
    match perform(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn perform(command: Command) -> Result<()> {
    match command {
        Command::Setup { check: true, ci } => setup::check(ci),
        Command::Setup { check: false, ci } => setup::all(ci),
        Command::Demo { arguments } => run::demo(&arguments),
        Command::Test { arguments } => run::test(&arguments),
        Command::Bench { arguments } => run::bench(&arguments),
        Command::Chaos { arguments } => run::chaos(&arguments),
        Command::Fuzz {
            target,
            seconds,
            cases,
        } => fuzz::all(target.as_deref(), seconds, cases),
        Command::Vm {
            kernel,
            release,
            devices,
            guest,
        } => vm::run(kernel.as_deref(), release.as_deref(), guest, devices),
        Command::Haproxy { release } => haproxy::run_with(&release),
        Command::Bare { release } => bare::run_on(&release),
        Command::Dist(dist) => dist.run(),
        Command::Machine(machine) => machine.run(),
        Command::Ci => ci::run(),
    }
}
