//! `logs`: this process becomes `journalctl`, asked for the lines of the daemon.

use std::{io, net::IpAddr, path::Path};

use clap::Args;

use super::{
    Error, Json, Outcome,
    journal::Part,
    unit::{UnitName, require_systemd},
};
use crate::system::child;

const AFTER: &str = "The daemon's lines of a part have the field OBER_PART in the journal; OBER_VIP, OBER_WORKER, OBER_SERVER and \
others have the values: `journalctl OBER_WORKER=3` finds them too. What HAProxy itself writes is in worker-N.log in the run \
directory. Exit status: that of journalctl; 2 wrong usage.";

const INSTEAD: &str = "the daemon writes its log to its standard error, wherever that goes";

/// Lines that are shown unless something else is asked for.
const LINES: u32 = 50;

#[derive(Debug, Args)]
#[command(after_help = AFTER)]
pub(super) struct Logs {
    /// Go on with new lines as they come
    #[arg(short, long)]
    follow: bool,
    /// How many of the last lines; without this 50, or all with --since
    #[arg(short = 'n', long, value_name = "N")]
    lines: Option<u32>,
    /// From this time on, such as "10 min ago", yesterday or "2026-11-30 21:00": systemd.time(7)
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    since: Option<String>,
    /// The lines of this part
    #[arg(long, value_enum, value_name = "PART", default_value = "all")]
    service: Part,
    /// The lines about this VIP, and those about all VIPs; those of VRRP have the field `OBER_ROUTER` instead
    #[arg(long)]
    vip: Option<IpAddr>,
    #[command(flatten)]
    unit: UnitName,
    #[command(flatten)]
    json: Json,
}

impl Logs {
    pub(super) fn run(self, path: &Path) -> Result<Outcome, Error> {
        let service = self.unit.service(path)?;
        require_systemd("show the journal", INSTEAD)?;
        let why = child::become_program("journalctl", &self.arguments(&service.unit));
        let advice = match why.kind() {
            io::ErrorKind::NotFound => "; it comes with systemd's package",
            _ => "",
        };
        let why = format!("journalctl: {why}{advice}");
        Err(Error::Runtime(io::Error::other(why)))
    }

    /// Fields of different names must all be there.
    fn arguments(&self, unit: &str) -> Vec<String> {
        let output = if self.json.json { "json" } else { "short-iso" };
        let mut words = vec![
            format!("--unit={unit}"),
            "--no-pager".to_owned(),
            format!("--output={output}"),
        ];
        words.extend(self.follow.then(|| "--follow".to_owned()));
        let lines = match (self.lines, &self.since) {
            (Some(lines), _) => lines.to_string(),
            (None, Some(_)) => "all".to_owned(),
            (None, None) => LINES.to_string(),
        };
        words.push(format!("--lines={lines}"));
        words.extend(self.since.as_ref().map(|since| format!("--since={since}")));
        let part = (self.service != Part::All).then(|| self.service.name());
        words.extend(part.map(|part| format!("OBER_PART={part}")));
        // An order may be for all VIPs. Of two values of one field either is enough.
        let vips = self.vip.map(|vip| [vip.to_string(), "all".to_owned()]);
        let vips = vips.into_iter().flatten();
        words.extend(vips.map(|vip| format!("OBER_VIP={vip}")));
        words
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Typed {
        #[command(flatten)]
        logs: Logs,
    }

    fn words(typed: &str) -> String {
        let typed = typed.split(' ').filter(|word| !word.is_empty());
        let typed = Typed::try_parse_from(["logs"].into_iter().chain(typed)).unwrap();
        typed.logs.arguments("ober.service").join(" ")
    }

    #[test]
    fn what_is_asked_for_becomes_the_words_of_journalctl() {
        const ALWAYS: &str = "--unit=ober.service --no-pager --output=short-iso";
        for (typed, expected) in [
            ("", "--lines=50"),
            ("-f -n 100", "--follow --lines=100"),
            ("--since yesterday", "--lines=all --since=yesterday"),
            ("--since -2h -n 5", "--lines=5 --since=-2h"),
            ("--service bgp", "--lines=50 OBER_PART=bgp"),
            ("--service all", "--lines=50"),
            (
                "--service gate --vip 2001:DB8:0::10",
                "--lines=50 OBER_PART=gate OBER_VIP=2001:db8::10 OBER_VIP=all",
            ),
        ] {
            assert_eq!(words(typed), format!("{ALWAYS} {expected}"), "{typed}");
        }
        assert!(words("--json").contains("--output=json"));
    }

    #[test]
    fn an_unknown_part_is_refused_with_the_parts_there_are() {
        let refused = Typed::try_parse_from(["logs", "--service", "http"])
            .err()
            .unwrap();
        let text = refused.to_string();
        for part in [
            "all", "gate", "bgp", "bfd", "vrrp", "workers", "checks", "acl",
        ] {
            assert!(text.contains(part), "{text}");
        }
    }
}
