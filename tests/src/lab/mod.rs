//! The laboratory: hosts that are network namespaces, the links between them and the processes in them.
//!
//! Namespaces have no names in `/run/netns`: they live as long as a process is in them. Each has a [`cleanup`] that ends
//! everything that runs there and removes what was left on disk as soon as the process that built the laboratory is gone,
//! however it ended: normally, by a panic, by Ctrl-C or by SIGKILL.

mod cleanup;
mod cluster;
pub mod fabric;
mod host;
pub mod pair;
mod plain;
mod process;
pub mod routes;
pub mod wire;

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

pub use cluster::{Cluster, Shape, VIP4, VIP6, client4, client6, storage4, storage6};
pub use host::Host;
pub use plain::plain_haproxy;
pub use process::Process;

use cleanup::Cleanup;

/// Where the BPF file system is expected; setup and the daemon mount it.
pub const BPFFS: &str = "/sys/fs/bpf";

static LABS: AtomicU32 = AtomicU32::new(0);

/// One laboratory. Hosts made by it share its directory; drop them before it.
#[derive(Debug)]
pub struct Lab {
    instance: String,
    directory: PathBuf,
    _cleanup: Cleanup,
}

impl Lab {
    /// A new laboratory; `name` only helps people to tell laboratories apart.
    pub fn new(name: &str) -> Result<Self> {
        let number = LABS.fetch_add(1, Ordering::Relaxed);
        let instance = format!("lab-{name}-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(&instance);
        std::fs::create_dir(&directory).with_context(|| {
            format!("create the laboratory's directory {}", directory.display())
        })?;
        let mut cleanup = Cleanup::outside(name)?;
        cleanup.remove(&directory)?;
        // Where there are two nodes, each has an instance of its own.
        for node in ["", "-0", "-1"] {
            let pins = format!("{BPFFS}/ober/{instance}{node}");
            cleanup.remove(Path::new(&pins))?;
        }
        Ok(Self {
            instance,
            directory,
            _cleanup: cleanup,
        })
    }

    /// The instance name a daemon in this laboratory must use: its pins are removed with the laboratory.
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// Removed with the laboratory. Logs, certificates, state and configuration go here.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// A new machine: a network namespace with a working loopback and nothing else.
    pub fn host(&self, name: &str) -> Result<Host> {
        Host::new(name, &self.directory)
    }

    /// Write a file into the laboratory's directory.
    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> Result<PathBuf> {
        let path = self.directory.join(name);
        std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        Ok(path)
    }
}

/// A program of this workspace, found beside the running one (which may be a test in `deps/`).
pub fn program(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe().context("find the running program's own path")?;
    own.ancestors()
        .skip(1)
        .take(2)
        .map(|directory| directory.join(name))
        .find(|candidate| candidate.is_file())
        .with_context(|| {
            format!(
                "program {name} is not beside {}; build it with the same profile: cargo build -p ober-user -p ober-tests",
                own.display()
            )
        })
}

/// Ask `probe` again and again until it has an answer, at most for `limit`. A failure of the probe counts as "not yet"; when
/// time is up, the last failure is the cause of the error.
pub fn until<T>(
    what: &str,
    limit: Duration,
    mut probe: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let began = Instant::now();
    let mut pause = Duration::from_millis(2);
    loop {
        let last = match probe() {
            Ok(Some(answer)) => return Ok(answer),
            Ok(None) => None,
            Err(error) => Some(error),
        };
        if began.elapsed() >= limit {
            match last {
                Some(error) => {
                    return Err(error).with_context(|| format!("{what}: not within {limit:?}"));
                }
                None => bail!("{what}: not within {limit:?}"),
            }
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}
