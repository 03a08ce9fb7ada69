//! HAProxy's output goes to one file for each worker, not to the daemon's own output. A pipe to the daemon would break
//! when the daemon is gone, or block the worker that writes to it.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    path::PathBuf,
};

use crate::system::file;

/// A log larger than this many bytes is renamed when the next process starts.
const LIMIT: u64 = 1 << 20;
/// Bytes of HAProxy's output that an error quotes at most.
const QUOTE: u64 = 2048;

#[derive(Debug)]
pub(crate) struct Log {
    path: PathBuf,
    /// Where the output of the newest process begins.
    from: u64,
}

impl Log {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, from: 0 }
    }

    /// Opens the log for the next process.
    pub(crate) fn open(&mut self) -> io::Result<File> {
        if fs::metadata(&self.path).is_ok_and(|meta| meta.len() > LIMIT) {
            fs::rename(&self.path, self.path.with_extension("log.old"))?;
        }
        let log = file::private().create(true).append(true).open(&self.path)?;
        self.from = log.metadata()?.len();
        Ok(log)
    }

    /// The end of the newest process's output, and where to find the rest.
    pub(crate) fn said(&self) -> String {
        let words = self.read().unwrap_or_default();
        format!(
            "\n{}\n(all of it is in {})",
            words.trim(),
            self.path.display()
        )
    }

    fn read(&self) -> io::Result<String> {
        let mut log = file::open(&self.path, file::Kind::Own)?;
        let from = log.metadata()?.len().saturating_sub(QUOTE).max(self.from);
        log.seek(SeekFrom::Start(from))?;
        let mut words = Vec::new();
        log.take(QUOTE).read_to_end(&mut words)?;
        Ok(String::from_utf8_lossy(&words).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn only_the_last_log_lines_of_the_newest_process_are_quoted() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Log::new(dir.path().join("worker-0.log"));
        log.open().unwrap().write_all(b"of the first\n").unwrap();
        log.open().unwrap().write_all(b"of the second\n").unwrap();
        assert!(
            log.said().starts_with("\nof the second\n(all"),
            "{}",
            log.said()
        );
        log.open().unwrap().write_all(&[b'='; 10_000]).unwrap();
        assert_eq!(log.said().matches('=').count(), 2048);
    }

    #[test]
    fn a_large_log_is_put_aside_for_the_next_process() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("worker-0.log");
        let mut log = Log::new(path.clone());
        log.open().unwrap().set_len(LIMIT + 1).unwrap();
        log.open().unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), 0);
        assert!(path.with_extension("log.old").exists());
    }
}
