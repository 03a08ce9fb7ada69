//! One writer an instance: the daemon, or a command while no daemon runs.

use std::{
    fs::{File, Permissions},
    io::{self, Seek as _, Write as _},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
    sys::stat::{major, minor},
};

use crate::{
    config::paths,
    machine::drive,
    system::file::{self, directory},
};

/// A command that works without a daemon holds the instance until it is done: a moment as a rule, and some seconds where it
/// asks for names.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two attempts.
const PACE: Duration = Duration::from_millis(50);

/// This process owns the instance while this lives.
#[derive(Debug)]
pub struct Lock {
    _file: Flock<File>,
}

/// Why the instance could not be locked.
#[derive(Debug, thiserror::Error)]
pub enum Locked {
    #[error("use the instance at {run}: {holder} runs it; stop that one, or give this one another node.instance", run = .run.display())]
    Held { run: PathBuf, holder: String },
    #[error("lock the instance at {run}: {source}; the run directory must be writable by root, and by root alone", run = .run.display())]
    Failed { run: PathBuf, source: io::Error },
}

impl Lock {
    /// Takes the instance, and waits a while for the process that has it: a daemon that starts while a command works waits
    /// for its end, and so does a second command.
    pub async fn wait(run: &Path) -> Result<Self, Locked> {
        Self::wait_for(run, PATIENCE).await
    }

    async fn wait_for(run: &Path, patience: Duration) -> Result<Self, Locked> {
        let since = drive::now();
        let mut logged = false;
        loop {
            match Self::take(run) {
                Err(Locked::Held { run, holder })
                    if drive::now().saturating_duration_since(since) < patience =>
                {
                    if !std::mem::replace(&mut logged, true) {
                        tracing::warn!(
                            run = %run.display(),
                            holder,
                            "another process has the instance: this one waits up to {patience:?} for it to end"
                        );
                    }
                    tokio::time::sleep(PACE).await;
                }
                done => return done,
            }
        }
    }

    /// Takes the instance whose run directory this is, and makes the directory if need be. Only root can hold the lock: the
    /// directory and the file are root's alone.
    fn take(run: &Path) -> Result<Self, Locked> {
        let failed = |source: io::Error| Locked::Failed {
            run: run.into(),
            source,
        };
        let file = open(run).map_err(failed)?;
        let mut file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => file,
            Err((file, Errno::EWOULDBLOCK)) => {
                return Err(Locked::Held {
                    run: run.into(),
                    holder: holder(&file).unwrap_or_else(|| "another process".to_owned()),
                });
            }
            Err((_, errno)) => return Err(failed(errno.into())),
        };
        // For an operator who looks; the daemon does not read it.
        file.set_len(0).map_err(failed)?;
        file.rewind().map_err(failed)?;
        writeln!(file, "{}", std::process::id()).map_err(failed)?;
        Ok(Self { _file: file })
    }
}

fn open(run: &Path) -> io::Result<File> {
    directory::make(run)?;
    directory::keep_private(run)?;
    let mut options = file::private();
    let options = options.read(true).write(true).create(true).truncate(false);
    let file = options.open(paths::lock(run))?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    Ok(file)
}

/// The process that holds it, as the kernel says: the file's own content may be of a process that has ended.
fn holder(file: &File) -> Option<String> {
    let facts = file.metadata().ok()?;
    let locks = file::kernel_text("/proc/locks").ok()?;
    let device = (major(facts.dev()), minor(facts.dev()));
    let pid = of(&locks, device, facts.ino())?;
    let name = file::kernel_text(format!("/proc/{pid}/comm")).unwrap_or_default();
    Some(format!("process {pid} ({})", name.trim().escape_debug()))
}

