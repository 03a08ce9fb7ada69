//! The disk: a Debian with systemd, HAProxy and the agent, made once of Debian's packages, and its snapshots.
//!
//! ```text
//! target/machine/RELEASE/disk.qcow2   with the snapshots: `ready` booted, `serving-...` with a package installed and served
//!                        vmlinuz, initrd, recipe (what the disk was made of)
//! ```

use crate::apt;
use crate::setup::must_be_root;
use crate::shell::{at_root, command, quiet, read, target, whole};
use anyhow::{Context, Result};
use ober_programs::{MKE2FS, MMDEBSTRAP, QEMU_IMG};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// What is in it beside Debian's essential packages: the system of a node, what a package of ours depends on, what tests ask.
const PACKAGES: &[&str] = &[
    "systemd",
    "systemd-sysv",
    "udev",
    "dbus",
    "kmod",
    "linux-image-amd64",
    "initramfs-tools",
    "zstd",
    "haproxy",
    "iproute2",
    "ethtool",
    "nftables",
    "curl",
    "procps",
    "python3",
    "libgcc-s1",
    "rpm",
    "ufw",
    "firewalld",
    "network-manager",
    "podman",
];
/// Files of the machine, with their places.
const FILES: [(&str, &str); 10] = [
    (
        "usr/local/lib/machine/agent.py",
        include_str!("guest/agent.py"),
    ),
    (
        "usr/local/lib/machine/server.py",
        include_str!("guest/server.py"),
    ),
    (
        "usr/local/lib/machine/load.py",
        include_str!("guest/load.py"),
    ),
    (
        "usr/local/lib/machine/person.py",
        include_str!("guest/person.py"),
    ),
    (
        "usr/local/lib/machine/network.sh",
        include_str!("guest/network.sh"),
    ),
    (
        "etc/systemd/system/machine-agent.service",
        include_str!("guest/agent.service"),
    ),
    (
        "etc/systemd/system/machine-network.service",
        include_str!("guest/network.service"),
    ),
    (
        "etc/systemd/system/machine-storage.service",
        include_str!("guest/storage.service"),
    ),
    ("etc/hostname", "node\n"),
    (
        "etc/hosts",
        "127.0.0.1 localhost\n127.0.1.1 node\n::1 localhost\n",
    ),
];
/// Units that are wanted, by which target.
const WANTED: [(&str, &str); 4] = [
    ("machine-agent.service", "multi-user.target"),
    ("machine-network.service", "multi-user.target"),
    ("machine-network.service", "network-online.target"),
    ("machine-storage.service", "multi-user.target"),
];
/// Units that would wake up in the middle of a test, or drop what it sends.
const UNWANTED: [&str; 8] = [
    "firewalld.service",
    "NetworkManager.service",
    "NetworkManager-wait-online.service",
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "fstrim.timer",
];
const SIZE: &str = "4G";

pub(super) struct Image {
    directory: PathBuf,
}

impl Image {
    /// The image of a release, made when there is none or when this file wants another one.
    pub(super) fn of(release: &str) -> Result<Self> {
        let image = Self {
            directory: target().join("machine").join(release),
        };
        let recipe = recipe(release);
        if fs::read_to_string(image.directory.join("recipe")).is_ok_and(|it| it == recipe) {
            return Ok(image);
        }
        must_be_root("cargo xtask machine")?;
        println!("machine: making a disk of Debian {release}, which takes two minutes");
        let began = Instant::now();
        if image.directory.exists() {
            fs::remove_dir_all(&image.directory)
                .with_context(|| format!("remove {}", image.directory.display()))?;
        }
        whole(&image.directory, |into| make(release, &recipe, into))
            .with_context(|| format!("make a disk of Debian {release}"))?;
        println!("machine: a disk after {} s", began.elapsed().as_secs());
        Ok(image)
    }

    pub(super) fn disk(&self) -> PathBuf {
        self.directory.join("disk.qcow2")
    }

    pub(super) fn kernel(&self) -> PathBuf {
        self.directory.join("vmlinuz")
    }

    pub(super) fn initrd(&self) -> PathBuf {
        self.directory.join("initrd")
    }

