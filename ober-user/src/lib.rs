//! Herr Ober, the user half.
//!
//! ```text
//! cli -> api -> daemon -+-> config
//!                       +-> plan (what a change does, in which order), history
//!                       +-> lists, backends -> hostlist, slurm, resolve -> store
//!                       |          ^- discover -> fetch, command, tls
//!                       +-> check -> fetch, command, tls : machine, drive
//!                       |        +-> access -> dataplane (maps the kernel reads)
//!                       +-> ring -------------^
//!                       +-> haproxy (workers) : machine, drive
//!                       +-> certificates -> haproxy, acme -> fetch, command, tls : machine, drive
//!                       +-> announce -> gate -> bgp, bfd, vrrp : machine, drive, realtime
//!                       +-> observe <- status, counters, events
//! cli -> trial (bgp, bfd, vrrp and check, without announcing), doctor -> finding
//! offline: the same answers without a daemon
//! ```
#![cfg_attr(
    test,
    expect(
        clippy::disallowed_methods,
        reason = "a test reads the files it wrote and starts what it needs"
    )
)]

pub mod child;
pub mod config;
pub mod file;
pub mod random;

pub mod hostlist;
pub mod notation;
pub mod resolve;
pub mod slurm;

pub mod access;
pub mod backends;
pub mod history;
pub mod lists;
pub mod store;
pub mod text;

pub mod check;
pub mod command;
pub mod discover;
pub mod fetch;
pub mod loopback;
pub mod tls;

pub mod dataplane;
pub mod interface;
pub mod netlink;
pub mod ownership;
pub mod ring;

pub mod certificates;
pub mod drift;
pub mod drive;
pub mod fact;
pub mod haproxy;
pub mod machine;
pub mod realtime;

pub mod announce;
pub mod bfd;
pub mod bgp;
pub mod filter;
pub mod gate;
pub mod plan;
pub mod routers;
pub mod sockopt;
pub mod vrrp;

pub mod doctor;
pub mod finding;
pub mod trial;

pub mod counters;
pub mod events;
pub mod flow;
pub mod observe;
pub mod status;

pub mod api;
pub mod cli;
pub mod daemon;
pub mod offline;

#[cfg(test)]
mod scale;
