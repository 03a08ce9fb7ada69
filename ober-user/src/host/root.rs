//! Files below a directory: `/` for the running machine. No other file of this room names a place without it.

use std::{
    fs::{self, DirBuilder, Permissions},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _, lchown},
    path::{Component, Path, PathBuf},
};

use super::{
    Error,
    object::{Rights, State},
};
use crate::system::{
    file::{self, Kind},
    store,
};

/// Symbolic links that are followed one after another, as many as the kernel follows.
const LINKS: usize = 40;

#[derive(Clone, Debug)]
pub struct Root(PathBuf);

impl Default for Root {
    fn default() -> Self {
        Self("/".into())
    }
}

impl Root {
    pub fn below(directory: PathBuf) -> Self {
        Self(directory)
    }

    /// Where a path of the machine is.
    pub fn at(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.0.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// The text of a file, symbolic links followed within the root; `None`: it is not there.
    pub fn read(&self, path: impl AsRef<Path>) -> Result<Option<String>, Error> {
        let mut path = path.as_ref().to_owned();
        for _ in 0..LINKS {
            let Ok(to) = fs::read_link(self.at(&path)) else {
                break;
            };
            path = flat(&path.parent().unwrap_or(Path::new("/")).join(to));
        }
        if path == Path::new("/dev/null") {
            return Ok(Some(String::new()));
        }
        let place = self.at(&path);
        match file::text(&place, Kind::Configuration) {
            Ok(text) => Ok(Some(text)),
            // A directory in the place of a file says nothing either.
            Err(error) if is_absent(&error) || error.kind() == io::ErrorKind::InvalidInput => {
                Ok(None)
            }
            Err(source) => Err(Error::File {
                attempt: "read",
                path: place,
                source,
            }),
        }
    }

    /// The names in a directory, sorted; none where there is no such directory.
    pub fn names(&self, path: impl AsRef<Path>) -> Result<Vec<String>, Error> {
        let place = self.at(path);
        let entries = match fs::read_dir(&place) {
            Ok(entries) => entries,
            Err(error) if is_absent(&error) => return Ok(Vec::new()),
            Err(source) => {
                return Err(Error::File {
                    attempt: "read",
                    path: place,
                    source,
                });
            }
        };
        let names = entries.flatten().map(|it| it.file_name());
        let mut names: Vec<String> = names.filter_map(|it| it.into_string().ok()).collect();
        names.sort_unstable();
        Ok(names)
    }

    pub fn exists(&self, path: impl AsRef<Path>) -> bool {
        fs::symlink_metadata(self.at(path)).is_ok()
    }

    pub(super) fn file(&self, path: &Path) -> Result<State, Error> {
        self.state(path, |facts, place| {
            if !facts.is_file() {
                return Ok(None);
            }
            match file::text(place, Kind::Configuration) {
                Ok(text) => Ok(Some(State::File {
                    text,
                    rights: self.rights(facts),
                })),
                Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(None),
                Err(error) => Err(error),
            }
        })
    }

    pub(super) fn directory(&self, path: &Path) -> Result<State, Error> {
        self.state(path, |facts, _| {
            Ok(facts.is_dir().then(|| State::Directory(self.rights(facts))))
        })
    }

    fn state(
        &self,
        path: &Path,
        read: impl FnOnce(&fs::Metadata, &Path) -> io::Result<Option<State>>,
    ) -> Result<State, Error> {
        let place = self.at(path);
        let look = || {
            let facts = fs::symlink_metadata(&place)?;
            Ok(read(&facts, &place)?.unwrap_or_else(|| State::Other(words(&facts, &place))))
        };
        match look() {
            Err(error) if is_absent(&error) => Ok(State::Absent),
            state => state.map_err(|source| Error::File {
                attempt: "look at",
                path: place,
                source,
            }),
        }
    }

    fn accounts(&self) -> [String; 2] {
        ["/etc/passwd", "/etc/group"].map(|path| self.read(path).ok().flatten().unwrap_or_default())
    }

    /// The number of an account of this machine's files.
    pub fn user(&self, name: &str) -> Result<Option<u32>, Error> {
        let text = self.read("/etc/passwd")?.unwrap_or_default();
        Ok(number(&text, name))
    }

    /// Is there such a group?
    pub fn group(&self, name: &str) -> Result<bool, Error> {
        let text = self.read("/etc/group")?.unwrap_or_default();
        Ok(number(&text, name).is_some())
    }

    /// May every account read this file?
    pub fn is_exposed(&self, path: impl AsRef<Path>) -> bool {
        let facts = fs::metadata(self.at(path));
        facts.is_ok_and(|facts| facts.is_file() && file::exposed(facts.mode()))
    }

    fn rights(&self, facts: &fs::Metadata) -> Rights {
        let [users, groups] = self.accounts();
        Rights {
            mode: facts.mode() & 0o7777,
            user: name(&users, facts.uid()),
            group: name(&groups, facts.gid()),
        }
    }

    fn owner(&self, rights: &Rights) -> io::Result<(u32, u32)> {
        let [users, groups] = self.accounts();
        let of = |text: &str, name: &str| {
            let found = number(text, name).or_else(|| name.parse().ok());
            found.ok_or_else(|| {
                let words = format!("there is no account or group {name}");
                io::Error::new(io::ErrorKind::NotFound, words)
            })
        };
        Ok((of(&users, &rights.user)?, of(&groups, &rights.group)?))
    }

    pub(super) fn put_file(&self, path: &Path, state: &State) -> Result<(), Error> {
        let place = self.at(path);
        match state {
            State::File { text, rights } => {
                let file = store::Pending::write(store::Kind::Bootstrap, &place, text.as_bytes())?;
                let owner = self.owner(rights).map_err(|source| Error::File {
                    attempt: "write",
                    path: place.clone(),
                    source,
                })?;
                file.belongs(rights.mode, Some(owner))?;
                Ok(file.commit()?)
            }
            State::Absent => Ok(store::remove(&place)?),
            State::Directory(_) | State::Value(_) | State::Other(_) | State::Unknown(_) => Ok(()),
        }
    }

    /// Removes what a run that was killed had begun to write beside a file.
    pub(super) fn sweep(&self, path: &Path) -> Result<(), Error> {
        let mut beside = self.at(path).into_os_string();
        beside.push(".new");
        Ok(store::remove(Path::new(&beside))?)
    }

    pub(super) fn put_directory(&self, path: &Path, state: &State) -> Result<(), Error> {
        let place = self.at(path);
        let done = match state {
            State::Directory(rights) => self
                .owner(rights)
                .and_then(|owner| make(&place, rights.mode, owner)),
            State::Absent => fs::remove_dir(&place),
            State::File { .. } | State::Value(_) | State::Other(_) | State::Unknown(_) => Ok(()),
        };
        done.map_err(|source| Error::File {
            attempt: if state.is_absent() { "remove" } else { "make" },
            path: place,
            source,
        })
    }
}

fn make(place: &Path, mode: u32, (user, group): (u32, u32)) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(place) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => made?,
    }
    lchown(place, Some(user), Some(group))?;
    fs::set_permissions(place, Permissions::from_mode(mode))
}

