//! `run`: the daemon.

use std::path::Path;

use clap::Args;

use super::{Error, Outcome, daemon_logs};
use crate::{
    daemon::Strictness,
    system::{manager::Manager, memory, privilege},
};

#[derive(Debug, Args)]
pub(super) struct Run {
    /// Refuse a configuration that has a mistake; without this, the last good one is put in force in its place
    #[arg(long)]
    strict: bool,
}

impl Run {
    pub(super) fn run(self, path: &Path) -> Result<Outcome, Error> {
        let _rest = daemon_logs();
        privilege::require(&privilege::DAEMON)?;
        let manager = Manager::take();
        crate::daemon::harden();
        memory::keep_no_large_blocks();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(Error::Runtime)?;
        let strictness = if self.strict {
            Strictness::Strict
        } else {
            Strictness::Forgiving
        };
        let ended = runtime.block_on(crate::daemon::run(path, strictness, manager));
        // A name service that hangs must not delay the end of the daemon.
        runtime.shutdown_background();
        ended.map_err(Error::Daemon)?;
        Ok(Outcome::Done)
    }
}
