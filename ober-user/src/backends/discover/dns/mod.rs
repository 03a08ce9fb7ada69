//! Kinds `dns` and `srv`: questions to a name server, and the servers in the answers. [`net`] asks them by
//! [`crate::names::resolve::dns`]. The system's own resolver is not used, because it hides the response code: a name
//! without an address for the moment differs from a name that does not exist, and from a failure of the name server.
//!
//! A response code other than NOERROR is never taken for an empty list.

pub(super) mod net;

use std::{net::IpAddr, num::NonZeroU16};

use hickory_proto::{
    op::Message,
    rr::{Name, RData, Record},
};

use crate::names::{
    notation::Miss,
    resolve::{dns, literal},
    server_line::Found,
};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Dns(#[from] Box<dns::Error>),
    #[error("a record names the server {name:?}: {source}")]
    Target { name: String, source: Miss },
}

/// A server of an SRV record, before its addresses are known.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Service {
    target: Name,
    port: NonZeroU16,
    weight: u32,
    tier: u32,
}

/// RFC 2782: a lower priority is a lower tier; the target `.` means that the service is not offered. Weight 0 means
/// "hardly ever" there, but "no new work" here: so it becomes 1, and all other weights are multiplied by 1000 when
/// there is such a server.
fn services(answer: &Message) -> Vec<Service> {
    let srv = |record: &Record| match &record.data {
        RData::SRV(srv) if !srv.target.is_root() => Some(srv.clone()),
        _ => None,
    };
    let records: Vec<_> = answer.answers.iter().filter_map(srv).collect();
    let scale = if records.iter().any(|srv| srv.weight == 0) {
        1000
    } else {
        1
    };
    let service = |srv: &hickory_proto::rr::rdata::SRV| {
        Some(Service {
            port: NonZeroU16::new(srv.port)?,
            weight: (u32::from(srv.weight) * scale).max(1),
            tier: srv.priority.into(),
            target: srv.target.clone(),
        })
    };
    records.iter().filter_map(service).collect()
}

impl Service {
    /// Refuses a target that is an address or ends in a number: no name server is asked for it.
    fn is_named(&self) -> Result<(), Error> {
        let name = self.target.to_ascii();
        let bare = name.strip_suffix('.').unwrap_or(&name);
        let source = match literal(bare) {
            None => return Ok(()),
            Some(Ok(address)) => Miss::Address(address),
            Some(Err(source)) => source,
        };
        Err(Error::Target { name, source })
    }

    /// One server for each address. Of a target with both families only IPv4, or the machine would count twice.
    fn at(&self, addresses: &[IpAddr]) -> Result<Vec<Found>, Error> {
        let name = self.target.to_ascii();
        let found: Result<_, Miss> = one_family(addresses)
            .map(|address| {
                let found = Found::at(*address, self.port);
                found
                    .weighs(self.weight)
                    .in_tier(self.tier)
                    .named(Some(&name))
            })
            .collect();
        found.map_err(|source| Error::Target { name, source })
    }
}

fn one_family(addresses: &[IpAddr]) -> impl Iterator<Item = &IpAddr> {
    let v4 = addresses.iter().any(IpAddr::is_ipv4);
    addresses
        .iter()
        .filter(move |address| address.is_ipv4() == v4)
}

#[cfg(test)]
mod tests;
