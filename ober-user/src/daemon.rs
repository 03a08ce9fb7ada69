//! The daemon.

use std::path::Path;

/// Runs until told to stop.
#[expect(clippy::unused_async, reason = "the place is kept for the daemon")]
pub async fn run(path: &Path) -> anyhow::Result<()> {
    anyhow::bail!("run with {}: not possible yet", path.display())
}
