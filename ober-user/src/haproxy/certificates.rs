//! The certificates that each worker has, and the delivery of those it lacks, by HAProxy's command socket while it serves.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use crate::{
    certificates::copies::{Copy, Stock},
    config::paths,
    haproxy::{self, ask, health, worker::Pid},
    machine::drive,
};

/// First pause before a refused delivery to a worker is repeated; it doubles each time.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_mins(1);

/// What is known about a certificate in a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Mark {
    /// The worker showed it: the SHA-1 fingerprint of its first certificate, or the serial number when HAProxy's answer
    /// has no fingerprint.
    Shown(String),
    /// The daemon gave it exactly this copy.
    Given(Copy),
}

impl Mark {
    fn is(&self, copy: &Copy) -> bool {
        match self {
            Self::Shown(shown) => *shown == copy.sha1 || *shown == copy.serial,
            Self::Given(given) => given == copy,
        }
    }
}

/// The certificates and lists that a worker has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Holdings {
    copies: BTreeMap<PathBuf, Mark>,
    lists: BTreeMap<PathBuf, BTreeSet<PathBuf>>,
}

/// One command to a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// Makes an empty entry for a copy that the worker does not have.
    Make(PathBuf),
    /// Puts this copy into the entry.
    Put(PathBuf, Copy),
    /// Adds the copy to the list.
    Enlist {
        list: PathBuf,
        copy: PathBuf,
    },
    Delist {
        list: PathBuf,
        copy: PathBuf,
    },
    Drop(PathBuf),
}

/// The steps from what a worker has to what is in stock: additions come before removals. A list that the worker does
/// not have is left out: it belongs to a configuration that the worker does not have.
fn plan(have: &Holdings, stock: &Stock) -> Vec<Step> {
    let (mut steps, mut gone) = (Vec::new(), Vec::new());
    let mut placed: BTreeSet<&PathBuf> = have.copies.keys().collect();
    for (path, copy) in &stock.copies {
        if have.copies.get(path).is_some_and(|mark| !mark.is(copy)) {
            steps.push(Step::Put(path.clone(), copy.clone()));
        }
    }
    for (list, named) in &have.lists {
        let Some(wanted) = stock.lists.get(list) else {
            continue;
        };
        for path in wanted.iter().filter(|path| !named.contains(*path)) {
            if let Some(copy) = stock.copies.get(path).filter(|_| placed.insert(path)) {
                steps.push(Step::Make(path.clone()));
                steps.push(Step::Put(path.clone(), copy.clone()));
            }
            steps.push(Step::Enlist {
                list: list.clone(),
                copy: path.clone(),
            });
        }
        for path in named.iter().filter(|path| !wanted.contains(path)) {
            gone.push(Step::Delist {
                list: list.clone(),
                copy: path.clone(),
            });
        }
    }
    let still: BTreeSet<&PathBuf> = have
        .lists
        .iter()
        .filter(|(list, _)| !stock.lists.contains_key(*list))
        .flat_map(|(_, named)| named)
        .collect();
    let unwanted = have
        .copies
        .keys()
        .filter(|path| !stock.copies.contains_key(*path))
        .filter(|path| !still.contains(path));
    gone.extend(unwanted.cloned().map(Step::Drop));
    steps.extend(gone);
    steps
}

impl Holdings {
    fn took(&mut self, step: Step) {
        match step {
            Step::Make(path) => drop(self.copies.insert(path, Mark::Shown(String::new()))),
            Step::Put(path, copy) => drop(self.copies.insert(path, Mark::Given(copy))),
            Step::Enlist { list, copy } => {
                self.lists.entry(list).or_default().insert(copy);
            }
            Step::Delist { list, copy } => {
                self.lists.entry(list).or_default().remove(&copy);
            }
            Step::Drop(path) => drop(self.copies.remove(&path)),
        }
    }

