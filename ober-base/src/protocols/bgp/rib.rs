//! Adj-RIB-Out, RFC 4271 section 3.2: the wanted routes, the advertised ones, and the UPDATEs between the two. No route is
//! advertised twice.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use ipnet::IpNet;

use super::message::{Attributes, Communities, Family, LONGEST, Message, NextHop, Refresh, Update};

/// The attributes of a prefix that do not depend on the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    pub med: Option<u32>,
    pub local_pref: u32,
    /// How often the own AS is repeated.
    pub prepend: u8,
    /// AS numbers behind it.
    pub behind: Vec<u32>,
    pub communities: Communities,
}

/// All routes that a neighbour is to have.
pub type Routes = BTreeMap<IpNet, Route>;

/// All routes that were advertised to a neighbour.
pub type Advertised = BTreeMap<IpNet, Arc<Attributes>>;

/// The addresses by which a neighbour reaches this node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NextHops {
    pub v4: Option<Ipv4Addr>,
    pub v6: Option<Ipv6Addr>,
    /// Only when the neighbour is on the same link.
    pub link_local: Option<Ipv6Addr>,
    /// Prefer an IPv6 next hop for IPv4 routes where the neighbour understands it: the session has no IPv4 address.
    pub prefer_v6: bool,
}

/// The agreed terms that concern routes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    pub local_as: u32,
    pub internal: bool,
    pub families: BTreeSet<Family>,
    pub four_octet_as: bool,
    pub extended_next_hop: bool,
    pub next_hops: NextHops,
}

impl Terms {
    /// `None`: this session cannot carry the route.
    fn attributes(&self, prefix: &IpNet, route: &Route) -> Option<Attributes> {
        let family = Family::of(prefix);
        if !self.families.contains(&family) {
            return None;
        }
        let mut path = Vec::new();
        if !self.internal {
            path.resize(1 + usize::from(route.prepend), self.local_as);
            path.extend(&route.behind);
        }
        Some(Attributes {
            path,
            next_hop: self.next_hop(family)?,
            med: route.med,
            local_pref: self.internal.then_some(route.local_pref),
            communities: route.communities.clone(),
            four_octet_as: self.four_octet_as,
        })
    }

    /// RFC 4760, RFC 8950, RFC 2545.
    fn next_hop(&self, family: Family) -> Option<NextHop> {
        let NextHops {
            v4,
            v6,
            link_local,
            prefer_v6,
        } = self.next_hops;
        let v4 = v4.map(NextHop::V4);
        // A node without a global address is reached by the link-local one, which then fills both fields.
        let v6 = v6
            .or(link_local)
            .map(|global| NextHop::V6 { global, link_local });
        match family {
            Family::Ipv6 => v6,
            Family::Ipv4 if !self.extended_next_hop => v4,
            Family::Ipv4 if prefer_v6 => v6.or(v4),
            Family::Ipv4 => v4.or(v6),
        }
    }
}

/// What was advertised to one neighbour in this session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Out {
    advertised: Arc<Advertised>,
}

impl Out {
    pub fn advertised(&self) -> &Arc<Advertised> {
        &self.advertised
    }

    /// The UPDATEs that make `routes` the advertised ones. Withdrawals first: they are urgent.
    pub fn sync(&mut self, terms: &Terms, routes: &Routes) -> Vec<Update> {
        let wanted: BTreeMap<IpNet, Attributes> = routes
            .iter()
            .filter_map(|(prefix, route)| {
                let attributes = terms.attributes(prefix, route)?;
                Some((*prefix, attributes))
            })
            .collect();
        let gone: Advertised = self
            .advertised
            .iter()
            .filter(|(prefix, _)| !wanted.contains_key(prefix))
            .map(|(prefix, attributes)| (*prefix, attributes.clone()))
            .collect();
        let mut news: BTreeMap<Attributes, BTreeSet<IpNet>> = BTreeMap::new();
        for (prefix, attributes) in wanted {
            if self
                .advertised
                .get(&prefix)
                .is_none_or(|old| **old != attributes)
            {
                news.entry(attributes).or_default().insert(prefix);
            }
        }
        let mut updates = withdraws(&gone);
        let advertised = Arc::make_mut(&mut self.advertised);
        advertised.retain(|prefix, _| !gone.contains_key(prefix));
        for (attributes, prefixes) in news {
            let attributes = Arc::new(attributes);
            advertised.extend(prefixes.iter().map(|prefix| (*prefix, attributes.clone())));
            updates.extend(announce(&attributes, &prefixes));
        }
        updates
    }

    /// All routes of one family again (RFC 2918), between markers where the neighbour understands them (RFC 7313).
    pub fn again(&self, family: Family, marked: bool) -> Vec<Message> {
        let mut groups: BTreeMap<&Arc<Attributes>, BTreeSet<IpNet>> = BTreeMap::new();
        for (prefix, attributes) in &*self.advertised {
            if Family::of(prefix) == family {
                groups.entry(attributes).or_default().insert(*prefix);
            }
        }
        let updates = groups
            .into_iter()
            .flat_map(|(attributes, prefixes)| announce(attributes, &prefixes));
        let mark = |which| marked.then_some(Message::Refresh(family, which));
        mark(Refresh::Begin)
            .into_iter()
            .chain(updates.map(Message::Update))
            .chain(mark(Refresh::End))
            .collect()
    }
}

/// The most bytes of a prefix.
fn size(family: Family) -> usize {
    match family {
        Family::Ipv4 => 5,
        Family::Ipv6 => 17,
    }
}

/// The prefixes by family, in parts that fit behind `before` bytes of attributes.
fn pieces<'p>(
    prefixes: impl IntoIterator<Item = &'p IpNet>,
    before: usize,
) -> impl Iterator<Item = Vec<IpNet>> {
    let mut families: BTreeMap<Family, Vec<IpNet>> = BTreeMap::new();
    for prefix in prefixes {
        families
            .entry(Family::of(prefix))
            .or_default()
            .push(*prefix);
    }
    families.into_iter().flat_map(move |(family, prefixes)| {
        // The header and the two length fields.
        let room = LONGEST.saturating_sub(19 + 4 + before);
        let most = (room / size(family)).max(1);
        let pieces: Vec<Vec<IpNet>> = prefixes.chunks(most).map(<[_]>::to_vec).collect();
        pieces
    })
}

fn announce(attributes: &Arc<Attributes>, prefixes: &BTreeSet<IpNet>) -> Vec<Update> {
    let update = |prefixes| Update::Announce {
        attributes: attributes.clone(),
        prefixes,
    };
    pieces(prefixes, attributes.size()).map(update).collect()
}

fn withdraws(gone: &Advertised) -> Vec<Update> {
    let is_extended = |attributes: &Attributes| matches!(attributes.next_hop, NextHop::V6 { .. });
    let of = |extended: bool| {
        let prefixes = gone
            .iter()
            .filter(move |(_, attributes)| is_extended(attributes) == extended)
            .map(|(prefix, _)| prefix);
        // MP_UNREACH_NLRI: header of the attribute, family.
        pieces(prefixes, 7).map(move |prefixes| Update::Withdraw { prefixes, extended })
    };
    of(false).chain(of(true)).collect()
}