/// The process that has a lock on this file, by the text of `/proc/locks`. Some file systems have another device there.
fn of(locks: &str, device: (u64, u64), inode: u64) -> Option<i32> {
    let held = locks.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        // 1: FLOCK ADVISORY WRITE 22265 08:01:131 0 EOF; one that waits has `->` in its second field.
        let [_, "FLOCK", _, _, pid, place, ..] = *fields else {
            return None;
        };
        let mut place = place.split(':');
        let mut number = |radix| u64::from_str_radix(place.next()?, radix).ok();
        let device = (number(16)?, number(16)?);
        (number(10)? == inode).then_some((device, pid.parse().ok()?))
    });
    let held: Vec<((u64, u64), i32)> = held.filter(|(_, pid)| *pid > 0).collect();
    let exact = held.iter().find(|(of, _)| *of == device);
    exact.or(held.first()).map(|(_, pid)| *pid)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use ober_programs::{CP, SETPRIV};

    use super::*;

    #[test]
    fn the_holder_of_the_lock_is_read_from_the_kernels_lock_table() {
        let locks = "1: POSIX  ADVISORY  READ  5 00:15:131 0 EOF\n\
                     2: FLOCK  ADVISORY  WRITE 7 08:01:131 0 EOF\n\
                     2: -> FLOCK  ADVISORY  WRITE 8 08:01:131 0 EOF\n\
                     3: FLOCK  ADVISORY  WRITE 9 00:1a:131 0 EOF\n\
                     4: FLOCK  ADVISORY  WRITE -1 00:1a:132 0 EOF\n";
        assert_eq!(of(locks, (8, 1), 131), Some(7));
        assert_eq!(of(locks, (0, 0x1a), 131), Some(9));
        assert_eq!(of(locks, (0, 0x99), 131), Some(7));
        assert_eq!(of(locks, (0, 0x1a), 132), None);
        assert_eq!(of(locks, (8, 1), 133), None);
    }

    #[test]
    fn a_lock_is_held_once_and_its_holder_is_named() {
        let home = tempfile::tempdir().unwrap();
        let run = home.path().join("run");
        let lock = Lock::take(&run).unwrap();
        fs::write(paths::lock(&run), "1\n").unwrap();
        let said = Lock::take(&run).unwrap_err().to_string();
        let holder = format!("process {} (", std::process::id());
        assert!(said.contains(&holder), "{said}");
        drop(lock);
        Lock::take(&run).unwrap();
    }

    #[tokio::test]
    async fn a_daemon_waits_for_a_command_to_release_the_lock_and_names_a_holder_that_stays() {
        let home = tempfile::tempdir().unwrap();
        let run = home.path().join("run");
        let command = Lock::take(&run).unwrap();
        let short = Duration::from_millis(200);
        let said = Lock::wait_for(&run, short).await.unwrap_err().to_string();
        assert!(said.contains("process "), "{said}");
        let works = async {
            tokio::time::sleep(short).await;
            drop(command);
        };
        let (daemon, ()) = tokio::join!(Lock::wait(&run), works);
        daemon.unwrap();
    }

    #[test]
    fn another_account_cannot_open_the_lock_even_if_earlier_permissions_allowed_it() {
        let home = tempfile::tempdir().unwrap();
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let run = home.path().join("run");
        fs::create_dir(&run).unwrap();
        fs::set_permissions(&run, fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(paths::lock(&run), "7\n").unwrap();
        fs::set_permissions(paths::lock(&run), fs::Permissions::from_mode(0o644)).unwrap();
        let stranger = |run: &Path| {
            // A process that may open the file may lock it.
            let open = CP.args([paths::lock(run).as_os_str(), "/dev/null".as_ref()]);
            let options = ["--reuid=65534", "--regid=65534", "--clear-groups"];
            let tried = SETPRIV.before(options, &open).output().unwrap();
            tried.status.success()
        };
        assert!(stranger(&run), "this is how it was");
        let _lock = Lock::take(&run).unwrap();
        assert!(!stranger(&run));
        fs::set_permissions(&run, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(!stranger(&run), "nor by the mode of the file");
    }
}
