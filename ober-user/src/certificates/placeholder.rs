//! The certificate that a listener shows until the first one for its names has been issued. No client trusts it, but
//! HAProxy would not start without one.

use std::path::Path;

use super::copies::{Copy, Error};
use crate::system::pem::{bundle::Bundle, facts::CertificateFacts};

pub(super) fn make(path: &Path, names: &[String]) -> Result<Copy, Error> {
    let made = rcgen::generate_simple_self_signed(names).map_err(|source| Error::Placeholder {
        names: names.join(", "),
        source,
    })?;
    let text = made.cert.pem() + &made.signing_key.serialize_pem();
    let bundle = Bundle::parse(path, text.as_bytes())?;
    let CertificateFacts { sha1, serial, .. } = CertificateFacts::of(path, &bundle)?;
    Ok(Copy {
        text: bundle.pem().into(),
        sha1,
        serial,
    })
}
