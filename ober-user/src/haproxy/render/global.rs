//! Writes the settings of the whole process: its limits, its sockets for the daemon, the defaults of every section.

use std::path::Path;

use super::{
    Error, WorkerContext,
    text::{Lines, quote, time},
};
use crate::{config::Workers, haproxy::BUFFER};

pub(super) fn global(workers: &Workers, place: WorkerContext<'_>) -> Result<String, Error> {
    let mut lines = Lines::new(&format!(
        "# Worker {}, CPU {}. Written by ober-user; changes made here are lost.\nglobal",
        place.worker, place.cpu
    ));
    // The level `notice` logs servers that go up and down, but not every request.
    lines.add("log stderr format raw daemon notice");
    lines.add("nbthread 1");
    lines.add(format_args!("maxconn {}", workers.max_connections));
    if let Some(root) = place.root {
        // HAProxy reads all files before; new certificates come by its command socket.
        lines.add(format_args!(
            "chroot {}",
            quote("path", &root.display().to_string())?
        ));
        if let Some(user) = &workers.user {
            lines.add(format_args!("user {}", quote("workers.user", user)?));
        }
        if let Some(group) = &workers.group {
            lines.add(format_args!("group {}", quote("workers.group", group)?));
        }
    }
    let cli = quote("path", &format!("unix@{}", place.cli.display()))?;
    lines.add(format_args!("stats socket {cli} mode 600 level admin"));
    lines.add(format_args!("hard-stop-after {}", time(workers.drain)));
    // Room for the largest head of a request that S3 allows: hundreds of entries of metadata, 8 KiB of headers, a
    // presigned URI of 15 KB. RGW accepts 16 KiB.
    lines.add(format_args!("tune.bufsize {BUFFER}"));
    lines.add("tune.http.maxhdr 1024");
    lines.add("ssl-default-bind-options ssl-min-ver TLSv1.2");
    lines.add("tune.ssl.default-dh-param 2048");
    // The default of 64 KiB limits an HTTP/2 upload to 64 KiB a round trip.
    lines.add("tune.h2.initial-window-size 1048576");
    lines.section("defaults");
    lines.add("mode http");
    lines.add("log global");
    lines.add("option dontlognull");
    // A request is passed on while it arrives, because objects are larger than buffers.
    lines.add("no option http-buffer-request");
    lines.add("http-reuse safe");
    Ok(lines.end())
}

pub(super) fn stats(path: &Path) -> Result<String, Error> {
    let mut lines = Lines::new("frontend ober-stats");
    let at = quote("path", &format!("unix@{}", path.display()))?;
    lines.add(format_args!("bind {at} mode 600"));
    lines.add("timeout client 10s");
    lines.add("http-request use-service prometheus-exporter if { path /metrics }");
    lines.add("stats enable");
    lines.add("stats uri /stats");
    lines.add("stats refresh 5s");
    Ok(lines.end())
}
