//! The paths of an instance: each file and directory that it has is named here and nowhere else.
//!
//! ```text
//! STATE (node.state), kept when the machine restarts
//! +-- acme/                     account.key, NAME-HASH.pem of each certificate that was issued
//! +-- backends/                 BACKEND.json
//! +-- cluster.key
//! +-- gate.json                 orders for the gates
//! +-- history/                  NUMBER.json of each configuration that was in force
//! +-- lists/                    LIST.json, LIST.entries, LIST.NUMBER.stdin
//! +-- vips.json                 addresses that the daemon added
//!
//! RUN (node.run), gone when the machine restarts
//! +-- candidate.cfg             what HAProxy is asked about
//! +-- certificates/             STEM-HASH.pem, SERVICE-PORT.list, SERVICE-PORT.default.pem
//! +-- control.sock
//! +-- empty/                    what a worker sees as `/`
//! +-- lock
//! +-- worker-N.json             who serves, for the next daemon
//! +-- worker-N.log
//! +-- worker-N.sock             HAProxy's commands
//! +-- worker-N-stats.sock
//! +-- worker-N-GENERATION.cfg
//!
//! BPFFS (node.bpffs)
//! +-- ober/INSTANCE/            pins; what they are called is said in `dataplane`
//! ```

use std::{
    fmt,
    path::{Path, PathBuf},
};

use crate::system::hash;

/// The account at the authority of certificates, unless the configuration names another key.
pub(crate) fn acme_key(state: &Path) -> PathBuf {
    state.join("acme").join("account.key")
}

/// The certificate that is issued for these names; none: there is none.
pub(crate) fn issued(state: &Path, names: &[String]) -> Option<PathBuf> {
    let first = names.first()?.replace('*', "_");
    let hash = hash::fnv1a(names.join(",").bytes());
    Some(state.join("acme").join(format!("{first}-{hash:016x}.pem")))
}

pub(crate) fn backends(state: &Path) -> PathBuf {
    state.join("backends")
}

/// `home`: [`backends`].
pub(crate) fn backend(home: &Path, name: &str) -> PathBuf {
    home.join(format!("{name}.json"))
}

pub(crate) fn cluster_key(state: &Path) -> PathBuf {
    state.join("cluster.key")
}

pub(crate) fn gate_orders(state: &Path) -> PathBuf {
    state.join("gate.json")
}

pub(crate) fn history(state: &Path) -> PathBuf {
    state.join("history")
}

/// `home`: [`history`].
pub(crate) fn configuration(home: &Path, number: u64) -> PathBuf {
    home.join(format!("{number}.json"))
}

pub(crate) fn lists(state: &Path) -> PathBuf {
    state.join("lists")
}

/// `home`: [`lists`].
pub(crate) fn list(home: &Path, name: &str) -> PathBuf {
    home.join(format!("{name}.json"))
}

/// `home`: [`lists`].
pub(crate) fn list_entries(home: &Path, name: &str) -> PathBuf {
    home.join(format!("{name}.entries"))
}

/// Standard input that a list was filled from. `home`: [`lists`].
pub(crate) fn list_text(home: &Path, name: &str, number: usize) -> PathBuf {
    home.join(format!("{name}.{number}.stdin"))
}

pub(crate) fn vips(state: &Path) -> PathBuf {
    state.join("vips.json")
}

pub(crate) fn candidate(run: &Path) -> PathBuf {
    run.join("candidate.cfg")
}

/// The copies of certificates.
pub(crate) fn certificates(run: &Path) -> PathBuf {
    run.join("certificates")
}

/// The path of the list that HAProxy reads for a listener.
pub fn certificate_list(run: &Path, service: &str, port: impl fmt::Display) -> PathBuf {
    certificates(run).join(format!("{service}-{port}.list"))
}

/// The certificate of a listener that has no other.
pub(crate) fn default_certificate(run: &Path, service: &str, port: impl fmt::Display) -> PathBuf {
    certificates(run).join(format!("{service}-{port}.default.pem"))
}

/// Where the copy of a certificate's file is.
pub fn copy(run: &Path, source: &Path) -> PathBuf {
    let stem = source.file_stem().unwrap_or_default().to_string_lossy();
    let plain = |letter: &char| letter.is_ascii_alphanumeric() || *letter == '-' || *letter == '_';
    let stem: String = stem.chars().filter(plain).take(32).collect();
    let hash = hash::fnv1a(source.as_os_str().as_encoded_bytes().iter().copied());
    certificates(run).join(format!("{stem}-{hash:016x}.pem"))
}

/// Where the daemon answers commands.
pub fn control_socket(run: &Path) -> PathBuf {
    run.join("control.sock")
}

/// The empty directory that a worker sees as `/`.
pub(crate) fn empty(run: &Path) -> PathBuf {
    run.join("empty")
}

pub(crate) fn lock(run: &Path) -> PathBuf {
    run.join("lock")
}

/// Where an instance's pins are.
pub fn pins(bpffs: &Path, instance: &str) -> PathBuf {
    bpffs.join("ober").join(instance)
}

/// The files of one worker in the run directory.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    pub(crate) run: PathBuf,
    pub(crate) worker: usize,
}

impl Files {
    pub(crate) fn new(run: &Path, worker: usize) -> Self {
        Self {
            run: run.to_owned(),
            worker,
        }
    }

    fn file(&self, end: &str) -> PathBuf {
        self.run.join(format!("worker-{}{end}", self.worker))
    }

    pub(crate) fn cli(&self) -> PathBuf {
        self.file(".sock")
    }

    pub(crate) fn stats(&self) -> PathBuf {
        self.file("-stats.sock")
    }

    /// What it sees as `/`.
    pub(crate) fn root(&self) -> PathBuf {
        empty(&self.run)
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.file(".log")
    }

    pub(crate) fn record(&self) -> PathBuf {
        self.file(".json")
    }

    /// Each generation has its own file, so that the one before can be started again.
    pub(crate) fn config(&self, generation: u64) -> PathBuf {
        self.file(&format!("-{generation:016x}.cfg"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_one_name_in_two_directories_get_two_copies_with_safe_names() {
        let run = Path::new("/run/ober/main");
        let [a, b] = ["/a/s3.pem", "/b/s3.pem"].map(|source| copy(run, Path::new(source)));
        assert_ne!(a, b);
        let odd = copy(run, Path::new("/a/it's \"odd\"\n[x] #1.pem"));
        let name = odd.file_name().unwrap().to_str().unwrap().to_owned();
        assert!(name.starts_with("itsoddx1-"), "{name}");
    }
}
