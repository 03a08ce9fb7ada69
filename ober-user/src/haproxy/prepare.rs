//! Makes files for the workers from a configuration. No file that a running worker uses is changed before HAProxy has
//! accepted the new ones. [`validate`] only asks HAProxy about the text: it reads certificates and keys from files in
//! memory without a name, so none is left behind, however this process ends.

use std::{
    collections::BTreeSet,
    io,
    os::fd::{AsRawFd as _, OwnedFd},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::time::timeout;

use super::{
    Error,
    render::{Rendered, WorkerContext, render},
    sockets::{Key, Set, complete, keys},
    version,
    worker::{Generation, adopt, process::Launch, world::LaunchOrder},
};
use crate::{
    backends::server::Servers,
    certificates::{
        acme,
        copies::{self, Stock},
    },
    config::{
        Config,
        paths::{self, Files},
    },
    system::{
        child::{self, Child, output::Ended},
        clock,
        file::{self, memory},
        hash,
        pem::facts::Dates,
        store::{Kind, Pending},
    },
};

const PATIENCE: Duration = Duration::from_secs(30);
/// The most output of HAProxy that is read, in bytes. It writes one line for each fault it finds.
const MOST: usize = 1 << 20;

/// Stands for the directories of an instance: not even root can make a file there.
const NOWHERE: &str = "/proc/ober";
/// The name of the text in HAProxy's messages.
const TEXT: &str = "worker-0.cfg";
/// The most lines of the text that are shown.
const LINES: usize = 5;

/// One order for each worker, with its file in place and accepted by HAProxy.
pub(super) async fn prepare(
    config: &Config,
    servers: &Servers,
    sets: &[Set],
) -> Result<Vec<LaunchOrder>, Error> {
    let drafts = draft(config, servers, sets).await?;
    // A worker reads the certificates when it starts; later changes are delivered by its command socket.
    away(config, |config| copies::fill(config, clock::seconds())).await?;
    let run = &config.node.run;
    adopt::make_root(run).map_err(|source| Error::Write {
        path: run.clone(),
        source,
    })?;
    for (text, order) in &drafts {
        write(&order.launch.file, text)?;
    }
    Ok(drafts.into_iter().map(|(_, order)| order).collect())
}

/// One order for each worker with its text, accepted by HAProxy. It leaves no files except copies of new certificates,
/// which are removed a minute later when they are not in use.
pub(super) async fn draft(
    config: &Config,
    servers: &Servers,
    sets: &[Set],
) -> Result<Vec<(String, LaunchOrder)>, Error> {
    version::suits(config).await?;
    away(config, |config| copies::dry_run(config, clock::seconds())).await?;
    let thumbprint = match away(config, acme::thumbprint).await {
        // No certificate can be issued, which is reported with the certificate.
        Err(_) if config.forgiving => None,
        thumbprint => thumbprint?,
    };
    let confines = child::may_confine();
    let drafts = {
        let (config, servers, sets) = (config.clone(), servers.clone(), sets.to_vec());
        let written = move || written(&config, &servers, &sets, thumbprint.as_deref(), confines);
        let written = tokio::task::spawn_blocking(written).await;
        written.map_err(|source| Error::Ended { source })??
    };
    // The texts differ only in numbers; the last one has the longest paths.
    if let Some((text, order)) = drafts.last() {
        let candidate = paths::candidate(&config.node.run);
        let haproxy = &config.workers.haproxy;
        accepted(haproxy, &candidate, text, &order.launch).await?;
    }
    Ok(drafts)
}

/// The order and text of each worker. Slow with thousands of servers.
fn written(
    config: &Config,
    servers: &Servers,
    sets: &[Set],
    thumbprint: Option<&str>,
    confines: bool,
) -> Result<Vec<(String, LaunchOrder)>, Error> {
    let (keys, haproxy) = (keys(config), &config.workers.haproxy);
    let mut drafts = Vec::new();
    for (worker, (cpu, set)) in config.workers.cpus.iter().zip(sets).enumerate() {
        let files = Files::new(&config.node.run, worker);
        let root = files.root();
        let place = WorkerContext {
            worker,
            cpu: *cpu,
            cli: &files.cli(),
            stats: &files.stats(),
            root: confines.then_some(root.as_path()),
            thumbprint,
        };
        let Rendered { text, left_out } = render(config, servers, place)?;
        // The same servers are left out in every worker.
        for error in left_out.iter().filter(|_| worker == 0) {
            tracing::warn!(%error, "a server is left out");
        }
        // The path of the program is part of the text, because the generation is a hash of the text alone.
        let text = format!("# For {}.\n{text}", haproxy.display());
        let generation = Generation(hash::fnv1a(text.bytes()));
        let launch = Launch {
            generation,
            haproxy: haproxy.clone(),
            file: files.config(generation.0),
            cpu: *cpu,
            sockets: in_order(&keys, set),
        };
        let keys = keys.clone();
        drafts.push((text, LaunchOrder { launch, keys }));
    }
    Ok(drafts)
}

/// Reads certificates and keys on another thread, so that a slow file system does not block the daemon.
async fn away<T: Send + 'static, E: Send + 'static>(
    config: &Config,
    read: impl FnOnce(&Config) -> Result<T, E> + Send + 'static,
) -> Result<T, Error>
where
    Error: From<E>,
{
    let config = config.clone();
    let done = file::away(PATIENCE, move || read(&config)).await;
    Ok(done.map_err(Error::Unread)??)
}

fn in_order(keys: &[Key], set: &Set) -> Vec<Arc<OwnedFd>> {
    keys.iter()
        .filter_map(|key| set.get(key).cloned())
        .collect()
}

async fn accepted(haproxy: &Path, file: &Path, text: &str, launch: &Launch) -> Result<(), Error> {
    write(file, text)?;
    let child = launch.child(&["-c", "-f"]).arguments([file]);
    let ended = said(haproxy, &child, PATIENCE).await?;
    if ended.exit.success() {
        let path = file.to_owned();
        return std::fs::remove_file(file).map_err(|source| Error::Write { path, source });
    }
    let words = [ended.out, ended.errors].concat();
    Err(Error::Refused {
        file: PathBuf::from(file),
        words: String::from_utf8_lossy(&words).trim().to_owned(),
    })
}

/// Runs HAProxy and returns its output.
pub(super) async fn said(
    haproxy: &Path,
    child: &Child,
    patience: Duration,
) -> Result<Ended, Error> {
    let ended = timeout(patience, child.output(MOST)).await;
    let ended = ended.map_err(io::Error::from).and_then(|ended| Ok(ended?));
    ended.map_err(|source| Error::not_run(haproxy, source))
}

/// Writes a text to a file, whole or not at all. A file that has the text already is not written, so a full disk does
/// not matter.
fn write(path: &Path, text: &str) -> Result<(), Error> {
    if file::read(path, file::Kind::Own).is_ok_and(|there| there == text.as_bytes()) {
        return Ok(());
    }
    let written = Pending::write(Kind::WorkerText, path, text.as_bytes());
    let placed = written.and_then(Pending::commit);
    placed.map_err(|error| Error::Write {
        path: path.to_owned(),
        source: error.into(),
    })
}

/// The same configuration in directories where nothing is and nothing can be made.
fn nowhere(config: &Config) -> Config {
    let mut imagined = config.clone();
    imagined.node.run = NOWHERE.into();
    imagined.node.state = NOWHERE.into();
    imagined
}

/// The certificates that the configuration names and that clients refuse today, and whether they are expired or early.
pub async fn out_of_date(config: &Config) -> Result<Vec<(PathBuf, Dates)>, Error> {
    let now = clock::seconds();
    let stock = away(&nowhere(config), move |config| copies::imagine(config, now)).await?;
    let held = stock.held.into_values();
    let dated = held.map(|held| {
        let dates = held.facts.dates(now);
        (held.source, dates)
    });
    Ok(dated.filter(|(_, dates)| *dates != Dates::Valid).collect())
}

/// Renders the configuration without its servers, whose names would have to be resolved, and lets HAProxy check it.
pub async fn validate(config: &Config) -> Result<(), Error> {
    version::suits(config).await?;
    let keys = keys(config);
    let sockets =
        complete(&keys, &Set::new()).map_err(|source| Error::Sockets { worker: 0, source })?;
    let imagined = nowhere(config);
    let stock = away(&imagined, |config| {
        copies::imagine(config, clock::seconds())
    })
    .await?;
    let thumbprint = thumbprint(config).await?;
    let files = Files::new(&config.node.run, 0);
    let place = WorkerContext {
        worker: 0,
        cpu: 0,
        cli: &files.cli(),
        stats: &files.stats(),
        root: Some(&files.root()),
        thumbprint: thumbprint.as_deref(),
    };
    let servers: Servers = config
        .backends
        .keys()
        .map(|name| (name.clone(), Vec::new()))
        .collect();
    let text = render(&imagined, &servers, place)?.text;
    let launch = Launch {
        generation: Generation(0),
        haproxy: config.workers.haproxy.clone(),
        file: files.root(),
        cpu: 0,
        sockets: keys
            .iter()
            .filter_map(|key| sockets.get(key).cloned())
            .collect(),
    };
    ask(&launch, &stock, &text).await
}

/// The thumbprint of the configured account key. A key that the daemon makes itself is not made for this: a placeholder
/// is returned.
async fn thumbprint(config: &Config) -> Result<Option<String>, Error> {
    match &config.acme {
        Some(acme) if acme.by_http() && acme.account_key.is_none() => {
            Ok(Some("thumbprint".to_owned()))
        }
        Some(_) | None => away(config, acme::thumbprint).await,
    }
}

async fn ask(launch: &Launch, stock: &Stock, text: &str) -> Result<(), Error> {
    let unwritten = |source| Error::Write {
        path: TEXT.into(),
        source,
    };
    let memory = Memory::of(stock, text).map_err(unwritten)?;
    let child = launch.child(&["-c", "-f"]).arguments([memory.text()]);
    let files = memory.files.iter();
    let child = files.fold(child, |child, file| child.inherit(Arc::clone(&file.fd)));
    let ended = said(&launch.haproxy, &child, PATIENCE).await?;
    if ended.exit.success() {
        return Ok(());
    }
    let words = [ended.out, ended.errors].concat();
    let words = memory.in_words(String::from_utf8_lossy(&words).trim());
    Err(Error::RefusedText {
        words: excerpt(&words, text),
    })
}

/// HAProxy's messages, and the lines of the text that they name.
fn excerpt(said: &str, text: &str) -> String {
    let mark = format!("{TEXT}:");
    let after = said.split(&mark).skip(1);
    let number = |rest: &str| {
        let end = rest.find(|letter: char| !letter.is_ascii_digit());
        rest.get(..end.unwrap_or(rest.len()))?.parse().ok()
    };
    let numbers: BTreeSet<usize> = after.filter_map(number).collect();
    let lines = numbers.into_iter().take(LINES).filter_map(|number| {
        let line = text.lines().nth(number.checked_sub(1)?)?;
        Some(format!("\n  {TEXT}:{number}: {}", line.trim()))
    });
    lines.fold(said.to_owned(), |words, line| words + &line)
}

/// A file without a name.
struct Nameless {
    fd: Arc<OwnedFd>,
    /// The path the file would have.
    name: String,
    /// The name that messages show.
    known: String,
}

/// Every file that HAProxy reads; the text is the last.
struct Memory {
    files: Vec<Nameless>,
}

impl Memory {
    fn of(stock: &Stock, text: &str) -> io::Result<Self> {
        let mut memory = Self { files: Vec::new() };
        for (path, copy) in &stock.copies {
            let held = stock.held.get(path);
            let source = held.map_or(path.as_path(), |held| &held.source);
            memory.add(path, &source.display().to_string(), &copy.text)?;
        }
        for (path, copies) in &stock.lists {
            let lines = copies.iter().map(|copy| format!("{}\n", copy.display()));
            let lines = memory.by_number(&lines.collect::<String>());
            let known = path.file_name().unwrap_or_default().to_string_lossy();
            memory.add(path, &known, &lines)?;
        }
        let text = memory.by_number(text);
        memory.add(Path::new(TEXT), TEXT, &text)?;
        Ok(memory)
    }

    fn add(&mut self, name: &Path, known: &str, text: &str) -> io::Result<()> {
        self.files.push(Nameless {
            fd: Arc::new(memory::file(text.as_bytes())?),
            name: name.display().to_string(),
            known: known.to_owned(),
        });
        Ok(())
    }

    /// The path by which HAProxy reads the text.
    fn text(&self) -> String {
        self.files.last().map(Nameless::path).unwrap_or_default()
    }

    fn by_number(&self, text: &str) -> String {
        let files = self.files.iter();
        files.fold(text.to_owned(), |text, file| {
            text.replace(&file.name, &file.path())
        })
    }

    /// Replaces paths by the names that messages show. The highest numbers come first, because their paths begin with
    /// those of lower ones.
    fn in_words(&self, said: &str) -> String {
        let mut files: Vec<&Nameless> = self.files.iter().collect();
        files.sort_by_key(|file| std::cmp::Reverse(file.fd.as_raw_fd()));
        files.iter().fold(said.to_owned(), |said, file| {
            said.replace(&file.path(), &file.known)
        })
    }
}

impl Nameless {
    fn path(&self) -> String {
        memory::path(&self.fd)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_that_haproxy_names_are_shown_once_each() {
        let said =
            "[ALERT] : parsing [worker-0.cfg:2] : no; [worker-0.cfg:2] again\n[worker-0.cfg:9]";
        let shown = excerpt(said, "global\n  nonsense here\nend\n");
        assert_eq!(shown, format!("{said}\n  worker-0.cfg:2: nonsense here"));
        assert_eq!(excerpt("nothing", "text"), "nothing");
    }

    #[test]
    fn haproxy_gets_numbered_files_and_messages_to_the_operator_name_the_originals() {
        let copy = |text: &str| copies::Copy {
            text: text.into(),
            sha1: String::new(),
            serial: String::new(),
        };
        let at = |name: &str| Path::new("/nowhere/certificates").join(name);
        let stock = Stock {
            copies: [(at("a.pem"), copy("key"))].into(),
            lists: [(at("s3-443.list"), vec![at("a.pem")])].into(),
            ..Stock::default()
        };
        let text = format!("bind fd@1 crt-list {}\n", at("s3-443.list").display());
        let memory = Memory::of(&stock, &text).unwrap();
        let read = |number: usize| {
            let path = memory.files[number].path();
            (std::fs::read_to_string(&path).unwrap(), path)
        };
        let (key, copy) = read(0);
        let (list, list_path) = read(1);
        let (text, _) = read(2);
        assert_eq!((key, list), ("key".to_owned(), format!("{copy}\n")));
        assert_eq!(text, format!("bind fd@1 crt-list {list_path}\n"));
        let said = format!("cannot read {copy} of {list_path} in [{}:1]", memory.text());
        assert_eq!(
            memory.in_words(&said),
            "cannot read /nowhere/certificates/a.pem of s3-443.list in [worker-0.cfg:1]"
        );
    }
}
