//! The result of a gate.

use serde::{Deserialize, Serialize};

/// How a VIP is announced to the neighbours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// Not announced. VRRP gives the VIP up.
    #[default]
    Withdrawn,
    Announced,
    /// Announced as the worst choice.
    Depreferenced,
    /// Announced with the community `GRACEFUL_SHUTDOWN` (RFC 8326), and withdrawn soon.
    GracefulShutdown,
}

impl Standing {
    pub const ALL: [Self; 4] = [
        Self::Withdrawn,
        Self::Announced,
        Self::Depreferenced,
        Self::GracefulShutdown,
    ];

    /// The name in JSON and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Withdrawn => "withdrawn",
            Self::Announced => "announced",
            Self::Depreferenced => "depreferenced",
            Self::GracefulShutdown => "graceful-shutdown",
        }
    }
}
