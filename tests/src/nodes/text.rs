//! What the configurations of all these nodes have in common.

use std::{
    net::{IpAddr, SocketAddr},
    path::Path,
};

use crate::nodes::one::{OPEN, SECURE};

/// The beginning of a configuration: one service, one backend with its check.
pub(super) struct Text<'a> {
    pub(super) instance: &'a str,
    /// Its state and its sockets are below it.
    pub(super) directory: &'a Path,
    /// Further lines of `[node]`.
    pub(super) node: &'a str,
    pub(super) cpus: &'a [usize],
    /// Tables between the workers and the service.
    pub(super) lists: &'a str,
    pub(super) vips: &'a [IpAddr],
    pub(super) certificate: &'a Path,
    /// Do listed clients have a port without TLS?
    pub(super) open: bool,
    pub(super) storage: SocketAddr,
}

impl Text<'_> {
    /// Ends in the table of the backend's check, to which `more` may add.
    pub(super) fn with(&self, more: &str) -> String {
        let Self {
            instance,
            node,
            cpus,
            lists,
            storage,
            ..
        } = self;
        let [directory, certificate] = [self.directory, self.certificate].map(Path::display);
        let vips: Vec<String> = self.vips.iter().map(ToString::to_string).collect();
        let open = if self.open {
            format!("\n[[services.listeners]]\nport = {OPEN}\naccess = \"frontend-http\"\n")
        } else {
            String::new()
        };
        format!(
            r#"[node]
instance = "{instance}"
interfaces = ["in0"]
{node}state = "{directory}/state"
run = "{directory}/run"
sample = 1

[workers]
cpus = {cpus:?}
max_connections = 2000

{lists}[[services]]
name = "s3"
vips = {vips:?}
backend = "rgw"

[[services.listeners]]
port = {SECURE}
certificate = "{certificate}"
{open}
[backends.rgw]
servers = ["{storage}"]

[backends.rgw.check]
path = "/"
{more}"#
        )
    }
}
