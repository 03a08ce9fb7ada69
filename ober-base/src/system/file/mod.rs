//! The one way to open a file that a configuration names or that another account may have put there: it must be a regular file
//! and no larger than its kind may be. A named pipe would block the reader for ever, and opening a device can have effects.
//!
//! ```text
//! path -> O_PATH (touches nothing) -> regular? small enough? -> opened for reading by its descriptor
//! ```
//! `clippy.toml` forbids the standard library's ways to open files in this package.
//!
//! `directory` makes directories for root alone, `memory` files without a name; `trust` finds other accounts that may change
//! what a path leads to. A file is never read beyond the limit of its kind.

pub mod directory;
pub mod memory;
pub mod trust;

use std::{
    fmt,
    fs::{File, FileType, Metadata, OpenOptions},
    io::{self, Read as _},
    os::{
        fd::AsRawFd as _,
        unix::fs::{FileTypeExt as _, OpenOptionsExt as _},
    },
    path::Path,
    sync::{Arc, LazyLock},
    time::Duration,
};

use tokio::{sync::Semaphore, task::spawn_blocking, time::timeout};

/// What a file is for; each kind has a size that no legitimate file exceeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A file of the configuration.
    Configuration,
    /// The sources of a list or of servers.
    List,
    /// `slurm.conf` or a file that it includes.
    Slurm,
    /// A certificate with its chain, or a key.
    Certificate,
    /// The trusted authorities.
    Authorities,
    Secret,
    /// A few words, such as the file that disables VIPs.
    Note,
    /// A file that this program wrote itself.
    Own,
}

impl Kind {
    /// The largest size, in bytes.
    pub const fn most(self) -> u64 {
        match self {
            Self::Secret => 4 << 10,
            Self::Note => 64 << 10,
            Self::Certificate => 1 << 20,
            Self::Configuration | Self::Slurm | Self::Authorities => 16 << 20,
            Self::List => 256 << 20,
            Self::Own => 1 << 30,
        }
    }

    const fn words(self) -> &'static str {
        match self {
            Self::Configuration => "a configuration",
            Self::List => "a list",
            Self::Slurm => "a slurm.conf",
            Self::Certificate => "a certificate or a key",
            Self::Authorities => "the certificates of authorities",
            Self::Secret => "a secret",
            Self::Note => "a note",
            Self::Own => "a file of this program",
        }
    }
}

/// Why an existing file is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    #[error("it is {0} and must be a regular file")]
    Irregular(&'static str),
    #[error("it is larger than {}, the most for {}", Size(kind.most()), kind.words())]
    Large { kind: Kind },
    #[error("the file system did not answer within {0:?}")]
    Slow(Duration),
}

impl From<Unfit> for io::Error {
    fn from(unfit: Unfit) -> Self {
        let kind = match unfit {
            Unfit::Irregular(_) => io::ErrorKind::InvalidInput,
            Unfit::Large { .. } => io::ErrorKind::FileTooLarge,
            Unfit::Slow(_) => io::ErrorKind::TimedOut,
        };
        Self::new(kind, unfit)
    }
}

/// Opens a file that is regular and no larger than its kind may be.
pub fn open(path: &Path, kind: Kind) -> io::Result<File> {
    Ok(opened(path, kind)?.0)
}

fn opened(path: &Path, kind: Kind) -> io::Result<(File, Metadata)> {
    let place = with(libc::O_PATH | libc::O_CLOEXEC).open(path)?;
    let facts = place.metadata()?;
    if let Some(what) = irregular(facts.file_type()) {
        return Err(Unfit::Irregular(what).into());
    }
    if facts.len() > kind.most() {
        return Err(Unfit::Large { kind }.into());
    }
    // Opened by its descriptor, not by its name: the name may lead elsewhere by now.
    let name = format!("/proc/self/fd/{}", place.as_raw_fd());
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC;
    Ok((with(flags).open(name)?, facts))
}

#[expect(clippy::disallowed_methods, reason = "this is the opener")]
fn with(flags: i32) -> OpenOptions {
    let mut options = File::options();
    options.read(true).custom_flags(flags);
    options
}

