//! Turns names into addresses: first what Slurm says about a node, then /etc/hosts and the DNS, in the order of nsswitch.conf.
//!
//! Each address family has its own question. When one fails, the name keeps its old addresses of that family and the failure is
//! reported. A name's time limit begins with its question, and a question that is given up leaves nothing behind, so names
//! without an answer do not delay others.
//!
//! `conf` and `hosts` read this machine's files, `dns/` asks name servers one question, `system` asks the C library for
//! services that only it knows. A failed question never makes a name one without addresses.

mod conf;
pub mod dns;
mod hosts;
mod system;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::{StreamExt, stream};
use hickory_proto::rr::RecordType;
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{Instant, timeout_at},
};

pub use self::conf::Conf;
use self::{
    conf::{Service, Switch},
    dns::Client,
    hosts::Hosts,
};
use crate::{
    names::{
        notation::{Miss, ends_in_number},
        slurm::{NodeAddrs, Says},
    },
    system::file,
};

/// How names are resolved.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolve {
    /// Pause between two rounds; zero: only on request.
    pub interval: Duration,
    /// Time limit of one name.
    pub timeout: Duration,
    /// Names resolved at a time.
    pub concurrency: usize,
    /// A `slurm.conf` whose `NodeAddr` wins over the name service.
    pub slurm_conf: Option<PathBuf>,
}

/// Names resolved at a time by lists, backends and their sources together: each needs a socket for each family and name server.
const MOST: u16 = 512;
static AT_ONCE: Semaphore = Semaphore::const_new(MOST as usize);
/// Time limit for reading the resolver's files.
const PATIENCE: Duration = Duration::from_secs(5);

/// Every name with its addresses, sorted, at least one. IPv4 mapped into IPv6 is IPv4.
pub type Names = BTreeMap<String, Vec<IpAddr>>;

/// Why a name has no address, or none of one family.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    #[error("not found")]
    NotFound,
    #[error("no answer in time")]
    Timeout,
    /// The other family has an answer.
    #[error("its {family} addresses are not known: {why}")]
    Half { family: &'static str, why: Box<Why> },
    #[error("{0}")]
    Other(String),
}

/// What the questions for a name found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    found: BTreeSet<IpAddr>,
    /// Why each family may have further addresses; `None`: its answer is complete.
    v4: Option<Why>,
    v6: Option<Why>,
}

impl Answer {
    /// The name has exactly these addresses.
    pub fn all(addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        let found = addresses.into_iter().map(|it| it.to_canonical()).collect();
        Self {
            found,
            ..Self::default()
        }
    }

    /// No question was answered.
    pub fn failed(why: Why) -> Self {
        Self {
            v4: Some(why.clone()),
            v6: Some(why),
            ..Self::default()
        }
    }

    /// The addresses of the name now, when it had `old`, and the failure if one is left. A name for which nothing was found
    /// keeps all its old addresses.
    fn with(&self, old: &[IpAddr]) -> (Vec<IpAddr>, Option<Why>) {
        let why = self.v4.as_ref().or(self.v6.as_ref());
        if self.found.is_empty() {
            let why = why.cloned().unwrap_or(Why::NotFound);
            return (old.to_vec(), Some(why));
        }
        let unsure = |address: &&IpAddr| match address {
            IpAddr::V4(_) => self.v4.is_some(),
            IpAddr::V6(_) => self.v6.is_some(),
        };
        let kept = old.iter().filter(unsure).copied();
        let now: BTreeSet<IpAddr> = self.found.iter().copied().chain(kept).collect();
        let family = if self.v4.is_some() { "IPv4" } else { "IPv6" };
        let why = why.cloned().map(Box::new);
        let why = why.map(|why| Why::Half { family, why });
        (now.into_iter().collect(), why)
    }
}

/// Answers by name. Clones share them: a caller that must start over, because another change came first, does not ask again.
#[derive(Clone, Debug, Default)]
pub struct Answers(Arc<Mutex<BTreeMap<String, Answer>>>);

/// The addresses of names, given their earlier ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// The names that have addresses.
    pub names: Names,
    /// Names whose answer is missing or incomplete, and why.
    pub unresolved: BTreeMap<String, String>,
    /// Those of them that keep earlier addresses.
    pub kept: Vec<String>,
}

