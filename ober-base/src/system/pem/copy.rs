//! Copies of certificates that this program made.

use std::path::Path;

use super::{bundle::Bundle, facts::CertificateFacts};
use crate::system::file;

/// The first line of a placeholder for a missing file, which is not a copy to keep.
pub const STAND_IN: &str = "# stands in for a file that is missing";

/// What a copy holds, when it is good and no stand-in.
pub fn kept(path: &Path) -> Option<(CertificateFacts, String)> {
    let text = file::text(path, file::Kind::Own).ok()?;
    if text.starts_with(STAND_IN) {
        return None;
    }
    let bundle = Bundle::parse(path, text.as_bytes()).ok()?;
    Some((CertificateFacts::of(path, &bundle).ok()?, text))
}
