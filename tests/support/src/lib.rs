//! What unit tests of `ober-base` and `ober-user` share. It depends on neither, so that both can use it.

#![expect(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a test fails by it"
)]

pub mod certificate;
pub mod scale;
