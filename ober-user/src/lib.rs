//! Herr Ober, the user half.
pub mod access;
pub mod api;
pub mod backends;
pub mod config;
pub mod dataplane;
pub mod drive;
pub mod haproxy;
pub mod hostlist;
pub mod lists;
pub mod machine;
pub mod netlink;
pub mod pem;
pub mod resolve;
pub mod ring;
pub mod slurm;
pub mod status;
pub mod store;