    /// The names of its snapshots.
    pub(super) fn snapshots(&self) -> Result<Vec<String>> {
        let said = read(command(&QEMU_IMG).args(["snapshot", "-l"]).arg(self.disk()))?;
        // Two lines of headings; the second word is the name.
        let lines = said.lines().skip(2);
        let names = lines.filter_map(|line| line.split_whitespace().nth(1));
        Ok(names.map(str::to_owned).collect())
    }

    pub(super) fn forget(&self, snapshot: &str) -> Result<()> {
        quiet(
            command(&QEMU_IMG)
                .args(["snapshot", "-d", snapshot])
                .arg(self.disk()),
        )
    }
}

/// All that the disk is made of: another recipe is another disk.
fn recipe(release: &str) -> String {
    let files: Vec<String> = FILES
        .iter()
        .map(|(place, text)| format!("== {place}\n{text}"))
        .collect();
    format!(
        "{release} {}\n{WANTED:?} {UNWANTED:?} {SIZE}\n{}",
        PACKAGES.join(","),
        files.concat()
    )
}

fn make(release: &str, recipe: &str, into: &Path) -> Result<()> {
    let root = into.join("root");
    let settings = into.join("apt");
    fs::write(&settings, apt::settings()?).context("write apt's settings")?;
    let mut mmdebstrap = MMDEBSTRAP.args(["--quiet", "--variant=minbase", "--mode=root"]);
    mmdebstrap.arg(format!("--include={}", PACKAGES.join(",")));
    mmdebstrap.arg(format!("--aptopt={}", settings.display()));
    mmdebstrap.arg(release).arg(&root);
    quiet(at_root(mmdebstrap).args(apt::sources(release)?))?;
    furnish(&root)?;
    let boot = root.join("boot");
    for (prefix, name) in [("vmlinuz-", "vmlinuz"), ("initrd.img-", "initrd")] {
        let file = newest(&boot, prefix)?;
        fs::copy(&file, into.join(name)).with_context(|| format!("copy {}", file.display()))?;
    }
    let raw = into.join("raw");
    let mut mke2fs = command(&MKE2FS);
    mke2fs.args(["-q", "-t", "ext4", "-d"]).args([&root, &raw]);
    quiet(mke2fs.arg(SIZE))?;
    let mut convert = command(&QEMU_IMG);
    convert
        .args(["convert", "-f", "raw", "-O", "qcow2"])
        .arg(&raw);
    quiet(convert.arg(into.join("disk.qcow2")))?;
    fs::remove_file(&raw).context("remove the raw disk")?;
    fs::remove_dir_all(&root).context("remove the files of the disk")?;
    fs::write(into.join("recipe"), recipe).context("write what the disk is made of")
}

/// Puts our own files into the root directory.
fn furnish(root: &Path) -> Result<()> {
    for (place, text) in FILES {
        write(&root.join(place), text)?;
    }
    write(&root.join("etc/fstab"), "/dev/vda / ext4 defaults 0 1\n")?;
    let units = root.join("etc/systemd/system");
    for (unit, by) in WANTED {
        let wants = units.join(format!("{by}.wants"));
        fs::create_dir_all(&wants).with_context(|| format!("create {}", wants.display()))?;
        let from = wants.join(unit);
        symlink(format!("../{unit}"), &from).with_context(|| format!("link {}", from.display()))?;
    }
    for unit in UNWANTED {
        let mask = units.join(unit);
        symlink("/dev/null", &mask).with_context(|| format!("mask {unit}"))?;
    }
    // The machine makes an id of its own at its first start. `uninitialized` would have systemd ask for a time zone first.
    write(&root.join("etc/machine-id"), "")
}

fn write(file: &Path, text: &str) -> Result<()> {
    if let Some(directory) = file.parent() {
        fs::create_dir_all(directory).with_context(|| format!("create {}", directory.display()))?;
    }
    fs::write(file, text).with_context(|| format!("write {}", file.display()))
}

/// The last file of a directory whose name begins so.
fn newest(directory: &Path, prefix: &str) -> Result<PathBuf> {
    let entries =
        fs::read_dir(directory).with_context(|| format!("read {}", directory.display()))?;
    let files = entries.flatten().map(|entry| entry.path());
    let named = files.filter(|file| {
        let name = file.file_name().unwrap_or_default();
        name.to_string_lossy().starts_with(prefix)
    });
    named
        .max()
        .with_context(|| format!("{} holds no {prefix}*", directory.display()))
}
