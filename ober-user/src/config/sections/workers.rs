//! The sections `[workers]`, `[limits]` and `[resolve]`.

use std::{
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Duration,
};

use ober_common::abi::{CPUS, WORKERS};

use super::program::executable;
use crate::{
    config::{
        Limits, Workers,
        judge::Judge,
        raw,
        text::{
            notation::{At, Count, Key},
            source::{Fault, Span},
        },
    },
    names::resolve::Resolve,
    system::file::trust,
};

/// Directories in which HAProxy may be although a daemon's PATH lacks them.
const SBIN: &str = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin";
/// Page 0 is the empty one and page 1 the full one, so the first page of a list is 2.
const FEWEST_PAGES: u32 = 3;
/// Far more than a million addresses need; a larger number is a typing error.
const MOST_ENTRIES: u32 = 1 << 24;
/// The kernel's maximum; a shorter queue than the minimum loses packets of a single interrupt.
const STEER_QUEUE: RangeInclusive<u32> = 64..=16_384;
/// The account that distributions create for HAProxy.
const HAPROXY: &str = "haproxy";
/// The work to merge and write the servers of a worker is linear; this many take a second.
const MOST_SERVERS: u32 = 100_000;
const SECOND: Duration = Duration::from_secs(1);

impl Judge<'_> {
    pub(crate) fn workers(&mut self, workers: raw::Workers) -> Workers {
        let (backoff_place, backoff_default) = (workers.backoff.span(), SECOND / 10);
        let backoff = self.period("backoff", workers.backoff, backoff_default);
        let backoff_max = self.period(
            "backoff_max",
            workers.backoff_max,
            (SECOND * 10).max(backoff),
        );
        if backoff > backoff_max {
            self.refuse(Fault::new(
                backoff_place,
                "`backoff` is longer than `backoff_max`",
            ));
        }
        let (user, group) = self.unprivileged(workers.user, workers.group);
        Workers {
            cpus: self.cpus(workers.count, workers.cpus),
            haproxy: self.haproxy(workers.haproxy),
            user,
            group,
            max_connections: self.number(
                "max_connections",
                workers.max_connections,
                20_000,
                1..=1_000_000,
            ),
            drain: self.period("drain", workers.drain, SECOND * 3600),
            backoff,
            backoff_max,
        }
    }

    /// One CPU for each worker: the configured ones in turn, or those online.
    fn cpus(&mut self, count: Key<Count>, written: Vec<At<u32>>) -> Vec<u32> {
        let online: Vec<u32> = self
            .env
            .cpus
            .iter()
            .copied()
            .filter(|&cpu| cpu < CPUS)
            .collect();
        for at in &written {
            if !online.contains(&at.value) {
                let help = format!(
                    "online: {}",
                    online
                        .iter()
                        .map(u32::to_string)
                        .collect::<Vec<_>>()
                        .join(", ")
                );
                self.refuse(
                    Fault::new(at.span.clone(), format!("CPU {} is not online", at.value))
                        .help(help),
                );
            }
        }
        let pool = if written.is_empty() {
            online
        } else {
            written.into_iter().map(|at| at.value).collect()
        };
        let pool = if pool.is_empty() { vec![0] } else { pool };
        let number = match count.0 {
            Some(At {
                value: Count::Of(number),
                span,
            }) => self.worker_count(number, span),
            Some(At {
                value: Count::Auto, ..
            })
            | None => pool.len().min(WORKERS),
        };
        pool.into_iter().cycle().take(number).collect()
    }

    fn worker_count(&mut self, written: u64, span: Span) -> usize {
        let number = usize::try_from(written)
            .ok()
            .filter(|number| (1..=WORKERS).contains(number));
        number.unwrap_or_else(|| {
            let message =
                format!("`count` is {written}, but must be from 1 to {WORKERS} or \"auto\"");
            self.refuse(Fault::new(span, message));
            1
        })
    }

    /// The path of HAProxy, which is started as root.
    fn haproxy(&mut self, key: Key<String>) -> PathBuf {
        let span = key.span();
        let path = self.haproxy_at(key);
        if let Ok(Some(writer)) = trust::writer(&path, &[])
            && writer.is_everybody()
        {
            let message = format!("{} is started as root, and {writer}", path.display());
            self.refuse(Fault::new(span, message).help(writer.advice()));
        }
        path
    }

    fn haproxy_at(&mut self, key: Key<String>) -> PathBuf {
        let span = key.span();
        let written = key.or("haproxy".to_owned());
        if written.contains('/') {
            let path = self.path(&written);
            if !executable(&path) {
                let message = format!("there is no program {}", path.display());
                self.refuse(
                    Fault::new(span, message).help("`haproxy = \"haproxy\"` looks it up in PATH"),
                );
            }
            return path;
        }
        let path = self.env.variables.get("PATH").map_or("", String::as_str);
        let directories = path
            .split(':')
            .chain(SBIN.split(':'))
            .filter(|place| place.starts_with('/'));
        let found = directories
            .map(|place| Path::new(place).join(&written))
            .find(|path| executable(path));
        found.unwrap_or_else(|| {
            let message = format!("HAProxy: there is no program `{written}` in PATH");
            let help = "install it (`apt-get install haproxy`) or name it in [workers]: `haproxy = \"/path/to/haproxy\"`";
            self.refuse(Fault::new(span, message).help(help));
            PathBuf::from(written)
        })
    }

    /// HAProxy's own account where the machine has one: Debian's package creates it. Its group is always set, because HAProxy
    /// keeps the daemon's group otherwise.
    fn unprivileged(
        &mut self,
        user: Key<String>,
        group: Key<String>,
    ) -> (Option<String>, Option<String>) {
        let accounts = &self.env.accounts;
        let place = user.span();
        let written = user.0.map(|at| self.account("user", at));
        let account = match &written {
            Some(name) => accounts.user(name),
            None => accounts.local(HAPROXY),
        };
        let own = account.as_ref().and_then(|it| accounts.group(it.group));
        let group = match group.0 {
            Some(at) => Some(self.account("group", at)),
            None => own.map(ToOwned::to_owned),
        };
        match &written {
            Some(name) if account.is_none() && accounts.complete() => {
                let message = format!("there is no account `{name}` on this machine");
                let help = format!(
                    "`adduser --system --group --no-create-home {name}` makes it; HAProxy's package brings `{HAPROXY}`"
                );
                self.refuse(Fault::new(place, message).help(help));
            }
            Some(name) if group.is_none() && accounts.complete() => {
                let message = format!("the group of `{name}` has no name on this machine");
                self.refuse(Fault::new(place, message).help("write `group` as well"));
            }
            Some(_) | None => {}
        }
        (written.or(account.map(|it| it.name)), group)
    }

    /// An account as one word, as HAProxy reads it.
    fn account(&mut self, what: &str, at: At<String>) -> String {
        let good =
            |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-' | '.');
        if at.value.is_empty() || !at.value.chars().all(good) {
            self.refuse(Fault::new(
                at.span,
                format!("`{}` is no name of a {what}", at.value),
            ));
        }
        at.value
    }

    pub(crate) fn limits(&mut self, limits: raw::Limits) -> Limits {
        let pages = FEWEST_PAGES..=u32::from(u16::MAX);
        let servers = self.number("servers", limits.servers, 4096, 1..=MOST_SERVERS);
        let expansion = self.number("expansion", limits.expansion, 1_000_000, 1..=MOST_ENTRIES);
        Limits {
            ipv4_pages: self.number("ipv4_pages", limits.ipv4_pages, 1024, pages),
            ipv6_hosts: self.number("ipv6_hosts", limits.ipv6_hosts, 131_072, 1..=MOST_ENTRIES),
            ipv6_prefixes: self.number(
                "ipv6_prefixes",
                limits.ipv6_prefixes,
                1024,
                1..=MOST_ENTRIES,
            ),
            expansion: usize::try_from(expansion).unwrap_or(usize::MAX),
            steer_queue: self.number("steer_queue", limits.steer_queue, 2048, STEER_QUEUE),
            servers: usize::try_from(servers).unwrap_or(usize::MAX),
        }
    }

    pub(crate) fn resolve(&mut self, resolve: raw::Resolve) -> Resolve {
        let concurrency = self.number("concurrency", resolve.concurrency, 64, 1..=4096);
        Resolve {
            interval: self.period_or_none("interval", resolve.interval, SECOND * 300),
            timeout: self.period("timeout", resolve.timeout, SECOND * 5),
            concurrency: usize::try_from(concurrency).unwrap_or(usize::MAX),
            // Readability is checked at each read: a missing file disables only the names in it.
            slurm_conf: resolve.slurm_conf.0.map(|at| self.path(&at.value)),
        }
    }
}
