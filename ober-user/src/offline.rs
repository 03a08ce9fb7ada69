//! What the commands answer from the pinned maps alone, when no daemon runs.

use crate::{
    api::{Answer, Failure, Request},
    config::Config,
};

/// Answers a request without a daemon.
#[expect(clippy::unused_async, reason = "the place is kept for the lists")]
pub async fn answer(config: &Config, _request: Request) -> Answer {
    Err(Failure {
        message: format!(
            "read instance {} from its pins: not possible yet",
            config.node.instance
        ),
        usage: false,
    })
}
