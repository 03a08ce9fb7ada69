//! The daemon's verdicts in the workers, by `set server BACKEND/SERVER health up|down`.
//!
//! Each command also sets HAProxy's own count of good and bad checks back to the end of its scale, and it takes two
//! answers of its own checks at least to leave that end again ([`super::render`] sees to it). So a verdict is a lease: renewed
//! twice an interval, it holds against whatever HAProxy's checks say; when the daemon is gone, HAProxy comes to its own
//! verdict after `rise` or `fall` of its checks. Measured with HAProxy 2.6.12, interval 1 s, rise 2, fall 3, renewed every half
//! second against checks that said the contrary: no flip in 6 s; let go, its own verdicts were back after 1.6 s.
//!
//! Of the other ways, `agent down` stays for ever once the daemon is gone, `state drain|maint` too, and `disable
//! health` leaves nobody who checks.

use std::{io, path::Path, time::Duration};

use super::{adopt::Files, cli::ask};

/// HAProxy reads a command line into one buffer of 16 KiB.
const LINE: usize = 8 << 10;

/// A server and the verdict on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Health<'a> {
    pub backend: &'a str,
    pub server: &'a str,
    pub up: bool,
}

/// How often verdicts on servers checked at this interval must be renewed.
pub fn renewal(interval: Duration) -> Duration {
    (interval / 2).clamp(Duration::from_millis(20), Duration::from_secs(1))
}

/// Lines of commands, none longer than HAProxy reads.
pub fn commands<'a>(healths: impl IntoIterator<Item = Health<'a>>) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for Health {
        backend,
        server,
        up,
    } in healths
    {
        let state = if up { "up" } else { "down" };
        let command = format!("set server {backend}/{server} health {state}");
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

/// Tells one worker of the instance whose run directory this is. What it does not know, such as a server of a
/// configuration it does not have yet, is returned in its words.
pub async fn tell(run: &Path, worker: usize, commands: &[String]) -> io::Result<Vec<String>> {
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

    #[test]
    fn commands_share_lines_that_haproxy_can_read() {
        let server = |server, up| Health {
            backend: "rgw",
            server,
            up,
        };
        assert_eq!(
            commands([server("a", true), server("b", false)]),
            ["set server rgw/a health up;set server rgw/b health down"]
        );
        assert_eq!(commands([]), [""; 0]);
        let name = "x".repeat(200);
        let lines = commands((0..1000).map(|_| server(&name, true)));
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
