//! `cargo xtask bare`: does setup know every package that is needed? Fills a root directory with a bare Debian release, enters
//! it with this machine's cargo and nothing else, runs setup, and starts every program of the table there once.
//!
//! ```text
//! target/bare/RELEASE   mmdebstrap: the essential packages, a C compiler for cargo, certificates
//!   /source             this repository, read-only
//!   /root/.cargo        rustup and its proxies; what this machine's registry already has
//!   /root/.rustup       this machine's toolchains
//! ```
//!
//! All mounts are made in a mount namespace that ends with the command.

use crate::apt;
use crate::setup::{self, must_be_root};
use crate::shell::{at_root, quiet, root, run, target};
use anyhow::{Context, Result};
use ober_programs::{
    CARGO, CHROOT, Command, ENV, MMDEBSTRAP, MOUNT, Purpose, SH, UNSHARE, cargo_home,
};
use std::env;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Packages that cargo itself needs.
const PACKAGES: &str = "gcc,libc6-dev,ca-certificates";
const PATH: &str = "/root/.cargo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Variables of this machine that are passed on, to reach the registries.
const NETWORK: [&str; 8] = [
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "RUSTUP_AUTO_INSTALL",
];
/// Files of this machine that are copied: names, certificates.
const FILES: [&str; 3] = [
    "/etc/hosts",
    "/etc/resolv.conf",
    "/etc/ssl/certs/ca-certificates.crt",
];

/// Makes the root anew, and runs setup there.
pub(crate) fn run_on(release: &str) -> Result<()> {
    must_be_root(&format!("cargo xtask bare {release}"))?;
    setup::ensure(&[Purpose::Release])?;
    let bare = Bare {
        root: target().join("bare").join(release),
    };
    let began = Instant::now();
    bare.make(release)
        .with_context(|| format!("make a bare Debian {release} at {}", bare.root.display()))?;
    println!(
        "bare: Debian {release} after {} s",
        began.elapsed().as_secs()
    );
    let setup = ["xtask", "setup", "--ci"];
    let check = ["xtask", "setup", "--check", "--ci"];
    bare.cargo(&[&setup, &check]).with_context(|| {
        format!("set up a bare Debian {release}, and start every program there")
    })?;
    println!(
        "bare: Debian {release}: complete after {} s",
        began.elapsed().as_secs()
    );
    fs::remove_dir_all(&bare.root).with_context(|| format!("remove {}", bare.root.display()))
}

struct Bare {
    root: PathBuf,
}

impl Bare {
    fn make(&self, release: &str) -> Result<()> {
        if self.root.exists() {
            fs::remove_dir_all(&self.root).context("remove what an earlier run left")?;
        }
        let directory = self.root.parent().unwrap_or(&self.root);
        fs::create_dir_all(directory).with_context(|| format!("make {}", directory.display()))?;
        let settings = self.root.with_extension("apt");
        fs::write(&settings, apt::settings()?).context("write apt's settings")?;
        let mut command = MMDEBSTRAP.args(["--quiet", "--variant=minbase", "--mode=root"]);
        command.arg(format!("--include={PACKAGES}"));
        command.arg(format!("--aptopt={}", settings.display()));
        command.arg(release).arg(&self.root);
        quiet(at_root(command).args(apt::sources(release)?))?;
        self.bring_network()?;
        self.bring_cargo()
    }

    fn bring_network(&self) -> Result<()> {
        for file in FILES.map(Path::new) {
            if file.exists() {
                let to = self.inside(file);
                fs::copy(file, &to).with_context(|| format!("copy {}", file.display()))?;
            }
        }
        Ok(())
    }

    /// Copies rustup and its proxies; not the programs that cargo has installed on this machine.
    fn bring_cargo(&self) -> Result<()> {
        for directory in [
            "/source",
            "/root/.cargo/bin",
            "/root/.cargo/registry",
            "/root/.rustup",
        ] {
            fs::create_dir_all(self.inside(Path::new(directory)))?;
        }
        let bin = cargo_home().join("bin");
        let into = self.inside(Path::new("/root/.cargo/bin"));
        fs::copy(bin.join("rustup"), into.join("rustup")).context("copy rustup")?;
        for entry in fs::read_dir(&bin).with_context(|| format!("read {}", bin.display()))? {
            let file = entry?.path();
            let proxies = fs::read_link(&file).is_ok_and(|to| to == Path::new("rustup"));
            if let Some(name) = file.file_name().filter(|_| proxies) {
                symlink("rustup", into.join(name)).context("link a proxy of rustup's")?;
            }
        }
        Ok(())
    }

    /// The path on this machine of a path on the bare one.
    fn inside(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    fn mount(&self, words: &[&str], what: &Path, at: &str) -> Command {
        let mut command = MOUNT.args(words);
        command.arg(what).arg(self.inside(Path::new(at)));
        command
    }

    /// An overlay on a directory of this machine: what is written there stays in the bare machine's directory.
    fn cover(&self, lower: &Path, at: &str) -> Result<Command> {
        let name = at.rsplit('/').next().unwrap_or(at).trim_start_matches('.');
        let [upper, work] = ["upper", "work"].map(|kind| {
            self.inside(Path::new("/var/cache"))
                .join(format!("{name}-{kind}"))
        });
        for directory in [&upper, &work] {
            fs::create_dir_all(directory)
                .with_context(|| format!("make {}", directory.display()))?;
        }
        let options = format!(
            "lowerdir={},upperdir={},workdir={}",
            lower.display(),
            upper.display(),
            work.display()
        );
        Ok(self.mount(&["-t", "overlay", "-o", &options], Path::new("overlay"), at))
    }

    /// Runs cargo there, once for each call, with its output shown. What one call mounts is there for the next.
    fn cargo(&self, calls: &[&[&str]]) -> Result<()> {
        let rustup = env::var_os("RUSTUP_HOME")
            .map_or_else(|| cargo_home().with_file_name(".rustup"), PathBuf::from);
        let kernel = |kind| {
            self.mount(
                &["-t", kind],
                Path::new(kind),
                if kind == "proc" { "/proc" } else { "/sys" },
            )
        };
        let mounts = [
            kernel("proc"),
            kernel("sysfs"),
            self.mount(&["--rbind"], Path::new("/dev"), "/dev"),
            self.mount(&["--bind", "-o", "ro"], &root(), "/source"),
            self.cover(&cargo_home().join("registry"), "/root/.cargo/registry")?,
            self.cover(&rustup, "/root/.rustup")?,
        ];
        let enter = |words: &&[&str]| {
            let mut cargo = CARGO.at("cargo");
            CHROOT.before([&self.root], &ENV.before(environment(), cargo.args(*words)))
        };
        let entered: Vec<Command> = calls.iter().map(enter).collect();
        let all: Vec<&Command> = mounts.iter().chain(&entered).collect();
        run(&mut UNSHARE.before(["--mount"], &SH.in_turn(&all)))
    }
}

/// The environment there, without any of this one, as options of `env`.
fn environment() -> Vec<String> {
    let mut words: Vec<String> = ["--ignore-environment", "--chdir=/source", "HOME=/root"]
        .map(str::to_owned)
        .to_vec();
    words.push(format!("PATH={PATH}"));
    words.push("CARGO_TARGET_DIR=/var/cache/target".to_owned());
    let given = NETWORK
        .iter()
        .filter_map(|name| Some(format!("{name}={}", env::var(name).ok()?)));
    words.extend(given);
    words
}
