//! `acl`: show and change the access lists.
//!
//! `show`, `check`, `sync` (with `add` and `remove`), `watch`; `edits` makes requests of what was typed. Without a daemon the
//! lists are changed by the same code in this process, which never does so while a daemon has the instance's lock.

mod check;
mod edits;
mod show;
mod sync;
mod watch;

use std::path::Path;

use clap::Subcommand;

pub(super) use sync::Sync;

use super::{Error, Outcome, screen::Screen};

#[derive(Debug, Subcommand)]
pub(super) enum Acl {
    /// Set lists and servers from hostlists
    Sync(Sync),
    /// Show the sources and addresses of lists
    Show(show::Show),
    /// Ask whether an address is on a list: exit status 0 if it is, 1 if not
    Check(check::Check),
    /// Put addresses on a list
    Add(sync::Edit),
    /// Take addresses off a list
    Remove(sync::Edit),
    /// Print sampled drops as they happen, until interrupted
    Watch(super::Json),
}

impl Acl {
    pub(super) async fn run(self, path: &Path, screen: &mut Screen) -> Result<Outcome, Error> {
        match self {
            Self::Sync(sync) => sync.run(path, screen).await,
            Self::Show(show) => show.run(path, screen).await,
            Self::Check(check) => check.run(path, screen).await,
            Self::Add(edit) => edit.run(crate::api::How::Add, path, screen).await,
            Self::Remove(edit) => edit.run(crate::api::How::Remove, path, screen).await,
            Self::Watch(json) => watch::run(path, json, screen).await,
        }
    }
}
