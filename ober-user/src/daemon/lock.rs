//! One writer an instance: the daemon, or a command while no daemon runs.

use std::{
    fs::{self, File},
    io::{self, Read as _, Seek as _, Write as _},
    path::{Path, PathBuf},
};

use nix::fcntl::{Flock, FlockArg};

use crate::file;

/// The instance is ours as long as this lives.
#[derive(Debug)]
pub struct Lock {
    _file: Flock<File>,
}

/// Why it is not.
#[derive(Debug, thiserror::Error)]
pub enum Locked {
    #[error("use the instance at {run}: process {holder} runs it; stop that one, or give this one another node.instance", run = .run.display())]
    Held { run: PathBuf, holder: String },
    #[error("lock the instance at {run}: {source}; the run directory must be writable by root", run = .run.display())]
    Failed { run: PathBuf, source: io::Error },
}

impl Lock {
    /// Takes the instance whose run directory this is, and makes the directory if need be.
    pub fn take(run: &Path) -> Result<Self, Locked> {
        let failed = |source: io::Error| Locked::Failed {
            run: run.into(),
            source,
        };
        fs::create_dir_all(run).map_err(failed)?;
        let mut options = file::private();
        let mut file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(run.join("lock"))
            .map_err(failed)?;
        let mut holder = String::new();
        file.read_to_string(&mut holder).map_err(failed)?;
        let mut file = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(
            |(_, errno)| match errno {
                nix::errno::Errno::EWOULDBLOCK => Locked::Held {
                    run: run.into(),
                    holder: holder.trim().into(),
                },
                errno => failed(errno.into()),
            },
        )?;
        file.set_len(0).map_err(failed)?;
        file.rewind().map_err(failed)?;
        writeln!(file, "{}", std::process::id()).map_err(failed)?;
        Ok(Self { _file: file })
    }
}
