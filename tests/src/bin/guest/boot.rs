//! From an initramfs to a machine with a network: file systems, modules, addresses.

use anyhow::{Context, Result, bail};
use nix::kmod::{ModuleInitFlags, finit_module};
use nix::mount::{MsFlags, mount};
use ober_programs::IP;
use std::fs::{self, File};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The name of the card: there is no udev to rename it.
pub(crate) const CARD: &str = "eth0";

/// Kernel file systems at the places programs expect them.
pub(crate) fn mounts() -> Result<()> {
    let none = None::<&str>;
    for (kind, place) in [
        ("devtmpfs", "/dev"),
        ("proc", "/proc"),
        ("sysfs", "/sys"),
        ("bpf", "/sys/fs/bpf"),
        ("tmpfs", "/run"),
    ] {
        mount(Some(kind), place, Some(kind), MsFlags::empty(), none)
            .with_context(|| format!("mount {kind} at {place}"))?;
    }
    Ok(())
}

/// Loads what the archive brought, in the order of the names.
pub(crate) fn modules() -> Result<()> {
    let entries = fs::read_dir("/modules").context("read /modules")?;
    let mut files = entries
        .map(|entry| Ok(entry.context("read /modules")?.path()))
        .collect::<Result<Vec<PathBuf>>>()?;
    files.sort();
    for file in files {
        let module = File::open(&file).with_context(|| format!("open {}", file.display()))?;
        finit_module(&module, c"", ModuleInitFlags::empty())
            .with_context(|| format!("load {}", file.display()))?;
    }
    Ok(())
}

/// Brings up loopback and the card, and waits until the kernel calls the card running.
pub(crate) fn network(addresses: &[&str]) -> Result<()> {
    wait(&format!("/sys/class/net/{CARD}/operstate"), |_| true)?;
    ip(&["link", "set", "lo", "up"])?;
    for address in addresses {
        let quick: &[&str] = if address.contains(':') {
            &["nodad"]
        } else {
            &[]
        };
        ip(&[&["address", "add", address, "dev", CARD], quick].concat())?;
    }
    ip(&["link", "set", CARD, "up"])?;
    carrier(CARD)
}

/// Waits until the kernel calls an interface running.
pub(crate) fn carrier(interface: &str) -> Result<()> {
    wait(&format!("/sys/class/net/{interface}/carrier"), |said| {
        said == "1"
    })
}

fn wait(file: &str, wanted: impl Fn(&str) -> bool) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(10);
    while Instant::now() < end {
        if fs::read_to_string(file).is_ok_and(|said| wanted(said.trim())) {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    bail!("{file} did not become what the test needs within ten seconds")
}

/// Runs `ip` and returns its output.
pub(crate) fn ip(words: &[&str]) -> Result<String> {
    let output = IP
        .at("/bin/ip")
        .args(words)
        .output()
        .with_context(|| format!("run ip {}", words.join(" ")))?;
    if !output.status.success() {
        bail!(
            "ip {}: {}",
            words.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Receive queues of the card.
pub(crate) fn receive_queues() -> Result<usize> {
    let path = format!("/sys/class/net/{CARD}/queues");
    let entries = fs::read_dir(&path).with_context(|| format!("read {path}"))?;
    Ok(entries
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("rx-"))
        .count())
}

/// What the kernel has logged so far.
pub(crate) fn kernel_log() -> Result<String> {
    use std::io::Read as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut log = fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open("/dev/kmsg")
        .context("open /dev/kmsg")?;
    let (mut text, mut record) = (String::new(), [0; 8192]);
    // One record a read; after the last one a read fails (EAGAIN), since the file is opened without blocking.
    while let Ok(length @ 1..) = log.read(&mut record) {
        text += &String::from_utf8_lossy(&record[..length]);
    }
    Ok(text)
}
