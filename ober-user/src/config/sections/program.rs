//! Programs of the administrator that the daemon runs: for checks, for sources of servers and to set records.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use crate::{
    config::{
        judge::Judge,
        text::{
            notation::{At, Key},
            source::{Fault, Span},
        },
    },
    system::{
        account::Account,
        command::{Program, is_file, secret},
        file::trust,
    },
};

/// The keys that describe a program.
#[derive(Debug)]
pub(super) struct RawProgram {
    pub(super) command: Vec<At<String>>,
    pub(super) user: Key<String>,
    pub(super) secret_file: Key<String>,
}

impl Judge<'_> {
    /// `place`: where a missing `command` is reported.
    pub(super) fn program(
        &mut self,
        what: &str,
        written: RawProgram,
        place: Option<Span>,
    ) -> Program {
        let account = self.runs_as(written.user);
        let mut words = written.command.into_iter();
        let path = if let Some(at) = words.next() {
            self.runnable(at, &account)
        } else {
            let message = format!("{what} of kind `exec` has no `command`");
            let help = "write `command = [\"/path/to/program\"]`";
            self.refuse(Fault::new(place, message).help(help));
            PathBuf::new()
        };
        let secret = written.secret_file.0;
        let arguments: Vec<At<String>> = words.collect();
        // A script is passed to its shell as an argument.
        for at in arguments.iter().filter(|at| is_file(&at.value)) {
            if let Some(writer) = dangerous(Path::new(&at.value), &account) {
                let message = format!(
                    "{} is for a program of {}, and {writer}",
                    at.value, account.name
                );
                self.refuse(Fault::new(at.span.clone(), message).help(writer.advice()));
            }
        }
        Program {
            path,
            arguments: arguments.into_iter().map(|at| at.value).collect(),
            account,
            secret: secret.map(|at| self.handed_secret(at)),
        }
    }

    fn runs_as(&mut self, key: Key<String>) -> Account {
        let Some(at) = key.0 else {
            return self.env.accounts.nobody();
        };
        let nobody = Some(self.env.accounts.nobody()).filter(|it| it.name == at.value);
        let account = self.env.accounts.user(&at.value).or(nobody);
        account.unwrap_or_else(|| {
            let message = format!("there is no account `{}` on this machine", at.value);
            let help = format!(
                "make it (`adduser --system --group {}`), or leave the key out: then the account is `nobody`",
                at.value
            );
            self.refuse(Fault::new(at.span, message).help(help));
            self.env.accounts.nobody()
        })
    }

    fn runnable(&mut self, at: At<String>, account: &Account) -> PathBuf {
        let path = PathBuf::from(&at.value);
        if !path.is_absolute() {
            let message = format!("`{}` is no absolute path of a program", at.value);
            let help = "what a daemon runs is named in full";
            self.refuse(Fault::new(at.span, message).help(help));
        } else if !executable(&path) {
            let message = format!("there is no program {}", at.value);
            let help = "correct the path, or make the file executable";
            self.refuse(Fault::new(at.span, message).help(help).outside());
        } else if let Some(writer) = dangerous(&path, account) {
            let message = format!("{} is run as {}, and {writer}", at.value, account.name);
            self.refuse(Fault::new(at.span, message).help(writer.advice()));
        }
        path
    }

    fn handed_secret(&mut self, at: At<String>) -> PathBuf {
        let path = self.path(&at.value);
        if let Err(words) = secret(&path) {
            let help = "one line or a few, in a file for root alone";
            self.refuse(Fault::new(at.span, words).help(help).outside());
        }
        path
    }
}

/// Every account, or any other account when the program runs as root. Further writers are only remarked on: see
/// [`crate::config::Config::remarks`].
fn dangerous(path: &Path, account: &Account) -> Option<trust::Writer> {
    let writer = trust::writer(path, &[account.user]).ok().flatten()?;
    (account.user == 0 || writer.is_everybody()).then_some(writer)
}

pub(super) fn executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// A shell that runs this text with the account of an unprivileged program (`nobody`).
#[cfg(test)]
pub(crate) fn shell(script: &str) -> Program {
    Program {
        path: ober_programs::SH.program().path(),
        arguments: vec!["-c".to_owned(), script.to_owned()],
        account: crate::system::account::Accounts::default().nobody(),
        secret: None,
    }
}
