//! The secret of the flow hash.

use std::{fs, io::Read as _, path::Path};

use crate::{
    config::Config,
    store::{Error, Pending},
};

/// The key of the configuration, or the one kept in the state directory, made at the first start.
pub fn cluster_key(config: &Config) -> Result<[u64; 2], Error> {
    if let Some(key) = &config.node.cluster_key {
        return Ok(key.0);
    }
    let path = config.node.state.join("cluster.key");
    let read = |path: &Path| {
        fs::read(path)
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
    let mut bytes = [0; 16];
    fs::File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut bytes))
        .map_err(|source| Error::Read {
            path: "/dev/urandom".into(),
            source,
        })?;
    Pending::write(path, &bytes)?.commit()?;
    Ok(bytes)
}
