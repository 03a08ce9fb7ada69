//! Takes over the workers of an earlier daemon. A record beside each says which process serves and under which
//! descriptors it holds our sockets. A process is accepted as the recorded one when its number, start time and command
//! line agree; only root can write a record. A process without a record is accepted when no other account could have
//! made it.

use std::{
    collections::BTreeSet,
    fs, io,
    os::{
        fd::{OwnedFd, RawFd},
        unix::fs::{MetadataExt as _, PermissionsExt as _},
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

use super::{
    Generation, Pid,
    process::{self, Process, arguments},
};
use crate::{
    config::paths::{self, Files},
    haproxy::sockets::{Key, is_listening},
    system::{
        file::directory,
        store::{self, Kind, Pending},
    },
};

/// Makes the directory that the workers of this run directory see as `/`.
pub(crate) fn make_root(run: &Path) -> io::Result<()> {
    let root = paths::empty(run);
    directory::make(&root)?;
    fs::set_permissions(root, fs::Permissions::from_mode(0o755))
}

/// What the next daemon must know about a worker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) serving: Option<WorkerRecord>,
    /// Processes that must finish, and a successor that has not become ready.
    pub(crate) leaving: Vec<LeavingRecord>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) pid: i32,
    pub(crate) start_time: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WorkerRecord {
    #[serde(flatten)]
    pub(crate) identity: Identity,
    pub(crate) generation: u64,
    pub(crate) cpu: u32,
    pub(crate) sockets: Vec<HeldSocket>,
}

/// A process that must finish. What an older daemon did not write is empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LeavingRecord {
    #[serde(flatten)]
    pub(crate) identity: Identity,
    /// When it first got the signal to finish, in seconds since 1970.
    #[serde(default)]
    pub(crate) since: Option<u64>,
    /// The ports of its listeners.
    #[serde(default)]
    pub(crate) ports: BTreeSet<u16>,
}

/// A socket and its descriptor number in the worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HeldSocket {
    #[serde(flatten)]
    pub(crate) key: Key,
    pub(crate) fd: RawFd,
}

impl Record {
    /// Writes the record whole or not at all: a reader never sees half a record.
    pub(crate) fn write(&self, path: &Path) -> io::Result<()> {
        Ok(Pending::json(Kind::Record, path, self)?.commit()?)
    }

    /// Is the process the one that serves, or one that must finish?
    fn names(&self, process: &Process) -> bool {
        let serving = self.serving.iter().map(|held| &held.identity);
        let leaving = self.leaving.iter().map(|held| &held.identity);
        let mut all = serving.chain(leaving);
        all.any(|it| it.pid == process.pid.0 && it.start_time == process.started)
    }
}

/// A worker that was taken over.
#[derive(Debug)]
pub(crate) struct Adopted {
    pub(crate) process: Process,
    pub(crate) generation: Generation,
    pub(crate) cpu: u32,
    pub(crate) sockets: Vec<(Key, Arc<OwnedFd>)>,
    /// The same sockets with their descriptor numbers in the worker.
    pub(crate) held: Vec<HeldSocket>,
    pub(crate) leaving: Vec<(Process, LeavingRecord)>,
}

