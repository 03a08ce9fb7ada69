//! What the operating system gives: files, programs, sockets, netlink, TLS.
//!
//! ```text
//! file/, store/   the one way to open a file; durable files          child/, command   the one way to start a program
//! netlink/        addresses, links, routes, connections              fetch, tls, url   HTTP and TLS as a client
//! pem/            certificates and keys                              sockopt           options of sockets
//! account, privilege, ownership   accounts, capabilities, addresses and interfaces that Herr Ober added
//! clock, hash, random, memory, text, fact   the time of day, numbers, memory, texts from others, yes/no/could not ask
//! manager/        systemd: reports to it, sockets it keeps, scopes   blame             whose fault an error is
//! ```
//! It never uses another room: it knows no VIP, worker, list or neighbour.

pub mod account;
pub mod blame;
pub mod child;
pub mod clock;
pub mod command;
pub mod fact;
pub mod fetch;
pub mod file;
pub mod hash;
pub mod manager;
pub mod memory;
pub mod netlink;
pub mod ownership;
pub mod pem;
pub mod privilege;
pub mod random;
pub mod sockopt;
pub mod store;
pub mod text;
pub mod tls;
pub mod url;
