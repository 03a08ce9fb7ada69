//! The package files that lead back.

use std::{
    fs,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use super::{Manager, Offer, Package, apt};
use crate::host::{Error, Host, platform::Platform, root::Root};

/// Where they are. What `apt-get clean` removes could not be put back.
pub(super) const CACHE: &str = "/var/cache/ober";
/// Where a file is until it is whole.
const ARRIVALS: &str = "/var/cache/ober/arrivals";
/// Where apt leaves those that it has downloaded.
const ARCHIVES: &str = "/var/cache/apt/archives";

fn failed(attempt: &'static str, path: &str, source: std::io::Error) -> Error {
    Error::File {
        attempt,
        path: path.into(),
        source,
    }
}

pub(super) fn home(root: &Root) -> Result<(), Error> {
    let place = root.at(CACHE);
    let made = fs::DirBuilder::new()
        .mode(0o755)
        .recursive(true)
        .create(place);
    made.map_err(|source| failed("make", CACHE, source))
}

/// Is this the name of that version's file?
fn is_of(name: &str, manager: Manager, package: Package, version: &str) -> bool {
    let (package, version) = (package.name(), version);
    let begin = match manager {
        Manager::Apt => format!("{package}_{}_", apt::in_file_name(version)),
        // An epoch is not in the name.
        Manager::Dnf => {
            let version = version.split_once(':').map_or(version, |it| it.1);
            format!("{package}-{version}.")
        }
    };
    name.starts_with(&begin) && name.ends_with(manager.end())
}

/// The file of a version, if it is in this directory.
fn find(
    root: &Root,
    directory: &str,
    manager: Manager,
    package: Package,
    version: &str,
) -> Result<Option<PathBuf>, Error> {
    let names = root.names(directory)?.into_iter();
    let mut found = names.filter(|name| is_of(name, manager, package, version));
    Ok(found.next().map(|name| PathBuf::from(directory).join(name)))
}

/// The file of a version in the cache: from there, from apt's own, or downloaded.
pub(super) async fn fetch<M: Platform>(
    host: &Host<M>,
    manager: Manager,
    package: Package,
    version: &str,
) -> Result<PathBuf, Error> {
    let look = |directory| find(&host.root, directory, manager, package, version);
    if let Some(file) = look(CACHE)? {
        return Ok(file);
    }
    // What is written half is never taken for a file that leads back.
    let arrivals = host.root.at(ARRIVALS).display().to_string();
    host.order(&["rm", "-rf", &arrivals]).await?;
    host.order(&["mkdir", "--mode=755", &arrivals]).await?;
    if let Some(file) = look(ARCHIVES)? {
        let from = host.root.at(&file).display().to_string();
        host.order(&["cp", &from, &arrivals]).await?;
        return keep(host, &file).await;
    }
    let (name, begin) = (package.name(), format!("--chdir={arrivals}"));
    let exact = match manager {
        Manager::Apt => format!("{name}={version}"),
        Manager::Dnf => format!("{name}-{version}"),
    };
    let words = match manager {
        Manager::Apt => vec!["env", &begin, "apt-get", "--quiet", "download", &exact],
        Manager::Dnf => vec!["dnf", "download", "--destdir", &arrivals, &exact],
    };
    host.order(&words).await?;
    let file = look(ARRIVALS)?.ok_or_else(|| Error::Command {
        command: words.join(" "),
        why: format!("no file of {name} {version} is in {ARRIVALS} after it"),
    })?;
    if manager == Manager::Dnf {
        // `dnf download` does not look at signatures, and rpm installs a package of a key that it does not know. apt has judged the
        // file by its repository.
        let place = host.root.at(&file).display().to_string();
        host.order(&["rpm", "--checksig", &place]).await?;
    }
    keep(host, &file).await
}

/// Moves the file of this name that has arrived, whole and on disk, to those that lead back.
async fn keep<M: Platform>(host: &Host<M>, file: &Path) -> Result<PathBuf, Error> {
    let root = &host.root;
    let name = file.file_name().unwrap_or_default();
    let arrived = root.at(Path::new(ARRIVALS).join(name));
    host.order(&["sync", &arrived.display().to_string()])
        .await?;
    let kept = Path::new(CACHE).join(name);
    let moved = || {
        fs::rename(&arrived, root.at(&kept))?;
        fs::remove_dir_all(root.at(ARRIVALS))
    };
    match moved() {
        Ok(()) => Ok(kept),
        Err(source) => Err(failed("keep", &kept.display().to_string(), source)),
    }
}

/// Removes the files of other versions than the two of the offer.
pub(super) fn tidy(root: &Root, manager: Manager, offer: &Offer) -> Result<(), Error> {
    let separator = if manager == Manager::Apt { '_' } else { '-' };
    let begin = format!("{}{separator}", offer.package.name());
    for name in root.names(CACHE)? {
        let mut versions = [&offer.installed, &offer.candidate].into_iter();
        let wanted = versions.any(|it| is_of(&name, manager, offer.package, it));
        if name.starts_with(&begin) && name.ends_with(manager.end()) && !wanted {
            let place = PathBuf::from(CACHE).join(&name);
            let removed = fs::remove_file(root.at(&place));
            removed.map_err(|source| failed("remove", &place.display().to_string(), source))?;
        }
    }
    Ok(())
}
