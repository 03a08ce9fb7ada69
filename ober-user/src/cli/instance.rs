//! The instance that a command is for. A command that asks the daemon needs to know where the daemon is, and nothing else of
//! the configuration. A command that works without a daemon uses the configuration that was last in force when the files on
//! disk have a mistake.

use std::{
    cell::Cell,
    fmt::Display,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::sync::OnceCell;

use super::{
    Error as CommandError,
    client::{self, Error, Line},
    screen,
};
use crate::{
    api::{Question, Reply, status::Status},
    cli::known,
    config::{self, Config, Location, paths},
    daemon::{self, offline},
    diagnose::finding::Finding,
    system::file,
};

/// How long it may take to read the configuration and the files that it names: they may lie on a server that does not answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// Where an instance is, and what its configuration says.
pub(super) struct Instance {
    path: PathBuf,
    pub(super) at: Location,
    own: Result<Config, Arc<config::Error>>,
    /// A snapshot that was in force, and its number.
    before: OnceCell<Option<(u64, Config)>>,
    warned: Cell<bool>,
}

impl Instance {
    /// The instance of the configuration at `path`, which may have a mistake.
    pub(super) async fn find(path: &Path) -> Result<Self, CommandError> {
        Ok(Self {
            path: path.to_owned(),
            at: whereabouts(path).await?,
            own: load(path).await.map_err(Arc::new),
            before: OnceCell::new(),
            warned: Cell::new(false),
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.at.instance
    }

    pub(super) fn state(&self) -> &Path {
        &self.at.state
    }

    /// Where the daemon listens.
    pub(super) fn socket(&self) -> PathBuf {
        paths::control_socket(&self.at.run)
    }

    /// The configuration on disk, if it has no mistake.
    pub(super) fn own(&self) -> Option<&Config> {
        self.own.as_ref().ok()
    }

    /// The configuration on disk; if that has a mistake, the one that was last in force.
    pub(super) async fn config(&self) -> Result<&Config, CommandError> {
        let mistake = match &self.own {
            Ok(config) => return Ok(config),
            Err(mistake) => mistake,
        };
        let before = self.before.get_or_init(|| self.in_force_last());
        let Some((snapshot, config)) = before.await else {
            return Err(CommandError::Mistake(Arc::clone(mistake)));
        };
        self.warn(format_args!(
            "this uses snapshot {snapshot} of the history, which was in force last"
        ));
        Ok(config)
    }

    async fn in_force_last(&self) -> Option<(u64, Config)> {
        let main = self.path.clone();
        let read = file::away(PATIENCE, move || daemon::in_force_last(&main));
        read.await.unwrap_or_else(|error| {
            let state = self.at.state.display();
            screen::warn(format_args!("read the history in {state}: {error}"));
            None
        })
    }

    /// The mistake as a finding, for `test` and `doctor`.
    pub(super) fn finding(&self) -> Option<Finding> {
        let mistake = self.own.as_ref().err()?;
        let finding = Finding::failed("configuration", self.path.display(), mistake.line());
        Some(finding.advice("`ober-user validate` shows every mistake and what to do"))
    }

    /// Says once, on one line, that the files have a mistake, and what this command uses instead.
    pub(super) fn warn(&self, instead: impl Display) {
        if let Err(mistake) = &self.own
            && !self.warned.replace(true)
        {
            screen::warn(format_args!(
                "the configuration on disk has a mistake: {}; {instead} (`ober-user validate` shows what to do)",
                mistake.line()
            ));
        }
    }

    /// Connects to the daemon; `None`: no daemon runs.
    pub(super) async fn connect(&self) -> Result<Option<Line>, Error> {
        let line = client::connect(&self.socket()).await?;
        if line.is_some() {
            self.warn("this asks the daemon, which runs without it");
        }
        Ok(line)
    }

    /// Asks the daemon; if none runs, reads the answer from the pinned maps.
    pub(super) async fn ask(&self, request: Question) -> Result<Reply, CommandError> {
        let answer = if let Some(mut line) = self.connect().await? {
            line.exchange(&request).await?
        } else {
            let config = self.config().await?;
            known::known(config, &request)?;
            pinned(config)?;
            offline::answer(config, request).await
        };
        answer.map_err(CommandError::failed)
    }

    /// Asks what only a daemon can answer.
    pub(super) async fn ask_daemon(&self, request: Question) -> Result<Reply, CommandError> {
        self.warn("this needs no more than to know where the daemon is");
        client::ask_at(&self.at, request).await
    }

    /// The status that the daemon answers with; `None`: no daemon runs.
    pub(super) async fn running(&self) -> Result<Option<Box<Status>>, CommandError> {
        let Some(mut line) = self.connect().await? else {
            return Ok(None);
        };
        let answer = line.exchange(&Question::Status).await?;
        match answer.map_err(CommandError::failed)? {
            Reply::Status(status) => Ok(Some(status)),
            _ => Err(Error::Astray.into()),
        }
    }
}

/// Where the instance of the configuration at `path` is.
pub(super) async fn whereabouts(path: &Path) -> Result<Location, config::Error> {
    away(path, Location::of).await
}

/// Is there certainly no file at `path`? One that does not answer is there.
pub(super) async fn is_absent(path: &Path) -> bool {
    let path = path.to_owned();
    let asked = file::away(PATIENCE, move || std::fs::exists(path)).await;
    matches!(asked, Ok(Ok(false)))
}

/// The configuration at `path`.
pub(super) async fn load(path: &Path) -> Result<Config, config::Error> {
    away(path, Config::load).await
}

/// Reads files of the configuration at `path`, for no longer than [`PATIENCE`]: a command whose files lie on a dead server must
/// say so and end.
pub(super) async fn away<T: Send + 'static>(
    path: &Path,
    read: impl FnOnce(&Path) -> Result<T, config::Error> + Send + 'static,
) -> Result<T, config::Error> {
    let main = path.to_owned();
    let done = file::away(PATIENCE, move || read(&main)).await;
    done.unwrap_or_else(|source| {
        Err(config::Error::Read {
            path: path.to_owned(),
            source,
        })
    })
}

/// The status of the instance that the configuration at `path` names.
pub(super) async fn status(path: &Path) -> Result<Box<Status>, CommandError> {
    match Instance::find(path).await?.ask(Question::Status).await? {
        Reply::Status(status) => Ok(status),
        _ => Err(Error::Astray.into()),
    }
}

/// Where the instance's pins are, if it has any.
pub(super) fn pinned(config: &Config) -> Result<PathBuf, Error> {
    let node = &config.node;
    let pins = paths::pins(&node.bpffs, &node.instance);
    // Absent is only what certainly does not exist. A command that may not look fails when it opens the maps, with a better
    // message.
    if matches!(pins.try_exists(), Ok(false)) {
        return Err(Error::Absent {
            instance: node.instance.clone(),
            socket: paths::control_socket(&node.run),
            pins,
        });
    }
    Ok(pins)
}
