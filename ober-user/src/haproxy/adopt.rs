//! Taking over the workers of an earlier daemon: a record beside each says who serves and by which descriptors it
//! holds our sockets. A process is believed to be the recorded one when number, start time and command line agree.

use std::{
    collections::BTreeSet,
    fs,
    io::{self, Write as _},
    os::fd::{OwnedFd, RawFd},
    path::{Path, PathBuf},
    sync::Arc,
};

use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

use super::{
    process::{Process, arguments},
    sockets::{Key, is_listening},
    worker::{Generation, Pid},
};

use crate::file;

/// The files of one worker in the run directory.
#[derive(Clone, Debug)]
pub(super) struct Files {
    run: PathBuf,
    worker: usize,
}

impl Files {
    pub(super) fn new(run: &Path, worker: usize) -> Self {
        Self {
            run: run.to_owned(),
            worker,
        }
    }

    fn file(&self, end: &str) -> PathBuf {
        self.run.join(format!("worker-{}{end}", self.worker))
    }

    pub(super) fn cli(&self) -> PathBuf {
        self.file(".sock")
    }

    pub(super) fn stats(&self) -> PathBuf {
        self.file("-stats.sock")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.file(".log")
    }

    pub(super) fn record(&self) -> PathBuf {
        self.file(".json")
    }

    /// Each generation has its own, so that the one before can be started again.
    pub(super) fn config(&self, generation: Generation) -> PathBuf {
        self.file(&format!("-{:016x}.cfg", generation.0))
    }
}

/// What the next daemon has to know of a worker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) serving: Option<Held>,
    /// Processes that have to finish, and a successor that did not become ready.
    pub(super) leaving: Vec<Identity>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    pub(super) pid: i32,
    pub(super) start_time: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Held {
    #[serde(flatten)]
    pub(super) identity: Identity,
    pub(super) generation: u64,
    pub(super) cpu: u32,
    pub(super) sockets: Vec<HeldSocket>,
}

/// A socket and the number it has in the worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct HeldSocket {
    #[serde(flatten)]
    pub(super) key: Key,
    pub(super) fd: RawFd,
}

impl Record {
    /// Whole or not at all: a reader never sees half a record.
    pub(super) fn write(&self, path: &Path) -> io::Result<()> {
        publish(path, &serde_json::to_vec_pretty(self)?)
    }

    fn read(path: &Path) -> io::Result<Self> {
        Ok(serde_json::from_slice(&file::read(path, file::Kind::Own)?)?)
    }
}

/// Writes beside and renames.
pub(super) fn publish(path: &Path, content: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut options = file::private();
    let options = options.write(true).create(true).truncate(true);
    options.open(&beside)?.write_all(content)?;
    fs::rename(&beside, path)
}

/// A worker taken over.
#[derive(Debug)]
pub(super) struct Adopted {
    pub(super) process: Process,
    pub(super) generation: Generation,
    pub(super) cpu: u32,
    pub(super) sockets: Vec<(Key, Arc<OwnedFd>)>,
    /// The same sockets by their numbers in the worker.
    pub(super) held: Vec<HeldSocket>,
    pub(super) leaving: Vec<Process>,
}

/// The worker that serves by the record of its slot; `None` if there is none that can be trusted.
pub(super) fn adopt(files: &Files) -> Option<Adopted> {
    let path = files.record();
    let record = match Record::read(&path) {
        Ok(record) => record,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "worker record unreadable; the worker is started anew");
            return None;
        }
    };
    let held = record.serving?;
    let process = find(files, held.identity)?;
    let sockets = held
        .sockets
        .iter()
        .map(|socket| fetch(&process, socket))
        .collect::<io::Result<Vec<_>>>();
    match sockets {
        Ok(sockets) => Some(Adopted {
            process,
            generation: Generation(held.generation),
            cpu: held.cpu,
            sockets,
            held: held.sockets,
            leaving: record
                .leaving
                .iter()
                .filter_map(|identity| find(files, *identity))
                .collect(),
        }),
        Err(error) => {
            tracing::warn!(
                pid = held.identity.pid,
                %error,
                "cannot get the sockets back from the worker; it is replaced. Fetching them needs CAP_SYS_PTRACE"
            );
            None
        }
    }
}

