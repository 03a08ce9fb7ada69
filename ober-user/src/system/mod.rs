//! What the operating system gives: files, programs, sockets, netlink, TLS.

pub mod account;
pub mod child;
pub mod clock;
pub mod command;
pub mod fact;
pub mod fetch;
pub mod file;
pub mod hash;
pub mod memory;
pub mod netlink;
pub mod ownership;
pub mod pem;
pub mod privilege;
pub mod random;
#[cfg(test)]
pub(crate) mod scale;
pub mod sockopt;
pub mod store;
pub mod text;
pub mod tls;
pub mod url;