/// The worker that serves according to the record of its slot; `None` if there is none that can be trusted.
pub(crate) fn adopt(files: &Files) -> Option<Adopted> {
    let path = files.record();
    let record = match store::read_json::<Record>(&path) {
        Ok(record) => record?,
        Err(store::Error::Damaged { why, .. }) => {
            store::set_aside(Kind::Record, &path, &why);
            return None;
        }
        Err(error) => {
            tracing::warn!(%error, "a worker cannot be adopted and is replaced");
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
                .into_iter()
                .filter_map(|it| Some((find(files, it.identity)?, it)))
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

/// The slot that a process serves, if its command line is that of a worker of this directory.
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

/// Was the process made by a daemon of this directory? Any user can give a process any arguments, but only root writes
/// a record.
fn is_genuine(run: &Path, worker: usize, process: &Process) -> bool {
    let record = store::read_json::<Record>(&Files::new(run, worker).record())
        .ok()
        .flatten()
        .unwrap_or_default();
    record.names(process) || is_roots(run, process.pid)
}

/// Could only root have made the process? Either it runs as root, or its `/` is the workers' directory, which no other
/// account can reach.
fn is_roots(run: &Path, pid: Pid) -> bool {
    let of = |name: &str| PathBuf::from(format!("/proc/{}/{name}", pid.0));
    let place = |path: &Path| fs::metadata(path).map(|facts| (facts.dev(), facts.ino()));
    let confined = match (place(&of("root")), place(&paths::empty(run))) {
        (Ok(its), Ok(ours)) => its == ours,
        (Err(_), _) | (_, Err(_)) => false,
    };
    let Ok(program) = fs::read_link(of("exe")) else {
        return false;
    };
    // The package may have been upgraded since it was started.
    let program = program.to_string_lossy().replace(" (deleted)", "");
    let named = arguments(pid).into_iter().next().unwrap_or_default();
    let real = fs::canonicalize(&named).unwrap_or_else(|_| named.into());
    let runs_what_it_says = real.as_os_str() == program.as_str();
    runs_what_it_says && (confined || process::user(pid) == Some(0))
}

/// The workers of this directory that are in no record: no packets would be steered to them, and no daemon would stop
/// or replace them.
pub(crate) fn strays(run: &Path, known: &BTreeSet<Pid>) -> Vec<(usize, Process)> {
    let mut all = running(run);
    all.retain(|(_, process)| !known.contains(&process.pid));
    all
}

/// Tells one of them to finish.
pub(crate) fn retire((worker, process): (usize, Process)) {
    let pid = process.pid.0;
    tracing::warn!(
        worker,
        pid,
        "a HAProxy worker without a record gets the signal to finish"
    );
    if let Err(error) = process.signal(Signal::SIGUSR1) {
        tracing::warn!(worker, pid, %error, "tell an unrecorded HAProxy worker to finish");
    }
}

/// The ports of the listeners of a process, as far as a record of this directory has them.
pub(crate) fn recorded_ports(run: &Path, worker: usize, pid: Pid) -> BTreeSet<u16> {
    let record = store::read_json::<Record>(&Files::new(run, worker).record());
    let record = record.ok().flatten().unwrap_or_default();
    let serving = record.serving.filter(|it| it.identity.pid == pid.0);
    let leaving = record.leaving.into_iter();
    let leaving = leaving.filter(|it| it.identity.pid == pid.0);
    let serving = serving.iter().flat_map(|it| ports(&it.sockets));
    serving.chain(leaving.flat_map(|it| it.ports)).collect()
}

/// The ports of the listeners that have these sockets.
pub(crate) fn ports(sockets: &[HeldSocket]) -> BTreeSet<u16> {
    sockets.iter().map(|it| it.key.port.get()).collect()
}

/// Every worker of the run directory, recorded or not.
pub(crate) fn running(run: &Path) -> Vec<(usize, Process)> {
    let Ok(processes) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    processes
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok().map(Pid))
        .filter_map(|pid| {
            // The process is opened before it is examined, so that a signal goes to the examined process.
            let process = Process::open(pid).ok()?;
            let worker = worker_of(run, pid)?;
            let genuine = is_genuine(run, worker, &process);
            genuine.then_some((worker, process))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use ober_programs::{SETPRIV, SH, SLEEP};

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
            serving: Some(WorkerRecord {
                identity,
                generation: u64::MAX,
                cpu: 2,
                sockets: vec![HeldSocket { key, fd: 9 }],
            }),
            leaving: vec![LeavingRecord {
                identity: Identity {
                    pid: 8,
                    start_time: 12,
                },
                since: Some(1_700_000_000),
                ports: [80, 443].into(),
            }],
        };
        record.write(&files.record()).unwrap();
        assert_eq!(recorded_ports(dir.path(), 3, Pid(7)), [443].into());
        assert_eq!(recorded_ports(dir.path(), 3, Pid(8)), [80, 443].into());
        assert_eq!(store::read_json(&files.record()).unwrap(), Some(record));
    }

    #[test]
    fn a_record_of_an_older_daemon_has_processes_that_finish_without_time_and_ports() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::new(dir.path(), 0);
        let older = r#"{"serving":null,"leaving":[{"pid":8,"start_time":12}]}"#;
        fs::write(files.record(), older).unwrap();
        let record = store::read_json::<Record>(&files.record()).unwrap();
        let leaving = record.unwrap().leaving;
        assert_eq!((leaving[0].identity.pid, leaving[0].since), (8, None));
        assert_eq!(recorded_ports(dir.path(), 0, Pid(8)), [].into());
    }

    #[tokio::test]
    async fn a_process_is_adopted_by_its_record_or_as_a_root_process_and_not_by_arguments_alone() {
        let dir = tempfile::tempdir().unwrap();
        make_root(dir.path()).unwrap();
        let file = dir.path().join("worker-9-0.cfg");
        let pretend = |name: Option<&str>| {
            let mut command = SH.script("sleep 60", &[&SLEEP]);
            command.args(["-db", "-f"]).arg(&file);
            if let Some(name) = name {
                command.arg0(name);
            }
            command
        };
        let strange = ["--reuid=65534", "--regid=65534", "--clear-groups"];
        for (mut command, is_one) in [
            (SETPRIV.before(strange, &pretend(None)), false),
            (pretend(Some("haproxy")), false),
            (pretend(None), true),
        ] {
            let mut child = command.process_group(0).spawn().unwrap();
            let pid = i32::try_from(child.id()).unwrap();
            while !arguments(Pid(pid)).starts_with(&[SH.program().path().into()])
                && !arguments(Pid(pid)).starts_with(&["haproxy".into()])
            {
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
            assert_eq!(worker_of(dir.path(), Pid(pid)), Some(9), "{command:?}");
            let found = running(dir.path());
            assert_eq!(found.len(), usize::from(is_one), "{command:?}");
            // Only a daemon of this directory can have written such a record.
            let record = Files::new(dir.path(), 9).record();
            let held = Process::open(Pid(pid)).unwrap();
            let identity = Identity {
                pid,
                start_time: held.started,
            };
            let leaving = vec![LeavingRecord {
                identity,
                since: None,
                ports: BTreeSet::new(),
            }];
            let serving = None;
            Record { serving, leaving }.write(&record).unwrap();
            assert_eq!(running(dir.path()).len(), 1, "{command:?}");
            fs::remove_file(record).unwrap();
            nix::sys::signal::killpg(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL).unwrap();
            child.wait().unwrap();
        }
    }

    #[tokio::test]
    async fn a_record_that_is_torn_or_names_another_or_no_process_is_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::new(dir.path(), 0);
        assert!(adopt(&files).is_none());
        fs::write(files.record(), "{\"serving\":").unwrap();
        assert!(adopt(&files).is_none());
        // The process of this test: right number, right start time, but not a worker.
        let pid = i32::try_from(std::process::id()).unwrap();
        let start_time = Process::open(Pid(pid)).unwrap().started;
        let identity = Identity { pid, start_time };
        let serving = Some(WorkerRecord {
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
