//! The formulas of RFC 5880, each by its section.

use std::{num::NonZeroU8, time::Duration};

use super::packet::Micros;

/// Section 6.8.3: no faster than this while a session is not Up.
pub(super) const SLOW: Micros = Micros(1_000_000);

/// Parts of a whole.
const WHOLE: u64 = 1_000_000;

/// Section 6.8.3: the value sent as Desired Min TX Interval.
pub(super) fn desired_min_tx(configured: Micros, up: bool) -> Micros {
    if up { configured } else { configured.max(SLOW) }
}

/// Section 6.8.2: the slower of what this end wants to send and what the peer can receive. `None`: the peer wants no periodic
/// packets (section 6.8.7).
pub(super) fn transmit(ours: Micros, peer_min_rx: Micros) -> Option<Duration> {
    (peer_min_rx != Micros(0)).then(|| ours.max(peer_min_rx).duration())
}

/// Section 6.8.7: each pause is 0 to 25 % shorter than the interval; with a multiplier of 1 at least 10 %, so that the next
/// packet arrives before the peer's detection time ends. `dice`: any number.
pub(super) fn jittered(interval: Duration, multiplier: NonZeroU8, dice: u64) -> Duration {
    let most = if multiplier.get() == 1 { 90 } else { 100 } * WHOLE / 100;
    let least = 75 * WHOLE / 100;
    let share = least + dice % (most - least + 1);
    let nanos = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX);
    // Micros are 32 bits, so an interval has at most 42 bits of nanoseconds and the product 62.
    Duration::from_nanos(nanos.saturating_mul(share) / WHOLE)
}

/// Section 6.8.4: the interval at which the peer has agreed to send.
pub(super) fn expected(our_min_rx: Micros, peer_min_tx: Micros) -> Duration {
    our_min_rx.max(peer_min_tx).duration()
}

/// Section 6.8.4: the peer's multiplier times the slower of what this end can receive and what the peer wants to send.
pub(super) fn detection(
    peer_multiplier: NonZeroU8,
    our_min_rx: Micros,
    peer_min_tx: Micros,
) -> Duration {
    expected(our_min_rx, peer_min_tx) * u32::from(peer_multiplier.get())
}

/// Sections 6.8.4 and 6.8.16: the peer's detection time for this end.
pub(super) fn peer_detection(
    multiplier: NonZeroU8,
    our_min_tx: Micros,
    peer_min_rx: Micros,
) -> Duration {
    our_min_tx.max(peer_min_rx).duration() * u32::from(multiplier.get())
}

/// Not in the RFC: a packet is late when it arrives a quarter of an interval after the last moment at which the peer may send
/// it.
pub(super) fn late(expected: Duration) -> Duration {
    expected + expected / 4
}
