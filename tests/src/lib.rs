//! The laboratory of Herr Ober.
pub mod plane;
