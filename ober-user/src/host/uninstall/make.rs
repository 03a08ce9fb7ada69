//! The steps that change files, units and packages.

use std::{fs, io, path::Path};

use super::{CACHE, CONFIGURATION, MADE, Owner, PINS, RUN, STATE, Step, TABLE, is_toml};
use crate::host::{Error, Host, parts::packages::Manager, platform::Platform};

/// Does one step. Those of a daemon's instance and of a record are not done here.
pub async fn make<M: Platform>(host: &Host<M>, step: &Step) -> Result<(), Error> {
    match step {
        Step::Stop { units, disable } => stop(host, units, *disable).await,
        Step::RemoveConfiguration => configuration(host),
        Step::Package { owner, keep } => package(host, owner, *keep).await,
        Step::Files => files(host).await,
        Step::RemoveState => [STATE, CACHE, RUN]
            .into_iter()
            .try_for_each(|place| whole(&host.root.at(place))),
        Step::Detach(_) | Step::NoneLeft | Step::Undo { .. } => Ok(()),
    }
}

async fn stop<M: Platform>(host: &Host<M>, units: &[String], disable: bool) -> Result<(), Error> {
    let mut words = if disable {
        vec!["systemctl", "disable", "--now"]
    } else {
        vec!["systemctl", "stop"]
    };
    words.extend(units.iter().map(String::as_str));
    host.order(&words).await.map(drop)
}

/// Fails if an instance has pins and `runs`, which is given their directory. Removes the common directory once it is empty.
pub fn none_left<M: Platform>(host: &Host<M>, runs: impl Fn(&Path) -> bool) -> Result<(), Error> {
    let place = host.root.at(PINS);
    let mut names = host.root.names(PINS)?;
    if names.is_empty() {
        return removed(&place, fs::remove_dir(&place));
    }
    names.retain(|name| runs(&place.join(name)));
    if names.is_empty() {
        return Ok(());
    }
    Err(Error::Instances {
        names: names.join(", "),
        directory: PINS,
    })
}

/// What an earlier run has removed is no failure.
fn removed(place: &Path, result: io::Result<()>) -> Result<(), Error> {
    match result {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(Error::File {
            attempt: "remove",
            path: place.to_owned(),
            source,
        }),
        _ => Ok(()),
    }
}

fn file(place: &Path) -> Result<(), Error> {
    removed(place, fs::remove_file(place))
}

/// A directory with all that is in it.
fn whole(place: &Path) -> Result<(), Error> {
    removed(place, fs::remove_dir_all(place))
}

/// What the program reads or has written; keys and certificates are the administrator's.
fn configuration<M: Platform>(host: &Host<M>) -> Result<(), Error> {
    let at = |name: &str| host.root.at(Path::new(CONFIGURATION).join(name));
    for name in host.root.names(CONFIGURATION)? {
        if is_toml(&name) || name.ends_with(".toml.old") {
            file(&at(&name))?;
        }
    }
    whole(&at("config.d"))
}

async fn package<M: Platform>(host: &Host<M>, owner: &Owner, keep: bool) -> Result<(), Error> {
    let words = match owner {
        Owner::Deb(name) => Manager::Apt.remove(name, keep),
        Owner::Rpm(name) => Manager::Dnf.remove(name, keep),
        Owner::Table | Owner::Nothing => return Ok(()),
    };
    host.order_whole(&words).await
}

/// The files of the archive; its table last, so that a run that fails half way can be run again.
async fn files<M: Platform>(host: &Host<M>) -> Result<(), Error> {
    let systemd = host.machine.exists("/run/systemd/system");
    if systemd {
        host.order(&["systemctl", "stop", "ober.slice"]).await?;
    }
    let table = host.root.read(TABLE)?.unwrap_or_default();
    // A line that leads elsewhere was not written by install.sh.
    let ours = |line: &&str| line.starts_with("/usr/") && !line.contains("/../");
    for line in table.lines().filter(ours) {
        file(&host.root.at(line))?;
    }
    if systemd {
        host.order(&["systemctl", "daemon-reload"]).await?;
    }
    let made = host.root.read(MADE)?.unwrap_or_default();
    file(&host.root.at(MADE))?;
    file(&host.root.at(TABLE))?;
    // The innermost come first.
    for directory in made.lines().filter(ours) {
        let place = host.root.at(directory);
        match fs::remove_dir(&place) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
            result => removed(&place, result)?,
        }
    }
    Ok(())
}
