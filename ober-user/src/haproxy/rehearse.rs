//! Would HAProxy accept what is made of a configuration? Asked in a directory of its own, which goes afterwards.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::PathBuf,
};

use super::{
    Error, Servers,
    check::prepare,
    sockets::{Set, complete, keys},
};
use crate::config::Config;

/// Renders the configuration without its servers, which are names to be resolved, and has HAProxy read it.
pub async fn rehearse(config: &Config) -> Result<(), Error> {
    let scratch = Scratch::new()?;
    let mut config = config.clone();
    config.node.run.clone_from(&scratch.0);
    config.node.state.clone_from(&scratch.0);
    // The workers' texts differ in numbers only.
    config.workers.cpus.truncate(1);
    let set = complete(&keys(&config), &Set::new())
        .map_err(|source| Error::Sockets { worker: 0, source })?;
    let servers: Servers = config
        .backends
        .keys()
        .map(|name| (name.clone(), Vec::new()))
        .collect();
    prepare(&config, &servers, &[set]).await.map(drop)
}

/// A directory nobody else may look into.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self, Error> {
        let path = std::env::temp_dir().join(format!("ober-validate-{}", std::process::id()));
        let made = DirBuilder::new().mode(0o700).create(&path);
        made.map_err(|source| Error::Write {
            path: path.clone(),
            source,
        })?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        match fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %self.0.display(), %error, "remove a directory");
            }
            _ => {}
        }
    }
}
