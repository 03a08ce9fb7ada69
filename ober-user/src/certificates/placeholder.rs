//! What a listener shows until the first certificate for its names has been issued. It is trusted by nobody, but without one
//! HAProxy would not start.

use std::path::Path;

use super::copies::{Copy, Error};
use crate::system::pem::{bundle::Bundle, facts::Facts};

pub(super) fn make(path: &Path, names: &[String]) -> Result<Copy, Error> {
    let made = rcgen::generate_simple_self_signed(names).map_err(|source| Error::Placeholder {
        names: names.join(", "),
        source,
    })?;
    let text = made.cert.pem() + &made.signing_key.serialize_pem();
    let bundle = Bundle::parse(path, text.as_bytes())?;
    let Facts { sha1, serial, .. } = Facts::of(path, &bundle)?;
    Ok(Copy {
        text: bundle.pem().into(),
        sha1,
        serial,
    })
}
