//! Logs for systemd's journal, which records the time itself and takes the priority from the beginning of a line.

use std::{
    env,
    io::{self, Stderr},
};

use nix::sys::stat::fstat;
use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

use crate::system::text::OneLine;

/// systemd puts the device and the inode of the journal's stream into `JOURNAL_STREAM` (systemd.exec(5)). They differ if
/// standard error was redirected afterwards.
pub(super) fn is_standard_error() -> bool {
    let Ok(file) = fstat(io::stderr()) else {
        return false;
    };
    let named = env::var("JOURNAL_STREAM").ok();
    named.is_some_and(|named| named == format!("{}:{}", file.st_dev, file.st_ino))
}

/// Standard error, each line with its priority: sd-daemon(3).
pub(super) struct Journal;

impl<'a> MakeWriter<'a> for Journal {
    type Writer = OneLine<Stderr>;

    fn make_writer(&'a self) -> Self::Writer {
        OneLine::new(io::stderr(), false)
    }

    fn make_writer_for(&'a self, event: &Metadata<'_>) -> Self::Writer {
        self.make_writer().after(priority(*event.level()))
    }
}

fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "<3>",
        Level::WARN => "<4>",
        Level::INFO => "<6>",
        _ => "<7>",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_level_has_the_priority_by_which_the_journal_filters() {
        let levels = [
            Level::ERROR,
            Level::WARN,
            Level::INFO,
            Level::DEBUG,
            Level::TRACE,
        ];
        assert_eq!(levels.map(priority), ["<3>", "<4>", "<6>", "<7>", "<7>"]);
    }
}
