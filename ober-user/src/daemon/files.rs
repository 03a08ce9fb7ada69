//! The files of the configuration are replaced by others, all or none as far as a file system can.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, ensure};

use crate::{
    config::{File, Texts, fingerprint},
    system::{
        file,
        store::{self, Batch, Kind, Pending, Placed},
    },
};

/// A replaced file is kept under its name with this behind it.
const OLD: &str = ".old";

/// Files written beside their places.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// Files of `config.d`, after copies of those that they replace.
    more: Vec<Pending>,
    /// Files of `config.d` that are no part of the new configuration.
    gone: Vec<PathBuf>,
    /// The main file, placed last: a node that loses power before has the old one.
    main: Vec<Pending>,
    /// `None`: whatever is in the place of the main file is replaced.
    expected: Option<Expected>,
}

/// The main file as the caller read it.
#[derive(Debug)]
struct Expected {
    place: PathBuf,
    fingerprint: String,
}

impl Expected {
    fn check(&self) -> anyhow::Result<()> {
        let there = match file::read(&self.place, file::Kind::Configuration) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            read => read,
        };
        let there = there.with_context(|| format!("read {}", self.place.display()))?;
        ensure!(
            fingerprint(&there) == self.fingerprint,
            "replace {}: it was changed since this command read it, and stays as it is now; look at it and run the command again",
            self.place.display()
        );
        Ok(())
    }
}

/// Puts a main file in its place, for a command while no daemon runs. `over`: the fingerprint of what it may replace.
pub fn write_main(main: &Path, file: &File, over: String) -> anyhow::Result<()> {
    let files = Files {
        main: replace(main, file)?,
        ..Files::default()
    };
    files.over(main, Some(over))?.place()?.keep();
    Ok(())
}

impl Files {
    /// The main file is replaced only if it has this fingerprint, now and when it is replaced.
    pub(super) fn over(mut self, main: &Path, fingerprint: Option<String>) -> anyhow::Result<Self> {
        let place = main.to_owned();
        self.expected = fingerprint.map(|fingerprint| Expected { place, fingerprint });
        self.expected.as_ref().map_or(Ok(()), Expected::check)?;
        Ok(self)
    }

    /// Writes each file that differs beside its place, and a copy of the one it replaces.
    pub(super) fn prepare(main: &Path, written: &Texts) -> anyhow::Result<Self> {
        let place = |file: &File| match file.path.file_name() {
            Some(name) => main.with_file_name("config.d").join(name),
            None => file.path.clone(),
        };
        let mut files = Self {
            main: replace(main, &written.main)?,
            ..Self::default()
        };
        for file in &written.more {
            files.more.extend(replace(&place(file), file)?);
        }
        let kept: Vec<PathBuf> = written.more.iter().map(place).collect();
        let there = Texts::replaced(main, written.main.clone())?.more;
        let gone = there.into_iter().map(|file| file.path);
        files.gone = gone.filter(|path| !kept.contains(path)).collect();
        Ok(files)
    }

    /// Puts the files in place; those that they replace are kept beside them.
    pub(super) fn place(self) -> anyhow::Result<Replaced> {
        let mut replaced = Replaced {
            main: None,
            gone: Vec::new(),
            more: Some(Batch::from(self.more).place()?),
        };
        for path in self.gone {
            let aside = Aside::put(path)?;
            replaced.gone.push(aside);
        }
        self.expected.as_ref().map_or(Ok(()), Expected::check)?;
        replaced.main = Some(Batch::from(self.main).place()?);
        Ok(replaced)
    }
}

/// The new file for this place and a copy of the one that is there, both beside it; nothing if the file is the same.
fn replace(place: &Path, file: &File) -> anyhow::Result<Vec<Pending>> {
    // A link stays a link.
    let place = &fs::canonicalize(place).unwrap_or_else(|_| place.to_owned());
    let there = file::read(place, file::Kind::Configuration).ok();
    if there.as_deref() == Some(file.text.as_bytes()) {
        return Ok(Vec::new());
    }
    let facts = fs::metadata(place).ok();
    let mode = facts.as_ref().map_or(file.mode, MetadataExt::mode);
    let owner = facts.map(|facts| (facts.uid(), facts.gid()));
    let write = |path: &Path, bytes: &[u8], mode: u32| {
        let mut pending = Pending::write(Kind::Configuration, path, bytes)?;
        pending.belongs(mode & 0o777 | 0o600, owner)?;
        pending.sync()?;
        anyhow::Ok(pending)
    };
    let copy = there.map(|there| write(&old(place), &there, mode));
    // Never more readable than either: it may hold secrets.
    let new = write(place, file.text.as_bytes(), mode & file.mode)?;
    Ok(copy.transpose()?.into_iter().chain([new]).collect())
}

