//! What a gate comes to.

use serde::{Deserialize, Serialize};

/// How a VIP stands to the neighbours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
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

impl Standing {
    pub const ALL: [Self; 4] = [
        Self::Withdrawn,
        Self::Announced,
        Self::Depreferenced,
        Self::GracefulShutdown,
    ];

    /// As in JSON and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Withdrawn => "withdrawn",
            Self::Announced => "announced",
            Self::Depreferenced => "depreferenced",
            Self::GracefulShutdown => "graceful-shutdown",
        }
    }
}
