//! Packages of any Debian release, from this machine's mirrors: downloaded and unpacked, never installed.

use crate::shell::{command, quiet, read};
use anyhow::{Context, Result, ensure};
use ober_programs::{APT_CACHE, APT_CONFIG, APT_GET, Command, DPKG, Program};
use std::fs;
use std::path::{Path, PathBuf};

/// This machine's apt; or one for another release, which has none of this machine's packages and its own lists.
pub(crate) struct Apt {
    /// The other release, and the directory of its lists.
    aside: Option<(String, PathBuf)>,
}

impl Apt {
    pub(crate) const fn of_this_machine() -> Self {
        Self { aside: None }
    }

    /// An apt for this release, whose lists are fetched into this directory.
    pub(crate) fn of(release: &str, directory: &Path) -> Result<Self> {
        let apt = Self {
            aside: Some((release.to_owned(), directory.to_owned())),
        };
        for inner in ["lists/partial", "archives/partial"] {
            let inner = directory.join(inner);
            fs::create_dir_all(&inner).with_context(|| format!("make {}", inner.display()))?;
        }
        fs::write(directory.join("status"), "").context("write an empty package status")?;
        let sources = sources(release)?.join("\n") + "\n";
        fs::write(directory.join("sources"), sources).context("write apt's sources")?;
        apt.update()
            .with_context(|| format!("ask for Debian {release}"))?;
        Ok(apt)
    }

    /// Downloads a package and all its dependencies into the directory of this apt.
    pub(crate) fn with_all_it_needs(&self, package: &str) -> Result<Vec<PathBuf>> {
        let wish = ["--download-only", "--no-install-recommends", "-y"];
        quiet(self.beside(&APT_GET).arg("install").args(wish).arg(package))?;
        let aside = self.aside.as_ref();
        let (_, directory) = aside.context("this machine has lists of its own")?;
        archives(&directory.join("archives"))
    }

    /// Downloads a package alone and unpacks it.
    pub(crate) fn bring(&self, package: &str, into: &Path) -> Result<()> {
        let mut download = self.beside(&APT_GET);
        download.args(["-q", "-o", "APT::Sandbox::User=root", "download", package]);
        quiet(download.current_dir(into))?;
        for archive in archives(into)? {
            unpack(&archive, into)?;
            fs::remove_file(&archive).with_context(|| format!("remove {}", archive.display()))?;
        }
        Ok(())
    }

    /// The direct dependencies of a package.
    pub(crate) fn depends(&self, package: &str) -> Result<Vec<String>> {
        let said = read(self.beside(&APT_CACHE).args(["depends", package]))?;
        Ok(dependencies(&said))
    }

    /// The packages whose names match the pattern.
    pub(crate) fn named(&self, pattern: &str) -> Result<Vec<String>> {
        let said = read(
            self.beside(&APT_CACHE)
                .args(["search", "--names-only", pattern]),
        )?;
        let names = said
            .lines()
            .filter_map(|line| line.split_whitespace().next());
        Ok(names.map(str::to_owned).collect())
    }

    pub(crate) fn update(&self) -> Result<()> {
        quiet(self.beside(&APT_GET).args(["-q", "update"])).context("fetch apt's package lists")
    }

    pub(crate) fn remove(self) -> Result<()> {
        self.aside.map_or(Ok(()), |(_, directory)| {
            fs::remove_dir_all(&directory)
                .with_context(|| format!("remove {}", directory.display()))
        })
    }

    fn beside(&self, program: &Program) -> Command {
        let mut command = command(program);
        let Some((release, directory)) = &self.aside else {
            return command;
        };
        for (key, file) in [
            ("Dir::State::lists", "lists"),
            ("Dir::State::status", "status"),
            ("Dir::Cache::archives", "archives"),
            ("Dir::Etc::sourcelist", "sources"),
        ] {
            let option = format!("{key}={}", directory.join(file).display());
            command.args(["-o", &option]);
        }
        for option in [
            "Dir::Etc::sourceparts=-",
            "Dir::Cache::pkgcache=",
            "Dir::Cache::srcpkgcache=",
            "APT::Sandbox::User=root",
        ] {
            command.args(["-o", option]);
        }
        // apt takes packages from backports only when told to.
        command.args(["-o", &format!("APT::Default-Release={release}")]);
        command
    }
}

/// The packages in an answer of `apt-cache depends` that are needed in any case: one of several alternatives begins with a bar.
pub(crate) fn dependencies(said: &str) -> Vec<String> {
    let lines = said.lines();
    let names = lines.filter_map(|line| line.trim().strip_prefix("Depends: "));
    names.map(str::to_owned).collect()
}

/// The package files in a directory.
pub(crate) fn archives(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries =
        fs::read_dir(directory).with_context(|| format!("read {}", directory.display()))?;
    let files: std::io::Result<Vec<PathBuf>> = entries.map(|entry| Ok(entry?.path())).collect();
    let mut files = files.with_context(|| format!("read {}", directory.display()))?;
    files.retain(|file| file.extension().is_some_and(|it| it == "deb"));
    Ok(files)
}

/// Unpacks a package below this directory.
pub(crate) fn unpack(archive: &Path, into: &Path) -> Result<()> {
    quiet(command(&DPKG).arg("-x").args([archive, into]))
}

/// This machine's sources of Debian packages, for this release in place of its own. A release such as `trixie-backports` is
/// added to the release that it belongs to.
pub(crate) fn sources(release: &str) -> Result<Vec<String>> {
    let format = "$(ORIGIN) $(COMPONENT) $(CREATED_BY) $(RELEASE) $(REPO_URI)";
    let known = read(command(&APT_GET).args(["indextargets", "--format", format]))?;
    let (base, addition) = release
        .split_once('-')
        .map_or((release, None), |(base, _)| (base, Some(release)));
    let mut sources: Vec<String> = known
        .lines()
        .filter_map(|line| match line.split(' ').collect::<Vec<_>>()[..] {
            ["Debian", "main", "Packages", ours, uri] => Some((ours, uri)),
            _ => None,
        })
        // `bookworm`, `bookworm-security`: the part after the name stays.
        .flat_map(|(ours, uri)| {
            let part = ours.find('-').map_or("", |at| &ours[at..]);
            let more = addition.filter(|_| part.is_empty());
            let suites = std::iter::once(format!("{base}{part}")).chain(more.map(str::to_owned));
            suites.map(move |suite| format!("deb {uri} {suite} main"))
        })
        .collect();
    sources.sort();
    sources.dedup();
    ensure!(
        !sources.is_empty(),
        "apt has no source of Debian's packages here (`apt-get indextargets` lists what it has)"
    );
    Ok(sources)
}

/// The settings by which this machine's apt reaches its sources.
pub(crate) fn settings() -> Result<String> {
    let known = read(command(&APT_CONFIG).arg("dump"))?;
    let wanted = ["Acquire::http", "Acquire::Check-"];
    let lines = known.lines().filter(|line| {
        wanted.iter().any(|prefix| line.starts_with(prefix)) && !line.ends_with("\"\";")
    });
    Ok(lines.collect::<Vec<_>>().join("\n") + "\n")
}
