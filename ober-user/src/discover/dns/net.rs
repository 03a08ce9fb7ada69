//! The questions, to the name server that is written or those of this machine.

use std::{net::IpAddr, num::NonZeroU16};

use hickory_proto::{
    op::Message,
    rr::{Name, RecordType},
};

use super::{Error, one_family, services};
use crate::{
    config::discover::Ask,
    discover::Found,
    resolve::{
        self,
        dns::{self, addresses, read_name},
    },
};

/// The addresses of a name.
pub(in crate::discover) async fn hosts(
    name: &str,
    ask: &Ask,
    port: NonZeroU16,
) -> Result<Vec<Found>, Error> {
    let asked = read_name(name).map_err(Box::new)?;
    let client = Client::new(ask)?;
    let addresses = client.addresses(&asked).await?;
    let found = one_family(&addresses).map(|address| {
        let found = Found::at(*address, port).named(Some(name));
        found.map_err(|source| Error::Target {
            name: name.to_owned(),
            source,
        })
    });
    found.collect()
}

/// The servers of a service.
pub(in crate::discover) async fn service(name: &str, ask: &Ask) -> Result<Vec<Found>, Error> {
    let name = read_name(name).map_err(Box::new)?;
    let client = Client::new(ask)?;
    let answer = client.ask(&name, RecordType::SRV).await?;
    let mut found = Vec::new();
    for service in services(&answer) {
        let mut known = addresses(&answer.additionals, Some(&service.target));
        if known.is_empty() {
            known = client.addresses(&service.target).await?;
        }
        found.extend(service.at(&known)?);
    }
    Ok(found)
}

struct Client(dns::Client);

impl Client {
    fn new(ask: &Ask) -> Result<Self, Error> {
        let servers = match ask.server {
            Some(server) => vec![server],
            None => resolve::servers().map_err(|source| Error::System { source })?,
        };
        Ok(Self(dns::Client::new(servers, ask.tcp)))
    }

    async fn ask(&self, name: &Name, kind: RecordType) -> Result<Message, Error> {
        Ok(self.0.ask(name, kind).await.map_err(Box::new)?)
    }

    /// IPv4, and only without any IPv6.
    async fn addresses(&self, name: &Name) -> Result<Vec<IpAddr>, Error> {
        for kind in [RecordType::A, RecordType::AAAA] {
            let answer = self.ask(name, kind).await?;
            let found = addresses(&answer.answers, None);
            if !found.is_empty() {
                return Ok(found);
            }
        }
        Ok(Vec::new())
    }
}
