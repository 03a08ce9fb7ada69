//! The secret of the flow hash.

use std::path::Path;

use crate::{
    config::{Config, paths},
    dataplane,
    system::{
        random,
        store::{self, Error, Kind, Pending},
    },
};

const LENGTH: usize = 16;

/// The key of the configuration, or the one kept in the state directory, made at the first start. Should its file be
/// damaged, the kernel's maps may still have it.
pub fn cluster_key(config: &Config) -> Result<[u64; 2], Error> {
    if let Some(key) = &config.node.cluster_key {
        return Ok(key.0);
    }
    let path = paths::cluster_key(&config.node.state);
    let bytes = match kept(&path) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => make(&path, config)?,
        Err(Error::Damaged { why, .. }) => {
            store::set_aside(Kind::ClusterKey, &path, &why);
            make(&path, config)?
        }
        Err(error) => return Err(error),
    };
    let (first, second) = bytes.split_at(LENGTH / 2);
    Ok([first, second].map(|half| {
        half.iter()
            .fold(0, |number, byte| number << 8 | u64::from(*byte))
    }))
}

/// Takes the key that the kernel still has, so that flows go on to their workers.
fn make(path: &Path, config: &Config) -> Result<[u8; LENGTH], Error> {
    let known = dataplane::key(config).map(bytes_of);
    keep(path, known.map_or_else(|| fresh(path), Ok)?)
}

fn bytes_of(key: [u64; 2]) -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    let both = key.into_iter().flat_map(u64::to_be_bytes);
    bytes
        .iter_mut()
        .zip(both)
        .for_each(|(byte, value)| *byte = value);
    bytes
}

/// The key in the file. One that is easy to guess counts as damaged.
fn kept(path: &Path) -> Result<Option<[u8; LENGTH]>, Error> {
    let Some(bytes) = store::read(path)? else {
        return Ok(None);
    };
    let damaged = |why: String| Error::Damaged {
        path: path.into(),
        why,
    };
    let length = bytes.len();
    let Ok(bytes) = <[u8; LENGTH]>::try_from(bytes) else {
        return Err(damaged(format!("it has {length} bytes, not {LENGTH}")));
    };
    if bytes == [0; LENGTH] {
        return Err(damaged("it is all zeros".to_owned()));
    }
    Ok(Some(bytes))
}

fn fresh(path: &Path) -> Result<[u8; LENGTH], Error> {
    random::bytes().map_err(|source| Error::Write {
        path: path.into(),
        source,
    })
}

fn keep(path: &Path, bytes: [u8; LENGTH]) -> Result<[u8; LENGTH], Error> {
    Pending::write(Kind::ClusterKey, path, &bytes)?.commit()?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_stored_key_is_read_back_unchanged_and_a_file_that_holds_no_key_is_damaged() {
        let home = tempfile::tempdir().unwrap();
        let path = paths::cluster_key(home.path());
        assert_eq!(kept(&path).unwrap(), None);
        let key = [0x0001_0203_0405_0607, 0x0809_0a0b_0c0d_0e0f];
        let bytes = keep(&path, bytes_of(key)).unwrap();
        assert_eq!(bytes, std::array::from_fn(|at| u8::try_from(at).unwrap()));
        assert_eq!(kept(&path).unwrap(), Some(bytes));
        for text in [&b""[..], &[0; LENGTH], &bytes[1..], &[7; LENGTH + 1]] {
            fs::write(&path, text).unwrap();
            assert!(
                matches!(kept(&path), Err(Error::Damaged { .. })),
                "{text:?}"
            );
        }
    }
}
