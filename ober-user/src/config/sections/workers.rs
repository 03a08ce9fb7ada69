//! The section `[workers]`.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use ober_common::abi::{CPUS, WORKERS};
use schemars::JsonSchema;
use serde::Deserialize;

use super::program::executable;
use crate::{
    config::{
        judge::Judge,
        text::{
            notation::{At, Count, Key, Period},
            source::{Fault, Span},
        },
    },
    system::file::trust,
};

/// The `HAProxy` processes.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Workers")]
pub(crate) struct Raw {
    /// How many, 1 to 64; `"auto"`: one for each CPU.
    count: Key<Count>,
    /// CPUs they are pinned to, in turn; left out: every CPU that is online.
    cpus: Vec<At<u32>>,
    /// The program: a path, or a name looked up in PATH.
    haproxy: Key<String>,
    /// Account HAProxy runs as; left out: `ober` or `haproxy` where there is one, otherwise root.
    user: Key<String>,
    /// Its group; left out: the own one of that account.
    group: Key<String>,
    /// Connections one worker accepts at once.
    max_connections: Key<u32>,
    /// How long a replaced worker may finish its connections.
    drain: Key<Period>,
    /// First pause before a crashed worker is started again; doubles each time.
    backoff: Key<Period>,
    /// The longest such pause.
    backoff_max: Key<Period>,
}

/// The HAProxy processes.
#[derive(Clone, Debug, PartialEq)]
pub struct Workers {
    /// One entry for each worker: the CPU it is pinned to. 1 to 64 entries.
    pub cpus: Vec<u32>,
    pub haproxy: PathBuf,
    /// Unprivileged user and group that HAProxy runs as; `None`: those of the daemon.
    pub user: Option<String>,
    pub group: Option<String>,
    /// Connections that one worker accepts at a time.
    pub max_connections: u32,
    /// How long a replaced worker may take to finish its connections.
    pub drain: Duration,
    /// Pause before a crashed worker is started again; doubles up to `backoff_max`.
    pub backoff: Duration,
    pub backoff_max: Duration,
}

/// Directories in which HAProxy may be although a daemon's PATH lacks them.
const SBIN: &str = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin";
/// The account that our packages create. HAProxy's own account may own files of another HAProxy.
const OWN: &str = "ober";
/// The account that distributions create for HAProxy.
const HAPROXY: &str = "haproxy";
const SECOND: Duration = Duration::from_secs(1);

impl Judge<'_> {
    pub(crate) fn workers(&mut self, workers: Raw) -> Workers {
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

    /// Without a name, our own account, or HAProxy's, which Debian's package creates. Its group is always set, because HAProxy
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
            None => accounts.local(OWN).or_else(|| accounts.local(HAPROXY)),
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
}
