//! How much of a CPU a thread has used.

use std::{fs, sync::mpsc, time::Duration};

use anyhow::{Context as _, Result};
use ober_user::machine::realtime::Thread;

/// The CPU time of BFD's and VRRP's thread so far.
pub fn spent(thread: &Thread) -> Result<Duration> {
    let (sender, receiver) = mpsc::channel();
    thread.spawn(async move {
        // The receiver is gone only when this has failed.
        sender.send(nix::unistd::gettid()).unwrap_or_default();
    });
    let id = receiver.recv_timeout(Duration::from_secs(20))?;
    let path = format!("/proc/self/task/{id}/schedstat");
    let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let nanoseconds = text.split_whitespace().next().context("no CPU time")?;
    Ok(Duration::from_nanos(nanoseconds.parse()?))
}
