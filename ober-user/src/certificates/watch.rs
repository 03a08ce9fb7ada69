//! Notices every change of a file: written, renamed over, or reached by another link. The kernel reports changes of
//! names in directories (inotify(7)), so every directory is watched that has a name on the path to a file.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::{OsStr, OsString},
    fs, io,
    os::fd::{AsFd as _, AsRawFd, RawFd},
    path::{Component, Path, PathBuf},
};

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};
use tokio::io::unix::AsyncFd;

use super::copies::Watched;
use crate::system::pem::bundle::key_beside;

/// The most symbolic links that the kernel follows in a path.
const LINKS: usize = 40;

/// Names in a directory that matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Names {
    All,
    These(BTreeSet<OsString>),
}

/// The names to watch, by directory.
pub type WatchedNames = BTreeMap<PathBuf, Names>;

/// Every directory and name on the paths to these files, their keys and directories.
pub fn watched_names(watched: &Watched) -> WatchedNames {
    let mut watched_names = WatchedNames::new();
    for file in &watched.files {
        follow_links(&mut watched_names, file, LINKS);
        if let Some(key) = key_beside(file) {
            follow_links(&mut watched_names, &key, LINKS);
        }
    }
    for directory in &watched.directories {
        if let Some(real) = follow_links(&mut watched_names, directory, LINKS) {
            watched_names.insert(real, Names::All);
        }
    }
    watched_names
}

/// Notes every name on the path, and returns the real path.
fn follow_links(watched_names: &mut WatchedNames, path: &Path, links: usize) -> Option<PathBuf> {
    let mut at = PathBuf::from("/");
    let mut components = path.components();
    while let Some(component) = components.next() {
        match component {
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
            // There are no links in `at`, so the part before the last `/` is its parent.
            Component::ParentDir => drop(at.pop()),
            Component::Normal(name) => {
                note(watched_names, &at, name);
                let next = at.join(name);
                if let Ok(target) = fs::read_link(&next) {
                    let rest = components.as_path();
                    let onward = at.join(target).join(rest);
                    return links
                        .checked_sub(1)
                        .and_then(|left| follow_links(watched_names, &onward, left));
                }
                at = next;
            }
        }
    }
    Some(at)
}

fn note(watched_names: &mut WatchedNames, directory: &Path, name: &OsStr) {
    let names = watched_names.entry(directory.to_owned());
    if let Names::These(names) = names.or_insert_with(|| Names::These(BTreeSet::new())) {
        names.insert(name.to_owned());
    }
}

/// The kernel's reports of changes.
#[derive(Debug)]
pub struct DirectoryWatch {
    kernel: AsyncFd<Kernel>,
    watched_names: WatchedNames,
    places: BTreeMap<PathBuf, WatchDescriptor>,
}

#[derive(Debug)]
struct Kernel(Inotify);

impl AsRawFd for Kernel {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl DirectoryWatch {
    pub fn new() -> io::Result<Self> {
        let flags = InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC;
        // SAFETY: the value owns its descriptor and keeps it open as long as it is registered.
        let kernel = unsafe { AsyncFd::register(Kernel(Inotify::init(flags)?)) }?;
        Ok(Self {
            kernel,
            watched_names: WatchedNames::new(),
            places: BTreeMap::new(),
        })
    }

    /// Watches these names from now on. A directory that is missing is noticed by its name when it is made.
    pub fn look(&mut self, watched_names: WatchedNames) {
        let kernel = &self.kernel.get_ref().0;
        let gone = |place: &PathBuf| !watched_names.contains_key(place);
        for (_, descriptor) in self.places.extract_if(.., |place, _| gone(place)) {
            // The kernel itself stops watching a directory that is removed, so this may fail.
            if let Err(error) = kernel.rm_watch(descriptor) {
                tracing::debug!(%error, "a directory was not watched any more");
            }
        }
        let flags = AddWatchFlags::IN_ONLYDIR
            | AddWatchFlags::IN_CLOSE_WRITE
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_MOVE
            | AddWatchFlags::IN_ATTRIB
            | AddWatchFlags::IN_DELETE_SELF
            | AddWatchFlags::IN_MOVE_SELF;
        for place in watched_names.keys() {
            // Adding a watch again has no effect, unless there is another directory of that name now.
            match kernel.add_watch(place, flags) {
                Ok(descriptor) => drop(self.places.insert(place.clone(), descriptor)),
                Err(error) => {
                    self.places.remove(place);
                    tracing::debug!(place = %place.display(), %error, "a directory is not watched");
                }
            }
        }
        self.watched_names = watched_names;
    }

