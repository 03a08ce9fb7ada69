//! `cargo xtask vm`: the data plane on another kernel, behind a virtio-net card of four queues.
//!
//! ```text
//!  network namespace ober-vm-N               QEMU (no KVM)
//!  guest outside: clients -- tap0 =========== eth0: XDP, native -- guest as /init: list, service, listener
//!        10.77.0.1  10.77.0.2   four queues         10.77.0.10
//! ```
//!
//! One program, `guest` of the package `ober-tests`, is `/init` inside and the clients outside. Both write `ok NAME` or `FAILED
//! NAME: WHY`, and xtask counts these lines.

mod devices;
mod initramfs;
mod kernel;
mod machine;
mod wire;

use crate::setup;
use crate::shell::{self, cargo, target};
use anyhow::{Context, Result, bail};
use machine::Machine;
use ober_programs::{Command, Purpose, TIMEOUT};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::id;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};
use wire::Wire;

/// A boot and all checks take twenty seconds on two idle cores; a busy machine needs more.
const LIMIT: Duration = Duration::from_mins(10);
/// The part of it that the clients may take, in seconds.
const CLIENTS: &str = "300";

/// The message of a kernel before it stops.
const PANIC: &str = "Kernel panic";

/// Boots the kernel of this package and runs the checks; with `devices` those of XDP on cards of many kinds.
pub(crate) fn run(
    package: Option<&str>,
    release: Option<&str>,
    guest: Option<PathBuf>,
    devices: bool,
) -> Result<()> {
    setup::ensure(&[Purpose::Build, Purpose::Node, Purpose::Vm, Purpose::Release])?;
    let guest = match guest {
        Some(guest) => guest,
        None => build_guest()?,
    };
    let kernel = kernel::fetch(package, release)?;
    let scratch = Scratch::new()?;
    let initramfs = scratch.0.join("initramfs");
    let modules: &[&str] = if devices { &devices::MODULES } else { &[] };
    let root = scratch.0.join("root");
    initramfs::build(&kernel, &guest, modules, &root, &initramfs)?;
    let mut end = visit(&kernel, &initramfs, &guest, devices)?;
    if let End::Panic(words) = &end {
        println!("note the kernel panicked before the guest was ready, once more: {words}");
        end = visit(&kernel, &initramfs, &guest, devices)?;
    }
    let score = match end {
        End::Finished(score) => score,
        End::Panic(words) => bail!("the kernel panicked twice before the guest was ready: {words}"),
    };
    println!(
        "vm: Linux {}: {} passed, {} failed",
        kernel.version, score.passed, score.failed
    );
    if score.failed > 0 || score.passed == 0 {
        bail!("not every check passed on Linux {}", kernel.version);
    }
    Ok(())
}

/// How a boot ended.
enum End {
    Finished(Score),
    /// The kernel stopped before the guest was ready. QEMU without KVM does that to some kernels once in thirty boots, while
    /// they patch their own code; it is no fault of Herr Ober.
    Panic(String),
}

fn visit(kernel: &kernel::Kernel, initramfs: &Path, guest: &Path, devices: bool) -> Result<End> {
    println!("vm: booting Linux {}", kernel.version);
    let wire = Wire::new()?;
    if devices {
        devices::connect(&wire)?;
    }
    let (machine, lines) = Machine::boot(kernel, initramfs, &wire, devices)?;
    let end = watch(&lines, &wire, guest);
    drop(machine);
    end
}

fn build_guest() -> Result<PathBuf> {
    shell::run(cargo().args(["build", "--package", "ober-tests", "--bin", "guest"]))?;
    Ok(target().join("debug/guest"))
}

/// Reads the guest's output to its end, and starts the clients once the guest is ready.
fn watch(lines: &Receiver<String>, wire: &Wire, guest: &Path) -> Result<End> {
    let end = Instant::now() + LIMIT;
    let mut score = Score::default();
    let mut ready = false;
    let mut tail = Vec::new();
    loop {
        let line = match lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(line) => line,
            Err(why) => bail!("{}; it last wrote:\n{}", ending(why), tail.join("\n")),
        };
        match line.as_str() {
            "GUEST READY" => {
                ready = true;
                clients(wire, guest, &mut score)?;
            }
            "GUEST DONE" => return Ok(End::Finished(score)),
            said if !ready && said.contains(PANIC) => return Ok(End::Panic(said.to_owned())),
            said => score.count(said),
        }
        tail.push(line);
        let surplus = tail.len().saturating_sub(40);
        tail.drain(..surplus);
    }
}

const fn ending(why: RecvTimeoutError) -> &'static str {
    match why {
        RecvTimeoutError::Timeout => "the guest did not finish within ten minutes",
        RecvTimeoutError::Disconnected => "the guest ended before its checks did",
    }
}

/// Runs the checks from outside, each with its own time limit; together they end well before [`LIMIT`].
fn clients(wire: &Wire, guest: &Path, score: &mut Score) -> Result<()> {
    let mut clients = Command::own(guest);
    clients.arg("outside");
    let limited = TIMEOUT.before(["--signal=KILL", CLIENTS], &clients);
    let output = wire
        .inside(&limited)
        .output()
        .context("start the clients")?;
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        score.count(line);
    }
    if !output.status.success() {
        score.count(&format!(
            "FAILED clients: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        ));
    }
    Ok(())
}

/// Is it left from a killed process? Names end in the number of the process that made the object.
pub(crate) fn is_left_over(name: &str, prefix: &str) -> bool {
    let owner = name.strip_prefix(prefix);
    owner.is_some_and(|process| !Path::new("/proc").join(process).exists())
}

#[derive(Default)]
struct Score {
    passed: u32,
    failed: u32,
}

impl Score {
    /// Shows and counts the line of a check; shows other lines meant for the reader.
    fn count(&mut self, line: &str) {
        if line.starts_with("ok ") {
            self.passed += 1;
        } else if line.starts_with("FAILED ") {
            self.failed += 1;
        } else if !line.starts_with("note ") {
            return;
        }
        println!("{line}");
    }
}

/// A directory of one run, removed at its end, so that two runs do not interfere.
struct Scratch(PathBuf);

const SCRATCH: &str = "run-";

impl Scratch {
    fn new() -> Result<Self> {
        let all = target().join("vm");
        for left in fs::read_dir(&all).into_iter().flatten().flatten() {
            if is_left_over(&left.file_name().to_string_lossy(), SCRATCH) {
                fs::remove_dir_all(left.path())
                    .with_context(|| format!("remove {}", left.path().display()))?;
            }
        }
        let path = all.join(format!("{SCRATCH}{}", id()));
        fs::create_dir_all(&path).with_context(|| format!("create {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("vm: remove {}: {error}", self.0.display());
        }
    }
}