    /// The certificates and lists in the directory of the copies that a worker shows.
    async fn shown(socket: &Path, directory: &Path) -> io::Result<Self> {
        let ours = |line: &str| {
            let path = Path::new(line.trim());
            path.starts_with(directory).then(|| path.to_owned())
        };
        let copies: Vec<PathBuf> = ask(socket, "show ssl cert")
            .await?
            .lines()
            .filter_map(ours)
            .collect();
        let lists: Vec<PathBuf> = ask(socket, "show ssl crt-list")
            .await?
            .lines()
            .filter_map(ours)
            .collect();
        let mut shown = Self::default();
        let asked = copies
            .iter()
            .map(|path| format!("show ssl cert {}", path.display()));
        for line in health::lines(asked) {
            shown
                .copies
                .extend(fingerprints(&ask(socket, &line).await?));
        }
        for list in lists {
            let answer = ask(socket, &format!("show ssl crt-list {}", list.display())).await?;
            let entries = answer
                .lines()
                .filter_map(|line| ours(line.split(' ').next()?));
            shown.lists.insert(list, entries.collect());
        }
        Ok(shown)
    }
}

/// Reads repeated blocks of `Filename: PATH`, `Serial: HEX` and `SHA1 FingerPrint: HEX`.
fn fingerprints(answer: &str) -> BTreeMap<PathBuf, Mark> {
    let (mut found, mut path) = (BTreeMap::new(), None);
    for line in answer.lines() {
        if let Some(name) = line.strip_prefix("Filename: ") {
            path = Some(PathBuf::from(name.trim()));
            // An empty entry shows only its name.
            found.extend(path.clone().map(|path| (path, Mark::Shown(String::new()))));
        } else if let Some(serial) = line.strip_prefix("Serial: ") {
            found.extend(
                path.clone()
                    .map(|path| (path, Mark::Shown(serial.trim().to_owned()))),
            );
        } else if let Some(sha1) = line.strip_prefix("SHA1 FingerPrint: ") {
            found.extend(
                path.take()
                    .map(|path| (path, Mark::Shown(sha1.trim().to_owned()))),
            );
        }
    }
    found
}

/// Performs a step, and checks the answer that HAProxy gives when it has done it.
async fn perform(socket: &Path, step: &Step) -> io::Result<()> {
    match step {
        Step::Make(path) => {
            tell(
                socket,
                format!("new ssl cert {}", path.display()),
                "New empty",
            )
            .await
        }
        Step::Put(path, copy) => put(socket, path, copy).await,
        Step::Enlist { list, copy } => {
            let command = format!("add ssl crt-list {} {}", list.display(), copy.display());
            tell(socket, command, "Success!").await
        }
        Step::Delist { list, copy } => {
            let command = format!("del ssl crt-list {} {}", list.display(), copy.display());
            tell(socket, command, "deleted").await
        }
        Step::Drop(path) => {
            tell(
                socket,
                format!("del ssl cert {}", path.display()),
                "deleted",
            )
            .await
        }
    }
}

async fn tell(socket: &Path, command: String, good: &str) -> io::Result<()> {
    let answer = ask(socket, &command).await?;
    if answer.contains(good) {
        return Ok(());
    }
    Err(refused(&command, &answer))
}

fn refused(command: &str, answer: &str) -> io::Error {
    // Only the first line: the private key follows it.
    let command = command.lines().next().unwrap_or_default();
    let said = match answer.trim() {
        "" => "nothing: it reads at most 32 KiB at once",
        // Replaces the advice of HAProxy 3.0, which is to enlarge the buffer of every connection.
        said if said.contains("too big for the buffer") => {
            "too big: it reads at most 32 KiB at once"
        }
        said => said,
    };
    io::Error::other(format!("HAProxy says to `{command}`: {said}"))
}

