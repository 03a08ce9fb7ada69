//! The sections `[lists.*]` and `[backends.*]`: who may come, and where requests go.

use std::{collections::BTreeMap, num::NonZeroU16, time::Duration};

use ober_common::abi::LISTS;

use super::{
    Backend, Balance, Check, FRONTEND_HTTP, List, ROUTERS, Timeouts, raw,
    scalar::{At, Key},
    service::OPEN,
    source::Fault,
    valid::Judge,
};

const HTTP: NonZeroU16 = NonZeroU16::new(80).unwrap();
const SECOND: Duration = Duration::from_secs(1);

impl Judge<'_> {
    pub(super) fn lists(
        &mut self,
        written: BTreeMap<String, At<raw::List>>,
    ) -> BTreeMap<String, List> {
        let mut lists: BTreeMap<String, List> = [FRONTEND_HTTP, ROUTERS]
            .map(|name| (name.to_owned(), List::default()))
            .into();
        for (name, At { value, span }) in written {
            self.name("a list", &name, &span);
            if name == OPEN {
                let message = "a list cannot be called `open`, the word for \"no list\"";
                self.refuse(Fault::new(span.clone(), message));
            }
            let sources = self.expressions(value.sources);
            lists.insert(name, List { sources });
            if lists.len() == LISTS as usize + 1 {
                let message =
                    format!("more than {LISTS} lists, `{FRONTEND_HTTP}` and `{ROUTERS}` included");
                self.refuse(Fault::new(span, message).help("join lists that are used alike"));
            }
        }
        lists
    }

    fn expressions(&mut self, written: Vec<At<String>>) -> Vec<String> {
        for at in written.iter().filter(|at| at.value.trim().is_empty()) {
            self.refuse(Fault::new(at.span.clone(), "an empty expression").help("remove it"));
        }
        written.into_iter().map(|at| at.value).collect()
    }

    pub(super) fn backends(
        &mut self,
        written: BTreeMap<String, At<raw::Backend>>,
    ) -> BTreeMap<String, Backend> {
        let backends = written.into_iter().map(|(name, At { value, span })| {
            self.name("a backend", &name, &span);
            let backend = Backend {
                servers: self.expressions(value.servers),
                port: value.port.or(HTTP),
                balance: value.balance.or(Balance::LeastConn),
                check: self.check(value.check),
                timeouts: self.timeouts(value.timeouts),
            };
            (name, backend)
        });
        backends.collect()
    }

    fn check(&mut self, check: raw::Check) -> Option<Check> {
        let method =
            |text: &str| !text.is_empty() && text.bytes().all(|letter| letter.is_ascii_uppercase());
        let made = Check {
            method: self.word(
                "method",
                check.method,
                "GET",
                "a method such as GET or HEAD",
                method,
            ),
            path: self.word(
                "path",
                check.path,
                "/",
                "a path such as `/`, in URL letters",
                url_path,
            ),
            // 503 SlowDown is the answer of a gateway that lives and is busy.
            status: self.word(
                "status",
                check.status,
                "200-499,503",
                "statuses such as `200-299,404`",
                statuses,
            ),
            interval: self.period("interval", check.interval, SECOND * 2),
            rise: self.number("rise", check.rise, 2, 1..=100),
            fall: self.number("fall", check.fall, 3, 1..=100),
        };
        check.enabled.or(true).then_some(made)
    }

    /// A string that goes into HAProxy's configuration as one word.
    pub(super) fn word(
        &mut self,
        name: &str,
        key: Key<String>,
        default: &str,
        what: &str,
        good: fn(&str) -> bool,
    ) -> String {
        if let Some(at) = key.0.as_ref().filter(|at| !good(&at.value)) {
            let message = format!("`{name}` is `{}`, but must be {what}", at.value);
            self.refuse(Fault::new(at.span.clone(), message));
        }
        key.or(default.to_owned())
    }

    fn timeouts(&mut self, timeouts: raw::Timeouts) -> Timeouts {
        Timeouts {
            connect: self.period("connect", timeouts.connect, SECOND * 5),
            client: self.period("client", timeouts.client, SECOND * 60),
            // A gateway is silent while it puts a multipart upload together.
            server: self.period("server", timeouts.server, SECOND * 300),
            http_request: self.period("http_request", timeouts.http_request, SECOND * 10),
            keep_alive: self.period("keep_alive", timeouts.keep_alive, SECOND * 30),
            queue: self.period("queue", timeouts.queue, SECOND * 30),
        }
    }
}

pub(super) fn url_path(text: &str) -> bool {
    let good =
        |letter: u8| letter.is_ascii_alphanumeric() || b"-._~/?&=+,;:@!*()%".contains(&letter);
    text.starts_with('/') && text.bytes().all(good)
}

/// HAProxy's notation: `200-299,404`.
pub(super) fn statuses(text: &str) -> bool {
    let code = |text: &str| {
        let three = text.len() == 3 && text.bytes().all(|digit| digit.is_ascii_digit());
        text.parse::<u16>()
            .ok()
            .filter(|code| three && (100..600).contains(code))
    };
    text.split(',').all(|item| {
        let (first, last) = item.split_once('-').unwrap_or((item, item));
        code(first)
            .zip(code(last))
            .is_some_and(|(first, last)| first <= last)
    })
}