    /// Returns when a watched name has changed.
    pub async fn changed(&mut self) -> io::Result<()> {
        loop {
            let mut ready = self.kernel.readable().await?;
            match ready.try_io(|kernel| Ok(kernel.get_ref().0.read_events()?)) {
                Ok(events) => {
                    let events = events?;
                    if events.iter().any(|event| self.matters(event)) {
                        return Ok(());
                    }
                }
                Err(_would_block) => {}
            }
        }
    }

    fn matters(&self, event: &InotifyEvent) -> bool {
        let place = self.places.iter().find(|(_, place)| **place == event.wd);
        let names = place.and_then(|(place, _)| self.watched_names.get(place));
        match (names, &event.name) {
            // An event of the directory itself, or the kernel's queue of events was full.
            (_, None) => true,
            (Some(Names::These(names)), Some(name)) => names.contains(name),
            (Some(Names::All), Some(_)) => true,
            // An event of a directory that is no longer watched.
            (None, Some(_)) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::symlink, time::Duration};

    use tokio::time::timeout;

    use super::*;

    fn names<const N: usize>(names: [&str; N]) -> Names {
        Names::These(names.map(OsString::from).into())
    }

    /// `tls.crt -> ..data/tls.crt`, `..data -> ..1`, as Kubernetes mounts a secret.
    fn mounted(place: &Path) -> PathBuf {
        for number in ["..1", "..2"] {
            fs::create_dir(place.join(number)).unwrap();
            fs::write(place.join(number).join("tls.crt"), number).unwrap();
        }
        symlink("..1", place.join("..data")).unwrap();
        symlink("..data/tls.crt", place.join("tls.crt")).unwrap();
        place.join("tls.crt")
    }

    #[test]
    fn every_name_on_a_path_through_links_is_watched() {
        let directory = tempfile::tempdir().unwrap();
        let home = directory.path().canonicalize().unwrap();
        let file = mounted(&home);
        let watched = Watched {
            files: BTreeSet::from([file]),
            directories: BTreeSet::new(),
        };
        let watched_names = watched_names(&watched);
        assert_eq!(
            watched_names.get(&home),
            Some(&names(["..1", "..data", "tls.crt", "tls.key"]))
        );
        assert_eq!(
            watched_names.get(&home.join("..1")),
            Some(&names(["tls.crt"]))
        );
        assert!(watched_names.contains_key(Path::new("/")));
    }

    #[test]
    fn following_links_in_a_circle_ends() {
        let home = tempfile::tempdir().unwrap();
        symlink("b", home.path().join("a")).unwrap();
        symlink("a", home.path().join("b")).unwrap();
        assert_eq!(
            follow_links(&mut WatchedNames::new(), &home.path().join("a"), LINKS),
            None
        );
    }

    #[tokio::test]
    async fn a_link_that_leads_elsewhere_is_noticed_and_another_name_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let home = directory.path().canonicalize().unwrap();
        let watched = Watched {
            files: BTreeSet::from([mounted(&home)]),
            directories: BTreeSet::new(),
        };
        let mut watch = DirectoryWatch::new().unwrap();
        watch.look(watched_names(&watched));
        fs::write(home.join("other"), "").unwrap();
        let heard = timeout(Duration::from_millis(200), watch.changed()).await;
        assert!(heard.is_err(), "another name does not matter");
        symlink("..2", home.join("..new")).unwrap();
        fs::rename(home.join("..new"), home.join("..data")).unwrap();
        timeout(Duration::from_secs(10), watch.changed())
            .await
            .unwrap()
            .unwrap();
    }
}