/// Puts a copy by one transaction. HAProxy has one transaction at a time and adds a command for another file to the
/// open one: so its answer must name our file; when it does not, the open transaction is aborted first.
async fn put(socket: &Path, path: &Path, copy: &Copy) -> io::Result<()> {
    let name = path.display().to_string();
    let set = format!("set ssl cert {name} <<\n{}", copy.text);
    // HAProxy would wait for the rest and never answer.
    if set.len() >= haproxy::BUFFER {
        return Err(refused(&set, ""));
    }
    let mut answer = ask(socket, &set).await?;
    if let Some(other) = opened(&answer).filter(|opened| *opened != name) {
        abort(socket, other).await?;
        answer = ask(socket, &set).await?;
    }
    if opened(&answer) != Some(&name) {
        return Err(refused(&set, &answer));
    }
    let committed = tell(socket, format!("commit ssl cert {name}"), "Success!").await;
    if committed.is_err() {
        abort(socket, &name).await?;
    }
    committed
}

/// The file whose transaction is open, from HAProxy's answer. Up to 3.0 HAProxy adds a command for another file to the
/// open transaction and names that transaction's file; since 3.2 it refuses the command.
fn opened(answer: &str) -> Option<&str> {
    if let Some((_, rest)) = answer.split_once("The ongoing transaction is about '") {
        return rest.split_once('\'').map(|(name, _)| name);
    }
    let (_, name) = answer.split_once("for certificate ")?;
    name.trim().strip_suffix('!')
}

async fn abort(socket: &Path, name: &str) -> io::Result<()> {
    ask(socket, &format!("abort ssl cert {name}"))
        .await
        .map(drop)
}

/// The delivery to one worker: what the worker has, and the last failure.
#[derive(Debug, Default)]
pub struct Delivery {
    pid: Option<Pid>,
    /// `None`: not known; the worker must be asked.
    have: Option<Holdings>,
    failures: u32,
    again: Option<Instant>,
    /// Why the worker does not have all certificates, if it does not.
    pub problem: Option<String>,
    /// Certificates that the worker accepted while it served.
    pub taken: u64,
}

impl Delivery {
    /// Delivers to a worker what it lacks of the stock. A worker that does not answer is skipped: the supervision
    /// reports it, and it reads the copies when it starts.
    pub async fn bring(&mut self, run: &Path, worker: usize, stock: &Stock, news: bool) {
        let socket = haproxy::command_socket(run, worker);
        let Ok(pid) = haproxy::who(&socket).await else {
            self.pid = None;
            return;
        };
        let waits = self.again.is_some_and(|again| drive::now() < again);
        if self.pid != Some(pid) {
            self.pid = Some(pid);
            self.have = None;
        } else if waits && !news {
            return;
        }
        let brought = self.tell(run, &socket, stock).await;
        match brought {
            Ok(()) => {
                self.failures = 0;
                self.again = None;
                self.problem = None;
            }
            Err(error) => {
                // The worker is asked again before the next attempt, because it may have accepted a part.
                let pause = PAUSE * 2_u32.saturating_pow(self.failures.min(6));
                self.again = Some(drive::now() + pause.min(PAUSE_MAX));
                self.failures = self.failures.saturating_add(1);
                let problem = error.to_string();
                if self.problem.as_ref() != Some(&problem) {
                    tracing::error!(
                        worker,
                        problem,
                        "a worker does not accept its certificates; they are delivered again"
                    );
                }
                self.problem = Some(problem);
            }
        }
    }

