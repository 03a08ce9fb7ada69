//! The health gate: may this node attract traffic for a VIP?

/// How a VIP stands to the neighbours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// Nobody is told of it. VRRP gives it up.
    #[default]
    Withdrawn,
    Announced,
    /// Announced as the worst choice there is.
    Depreferenced,
    /// Announced with the community `GRACEFUL_SHUTDOWN` (RFC 8326), to be withdrawn soon.
    GracefulShutdown,
}
