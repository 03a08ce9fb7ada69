//! A text of the configuration that is given on standard input.

use std::{io::Read as _, path::Path};

use super::Error;
use crate::config::File;

/// The word for standard input in the place of a file.
const WORD: &str = "-";

pub(super) fn is_meant(path: &Path) -> bool {
    path.as_os_str() == WORD
}

pub(super) fn read() -> Result<File, Error> {
    let mut text = String::new();
    std::io::stdin()
        .read_to_string(&mut text)
        .map_err(Error::Stdin)?;
    Ok(File {
        path: "standard input".into(),
        text,
        mode: 0o600,
    })
}