    async fn tell(&mut self, run: &Path, socket: &Path, stock: &Stock) -> io::Result<()> {
        let mut have = match self.have.take() {
            Some(have) => have,
            None => Holdings::shown(socket, &paths::certificates(run)).await?,
        };
        for step in plan(&have, stock) {
            perform(socket, &step).await?;
            self.taken += u64::from(matches!(step, Step::Put(..)));
            have.took(step);
        }
        self.have = Some(have);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy(text: &str) -> Copy {
        Copy {
            text: text.into(),
            serial: format!("{text} number"),
            sha1: text.to_uppercase(),
        }
    }

    /// In the words of HAProxy 2.6, 3.0 and 3.2.
    #[test]
    fn the_open_transaction_is_read_from_every_versions_answer() {
        for (answer, open) in [
            (
                "Transaction created for certificate /a.pem!\n",
                Some("/a.pem"),
            ),
            (
                "Transaction updated for certificate /b.pem!\n",
                Some("/b.pem"),
            ),
            (
                "The ongoing transaction is about '/b.pem' but you are trying to set '/a.pem'\nCan't update /a.pem!\n",
                Some("/b.pem"),
            ),
            ("", None),
        ] {
            assert_eq!(opened(answer), open, "{answer}");
        }
        let long = "The command is too big for the buffer size. Please change tune.bufsize in the configuration";
        for answer in ["", long] {
            let said = refused("set ssl cert /a.pem <<\nsecret", answer).to_string();
            assert!(said.contains("at most 32 KiB"), "{said}");
            assert!(
                !said.contains("tune.bufsize") && !said.contains("secret"),
                "{said}"
            );
        }
    }

    /// One list with these copies, each with its name as its content.
    fn stock(names: &[&str]) -> Stock {
        let paths = names.iter().map(PathBuf::from);
        Stock {
            copies: paths
                .clone()
                .zip(names.iter().map(|name| copy(name)))
                .collect(),
            lists: [("list".into(), paths.collect())].into(),
            ..Stock::default()
        }
    }

    fn having(names: &[&str]) -> Holdings {
        let mut have = Holdings::default();
        have.lists
            .insert("list".into(), names.iter().map(PathBuf::from).collect());
        for name in names {
            have.copies
                .insert(name.into(), Mark::Shown(name.to_uppercase()));
        }
        have
    }

    #[test]
    fn a_worker_with_every_certificate_gets_no_command() {
        assert_eq!(plan(&having(&["a", "b"]), &stock(&["a", "b"])), []);
    }

    #[test]
    fn new_certificates_are_added_before_old_ones_are_removed() {
        let mut have = having(&["a", "old"]);
        have.copies.insert("a".into(), Mark::Shown("OTHER".into()));
        let (list, new, old) = (
            PathBuf::from("list"),
            PathBuf::from("new"),
            PathBuf::from("old"),
        );
        let steps = plan(&have, &stock(&["a", "new"]));
        assert_eq!(
            steps,
            [
                Step::Put("a".into(), copy("a")),
                Step::Make(new.clone()),
                Step::Put(new.clone(), copy("new")),
                Step::Enlist {
                    list: list.clone(),
                    copy: new
                },
                Step::Delist {
                    list,
                    copy: old.clone()
                },
                Step::Drop(old),
            ]
        );
        for step in steps {
            have.took(step);
        }
        assert_eq!(plan(&have, &stock(&["a", "new"])), []);
    }

    #[test]
    fn certificate_lists_of_another_configuration_are_left_unchanged_with_their_copies() {
        let mut have = having(&["a"]);
        have.lists.insert("theirs".into(), ["c".into()].into());
        have.copies.insert("c".into(), Mark::Shown("C".into()));
        let mut stock = stock(&["a"]);
        stock.lists.insert("ours".into(), vec!["d".into()]);
        stock.copies.insert("d".into(), copy("d"));
        assert_eq!(plan(&have, &stock), []);
    }

    #[test]
    fn fingerprints_are_read_from_haproxys_answer() {
        let answer = "Filename: /r/a.pem\nStatus: Used\nSerial: 01\nSHA1 FingerPrint: AB12\nSubject: /CN=a\n\n\
                      Filename: /r/b.pem\nStatus: Empty\n\n\
                      Filename: /r/c.pem\nStatus: Used\nSerial: 02\nSubject Alternative Name: DNS:a, , , \n\n";
        let expected = [
            ("/r/a.pem".into(), Mark::Shown("AB12".into())),
            ("/r/b.pem".into(), Mark::Shown(String::new())),
            ("/r/c.pem".into(), Mark::Shown("02".into())),
        ];
        assert_eq!(fingerprints(answer), expected.into());
    }
}
