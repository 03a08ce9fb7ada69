//! Herr Ober, the user half.
pub mod config;
pub mod hostlist;
pub mod resolve;
pub mod slurm;
