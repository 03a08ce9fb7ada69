//! Herr Ober, the user half.
pub mod config;
pub mod drive;
pub mod haproxy;
pub mod machine;
