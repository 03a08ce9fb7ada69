//! Settings that are allowed but unwise: shown by `validate` and `doctor`, and in the daemon's log.

use std::path::Path;

use super::{Config, text::files::further};
use crate::{
    config::sections::{
        acme::{Challenge, Provider},
        check, discover,
    },
    system::{account::Account, command::Program, file::trust},
};

/// The object, the problem, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    pub about: String,
    pub words: String,
    pub advice: String,
}

impl Remark {
    fn writer(about: String, writer: &trust::Writer) -> Self {
        Self {
            about,
            words: writer.to_string(),
            advice: writer.advice(),
        }
    }
}

impl std::fmt::Display for Remark {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            about,
            words,
            advice,
        } = self;
        write!(out, "{about}: {words}; {advice}")
    }
}

impl Config {
    /// The remarks on this configuration, whose main file is `main`.
    pub fn remarks(&self, main: &Path) -> Vec<Remark> {
        let mut files = vec![main.to_owned()];
        files.extend(further(main).unwrap_or_default());
        let written = files
            .iter()
            .filter_map(|file| writer(file.display().to_string(), file, 0));
        let haproxy = &self.workers.haproxy;
        let haproxy = writer(haproxy.display().to_string(), haproxy, 0);
        let programs = self.programs().into_iter().flat_map(of_program);
        let account = self.workers.remark();
        account
            .into_iter()
            .chain(written)
            .chain(haproxy)
            .chain(programs)
            .collect()
    }

    /// Every program of the administrator that the daemon runs for this configuration.
    pub fn programs(&self) -> Vec<&Program> {
        let backends = self.backends.values();
        let checks = backends
            .clone()
            .filter_map(|backend| match &backend.check.as_ref()?.kind {
                check::Kind::Exec(exec) => Some(&exec.program),
                check::Kind::Tcp
                | check::Kind::Http(_)
                | check::Kind::Tls(_)
                | check::Kind::Probe(_) => None,
            });
        let sources = backends
            .flat_map(|backend| &backend.discover)
            .filter_map(|source| match &source.kind {
                discover::Kind::Exec(program) => Some(program),
                _ => None,
            });
        let hook = self.acme.as_ref().and_then(|acme| match &acme.challenge {
            Challenge::Dns(dns) => match &dns.provider {
                Provider::Exec(program) => Some(program),
                Provider::Route53(_) => None,
            },
            Challenge::Http => None,
        });
        checks.chain(sources).chain(hook).collect()
    }
}

impl super::Workers {
    fn remark(&self) -> Option<Remark> {
        let words = match self.user.as_deref() {
            None => "HAProxy runs as root: the machine has no account `haproxy`",
            Some("root") => "HAProxy runs as root",
            Some(_) => return None,
        };
        let advice = "`adduser --system --group --no-create-home haproxy` makes an account, and HAProxy's package does; \
                      another one is named in `workers.user`";
        Some(Remark {
            about: "workers.user".to_owned(),
            words: words.to_owned(),
            advice: advice.to_owned(),
        })
    }
}

fn of_program(program: &Program) -> Vec<Remark> {
    let (path, account) = (&program.path, &program.account);
    let name = format!("{}, run as {}", path.display(), account.name);
    let closed = trust::closed(path, account).map(|at| {
        let Account { name: who, .. } = account;
        Remark {
            about: name.clone(),
            words: format!("{who} may not execute it: see the mode of {}", at.display()),
            advice: format!("put it where {who} may, such as /usr/local/lib/ober, or name another account in `user`"),
        }
    });
    let files = program.files();
    let writers = files.filter_map(|file| writer(name.clone(), file, account.user));
    closed.into_iter().chain(writers).collect()
}

fn writer(about: String, path: &Path, account: u32) -> Option<Remark> {
    let writer = trust::writer(path, &[account]).ok().flatten()?;
    Some(Remark::writer(about, &writer))
}
