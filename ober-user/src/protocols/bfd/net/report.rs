//! Sessions in the form of `status`.

use std::{
    collections::BTreeMap,
    io,
    time::{Duration, Instant},
};

use super::{
    super::{Drops, Refusal, Settings},
    View,
};
use crate::api::status::bfd as status;

pub(super) fn session(now: Instant, settings: &Settings, view: &View) -> status::Session {
    let View { picture, failures } = view;
    let account = &picture.account;
    let since = |at| now.saturating_duration_since(at).as_secs();
    status::Session {
        peer: settings.peer,
        interface: settings.interface.clone(),
        state: picture.state,
        seconds: since(picture.since),
        diagnostic: picture.diagnostic.name().into(),
        remote_state: picture.remote.state,
        remote_diagnostic: picture.remote.diagnostic.name().into(),
        mode: settings.mode.name().into(),
        hops: picture.hops.name().into(),
        passive: settings.passive,
        discriminator: picture.discriminator.get(),
        remote_discriminator: picture.remote.discriminator.map(u32::from),
        transmit_microseconds: picture.transmit.map(micros),
        detection_microseconds: picture.detection.map(micros),
        multiplier: settings.timers.multiplier.get(),
        remote_multiplier: picture.remote.multiplier.get(),
        ups: account.ups,
        failures: account.failures,
        received: account.received,
        sent: account.sent,
        send_failures: failures.count,
        send_error: failures
            .errno
            .map(|errno| io::Error::from_raw_os_error(errno).to_string()),
        late: account.late,
        last_late: account.last_late.map(|late| status::Late {
            seconds_ago: since(late.at),
            gap_microseconds: micros(late.gap),
        }),
        drops: drops(&account.drops),
    }
}

/// Reasons with a count of zero are left out.
pub(super) fn drops(drops: &Drops) -> BTreeMap<String, u64> {
    let happened = drops.each().filter(|(_, count)| *count > 0);
    let named = |(why, count): (Refusal, u64)| (why.name().to_owned(), count);
    happened.map(named).collect()
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