impl Answers {
    /// A panic cannot leave the map half changed, so a poisoned lock is used.
    fn known(&self) -> MutexGuard<'_, BTreeMap<String, Answer>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn has(&self, name: &str) -> bool {
        self.known().contains_key(name)
    }

    /// The addresses of `names`, which had those of `old` before. A name that was not asked for keeps them.
    pub fn settle<'n>(&self, names: impl IntoIterator<Item = &'n String>, old: &Names) -> Settled {
        let (mut settled, answers) = (Settled::default(), self.known());
        for name in names {
            let before = old.get(name).map_or(&[][..], Vec::as_slice);
            let (now, why) = match answers.get(name) {
                Some(answer) => answer.with(before),
                None => (before.to_vec(), None),
            };
            if let Some(why) = why {
                settled.unresolved.insert(name.clone(), why.to_string());
                if now.iter().any(|address| before.contains(address)) {
                    settled.kept.push(name.clone());
                }
            }
            if !now.is_empty() {
                settled.names.insert(name.clone(), now);
            }
        }
        settled
    }
}

impl FromIterator<(String, Answer)> for Answers {
    fn from_iter<I: IntoIterator<Item = (String, Answer)>>(answers: I) -> Self {
        Self(Arc::new(Mutex::new(answers.into_iter().collect())))
    }
}

/// Looks up the addresses of one name within a time limit.
pub trait Lookup {
    fn lookup(&self, name: &str, limit: Duration) -> impl Future<Output = Answer> + Send;
}

/// Resolves, as this machine is set up, those of `names` that `answers` lacks: `how.concurrency` at a time, each within
/// `how.timeout`.
pub async fn resolve(
    names: impl IntoIterator<Item = String>,
    how: &Resolve,
    slurm: &NodeAddrs,
    answers: &Answers,
) {
    let names: BTreeSet<String> = names
        .into_iter()
        .filter(|name| !answers.has(name))
        .collect();
    if !names.is_empty() {
        let system = System::read().await;
        resolve_by(&system, names, how, slurm, answers).await;
    }
}

/// The same, with `lookup`.
pub async fn resolve_by(
    lookup: &impl Lookup,
    names: impl IntoIterator<Item = String>,
    how: &Resolve,
    slurm: &NodeAddrs,
    answers: &Answers,
) {
    let mut asked = stream::iter(names)
        .map(|name| async {
            let answer = one(lookup, &name, how.timeout, slurm).await;
            (name, answer)
        })
        .buffer_unordered(how.concurrency.max(1));
    while let Some((name, answer)) = asked.next().await {
        answers.known().insert(name, answer);
    }
}

async fn one(lookup: &impl Lookup, name: &str, limit: Duration, slurm: &NodeAddrs) -> Answer {
    if let Some(known) = literal(name).and_then(Result::ok) {
        return Answer::all([known]);
    }
    let asked = match slurm.says(name) {
        Says::Addr(address) => return Answer::all([address]),
        Says::Name(other) => other,
        Says::Nothing => name,
        Says::Unknown(why) => return Answer::failed(Why::Other(why.to_owned())),
    };
    match literal(asked) {
        Some(Ok(address)) => return Answer::all([address]),
        Some(Err(why)) => return Answer::failed(Why::Other(why.to_string())),
        None => {}
    }
    // The time limit begins with the question.
    let _turn = turn().await;
    lookup.lookup(asked, limit).await
}

/// A permit to ask name servers, kept until the answer arrives. Time limits begin when it is granted.
pub async fn turn() -> Option<SemaphorePermit<'static>> {
    // Never closed.
    AT_ONCE.acquire().await.ok()
}

/// All permits, for a test: nothing else asks meanwhile.
pub async fn every_turn() -> Option<SemaphorePermit<'static>> {
    AT_ONCE.acquire_many(MOST.into()).await.ok()
}

/// A text that needs no name server: an address, or a number that is not one.
pub fn literal(name: &str) -> Option<Result<IpAddr, Miss>> {
    if let Ok(address) = name.parse() {
        return Some(Ok(address));
    }
    ends_in_number(name).then(|| Err(Miss::Number(name.to_owned())))
}

/// All addresses of one name, for HTTP requests.
pub async fn addresses(name: &str, limit: Duration) -> Result<Vec<IpAddr>, Why> {
    if let Some(Ok(address)) = literal(name) {
        return Ok(vec![address.to_canonical()]);
    }
    let system = System::read().await;
    let answer = one(&system, name, limit, &NodeAddrs::default()).await;
    match answer.with(&[]) {
        (found, Some(why)) if found.is_empty() => Err(why),
        (found, _) => Ok(found),
    }
}

