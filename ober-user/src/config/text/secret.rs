//! Secrets: given as `"${NAME}"` or in a file, and never in a file that every account may read.

use std::{
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::{
    notation::{Key, Secret},
    source::{Fault, Span},
};
use crate::{config::judge::Judge, system::file};

/// A kind of secret.
pub(crate) struct Kind {
    /// Its key; the key with `_file` appended names a file.
    pub(crate) key: &'static str,
    /// Its name, with an article.
    pub(crate) what: &'static str,
    /// How to create such a file.
    pub(crate) make: &'static str,
}

/// A secret that was found.
pub(crate) struct Found {
    pub(crate) span: Span,
    /// Its origin, for a message.
    pub(crate) origin: String,
    pub(crate) text: String,
    /// The file is missing, which was forgiven.
    pub(crate) missing: bool,
}

impl Judge<'_> {
    pub(crate) fn secret(
        &mut self,
        kind: &Kind,
        key: Key<Secret>,
        file: Key<String>,
    ) -> Option<Found> {
        let mut outside = false;
        let (span, origin, read) = match (key.0, file.0) {
            (None, None) => return None,
            (Some(key), Some(file)) => {
                let message = format!("`{0}` and `{0}_file` are both written", kind.key);
                self.refuse(
                    Fault::new(file.span, message)
                        .first(key.span)
                        .help("one of the two must go"),
                );
                return None;
            }
            (Some(key), None) => {
                let exposing = self.sources.exposes(&key.span).map(Path::to_owned);
                let read =
                    exposing.map_or(Ok(key.value.0), |path| Err(readable_by_all(kind, &path)));
                (key.span, format!("the value of `{}`", kind.key), read)
            }
            (None, Some(file)) => {
                let path: PathBuf = self.path(&file.value);
                outside = true;
                (
                    file.span,
                    format!("{}", path.display()),
                    read_from(kind, &path),
                )
            }
        };
        let (text, missing) = match read {
            Ok(text) => (text, false),
            Err((message, help)) => {
                let fault = Fault::new(span.clone(), message).help(help);
                let before = self.forgiven();
                self.refuse(if outside { fault.outside() } else { fault });
                if self.forgiven() == before {
                    return None;
                }
                (String::new(), true)
            }
        };
        Some(Found {
            span,
            origin,
            text,
            missing,
        })
    }
}

/// The text, or message and help.
fn read_from(kind: &Kind, path: &Path) -> Result<String, (String, String)> {
    let cannot = |error| {
        let message = format!("read {} from {}: {error}", kind.what, path.display());
        (message, kind.make.to_owned())
    };
    let (text, facts) = file::text_with(path, file::Kind::Secret).map_err(cannot)?;
    if file::exposed(facts.mode()) {
        return Err(readable_by_all(kind, path));
    }
    Ok(text)
}

fn readable_by_all(kind: &Kind, path: &Path) -> (String, String) {
    let path = path.display();
    (
        format!("{path} holds {} and every account may read it", kind.what),
        format!("chmod 600 {path}"),
    )
}