/// Files in their places. Dropped without [`Replaced::keep`] it puts back what was there, the last one first.
#[derive(Debug)]
pub(super) struct Replaced {
    main: Option<Placed>,
    gone: Vec<Aside>,
    more: Option<Placed>,
}

impl Replaced {
    pub(super) fn keep(mut self) {
        self.more.take().into_iter().for_each(Placed::keep);
        self.gone.drain(..).for_each(Aside::keep);
        self.main.take().into_iter().for_each(Placed::keep);
    }
}

/// A file that was moved out of its place. Dropped without [`Aside::keep`] it goes back there.
#[derive(Debug)]
struct Aside {
    path: PathBuf,
    kept: bool,
}

impl Aside {
    fn put(path: PathBuf) -> anyhow::Result<Self> {
        store::rename(&path, &old(&path))
            .with_context(|| format!("put {} aside", path.display()))?;
        Ok(Self { path, kept: false })
    }

    fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        if let Err(error) = store::rename(&old(&self.path), &self.path) {
            tracing::error!(%error, "put a file of config.d back");
        }
    }
}

fn old(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(OLD);
    name.into()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

    use super::*;

    fn file(path: PathBuf, text: &str, mode: u32) -> File {
        let text = text.to_owned();
        File { path, text, mode }
    }

    #[test]
    fn files_are_replaced_and_the_old_ones_kept_aside_with_no_wider_permissions() {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        fs::create_dir(at("config.d")).unwrap();
        for (name, text) in [
            ("real.toml", "old"),
            ("config.d/1.toml", "one"),
            ("config.d/2.toml", "two"),
        ] {
            fs::write(at(name), text).unwrap();
        }
        fs::set_permissions(at("real.toml"), fs::Permissions::from_mode(0o644)).unwrap();
        std::os::unix::fs::symlink(at("real.toml"), at("ober.toml")).unwrap();
        let written = Texts {
            main: file(at("elsewhere.toml"), "new", 0o640),
            more: vec![
                file(at("config.d/2.toml"), "two", 0o600),
                file(at("config.d/3.toml"), "three", 0o600),
            ],
        };
        let files = Files::prepare(&at("ober.toml"), &written).unwrap();
        let read = |name: &str| fs::read_to_string(at(name)).unwrap_or_else(|_| "-".to_owned());
        assert_eq!(
            (read("ober.toml"), read("config.d/1.toml")),
            ("old".into(), "one".into())
        );
        files.place().unwrap().keep();
        let names = [
            "real.toml",
            "real.toml.old",
            "config.d/1.toml",
            "config.d/1.toml.old",
            "config.d/2.toml",
            "config.d/3.toml",
        ];
        assert_eq!(names.map(read), ["new", "old", "-", "one", "two", "three"]);
        assert!(at("ober.toml").is_symlink());
        let mode = fs::metadata(at("real.toml")).unwrap().mode();
        assert_eq!(mode & 0o777, 0o640);
        assert!(
            fs::read_dir(home.path())
                .unwrap()
                .flatten()
                .all(|entry| { !entry.file_name().to_string_lossy().ends_with(".new") })
        );
    }

    #[test]
    fn the_main_file_is_replaced_after_all_other_files_are_written_and_removed() {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        fs::create_dir(at("config.d")).unwrap();
        for name in ["ober.toml", "config.d/1.toml", "config.d/2.toml"] {
            fs::write(at(name), "old").unwrap();
        }
        let written = Texts {
            main: file(at("ober.toml"), "new", 0o600),
            more: vec![file(at("config.d/2.toml"), "new", 0o600)],
        };
        let files = Files::prepare(&at("ober.toml"), &written).unwrap();
        let seen = Inotify::init(InitFlags::IN_NONBLOCK).unwrap();
        for directory in [home.path(), &at("config.d")] {
            let moves = AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_MOVED_FROM;
            seen.add_watch(directory, moves).unwrap();
        }
        files.place().unwrap().keep();
        let names = seen
            .read_events()
            .unwrap()
            .into_iter()
            .filter_map(|event| event.name?.into_string().ok());
        let placed = |name: &String| [".new", ".old"].iter().all(|end| !name.ends_with(end));
        let mut names: Vec<String> = names.filter(placed).collect();
        names.dedup();
        assert_eq!(names, ["2.toml", "1.toml", "ober.toml"]);
    }

    #[test]
    fn prepared_files_that_are_not_committed_leave_the_old_files_unchanged() {
        let home = tempfile::tempdir().unwrap();
        let main = home.path().join("ober.toml");
        fs::write(&main, "old").unwrap();
        let more = Vec::new();
        let written = Texts {
            main: file(main.clone(), "new", 0o600),
            more,
        };
        drop(Files::prepare(&main, &written).unwrap());
        assert_eq!(fs::read_to_string(&main).unwrap(), "old");
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
    }
}
