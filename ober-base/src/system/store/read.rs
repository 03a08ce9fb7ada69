//! Reads files back, and moves damaged ones aside.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::de::DeserializeOwned;

use super::{Damaged, Error, Kind, pending::sync_directory, trouble};
use crate::system::{
    clock,
    file::{self, Unfit},
};

/// How many damaged files of one name are kept for the operator.
const MOST: usize = 3;
/// Follows the name of a damaged file; the time follows it.
const MARK: &str = ".damaged-";

/// Reads a file; `None` when it does not exist.
pub fn read(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    match file::read(path, file::Kind::Own) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) if is_damage(&source) => Err(Error::Damaged {
            path: path.into(),
            why: source.to_string(),
        }),
        Err(source) => Err(Error::Read {
            path: path.into(),
            source,
        }),
    }
}

/// The length of a file in bytes; `None` when it does not exist.
pub fn length(path: &Path) -> Result<Option<u64>, Error> {
    match fs::metadata(path) {
        Ok(facts) => Ok(Some(facts.len())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::Read {
            path: path.into(),
            source,
        }),
    }
}

/// Is the file unreadable however often it is tried? If not, this process lacks a resource and may try again.
fn is_damage(error: &io::Error) -> bool {
    use nix::errno::Errno as E;
    let unfit = error.get_ref().and_then(|inner| inner.downcast_ref());
    let unfit = matches!(unfit, Some(Unfit::Irregular(_) | Unfit::Large { .. }));
    let errno = error.raw_os_error().map(E::from_raw);
    let lost = [
        E::ENOTDIR,
        E::ELOOP,
        E::ENXIO,
        E::EIO,
        E::EUCLEAN,
        E::ENODATA,
    ];
    unfit || errno.is_some_and(|errno| lost.contains(&errno))
}

/// Reads a JSON file; `None` when it does not exist.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Error> {
    let Some(bytes) = read(path)? else {
        return Ok(None);
    };
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|error| Error::Damaged {
            path: path.into(),
            why: error.to_string(),
        })
}

/// Reads a JSON file. A damaged one is moved aside and counts as missing.
pub fn recover_json<T: DeserializeOwned>(kind: Kind, path: &Path) -> Result<Option<T>, Error> {
    recover(kind, path, read_json(path))
}

/// Returns what was read; a damaged file is moved aside and counts as missing.
pub fn recover<T>(
    kind: Kind,
    path: &Path,
    read: Result<Option<T>, Error>,
) -> Result<Option<T>, Error> {
    match read {
        Err(Error::Damaged { why, .. }) => {
            set_aside(kind, path, &why);
            Ok(None)
        }
        read => read,
    }
}

/// Moves a damaged file aside for the operator and logs it. If that fails it stays, and the next write replaces it.
pub fn set_aside(kind: Kind, path: &Path, why: &str) {
    let aside = aside(path);
    let moved = fs::rename(path, &aside);
    let file = path.display();
    let then = kind.damaged();
    match &moved {
        Ok(()) => {
            let aside = aside.display();
            tracing::error!(%file, why, %aside, then, "a damaged file was moved aside");
        }
        Err(error) => {
            tracing::error!(%file, why, %error, then, "a damaged file cannot be moved aside");
        }
    }
    if moved.is_ok() {
        prune(path);
        if let Some(Err(error)) = path.parent().map(sync_directory) {
            tracing::warn!(%error, "move a damaged file aside");
        }
    }
    trouble::damaged(Damaged {
        file: path.into(),
        aside: moved.is_ok().then_some(aside),
        at: clock::seconds(),
        why: why.to_owned(),
        then: then.to_owned(),
    });
}

/// A name later than all existing ones, so that two files of one second get two names.
fn aside(path: &Path) -> PathBuf {
    let latest = earlier(path).last().map(|(time, _)| *time);
    let time = clock::seconds().max(latest.map_or(0, |time| time + 1));
    let mut name = path.as_os_str().to_owned();
    name.push(format!("{MARK}{time}"));
    name.into()
}

/// Damaged files of this name, the oldest first.
fn earlier(path: &Path) -> Vec<(u64, PathBuf)> {
    let (Some(home), Some(name)) = (path.parent(), path.file_name()) else {
        return Vec::new();
    };
    let start = format!("{}{MARK}", name.to_string_lossy());
    let entries = fs::read_dir(home).into_iter().flatten().flatten();
    let time = |entry: fs::DirEntry| {
        let name = entry.file_name();
        let time: u64 = name.to_str()?.strip_prefix(&start)?.parse().ok()?;
        Some((time, entry.path()))
    };
    let mut all: Vec<_> = entries.filter_map(time).collect();
    all.sort_unstable();
    all
}

/// Removes the oldest files beyond [`MOST`].
fn prune(path: &Path) {
    let all = earlier(path);
    let surplus = all.len().saturating_sub(MOST);
    for (_, path) in all.into_iter().take(surplus) {
        let gone = if path.is_dir() {
            fs::remove_dir(&path)
        } else {
            fs::remove_file(&path)
        };
        if let Err(error) = gone {
            tracing::warn!(path = %path.display(), %error, "remove a damaged file of long ago");
        }
    }
}
