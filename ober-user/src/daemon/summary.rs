//! The line that the manager shows for the daemon (`systemctl status`): how many VIPs are announced, and why the others are not.

use std::{net::IpAddr, sync::Arc, time::Duration};

use super::Daemon;
use crate::{announce::gate::Standing, api::status};

/// Between two looks at the gates.
const PACE: Duration = Duration::from_secs(1);
/// VIPs that are named with their reason; of more, there is only a number.
const NAMED: usize = 3;

/// Reports the line whenever it is another one.
pub(super) async fn report(daemon: Arc<Daemon>) {
    if !daemon.manager.notifier.reports() {
        return std::future::pending().await;
    }
    let mut reported = String::new();
    let mut looks = tokio::time::interval(PACE);
    loop {
        looks.tick().await;
        let line = daemon.summary();
        if line != reported {
            daemon.manager.notifier.status(&line);
            reported = line;
        }
    }
}

impl Daemon {
    fn summary(&self) -> String {
        let gates = self.announcer.gates();
        let gates: Vec<status::gate::Gate> = gates.iter().map(Into::into).collect();
        let gates = gates
            .iter()
            .map(|gate| (gate.vip, gate.standing, gate.reason.as_str()));
        let fallback = self.in_force().provenance.fallback.clone();
        line(fallback.map(|it| it.snapshot), &gates.collect::<Vec<_>>())
    }
}

/// `snapshot`: the one in force because the files cannot be used.
fn line(snapshot: Option<u64>, gates: &[(IpAddr, Standing, &str)]) -> String {
    let (away, there): (Vec<_>, Vec<_>) = gates
        .iter()
        .partition(|(_, standing, _)| *standing == Standing::Withdrawn);
    let mut parts = Vec::new();
    if let Some(snapshot) = snapshot {
        parts.push(format!(
            "the configuration on disk has a mistake, snapshot {snapshot} is in force"
        ));
    }
    parts.push(format!("{} of {} VIPs announced", there.len(), gates.len()));
    let named = away.iter().take(NAMED);
    parts.extend(named.map(|(vip, _, reason)| format!("{vip}: {reason}")));
    if away.len() > NAMED {
        parts.push(format!("and {} more", away.len() - NAMED));
    }
    parts.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_names_the_vips_that_are_not_announced_with_their_reasons() {
        let vip = |last: u8, standing, reason| (IpAddr::from([192, 0, 2, last]), standing, reason);
        let mut gates = vec![
            vip(10, Standing::Announced, "2 workers answer"),
            vip(11, Standing::Depreferenced, "few servers"),
            vip(20, Standing::Withdrawn, "no server up"),
        ];
        let expected = "2 of 3 VIPs announced; 192.0.2.20: no server up";
        assert_eq!(line(None, &gates), expected);
        assert_eq!(line(None, &gates[..2]), "2 of 2 VIPs announced");
        assert_eq!(line(None, &[]), "0 of 0 VIPs announced");
        gates.extend((21..25).map(|last| vip(last, Standing::Withdrawn, "disabled")));
        let expected = "the configuration on disk has a mistake, snapshot 7 is in force; 2 of 7 VIPs announced; \
                        192.0.2.20: no server up; 192.0.2.21: disabled; 192.0.2.22: disabled; and 2 more";
        assert_eq!(line(Some(7), &gates), expected);
    }
}
