//! Why a command failed, and whose fault it is.

use std::{io, path::PathBuf, sync::Arc};

use super::{client, unit};
use crate::{
    api::Failure,
    config,
    dataplane::{self, counters, events},
    haproxy, host,
    names::hostlist,
    plan::history,
    system::privilege,
};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The caller has to correct the command.
    #[error("{0}")]
    Usage(String),
    #[error(transparent)]
    Config(#[from] config::Error),
    /// A mistake in the configuration, which the `Instance` keeps as well.
    #[error("{0}")]
    Mistake(Arc<config::Error>),
    #[error(transparent)]
    Hostlist(#[from] hostlist::Error),
    #[error(transparent)]
    Client(#[from] client::Error),
    #[error(transparent)]
    Unit(#[from] unit::Error),
    #[error(transparent)]
    Privilege(#[from] privilege::Missing),
    #[error("{failure}{}", advice(.hint.as_ref()))]
    Failed {
        failure: Failure,
        /// Capabilities the caller lacks, when that may be why.
        hint: Option<privilege::Missing>,
    },
    #[error(transparent)]
    Host(#[from] host::Error),
    #[error("put back what `{command}` changed: {why}")]
    Undo { command: &'static str, why: String },
    #[error(transparent)]
    History(#[from] history::Error),
    #[error(transparent)]
    Counters(#[from] counters::Error),
    #[error(transparent)]
    Events(#[from] events::Error),
    #[error("{text}{}", advice(.hint.as_ref()))]
    DataPlane {
        /// With all causes: aya puts the useful part into the last one.
        text: String,
        hint: Option<privilege::Missing>,
    },
    #[error(
        "detach instance {instance}: its daemon is running and would go on without a data plane; stop it first: `ober-user stop` \
         does both"
    )]
    DaemonRuns { instance: String },
    #[error(
        "there is no instance {instance}: nothing of it is in {}; see the directories there",
        .bpffs.join("ober").display()
    )]
    NoInstance { instance: String, bpffs: PathBuf },
    #[error("read standard input: {0}")]
    Stdin(io::Error),
    #[error("ask on the terminal: {0}")]
    Prompt(io::Error),
    #[error(
        "write manual pages into {directory}: {source}; name a directory that exists and may be written to"
    )]
    Man {
        directory: String,
        source: io::Error,
    },
    #[error("HAProxy refuses the text made from this configuration; it says:\n{words}")]
    Refused { words: String },
    #[error(transparent)]
    Haproxy(haproxy::Error),
    /// Standard output is gone or full.
    #[error("write the answer: {0}")]
    Output(#[from] io::Error),
    #[error("write the answer: {0}")]
    Json(#[from] serde_json::Error),
    #[error("start the command: {0}")]
    Runtime(io::Error),
    #[error("{}", dataplane::chain(.0.as_ref()))]
    Daemon(anyhow::Error),
}

fn advice(hint: Option<&privilege::Missing>) -> String {
    hint.map(|hint| format!("\n{hint}")).unwrap_or_default()
}

impl Error {
    /// Wrong usage or bad configuration: nothing was tried.
    pub fn is_usage(&self) -> bool {
        match self {
            Self::Usage(_)
            | Self::Config(_)
            | Self::Mistake(_)
            | Self::Hostlist(_)
            | Self::Refused { .. } => true,
            Self::Haproxy(error) => matches!(error, haproxy::Error::Render(_)),
            Self::Failed { failure, .. } => failure.usage,
            Self::History(error) => !matches!(error, history::Error::Store(_)),
            Self::Daemon(error) => error
                .chain()
                .any(|cause| cause.downcast_ref::<config::Error>().is_some()),
            _ => false,
        }
    }

    /// Did the reader of our output close its end? That is no failure.
    pub fn is_broken_pipe(&self) -> bool {
        match self {
            Self::Output(error) => error.kind() == io::ErrorKind::BrokenPipe,
            Self::Json(error) => error.io_error_kind() == Some(io::ErrorKind::BrokenPipe),
            _ => false,
        }
    }

    /// A failure, with the capabilities that the caller lacks when those may be the cause.
    pub(super) fn failed(failure: Failure) -> Self {
        let hint = if failure.usage {
            None
        } else {
            privilege::require(&privilege::MAPS).err()
        };
        Self::Failed { failure, hint }
    }

    pub(super) fn data_plane(error: &(dyn std::error::Error + 'static)) -> Self {
        Self::DataPlane {
            text: dataplane::chain(error),
            hint: privilege::require(&privilege::MAPS).err(),
        }
    }
}

impl From<haproxy::Error> for Error {
    fn from(error: haproxy::Error) -> Self {
        match error {
            // Without the file that HAProxy names: it is gone when an operator reads this.
            haproxy::Error::Refused { words, .. } | haproxy::Error::RefusedText { words } => {
                Self::Refused { words }
            }
            other => Self::Haproxy(other),
        }
    }
}

impl From<dataplane::Error> for Error {
    fn from(error: dataplane::Error) -> Self {
        Self::data_plane(&error)
    }
}
