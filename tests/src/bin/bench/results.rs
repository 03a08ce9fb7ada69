//! `tests/bench/results.md`: the figures of the last whole run, and how they were measured.

use std::{
    fs,
    path::Path,
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result};

use crate::report::Report;

/// A file of figures.
#[derive(Clone, Copy)]
pub(crate) struct Paper {
    name: &'static str,
    command: &'static str,
    method: &'static str,
}

pub(crate) const ALL: Paper = Paper {
    name: "results.md",
    command: "cargo xtask bench",
    method: include_str!("method.md"),
};
pub(crate) const FAILOVER: Paper = Paper {
    name: "failover.md",
    command: "cargo xtask bench --failover",
    method: include_str!("failover/method.md"),
};
pub(crate) const PROXY: Paper = Paper {
    name: "proxy.md",
    command: "cargo xtask bench --proxy",
    method: include_str!("proxy/method.md"),
};

/// Writes the file anew.
pub(crate) fn write(report: &Report, paper: Paper) -> Result<()> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("bench");
    let path = directory.join(paper.name);
    let text = format!(
        "# Figures of the last run of `{}`\n\n{}\n\n{report}\n{}",
        paper.command,
        machine()?,
        paper.method
    );
    fs::create_dir_all(&directory)
        .and_then(|()| fs::write(&path, text))
        .with_context(|| format!("write {}", path.display()))
}

/// The machine of the measurement, in a sentence.
fn machine() -> Result<String> {
    let read = |path: &str| fs::read_to_string(path).with_context(|| format!("read {path}"));
    let processors = read("/proc/cpuinfo")?;
    let model = processors
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("an unnamed processor", |(_, name)| name);
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    let release = read("/proc/sys/kernel/osrelease")?;
    let (days, release) = (days_since_1970()?, release.trim());
    Ok(format!(
        "{}: {model}, {count} CPUs, Linux {release}.",
        date(days)
    ))
}

fn days_since_1970() -> Result<i64> {
    const DAY: Duration = Duration::from_hours(24);
    let passed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    Ok(i64::try_from(passed.as_secs() / DAY.as_secs())?)
}

/// The civil date, year-month-day: years are counted from March, so that the odd day comes last.
fn date(days: i64) -> String {
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, turn) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    format!("{:04}-{month:02}-{day:02}", year + era * 400 + turn)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_converted_to_dates_across_leap_days_and_year_ends() {
        for (days, expected) in [
            (0, "1970-01-01"),
            (11_016, "2000-02-29"),
            (11_017, "2000-03-01"),
            (20_453, "2025-12-31"),
            (20_454, "2026-01-01"),
        ] {
            assert_eq!(date(days), expected);
        }
    }
}
