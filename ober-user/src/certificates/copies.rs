//! The certificates in use. The run directory has a copy of each, which is made from its file when the file is usable
//! and kept when it is not. HAProxy reads only the copies. A copy begins with a line that names its file, for the next
//! daemon.
//!
//! ```text
//! <run>/certificates/s3-443.list          the list of a listener's copies for HAProxy, the default first
//!                    s3-443.default.pem   the certificate for clients whose name no other has
//!                    wild-53c9….pem       the copy of wild.pem
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    directory::{Found, in_directory},
    placeholder,
};
use crate::{
    config::{
        Config, paths,
        sections::tls::{Authorities, Termination},
    },
    system::{
        file::{self, directory},
        pem::{
            bundle::{self, Bundle},
            copy::{STAND_IN, kept},
            facts::{CertificateFacts, Dates},
        },
        store::{self, Kind, Pending},
    },
};

/// A copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    /// The text that HAProxy reads.
    pub text: Arc<str>,
    pub sha1: String,
    pub serial: String,
}

/// A certificate in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateInUse {
    /// The file it was made from.
    pub source: PathBuf,
    pub facts: CertificateFacts,
    /// A problem of it, or of the file that was to replace it.
    pub problem: Option<String>,
    /// `service-port` of every listener that has it; empty for a client certificate, which is shown to servers.
    pub listeners: BTreeSet<String>,
}

/// All certificates in use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stock {
    /// By the path of the copy.
    pub copies: BTreeMap<PathBuf, Copy>,
    /// The copies in each list, the default first, by the path of the list.
    pub lists: BTreeMap<PathBuf, Vec<PathBuf>>,
    /// By the path of the copy.
    pub held: BTreeMap<PathBuf, CertificateInUse>,
    /// Files and directories that cannot be used, and why.
    pub refused: BTreeMap<PathBuf, String>,
    /// The files and directories whose changes matter.
    pub watched: Watched,
}

/// The files and directories from which the stock was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watched {
    pub files: BTreeSet<PathBuf>,
    pub directories: BTreeSet<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}; {fix}", fix = .0.fix())]
    File(#[from] bundle::Error),
    #[error(
        "find a certificate for listener {listener}: there is none that can be used in {}; put a PEM file of chain \
         and key there",
        places.join(", ")
    )]
    Empty {
        listener: String,
        places: Vec<String>,
    },
    #[error("read the directory of certificates {path}: {source}", path = .path.display())]
    Directory { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error("make a certificate to begin with for {names}: {source}")]
    Placeholder { names: String, source: rcgen::Error },
}

/// Reads every file that the configuration names and writes a copy of each usable one. The copy of an unusable file is
/// kept. Fails when a listener has no certificate, or when a named file is unusable and has no copy; if
/// `config.forgiving`, such a file gets a placeholder instead.
pub fn fill(config: &Config, now: u64) -> Result<Stock, Error> {
    filled(config, now, Writes::WhatDiffers)
}

/// The same, but leaves usable copies as they are: HAProxy checks a configuration that may never be in force.
pub fn dry_run(config: &Config, now: u64) -> Result<(), Error> {
    filled(config, now, Writes::WhatIsNew).map(drop)
}

/// The stock that [`fill`] would make. Writes nothing.
pub fn imagine(config: &Config, now: u64) -> Result<Stock, Error> {
    filled(config, now, Writes::Nothing)
}

fn filled(config: &Config, now: u64, writes: Writes) -> Result<Stock, Error> {
    let mut filling = Filling {
        config,
        now,
        writes,
        earlier: earlier(&config.node.run),
        stock: Stock::default(),
    };
    filling.make_directory()?;
    for service in &config.services {
        for listener in &service.listeners {
            if let Some(tls) = listener.protocol.termination() {
                filling.listener(&service.name, &listener.port.to_string(), tls)?;
            }
        }
    }
    let shown = config
        .backends
        .values()
        .filter_map(|backend| backend.tls.as_ref());
    for tls in shown {
        if let Some(source) = &tls.certificate {
            filling.named(source)?;
        }
        if let Some(Authorities::Missing(path)) = &tls.verify {
            let reason = format!("the authorities in {} cannot be read", path.display());
            filling.stand_in(path, reason)?;
        }
    }
    Ok(filling.stock)
}

/// Removes the copies and lists that are no longer in stock.
pub fn sweep(run: &Path, stock: &Stock) {
    for entry in fs::read_dir(paths::certificates(run))
        .into_iter()
        .flatten()
        .flatten()
    {
        let path = entry.path();
        if stock.copies.contains_key(&path) || stock.lists.contains_key(&path) {
            continue;
        }
        if let Err(error) = fs::remove_file(&path) {
            tracing::warn!(path = %path.display(), %error, "remove a certificate that is not in use");
        }
    }
}