/// This machine's name services.
#[derive(Clone, Debug)]
pub struct System {
    switch: Switch,
    hosts: Hosts,
    conf: Conf,
    client: Client,
}

impl System {
    /// As configured at present. An unreadable file counts as empty, as in the C library.
    pub async fn read() -> Self {
        let read = || {
            let switch = text("/etc/nsswitch.conf", file::Kind::Note);
            let hosts = text("/etc/hosts", file::Kind::Configuration);
            let conf = text(RESOLV_CONF, file::Kind::Note);
            let name = file::kernel_text("/proc/sys/kernel/hostname").unwrap_or_default();
            Self::of(&switch, &hosts, Conf::read(&conf, name.trim(), interface))
        };
        let read = file::away(PATIENCE, read).await;
        read.unwrap_or_else(|_| Self::of("", "", Conf::read("", "", interface)))
    }

    fn of(switch: &str, hosts: &str, conf: Conf) -> Self {
        Self {
            switch: Switch::read(switch),
            hosts: Hosts::read(hosts),
            client: Client::new(conf.servers.clone(), conf.tcp),
            conf,
        }
    }

    /// Tries the name with each domain in turn; the first that has an address decides. If a question failed on the way, an
    /// earlier domain may have been the right one, so the name keeps its old addresses of that family.
    async fn dns(&self, name: &str, until: Instant) -> Answer {
        let mut answer = Answer::default();
        for candidate in self.conf.candidates(name) {
            let next = self.whole(&candidate, until).await;
            answer.found = next.found;
            answer.v4 = answer.v4.or(next.v4);
            answer.v6 = answer.v6.or(next.v6);
            let late = [&answer.v4, &answer.v6]
                .into_iter()
                .flatten()
                .any(|why| *why == Why::Timeout);
            if late || !answer.found.is_empty() {
                break;
            }
        }
        answer
    }

    /// Looks up a full name.
    async fn whole(&self, name: &str, until: Instant) -> Answer {
        // A name that is too long with this domain cannot exist.
        let Ok(name) = dns::read_name(name) else {
            return Answer::default();
        };
        let ask =
            async |kind: RecordType| match timeout_at(until, self.client.ask(&name, kind)).await {
                Ok(Ok(answer)) => Ok(dns::addresses(&answer.answers, None)),
                Ok(Err(error)) if error.no_such_name() => Ok(Vec::new()),
                Ok(Err(error)) => Err(Why::Other(error.brief())),
                Err(_) => Err(Why::Timeout),
            };
        let six = async {
            if self.conf.only_v4 {
                return Ok(Vec::new());
            }
            ask(RecordType::AAAA).await
        };
        let (v4, v6) = tokio::join!(ask(RecordType::A), six);
        let found = [&v4, &v6].into_iter().flatten().flatten().copied();
        Answer {
            v4: v4.as_ref().err().cloned(),
            v6: v6.as_ref().err().cloned(),
            ..Answer::all(found)
        }
    }
}

fn interface(name: &str) -> Option<u32> {
    nix::net::if_::if_nametoindex(name).ok()
}

impl Lookup for System {
    async fn lookup(&self, name: &str, limit: Duration) -> Answer {
        let until = Instant::now() + limit;
        let mut answer = Answer::all([]);
        for service in &self.switch.order {
            match service {
                Service::Files => {
                    if let Some(found) = self.hosts.get(name) {
                        return Answer::all(found.iter().copied());
                    }
                }
                Service::Dns => answer = self.dns(name, until).await,
            }
            if !answer.found.is_empty() {
                return answer;
            }
        }
        // When the DNS does not answer, the C library would wait for it too.
        if self.switch.others && answer == Answer::default() {
            let found = system::lookup(name, limit).await;
            return found.map_or_else(Answer::failed, Answer::all);
        }
        answer
    }
}

/// How this machine asks the DNS. An unreadable file counts as empty, as in the C library.
pub async fn conf() -> Conf {
    let read = file::away(PATIENCE, || text(RESOLV_CONF, file::Kind::Note)).await;
    Conf::read(&read.unwrap_or_default(), "", interface)
}

const RESOLV_CONF: &str = "/etc/resolv.conf";

/// The text of a file of this machine; empty when it cannot be read.
fn text(path: &str, kind: file::Kind) -> String {
    let bytes = file::read(Path::new(path), kind).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}
