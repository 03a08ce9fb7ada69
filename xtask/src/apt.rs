//! Packages of any Debian release, from where this machine has its own: downloaded and unpacked, never installed.

use crate::shell::{command, quiet, read};
use anyhow::{Context, Result, ensure};
use ober_programs::{APT_CONFIG, APT_GET, Command, DPKG, Program};
use std::fs;
use std::path::{Path, PathBuf};

/// An apt that knows one release, none of this machine's packages, and leaves this machine's lists alone.
pub(crate) struct Apt {
    directory: PathBuf,
}

impl Apt {
    /// Its lists are fetched into this directory.
    pub(crate) fn of(release: &str, directory: &Path) -> Result<Self> {
        let apt = Self {
            directory: directory.to_owned(),
        };
        for inner in ["lists/partial", "archives/partial"] {
            let inner = directory.join(inner);
            fs::create_dir_all(&inner).with_context(|| format!("make {}", inner.display()))?;
        }
        fs::write(directory.join("status"), "").context("write an empty package status")?;
        let sources = sources(release)?.join("\n") + "\n";
        fs::write(directory.join("sources"), sources).context("write apt's sources")?;
        quiet(apt.beside(&APT_GET).arg("update"))
            .with_context(|| format!("fetch the package lists of Debian {release}"))?;
        Ok(apt)
    }

    /// Downloads a package and all that it needs.
    pub(crate) fn with_all_it_needs(&self, package: &str) -> Result<Vec<PathBuf>> {
        let wish = ["--download-only", "--no-install-recommends", "-y"];
        quiet(self.beside(&APT_GET).arg("install").args(wish).arg(package))?;
        archives(&self.directory.join("archives"))
    }

    pub(crate) fn remove(self) -> Result<()> {
        fs::remove_dir_all(&self.directory)
            .with_context(|| format!("remove {}", self.directory.display()))
    }

    fn beside(&self, program: &Program) -> Command {
        let mut command = command(program);
        for (key, file) in [
            ("Dir::State::lists", "lists"),
            ("Dir::State::status", "status"),
            ("Dir::Cache::archives", "archives"),
            ("Dir::Etc::sourcelist", "sources"),
        ] {
            let option = format!("{key}={}", self.directory.join(file).display());
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
        command
    }
}

/// The packages of a directory.
pub(crate) fn archives(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries =
        fs::read_dir(directory).with_context(|| format!("read {}", directory.display()))?;
    let files: std::io::Result<Vec<PathBuf>> = entries.map(|entry| Ok(entry?.path())).collect();
    let mut files = files.with_context(|| format!("read {}", directory.display()))?;
    files.retain(|file| file.extension().is_some_and(|it| it == "deb"));
    Ok(files)
}

/// Puts the content of a package below this directory.
pub(crate) fn unpack(archive: &Path, into: &Path) -> Result<()> {
    quiet(command(&DPKG).arg("-x").args([archive, into]))
}

/// Where this machine has Debian's packages from, with this release's name in the place of its own.
pub(crate) fn sources(release: &str) -> Result<Vec<String>> {
    let format = "$(ORIGIN) $(COMPONENT) $(CREATED_BY) $(RELEASE) $(REPO_URI)";
    let known = read(command(&APT_GET).args(["indextargets", "--format", format]))?;
    let mut sources: Vec<String> = known
        .lines()
        .filter_map(|line| match line.split(' ').collect::<Vec<_>>()[..] {
            ["Debian", "main", "Packages", ours, uri] => Some((ours, uri)),
            _ => None,
        })
        // `bookworm`, `bookworm-security`: the part behind the name stays.
        .map(|(ours, uri)| {
            let part = ours.find('-').map_or("", |at| &ours[at..]);
            format!("deb {uri} {release}{part} main")
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

/// How this machine's apt reaches its sources.
pub(crate) fn settings() -> Result<String> {
    let known = read(command(&APT_CONFIG).arg("dump"))?;
    let wanted = ["Acquire::http", "Acquire::Check-"];
    let lines = known.lines().filter(|line| {
        wanted.iter().any(|prefix| line.starts_with(prefix)) && !line.ends_with("\"\";")
    });
    Ok(lines.collect::<Vec<_>>().join("\n") + "\n")
}