/// Removes all copies and lists, for an instance that is removed.
pub fn clear(run: &Path) {
    match fs::remove_dir_all(paths::certificates(run)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(%error, "remove the certificates in the run directory");
        }
        _ => {}
    }
}

/// The sources of the copies in the run directory, which an earlier daemon may have made.
fn earlier(run: &Path) -> BTreeSet<PathBuf> {
    let entries = fs::read_dir(paths::certificates(run))
        .into_iter()
        .flatten()
        .flatten();
    let source = |path: PathBuf| {
        let text = file::text(&path, file::Kind::Own).ok()?;
        let first = text.lines().next()?;
        first.strip_prefix("# ").map(PathBuf::from)
    };
    entries.filter_map(|entry| source(entry.path())).collect()
}

/// The placeholder that is at this path already, if there is one.
fn standing_in(path: &Path) -> Option<Copy> {
    let text = file::text(path, file::Kind::Own).ok()?;
    let bundle = Bundle::parse(path, text.as_bytes()).ok()?;
    let CertificateFacts { sha1, serial, .. } = CertificateFacts::of(path, &bundle).ok()?;
    text.starts_with(STAND_IN).then_some(Copy {
        text: text.into(),
        sha1,
        serial,
    })
}

fn fresh(source: &Path) -> Result<(CertificateFacts, String), bundle::Error> {
    let bundle = Bundle::read(source)?;
    let facts = CertificateFacts::of(source, &bundle)?;
    // A name with a line break must not begin a line.
    let name = source.display().to_string().replace(char::is_control, "?");
    Ok((facts, format!("# {name}\n{}", bundle.pem())))
}

