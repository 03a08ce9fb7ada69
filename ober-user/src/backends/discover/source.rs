//! The state of one source: its last answer, whether it fails, and the servers it stands for.

use crate::config::sections::discover::FailPolicy;
use crate::names::server_line::Found;

/// The state of a source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// The servers it stands for; `None`: it has not answered yet.
    pub servers: Option<Vec<Found>>,
    /// How many questions have failed since the daemon started.
    pub failures: u64,
    /// Why the last question failed; `None`: it did not.
    pub error: Option<String>,
    /// When the last question ended, in seconds since 1970.
    pub asked: Option<u64>,
}

impl Source {
    /// A source with the servers it stood for before the daemon's restart.
    pub fn kept(servers: Option<Vec<Found>>) -> Self {
        Self {
            servers,
            ..Self::default()
        }
    }

    /// Learns an answer or a failure. Returns whether its servers change.
    pub fn learn(
        &mut self,
        answer: Result<Vec<Found>, String>,
        policy: FailPolicy,
        now: u64,
    ) -> bool {
        self.asked = Some(now);
        let servers = match answer {
            Ok(servers) => {
                self.error = None;
                Some(servers)
            }
            Err(why) => {
                self.error = Some(why);
                self.failures += 1;
                match policy {
                    FailPolicy::KeepLast => return false,
                    FailPolicy::SetEmpty => Some(Vec::new()),
                }
            }
        };
        let changed = self.servers != servers;
        self.servers = servers;
        changed
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use proptest::prelude::*;

    use super::*;

    fn servers(hosts: &[&str]) -> Vec<Found> {
        hosts
            .iter()
            .map(|host| Found::new(host, NonZeroU16::MIN).unwrap())
            .collect()
    }

    #[test]
    fn a_failed_source_keeps_or_drops_its_servers_by_policy_and_reports_only_changes() {
        use FailPolicy::{KeepLast, SetEmpty};
        for (policy, after) in [(KeepLast, servers(&["a"])), (SetEmpty, vec![])] {
            let mut source = Source::default();
            assert!(source.learn(Ok(servers(&["a"])), policy, 1));
            assert!(!source.learn(Ok(servers(&["a"])), policy, 2));
            assert_eq!(
                source.learn(Err("gone".into()), policy, 3),
                policy == SetEmpty
            );
            assert!(!source.learn(Err("gone".into()), policy, 4));
            let expected = Source {
                servers: Some(after),
                failures: 2,
                error: Some("gone".into()),
                asked: Some(4),
            };
            assert_eq!(source, expected);
            assert_eq!(
                source.learn(Ok(servers(&["a"])), policy, 5),
                policy == SetEmpty
            );
            assert_eq!(source.error, None);
        }
    }

    #[test]
    fn an_empty_answer_of_a_source_replaces_its_servers() {
        let mut source = Source::kept(Some(servers(&["a"])));
        assert!(source.learn(Ok(vec![]), FailPolicy::KeepLast, 1));
        assert_eq!(source.servers, Some(vec![]));
    }

    proptest! {
        #[test]
        fn with_keep_last_no_number_of_failures_changes_the_servers_of_a_source(failures in proptest::collection::vec("\\PC*", 0..20)) {
            let mut source = Source::kept(Some(servers(&["a", "b"])));
            for why in failures {
                prop_assert!(!source.learn(Err(why), FailPolicy::KeepLast, 0));
            }
            prop_assert_eq!(source.servers, Some(servers(&["a", "b"])));
        }
    }
}
