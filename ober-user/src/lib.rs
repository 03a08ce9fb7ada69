//! Herr Ober, the user half.
pub mod config;
pub mod pem;
