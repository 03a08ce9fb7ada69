//! The routes for each neighbour.

use std::{collections::BTreeMap, net::IpAddr};

use ipnet::IpNet;

use super::{
    message::Communities,
    rib::{Route, Routes},
};
use crate::protocols::{
    bgp::configured::{Announcement, Bgp},
    standing::Standing,
};

/// `GRACEFUL_SHUTDOWN` (RFC 8326).
pub const GRACEFUL_SHUTDOWN: u32 = 0xffff_0000;
/// `LOCAL_PREF` of a route without one.
pub const LOCAL_PREF: u32 = 100;

/// The entries for a VIP and a neighbour, combined: a later one overrides.
struct Terms<'b> {
    announce: bool,
    route: Route,
    aggregates: &'b [IpNet],
    host_routes: bool,
}

fn terms(bgp: &Bgp, neighbour: IpAddr, vip: IpAddr) -> Terms<'_> {
    let mut terms = Terms {
        announce: true,
        route: Route {
            med: None,
            local_pref: LOCAL_PREF,
            prepend: 0,
            behind: Vec::new(),
            communities: Communities::default(),
        },
        aggregates: &[],
        host_routes: true,
    };
    let speaks = |entry: &&Announcement| {
        let of = |list: &[IpAddr], one| list.is_empty() || list.contains(&one);
        of(&entry.vips, vip) && of(&entry.neighbours, neighbour)
    };
    for entry in bgp.announcements.iter().filter(speaks) {
        let Terms {
            announce,
            route,
            aggregates,
            host_routes,
        } = &mut terms;
        *announce = entry.announce.unwrap_or(*announce);
        route.med = entry.med.or(route.med);
        route.local_pref = entry.local_pref.unwrap_or(route.local_pref);
        route.prepend = entry.prepend.unwrap_or(route.prepend);
        if let Some(behind) = &entry.as_path {
            route.behind.clone_from(behind);
        }
        if let Some(communities) = &entry.communities {
            route.communities.clone_from(communities);
        }
        if let Some(written) = &entry.aggregates {
            *aggregates = written;
        }
        *host_routes = entry.host_routes.unwrap_or(*host_routes);
    }
    terms
}

/// The route of a VIP with this standing; `None`: no route.
fn standing(bgp: &Bgp, mut route: Route, standing: Standing) -> Option<Route> {
    match standing {
        Standing::Withdrawn => return None,
        Standing::Announced => {}
        Standing::Depreferenced => {
            let worst = &bgp.depreference;
            route.med = Some(worst.med);
            route.local_pref = worst.local_pref;
            route.prepend = route.prepend.saturating_add(worst.prepend);
            route.communities.extend(&worst.communities);
        }
        Standing::GracefulShutdown => {
            // RFC 8326 section 4.2 and 4.3.
            route.communities.plain.insert(GRACEFUL_SHUTDOWN);
            route.local_pref = 0;
        }
    }
    Some(route)
}

/// The rank of a standing: a prefix that covers several VIPs has that of the best one.
fn rank(standing: Standing) -> u8 {
    match standing {
        Standing::Withdrawn => 0,
        Standing::GracefulShutdown => 1,
        Standing::Depreferenced => 2,
        Standing::Announced => 3,
    }
}

/// All routes for the neighbour at this address. A covering prefix is announced while one of its VIPs is.
pub fn routes(bgp: &Bgp, neighbour: IpAddr, standings: &BTreeMap<IpAddr, Standing>) -> Routes {
    let mut best: BTreeMap<IpNet, (u8, Route)> = BTreeMap::new();
    for (&vip, &stands) in standings {
        let terms = terms(bgp, neighbour, vip);
        let Some(route) = standing(bgp, terms.route, stands).filter(|_| terms.announce) else {
            continue;
        };
        let covering = terms.aggregates.iter().find(|prefix| prefix.contains(&vip));
        let host = (terms.host_routes || covering.is_none()).then(|| IpNet::from(vip));
        let rank = rank(stands);
        for prefix in covering.copied().into_iter().chain(host) {
            if best.get(&prefix).is_none_or(|(other, _)| *other < rank) {
                best.insert(prefix, (rank, route.clone()));
            }
        }
    }
    best.into_iter()
        .map(|(prefix, (_, route))| (prefix, route))
        .collect()
}
