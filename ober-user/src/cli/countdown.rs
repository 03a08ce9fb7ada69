//! The connections that are left and the time that is left, for a person who waits.

use std::{
    fmt::Display,
    time::{Duration, Instant},
};

use indicatif::ProgressBar;

use super::screen::{self, many, note, span, spinner};
use crate::machine::drive;

/// Redrawn on a terminal. Without one, one line in all says how long it may take.
#[derive(Debug)]
pub(super) struct Countdown {
    until: Instant,
    line: ProgressBar,
    said: bool,
}

impl Countdown {
    pub(super) fn begin(until: Instant) -> Self {
        let line = spinner("");
        Self {
            until,
            line,
            said: false,
        }
    }

    /// The time that is left.
    pub(super) fn left(&self) -> Duration {
        self.until.saturating_duration_since(drive::now())
    }

    /// `connections`: `None` if the kernel does not say.
    pub(super) fn show(&mut self, connections: Option<usize>) {
        let words = words(connections, self.left());
        if !self.line.is_hidden() {
            self.line.set_message(words);
        } else if !std::mem::replace(&mut self.said, true) {
            note(format_args!("{words} at most"));
        }
    }

    pub(super) fn say(&self, words: String) {
        self.line.set_message(words);
    }

    /// Another end of the time.
    pub(super) fn until(&mut self, until: Instant) {
        self.until = until;
    }

    /// A warning, above the line that is redrawn.
    pub(super) fn warn(&self, words: impl Display) {
        self.line.suspend(|| screen::warn(words));
    }

    pub(super) fn end(self) {
        self.line.finish_and_clear();
    }
}

fn words(connections: Option<usize>, left: Duration) -> String {
    let left = span(left);
    match connections {
        Some(connections) => format!("{} left, {left}", many(connections, "connection")),
        None => format!("connections may end, {left}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_who_waits_reads_how_many_connections_are_left_and_for_how_long() {
        let left = Duration::from_millis(52_900);
        assert_eq!(words(Some(4812), left), "4812 connections left, 52s");
        assert_eq!(words(Some(1), left), "1 connection left, 52s");
        assert_eq!(words(None, left), "connections may end, 52s");
    }
}
