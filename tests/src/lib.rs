//! The laboratory of Herr Ober.
pub mod model;
pub mod packets;
pub mod plane;
