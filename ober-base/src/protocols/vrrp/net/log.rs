//! The log of VRRP, written by an ordinary task: a log that blocks must not block advertisements.

use std::{fmt, net::IpAddr};

use tokio::sync::mpsc;

use super::{
    super::{Conflict, Transition, packet::Coverage},
    Key,
};

/// A line for the log of the node.
#[derive(Debug)]
pub(super) enum Line {
    Entered(Key, Transition),
    Conflict(Key, Conflict),
    /// A packet was refused; the first one of this sender for this reason.
    Rejected {
        from: IpAddr,
        why: String,
    },
    /// A sender whose checksums have another coverage than this node's.
    Coverage {
        from: IpAddr,
        theirs: Coverage,
    },
    Unsent(Key, String),
    /// Its addresses cannot be added.
    Refused(Key, String),
    Removal(Key, String),
    Stale(String),
    /// The sysctls of the administrator's interfaces could not be restored.
    Sysctls(String),
    Receive(String),
    /// The kernel does not drop unwanted packets.
    Filter(String),
}

impl fmt::Display for Coverage {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::PseudoHeader => "the pseudo-header too",
            Self::Message => "the message alone",
        })
    }
}

/// The sender of lines.
#[derive(Clone, Debug)]
pub(super) struct Log(mpsc::UnboundedSender<Line>);

impl Log {
    /// Must be called inside the runtime that writes the log.
    pub(super) fn start() -> Self {
        let (lines, mut inbox) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(line) = inbox.recv().await {
                write(line);
            }
        });
        Self(lines)
    }

    pub(super) fn say(&self, line: Line) {
        // An error means that the runtime has ended, and with it the reader.
        self.0.send(line).unwrap_or_default();
    }
}

fn write(line: Line) {
    match line {
        Line::Entered(key, Transition { to, why, .. }) => {
            tracing::info!(router = %key, "VRRP {}: {why}", to.name());
        }
        Line::Conflict(key, conflict) => tracing::warn!(router = %key, "VRRP: {conflict}"),
        Line::Rejected { from, why } => tracing::warn!(%from, "VRRP packet refused: {why}"),
        Line::Coverage { from, theirs } => {
            let what = "VRRP: its checksums have another coverage than those of this node, which is accepted";
            tracing::info!(%from, %theirs, "{what}; set vrrp.checksum to the same coverage if it drops packets of this node");
        }
        Line::Unsent(key, why) => tracing::warn!(router = %key, "send a VRRP advertisement: {why}"),
        Line::Refused(key, why) => {
            tracing::error!(router = %key, "VRRP gives up being master: {why}");
        }
        Line::Removal(key, why) => tracing::error!(router = %key, "VRRP: {why}"),
        Line::Stale(why) => tracing::error!("remove VIPs left by an earlier daemon: {why}"),
        Line::Sysctls(why) => tracing::error!("put back the sysctls that VRRP had changed: {why}"),
        Line::Filter(why) => tracing::warn!(
            "have the kernel drop VRRP packets of strangers: {why}; they are dropped later, at the cost of the real-time \
             thread: raise net.core.optmem_max"
        ),
        Line::Receive(why) => tracing::error!("receive VRRP advertisements: {why}"),
    }
}