fn find(files: &Files, identity: Identity) -> Option<Process> {
    let process = Process::open(Pid(identity.pid)).ok()?;
    let same = process.started == identity.start_time
        && worker_of(&files.run, process.pid) == Some(files.worker);
    same.then_some(process)
}

fn fetch(process: &Process, socket: &HeldSocket) -> io::Result<(Key, Arc<OwnedFd>)> {
    let fd = process.descriptor(socket.fd)?;
    if is_listening(&fd, socket.key.family) {
        Ok((socket.key.clone(), Arc::new(fd)))
    } else {
        Err(io::Error::other(format!(
            "descriptor {} is not the listening socket it was",
            socket.fd
        )))
    }
}

/// The slot a process serves, if it is one of this directory's workers.
fn worker_of(run: &Path, pid: Pid) -> Option<usize> {
    let arguments = arguments(pid);
    let after = arguments.iter().position(|word| word == "-f")? + 1;
    let file = Path::new(arguments.get(after)?);
    let name = file.file_name()?.to_str()?;
    let (worker, _) = name
        .strip_prefix("worker-")?
        .strip_suffix(".cfg")?
        .split_once('-')?;
    let serves = arguments.iter().any(|word| word == "-db") && file.parent() == Some(run);
    worker.parse().ok().filter(|_| serves)
}

/// Lets every worker of this directory finish that no record vouches for: nobody would ever steer to it, stop it or
/// replace it.
pub(super) fn retire_strays(run: &Path, known: &BTreeSet<Pid>) {
    for (worker, process) in running(run) {
        if known.contains(&process.pid) {
            continue;
        }
        let pid = process.pid.0;
        tracing::warn!(
            worker,
            pid,
            "an unrecorded HAProxy worker is told to finish"
        );
        if let Err(error) = process.signal(Signal::SIGUSR1) {
            tracing::warn!(worker, pid, %error, "it could not be told");
        }
    }
}

/// Every worker of the run directory, recorded or not.
pub(super) fn running(run: &Path) -> Vec<(usize, Process)> {
    let Ok(processes) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    processes
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok().map(Pid))
        .filter_map(|pid| {
            // Held before it is looked at, so that what is looked at is what gets the signal.
            let process = Process::open(pid).ok()?;
            worker_of(run, pid).map(|worker| (worker, process))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use super::*;
    use crate::haproxy::sockets::Family;

    #[test]
    fn a_record_comes_back_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::new(dir.path(), 3);
        let key = Key {
            service: "s3".into(),
            port: NonZeroU16::new(443).unwrap(),
            family: Family::V6,
        };
        let identity = Identity {
            pid: 7,
            start_time: 11,
        };
        let record = Record {
            serving: Some(Held {
                identity,
                generation: u64::MAX,
                cpu: 2,
                sockets: vec![HeldSocket { key, fd: 9 }],
            }),
            leaving: vec![Identity {
                pid: 8,
                start_time: 12,
            }],
        };
        record.write(&files.record()).unwrap();
        assert_eq!(Record::read(&files.record()).unwrap(), record);
    }

    #[tokio::test]
    async fn a_record_of_another_process_or_of_none_or_a_torn_one_is_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::new(dir.path(), 0);
        assert!(adopt(&files).is_none());
        fs::write(files.record(), "{\"serving\":").unwrap();
        assert!(adopt(&files).is_none());
        // This very process: right number, right start time, but not a worker.
        let pid = i32::try_from(std::process::id()).unwrap();
        let start_time = Process::open(Pid(pid)).unwrap().started;
        let identity = Identity { pid, start_time };
        let serving = Some(Held {
            identity,
            generation: 1,
            cpu: 0,
            sockets: Vec::new(),
        });
        Record {
            serving,
            leaving: Vec::new(),
        }
        .write(&files.record())
        .unwrap();
        assert!(adopt(&files).is_none());
    }
}
