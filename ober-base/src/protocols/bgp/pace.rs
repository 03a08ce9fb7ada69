//! The timers between attempts to connect, RFC 4271 section 8.2.1.1, and their jitter.

use std::time::{Duration, Instant};

const LONGEST_RETRY: Duration = Duration::from_mins(1);
/// The first pause after a session failed.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

#[derive(Clone, Debug)]
pub(super) struct Pace {
    /// `ConnectRetryTimer`.
    pub(super) retry: Option<Instant>,
    /// Failed attempts to connect in a row.
    pub(super) attempts: u32,
    /// `IdleHoldTimer`.
    pub(super) pause: Option<Instant>,
    /// Failed sessions in a row.
    failures: u32,
    dice: u64,
}

impl Pace {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            retry: None,
            attempts: 0,
            pause: None,
            failures: 0,
            dice: seed | 1,
        }
    }

    /// 0.75 to 1 (RFC 4271 section 10), by xorshift.
    pub(super) fn jitter(&mut self) -> f64 {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        let fraction = f64::from(u16::try_from(self.dice >> 48).unwrap_or_default());
        1.0 - fraction / f64::from(u16::MAX) / 4.0
    }

    /// Starts `ConnectRetryTimer`: `first`, doubled by every failed attempt.
    pub(super) fn wait(&mut self, now: Instant, first: Duration) {
        let interval = first
            .saturating_mul(1 << self.attempts.min(10))
            .min(LONGEST_RETRY.max(first));
        self.retry = Some(now + interval.mul_f64(self.jitter()));
    }

    /// Starts `IdleHoldTimer`: a pause that doubles with every failed session that was not `steady`.
    pub(super) fn rest(&mut self, now: Instant, long: bool, steady: bool) {
        if steady {
            self.failures = 0;
        }
        let pause = FIRST_PAUSE.saturating_mul(1 << self.failures.min(10));
        let pause = if long {
            LONGEST_PAUSE
        } else {
            pause.min(LONGEST_PAUSE)
        };
        self.failures = self.failures.saturating_add(1);
        self.pause = Some(now + pause.mul_f64(self.jitter()));
        self.retry = None;
    }
}