/// The number behind a name, in the text of passwd(5) or group(5).
fn number(text: &str, name: &str) -> Option<u32> {
    if name == "root" {
        return Some(0);
    }
    let mut lines = text.lines().map(|line| line.split(':'));
    let mut found = lines.find_map(|mut fields| (fields.next()? == name).then_some(fields))?;
    found.nth(1)?.parse().ok()
}

/// The name of a number there.
fn name(text: &str, number: u32) -> String {
    let digits = number.to_string();
    if number == 0 {
        return "root".to_owned();
    }
    let mut lines = text.lines();
    let found = lines.find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == digits).then(|| name.to_owned())
    });
    found.unwrap_or(digits)
}

fn words(facts: &fs::Metadata, place: &Path) -> String {
    if facts.is_symlink() {
        let to = fs::read_link(place).unwrap_or_default();
        return format!("a symbolic link to {}", to.display());
    }
    let what = if facts.is_dir() {
        "a directory"
    } else if facts.is_file() {
        "a file that is no text"
    } else {
        "neither a file nor a directory"
    };
    what.to_owned()
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// Without `..`, which must not lead out of the root.
fn flat(path: &Path) -> PathBuf {
    let mut flat = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::ParentDir => {
                flat.pop();
            }
            Component::Normal(name) => flat.push(name),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    flat
}
