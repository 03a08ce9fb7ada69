//! Puts the daemon's verdicts on servers into the workers, by `set server BACKEND/SERVER health up|down`.
//!
//! Each command also sets HAProxy's own count of good and bad checks to the end of its scale. At least two answers of
//! its own checks are needed to leave that end ([`super::render`] writes `rise` and `fall` of at least 2). So a verdict
//! is a lease: renewed twice an interval, it holds against HAProxy's own checks; without the daemon, HAProxy reaches
//! its own verdict after `rise` or `fall` checks. Measured with HAProxy 2.6.12, interval 1 s, rise 2, fall 3, verdicts
//! renewed every half second against checks with the opposite result: no change in 6 s; 1.6 s after the last renewal
//! HAProxy's own verdicts were back.
//!
//! The other commands do not fit: `agent down` and `state drain|maint` stay for ever without the daemon, and after
//! `disable health` HAProxy makes no checks.

use std::{io, path::Path, time::Duration};

use super::{
    render::tier::{self, Tiers},
    runtime_api::ask,
};
use crate::{backends::server::Server, config::paths::Files};

/// The longest line of commands, in bytes. HAProxy reads a line into one buffer of 32 KiB.
const LINE: usize = 8 << 10;

/// How often verdicts on servers checked at this interval must be renewed.
pub fn renewal(interval: Duration) -> Duration {
    (interval / 2).clamp(Duration::from_millis(20), Duration::from_secs(1))
}

/// The commands for a backend: for servers of tiers beyond HAProxy's two, whether they serve; and each verdict. `up` is
/// `None` for a server without a verdict (yet), which counts as alive.
pub fn commands(
    backend: &str,
    servers: &[Server],
    up: impl Fn(&Server) -> Option<bool>,
) -> impl Iterator<Item = String> {
    let live = servers
        .iter()
        .map(|server| (server.terms.tier, up(server) != Some(false)));
    let (tiers, active) = (Tiers::of(servers), tier::active(live));
    let beyond = servers
        .iter()
        .filter(move |server| tiers.holds(server.terms.tier, None));
    let waiting = beyond.map(move |server| {
        let state = if tiers.holds(server.terms.tier, active) {
            "maint"
        } else {
            "ready"
        };
        format!("set server {backend}/{} state {state}", server.name)
    });
    let verdicts = servers.iter().filter_map(move |server| {
        let state = if up(server)? { "up" } else { "down" };
        Some(format!(
            "set server {backend}/{} health {state}",
            server.name
        ))
    });
    waiting.chain(verdicts)
}

/// Joins commands into lines of at most about 8 KiB.
pub fn lines(commands: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for command in commands {
        match lines.last_mut() {
            Some(line) if line.len() + command.len() < LINE => {
                line.push(';');
                line.push_str(&command);
            }
            Some(_) | None => lines.push(command),
        }
    }
    lines
}

/// Sends lines of commands to one worker of this run directory. Returns HAProxy's complaints, such as one about a
/// server of a configuration that the worker does not have yet.
pub async fn send(run: &Path, worker: usize, commands: &[String]) -> io::Result<Vec<String>> {
    let socket = Files::new(run, worker).cli();
    let mut words = Vec::new();
    for line in commands {
        let answer = ask(&socket, line).await?;
        let said = answer.lines().filter(|line| !line.trim().is_empty());
        words.extend(said.map(ToOwned::to_owned));
    }
    words.dedup();
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(name: &str, tier: u8) -> Server {
        let mut server = Server::new(name.to_owned(), ([10, 0, 0, 1], 80).into());
        server.terms.tier = tier;
        server
    }

    #[test]
    fn a_server_without_a_verdict_is_left_to_haproxy() {
        let servers = ["a", "b", "c"].map(|name| server(name, 0));
        let up = |server: &Server| match server.name.as_str() {
            "a" => Some(true),
            "b" => Some(false),
            _ => None,
        };
        let sent: Vec<_> = commands("rgw", &servers, up).collect();
        assert_eq!(
            sent,
            ["set server rgw/a health up", "set server rgw/b health down"]
        );
    }

    #[test]
    fn a_third_tier_serves_when_the_two_below_it_are_down() {
        let servers = [
            server("a", 0),
            server("b", 1),
            server("c", 2),
            server("d", 3),
        ];
        let states = |dead: &'static str| {
            let sent = commands("rgw", &servers, |server| {
                Some(!dead.contains(server.name.as_str()))
            });
            sent.filter(|sent| sent.contains("state"))
                .collect::<Vec<_>>()
        };
        let state = |server, state| format!("set server rgw/{server} state {state}");
        let wait = [state("c", "maint"), state("d", "maint")];
        assert_eq!(states(""), wait);
        assert_eq!(states("a"), wait, "HAProxy goes to the second by itself");
        assert_eq!(states("ab"), [state("c", "ready"), state("d", "maint")]);
        assert_eq!(states("abc"), [state("c", "ready"), state("d", "ready")]);
    }

    #[test]
    fn work_for_health_commands_grows_linearly_with_the_servers() {
        let make = |count: usize| {
            let tier = |number: usize| u8::try_from(number % 256).unwrap_or_default();
            let servers = (0..count).map(|number| server(&format!("s{number}"), tier(number)));
            servers.collect::<Vec<_>>()
        };
        ober_test_support::scale::linear([100, 1000], make, |servers| {
            std::hint::black_box(lines(commands("rgw", servers, |_| Some(false))));
        });
    }

    #[test]
    fn commands_are_joined_into_lines_that_haproxy_can_read() {
        assert_eq!(lines(["a".to_owned(), "b".to_owned()]), ["a;b"]);
        assert_eq!(lines([]), [""; 0]);
        let lines = lines((0..1000).map(|_| "x".repeat(200)));
        assert!(lines.iter().all(|line| line.len() < LINE));
        let all: usize = lines.iter().map(|line| line.split(';').count()).sum();
        assert_eq!(all, 1000);
    }

    #[test]
    fn a_verdict_is_renewed_before_two_checks_could_overrule_it() {
        for millis in [40, 100, 2000, 60_000] {
            let interval = Duration::from_millis(millis);
            assert!(renewal(interval) * 2 <= interval);
        }
    }
}
