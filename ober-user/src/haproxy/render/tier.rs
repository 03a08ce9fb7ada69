//! Tiers of servers: those of the lowest tier that lives serve, the others wait.
//!
//! HAProxy knows two: servers and backup servers. It goes over to the second tier by itself and at once. Servers of
//! higher tiers are kept in maintenance until the daemon finds that they are needed.

use super::Server;

/// The tier that serves, given which servers live; `None`: nobody lives.
pub fn active(servers: impl IntoIterator<Item = (u8, bool)>) -> Option<u8> {
    let live = servers.into_iter().filter(|(_, live)| *live);
    live.map(|(tier, _)| tier).min()
}

/// The servers to keep in maintenance while `active` serves; with `None`, the same as while the lowest does.
pub fn held(servers: &[Server], active: Option<u8>) -> impl Iterator<Item = &Server> {
    let last = second(servers).max(active);
    servers
        .iter()
        .filter(move |server| last.is_some_and(|last| server.standing.tier > last))
}

/// How a server is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    First,
    Backup,
    Held,
}

pub(super) fn role(servers: &[Server], server: &Server) -> Role {
    let tier = server.standing.tier;
    match (lowest(servers), second(servers)) {
        (Some(lowest), _) if tier == lowest => Role::First,
        (_, Some(second)) if tier > second => Role::Held,
        _ => Role::Backup,
    }
}

fn lowest(servers: &[Server]) -> Option<u8> {
    servers.iter().map(|server| server.standing.tier).min()
}

fn second(servers: &[Server]) -> Option<u8> {
    let tiers = servers.iter().map(|server| server.standing.tier);
    tiers.filter(|tier| Some(*tier) > lowest(servers)).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(tiers: &[u8]) -> Vec<Server> {
        let server = |tier: &u8| {
            let mut server = Server::new(format!("t{tier}"), "10.0.0.1:1".parse().unwrap());
            server.standing.tier = *tier;
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
    fn haproxy_holds_two_tiers_and_the_rest_waits_until_it_is_active() {
        let servers = servers(&[5, 0, 2, 2, 9]);
        let roles: Vec<Role> = servers
            .iter()
            .map(|server| role(&servers, server))
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
            let names: Vec<&str> = held(&servers, active)
                .map(|server| server.name.as_str())
                .collect();
            assert_eq!(names, expected, "{active:?}");
        }
    }

    #[test]
    fn one_tier_is_never_held_whatever_its_number() {
        let servers = servers(&[4, 4]);
        assert_eq!(held(&servers, None).count(), 0);
        assert!(
            servers
                .iter()
                .all(|server| role(&servers, server) == Role::First)
        );
    }
}
