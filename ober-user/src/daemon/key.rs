//! The secret of the flow hash.

use std::path::Path;

use crate::{
    config::Config,
    file, random,
    store::{Error, Pending},
};

/// The key of the configuration, or the one kept in the state directory, made at the first start.
pub fn cluster_key(config: &Config) -> Result<[u64; 2], Error> {
    if let Some(key) = &config.node.cluster_key {
        return Ok(key.0);
    }
    let path = config.node.state.join("cluster.key");
    let read = |path: &Path| {
        file::read(path, file::Kind::Own)
            .ok()
            .and_then(|bytes| <[u8; 16]>::try_from(bytes).ok())
    };
    let bytes = match read(&path) {
        Some(bytes) => bytes,
        None => make(&path)?,
    };
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = bytes;
    Ok([
        u64::from_be_bytes([a, b, c, d, e, f, g, h]),
        u64::from_be_bytes([i, j, k, l, m, n, o, p]),
    ])
}

fn make(path: &Path) -> Result<[u8; 16], Error> {
    let bytes = random::bytes().map_err(|source| Error::Write {
        path: path.into(),
        source,
    })?;
    Pending::write(path, &bytes)?.commit()?;
    Ok(bytes)
}
