//! Tiers of servers: those of the lowest tier with a live server serve, the others wait.
//!
//! HAProxy has two tiers: servers and backup servers. It changes to the second tier by itself and at once. Servers of
//! higher tiers are kept in maintenance until the daemon finds that they are needed.

use crate::backends::server::Server;

/// The tier that serves, given which servers live; `None`: no server lives.
pub fn active(servers: impl IntoIterator<Item = (u8, bool)>) -> Option<u8> {
    let live = servers.into_iter().filter(|(_, live)| *live);
    live.map(|(tier, _)| tier).min()
}

/// The two lowest tiers of a backend, which HAProxy changes between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tiers {
    lowest: Option<u8>,
    second: Option<u8>,
}

impl Tiers {
    pub fn of(servers: &[Server]) -> Self {
        let (mut lowest, mut second) = (None, None);
        for server in servers {
            let tier = Some(server.terms.tier);
            if lowest.is_none() || tier < lowest {
                second = lowest;
                lowest = tier;
            } else if tier > lowest && (second.is_none() || tier < second) {
                second = tier;
            }
        }
        Self { lowest, second }
    }

    /// Is a server of this tier kept in maintenance while tier `active` serves? `None` has the same result as the
    /// lowest tier.
    pub fn holds(self, tier: u8, active: Option<u8>) -> bool {
        self.second.max(active).is_some_and(|last| tier > last)
    }

    /// The role of a server of this tier.
    pub(super) fn role(self, tier: u8) -> Role {
        if self.lowest == Some(tier) {
            Role::First
        } else if self.holds(tier, None) {
            Role::Held
        } else {
            Role::Backup
        }
    }
}

/// The role of a server in its line: server, backup server, or held in maintenance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    First,
    Backup,
    Held,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(tiers: &[u8]) -> Vec<Server> {
        let server = |tier: &u8| {
            let mut server = Server::new(format!("t{tier}"), "10.0.0.1:1".parse().unwrap());
            server.terms.tier = *tier;
            server
        };
        tiers.iter().map(server).collect()
    }

    #[test]
    fn the_lowest_tier_with_a_live_server_serves() {
        for (servers, expected) in [
            (vec![(0, true), (1, true)], Some(0)),
            (vec![(0, false), (0, true), (1, true)], Some(0)),
            (vec![(0, false), (7, true), (3, false)], Some(7)),
            (vec![(0, false), (1, false)], None),
            (vec![], None),
        ] {
            assert_eq!(active(servers.clone()), expected, "{servers:?}");
        }
    }

    #[test]
    fn haproxy_gets_the_two_lowest_tiers_and_holds_the_rest_disabled() {
        let servers = servers(&[5, 0, 2, 2, 9]);
        let tiers = Tiers::of(&servers);
        let roles: Vec<Role> = servers
            .iter()
            .map(|server| tiers.role(server.terms.tier))
            .collect();
        assert_eq!(
            roles,
            [
                Role::Held,
                Role::First,
                Role::Backup,
                Role::Backup,
                Role::Held
            ]
        );
        for (active, expected) in [
            (None, vec!["t5", "t9"]),
            (Some(0), vec!["t5", "t9"]),
            (Some(2), vec!["t5", "t9"]),
            (Some(5), vec!["t9"]),
            (Some(9), vec![]),
        ] {
            let names: Vec<&str> = servers
                .iter()
                .filter(|server| tiers.holds(server.terms.tier, active))
                .map(|server| server.name.as_str())
                .collect();
            assert_eq!(names, expected, "{active:?}");
        }
    }

    #[test]
    fn a_single_tier_is_active_for_any_number() {
        let tiers = Tiers::of(&servers(&[4, 4]));
        assert!(!tiers.holds(4, None));
        assert_eq!(tiers.role(4), Role::First);
    }

    #[test]
    fn the_two_lowest_tiers_are_found_for_every_order_of_servers() {
        let expected = Tiers {
            lowest: Some(1),
            second: Some(3),
        };
        for tiers in [
            [1, 3, 7],
            [1, 7, 3],
            [3, 1, 7],
            [3, 7, 1],
            [7, 1, 3],
            [7, 3, 1],
        ] {
            assert_eq!(Tiers::of(&servers(&tiers)), expected, "{tiers:?}");
        }
    }
}