/// Chooses between a file and its copy. Returns the chosen one, with its problem if there is one.
fn choose(
    fresh: Result<(CertificateFacts, String), bundle::Error>,
    kept: Option<(CertificateFacts, String)>,
    now: u64,
) -> Result<(CertificateFacts, String, Option<String>), bundle::Error> {
    let own = |facts: &CertificateFacts| match facts.dates(now) {
        Dates::Valid => None,
        dates => Some(dates.to_string()),
    };
    match (fresh, kept) {
        (Err(error), None) => Err(error),
        (Err(error), Some((facts, text))) => {
            let problem = format!("the previous certificate is kept: {error}; {}", error.fix());
            Ok((facts, text, Some(problem)))
        }
        (Ok((new, _)), Some((facts, text))) if facts != new && !new.replaces(&facts, now) => {
            let problem = format!(
                "the previous certificate is kept: of the new one, {}",
                new.dates(now)
            );
            Ok((facts, text, Some(problem)))
        }
        (Ok((facts, text)), _) => {
            let problem = own(&facts);
            Ok((facts, text, problem))
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writes {
    WhatDiffers,
    /// Only files that are missing or unusable.
    WhatIsNew,
    Nothing,
}

struct Filling<'c> {
    config: &'c Config,
    now: u64,
    writes: Writes,
    earlier: BTreeSet<PathBuf>,
    stock: Stock,
}

impl Filling<'_> {
    fn make_directory(&self) -> Result<(), Error> {
        if self.writes == Writes::Nothing {
            return Ok(());
        }
        let path = paths::certificates(&self.config.node.run);
        directory::make(&path).map_err(|source| store::Error::Write { path, source }.into())
    }

    fn listener(&mut self, service: &str, port: &str, tls: &Termination) -> Result<(), Error> {
        let run = &self.config.node.run;
        let listener = format!("{service}-{port}");
        let list = paths::certificate_list(run, service, port);
        let standard = paths::default_certificate(run, service, port);
        let mut copies = Vec::new();
        for source in &tls.certificates {
            if source.is_dir() || !source.exists() && self.within(source).next().is_some() {
                copies.extend(self.directory(source));
            } else {
                copies.push(self.named(source)?);
            }
        }
        if let Some(source) = tls.issued(&self.config.node.state) {
            self.stock.watched.files.insert(source.clone());
            if source.exists() || self.kept(&source).is_some() {
                copies.extend(self.put(&source));
            }
        }
        for copy in &copies {
            if let Some(held) = self.stock.held.get_mut(copy) {
                held.listeners.insert(listener.clone());
            }
        }
        let valid = |copy: &&PathBuf| {
            let held = self.stock.held.get(*copy);
            held.is_some_and(|held| held.facts.dates(self.now) == Dates::Valid)
        };
        let first = copies
            .iter()
            .find(valid)
            .or(copies.first())
            .and_then(|copy| self.stock.copies.get(copy))
            .cloned();
        let default = match first {
            Some(copy) => copy,
            None => last_resort(&listener, &standard, tls)?,
        };
        self.write(&standard, &default.text)?;
        self.stock.copies.insert(standard.clone(), default);
        let entries: Vec<PathBuf> = [standard].into_iter().chain(copies).collect();
        let text = entries.iter().fold(String::new(), |text, entry| {
            text + &entry.display().to_string() + "\n"
        });
        self.write(&list, &text)?;
        self.stock.lists.insert(list, entries);
        Ok(())
    }

    /// The copy of a file that the configuration names: the file must be usable, or have a copy.
    fn named(&mut self, source: &Path) -> Result<PathBuf, Error> {
        self.stock.watched.files.insert(source.to_owned());
        if let Some(copy) = self.held(source) {
            return Ok(copy);
        }
        match choose(fresh(source), self.kept(source), self.now) {
            Ok(used) => self.hold(source, used),
            Err(error) if self.config.forgiving => {
                self.stand_in(source, format!("{error}; {}", error.fix()))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Writes a placeholder that no client trusts, used until the file is usable: HAProxy would not start without it.
    fn stand_in(&mut self, source: &Path, why: String) -> Result<PathBuf, Error> {
        self.stock.refused.insert(source.to_owned(), why);
        let path = paths::copy(&self.config.node.run, source);
        let made = if let Some(there) = standing_in(&path) {
            there
        } else {
            let made = placeholder::make(&path, &[])?;
            let text = format!("{STAND_IN}\n{}", made.text).into();
            Copy { text, ..made }
        };
        self.write(&path, &made.text)?;
        self.stock.copies.insert(path.clone(), made);
        Ok(path)
    }

    /// The copies of all usable files in a directory.
    fn directory(&mut self, directory: &Path) -> Vec<PathBuf> {
        self.stock.watched.directories.insert(directory.to_owned());
        let found = in_directory(directory).unwrap_or_else(|source| {
            // A directory that cannot be read is not taken for an empty one.
            let error = Error::Directory {
                path: directory.to_owned(),
                source,
            };
            self.stock
                .refused
                .insert(directory.to_owned(), error.to_string());
            let files = self.within(directory).cloned().collect();
            Found {
                files,
                directories: BTreeSet::new(),
            }
        });
        self.stock.watched.directories.extend(found.directories);
        found
            .files
            .iter()
            .filter_map(|file| self.put(file))
            .collect()
    }

    fn within<'s>(&'s self, directory: &'s Path) -> impl Iterator<Item = &'s PathBuf> {
        self.earlier
            .iter()
            .filter(move |source| source.starts_with(directory) && *source != directory)
    }

    /// The copy of a file found in a directory. An unusable one is reported; one without a certificate and its key is
    /// ignored.
    fn put(&mut self, source: &Path) -> Option<PathBuf> {
        self.stock.watched.files.insert(source.to_owned());
        if let Some(copy) = self.held(source) {
            return Some(copy);
        }
        let used = match choose(fresh(source), self.kept(source), self.now) {
            Ok(used) => used,
            Err(bundle::Error::NoKey { .. } | bundle::Error::NoCertificate { .. }) => return None,
            Err(error) => {
                let reason = format!("{error}; {}", error.fix());
                self.stock.refused.insert(source.to_owned(), reason);
                return None;
            }
        };
        match self.hold(source, used) {
            Ok(copy) => Some(copy),
            Err(error) => {
                self.stock
                    .refused
                    .insert(source.to_owned(), error.to_string());
                None
            }
        }
    }

    /// The copy of the file, if it is in stock for another listener already.
    fn held(&self, source: &Path) -> Option<PathBuf> {
        let copy = paths::copy(&self.config.node.run, source);
        self.stock.held.contains_key(&copy).then_some(copy)
    }

    /// Writes a file whole, readable only by its owner, and only if its text differs.
    fn write(&self, path: &Path, text: &str) -> Result<(), store::Error> {
        if self.writes == Writes::Nothing {
            return Ok(());
        }
        let leave = self.writes == Writes::WhatIsNew;
        match file::read(path, file::Kind::Own) {
            Ok(there) if leave && is_usable(path, &there) => Ok(()),
            Ok(there) if there == text.as_bytes() => Ok(()),
            Ok(_) | Err(_) => Pending::write(Kind::Certificate, path, text.as_bytes())?.commit(),
        }
    }

    fn kept(&self, source: &Path) -> Option<(CertificateFacts, String)> {
        kept(&paths::copy(&self.config.node.run, source))
    }

    fn hold(
        &mut self,
        source: &Path,
        used: (CertificateFacts, String, Option<String>),
    ) -> Result<PathBuf, Error> {
        let (facts, text, problem) = used;
        let path = paths::copy(&self.config.node.run, source);
        self.write(&path, &text)?;
        let copy = Copy {
            text: text.into(),
            sha1: facts.sha1.clone(),
            serial: facts.serial.clone(),
        };
        self.stock.copies.insert(path.clone(), copy);
        let held = CertificateInUse {
            source: source.to_owned(),
            facts,
            problem,
            listeners: BTreeSet::new(),
        };
        self.stock.held.insert(path.clone(), held);
        Ok(path)
    }
}

/// Can HAProxy read this copy or list? A damaged one is made anew even for a dry run, because HAProxy would refuse
/// every configuration with it.
fn is_usable(path: &Path, bytes: &[u8]) -> bool {
    if path.extension() != Some("list".as_ref()) {
        return Bundle::parse(path, bytes).is_ok();
    }
    let text = std::str::from_utf8(bytes).unwrap_or_default();
    text.ends_with('\n') && text.lines().all(|entry| Path::new(entry).is_file())
}

/// The certificate of a listener without one: the last it had, or a placeholder until its first is issued.
fn last_resort(listener: &str, standard: &Path, tls: &Termination) -> Result<Copy, Error> {
    if let Some((facts, text)) = kept(standard) {
        return Ok(Copy {
            text: text.into(),
            sha1: facts.sha1,
            serial: facts.serial,
        });
    }
    if tls.acme.is_empty() {
        let places = tls
            .certificates
            .iter()
            .map(|place| place.display().to_string());
        return Err(Error::Empty {
            listener: listener.to_owned(),
            places: places.collect(),
        });
    }
    placeholder::make(standard, &tls.acme)
}

#[cfg(test)]
mod tests {
    use ober_test_support::certificate::{authority, issue};

    use super::*;
    use crate::system::clock;

    const DAY: i64 = 86_400;
    const VALID: (i64, i64) = (-DAY, DAY);

    fn bundle((certificate, key): (String, String)) -> (CertificateFacts, String) {
        let (path, text) = (Path::new("@"), certificate + &key);
        let bundle = Bundle::parse(path, text.as_bytes()).unwrap();
        (CertificateFacts::of(path, &bundle).unwrap(), bundle.pem())
    }

    fn broken() -> bundle::Error {
        bundle::Error::NoKey { path: "@".into() }
    }

    #[test]
    fn a_good_certificate_file_is_used_else_its_copy_and_the_fault_is_reported() {
        let (ours, now) = (authority("ours"), clock::seconds());
        let new = |dates| bundle(issue(&ours, "s3.test", dates));
        let (old, good, over, early) = (
            new(VALID),
            new(VALID),
            new((-9 * DAY, -DAY)),
            new((DAY, 9 * DAY)),
        );
        for (fresh, kept, used, said) in [
            (Ok(good.clone()), None, Some(&good), ""),
            (Ok(good.clone()), Some(old.clone()), Some(&good), ""),
            (
                Ok(over.clone()),
                Some(old.clone()),
                Some(&old),
                "the previous certificate is kept: of the new one, it has been expired for 1 d",
            ),
            (
                Ok(early.clone()),
                Some(old.clone()),
                Some(&old),
                "it is valid only in",
            ),
            // An expired one is better than none, and than one that expired earlier.
            (
                Ok(over.clone()),
                None,
                Some(&over),
                "it has been expired for 1 d",
            ),
            (Ok(good.clone()), Some(over.clone()), Some(&good), ""),
            (
                Err(broken()),
                Some(old.clone()),
                Some(&old),
                "the previous certificate is kept: certificate @ holds no private key",
            ),
            (Err(broken()), None, None, ""),
        ] {
            match (choose(fresh, kept, now), used) {
                (Ok((facts, text, problem)), Some(used)) => {
                    assert_eq!((&facts, &text), (&used.0, &used.1));
                    let problem = problem.unwrap_or_default();
                    assert!(
                        problem.contains(said) && problem.is_empty() == said.is_empty(),
                        "{problem}"
                    );
                }
                (Err(_), None) => {}
                (chosen, used) => panic!("{chosen:?} {used:?}"),
            }
        }
    }
}
