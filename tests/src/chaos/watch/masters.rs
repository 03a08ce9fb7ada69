//! Beside keepalived the VIP is on one of the two routers. Both may have it until the one that gives way has heard the other; a
//! router that is frozen or cut off hears nothing.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::{Since, Watchers};
use crate::chaos::{
    RETURN, TWO_MASTERS,
    fault::{Fault, Kind, Site},
    world::{CONTENT, PATH},
};

/// Limit of one question.
const ANSWER: Duration = Duration::from_millis(1500);
const PAUSE: Duration = Duration::from_millis(100);
/// How long VRRP's addresses outlive their daemon.
const LIFETIME: Duration = Duration::from_secs(4);

pub(super) fn watch(watch: &Watchers<'_>) -> Result<()> {
    let pair = &watch.world.pair;
    let (mut two, mut none) = (Since::default(), Since::default());
    let client = watch.world.secure().limits(ANSWER, ANSWER);
    while watch.goes_on() {
        let asked = Instant::now();
        let [ours, other] = watch.world.masters()?;
        let hear = watch.board.quiet(deafens).unwrap_or_default();
        let both = two.note(ours && other).min(hear.saturating_sub(LIFETIME));
        if both > TWO_MASTERS {
            watch.board.breach(format!("two masters for {both:?}"));
            two.note(false);
        }
        let alone = none.note(!ours && !other);
        if alone > RETURN {
            watch.board.breach(format!("no master for {alone:?}"));
            none.note(false);
        }
        let mut whole = ours && !other;
        if whole {
            let answer = pair
                .client
                .tokio(async || client.get(PATH, CONTENT).await)?;
            whole = answer.is_ok();
        }
        watch.saw(Site::Shared, asked, whole);
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

/// Does this fault keep one of the two from hearing or obeying the other?
fn deafens(fault: &'static Fault, place: usize) -> bool {
    match fault.kind {
        Kind::Keepalived => true,
        Kind::Node => place == 2,
        Kind::Router | Kind::Storage | Kind::Names | Kind::Source | Kind::Machine => false,
    }
}