fn irregular(kind: FileType) -> Option<&'static str> {
    [
        (kind.is_dir(), "a directory"),
        (kind.is_fifo(), "a named pipe"),
        (kind.is_socket(), "a socket"),
        (kind.is_char_device() || kind.is_block_device(), "a device"),
        (!kind.is_file(), "no file"),
    ]
    .into_iter()
    .find_map(|(is, what)| is.then_some(what))
}

/// The whole content of a file.
pub fn read(path: &Path, kind: Kind) -> io::Result<Vec<u8>> {
    Ok(read_with(path, kind)?.0)
}

/// The whole content of a file that must be UTF-8.
pub fn text(path: &Path, kind: Kind) -> io::Result<String> {
    Ok(text_with(path, kind)?.0)
}

/// Does this mode give any right to every account?
pub fn exposed(mode: u32) -> bool {
    mode & 0o007 != 0
}

/// The text, with the metadata read when the file was opened: owner and mode belong to this very file.
pub fn text_with(path: &Path, kind: Kind) -> io::Result<(String, Metadata)> {
    let (bytes, facts) = read_with(path, kind)?;
    let text = String::from_utf8(bytes)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    Ok((text, facts))
}

fn read_with(path: &Path, kind: Kind) -> io::Result<(Vec<u8>, Metadata)> {
    let (file, facts) = opened(path, kind)?;
    // One allocation where the stated length is true; files in `/proc` state 0.
    let mut bytes = Vec::with_capacity(usize::try_from(facts.len()).unwrap_or(0) + 1);
    file.take(kind.most() + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > kind.most() {
        return Err(Unfit::Large { kind }.into());
    }
    Ok((bytes, facts))
}

/// The content of a file in `/proc` or `/sys`.
#[expect(
    clippy::disallowed_methods,
    reason = "the kernel made this file: it is there at once, and its length is not known before"
)]
pub fn kernel(path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
    let path = path.as_ref();
    debug_assert!(path.starts_with("/proc") || path.starts_with("/sys"));
    std::fs::read(path)
}

/// The same, as text.
pub fn kernel_text(path: impl AsRef<Path>) -> io::Result<String> {
    String::from_utf8(kernel(path)?)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Writes a kernel setting.
#[expect(
    clippy::disallowed_methods,
    reason = "the kernel made this file, and its mode with it"
)]
pub fn kernel_write(path: impl AsRef<Path>, text: &str) -> io::Result<()> {
    let path = path.as_ref();
    debug_assert!(path.starts_with("/proc") || path.starts_with("/sys"));
    std::fs::write(path, text)
}

/// Options to open files of the daemon: a new file is for the owner alone.
#[expect(clippy::disallowed_methods, reason = "this is the opener")]
pub fn private() -> OpenOptions {
    let mut options = File::options();
    options.mode(0o600);
    options
}

/// How many may wait for a file system at a time. A file system that hangs blocks a thread for each, and the runtime's other
/// work needs threads too.
const AWAY: usize = 32;

/// Runs work that reads files on a blocking thread, and gives it up after `limit`. The thread goes on until the file system
/// answers.
pub async fn away<T: Send + 'static>(
    limit: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    static FREE: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(AWAY)));
    bounded(Arc::clone(&FREE), limit, work).await
}

async fn bounded<T: Send + 'static>(
    free: Arc<Semaphore>,
    limit: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    let done = async {
        let permit = free.acquire_owned().await.map_err(io::Error::other)?;
        let work = move || {
            let answer = work();
            drop(permit);
            answer
        };
        spawn_blocking(work).await.map_err(io::Error::other)
    };
    timeout(limit, done)
        .await
        .unwrap_or_else(|_| Err(Unfit::Slow(limit).into()))
}

/// A number of bytes for an operator to read.
struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes if bytes >= 1 << 30 => write!(out, "{} GiB", bytes >> 30),
            bytes if bytes >= 1 << 20 => write!(out, "{} MiB", bytes >> 20),
            bytes => write!(out, "{} KiB", bytes >> 10),
        }
    }
}

#[cfg(test)]
mod tests;
