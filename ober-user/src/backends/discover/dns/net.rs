//! Asks the configured name server, or those of this machine.

use std::{net::IpAddr, num::NonZeroU16};

use hickory_proto::{
    op::Message,
    rr::{Name, RecordType},
};

use super::{Error, one_family, services};
use crate::{
    config::sections::discover::Ask,
    names::{
        resolve::{
            self,
            dns::{self, addresses, read_name},
            literal,
        },
        server_line::Found,
    },
};

/// The addresses of a name.
pub(in crate::backends::discover) async fn hosts(
    name: &str,
    ask: &Ask,
    port: NonZeroU16,
) -> Result<Vec<Found>, Error> {
    let miss = |source| Error::Target {
        name: name.to_owned(),
        source,
    };
    if let Some(known) = literal(name) {
        return Ok(vec![Found::at(known.map_err(miss)?, port)]);
    }
    let asked = read_name(name).map_err(Box::new)?;
    let addresses = Client::new(ask).await.addresses(&asked).await?;
    let found = one_family(&addresses).map(|address| {
        let found = Found::at(*address, port).named(Some(name));
        found.map_err(miss)
    });
    found.collect()
}

/// The servers of a service.
pub(in crate::backends::discover) async fn service(
    name: &str,
    ask: &Ask,
) -> Result<Vec<Found>, Error> {
    let name = read_name(name).map_err(Box::new)?;
    let client = Client::new(ask).await;
    let answer = client.ask(&name, RecordType::SRV).await?;
    let mut found = Vec::new();
    for service in services(&answer) {
        let mut known = addresses(&answer.additionals, Some(&service.target));
        if known.is_empty() {
            // RFC 2782: a target must be a name.
            service.is_named()?;
            known = client.addresses(&service.target).await?;
        }
        found.extend(service.at(&known)?);
    }
    Ok(found)
}

struct Client {
    servers: dns::Client,
    kinds: &'static [RecordType],
}

impl Client {
    /// A client of the configured name server, or of those of this machine with the options of its resolv.conf.
    async fn new(ask: &Ask) -> Self {
        let (servers, tcp, only_v4) = if let Some(server) = ask.server {
            (vec![server], ask.tcp, false)
        } else {
            let conf = resolve::conf().await;
            (conf.servers, ask.tcp || conf.tcp, conf.only_v4)
        };
        Self {
            servers: dns::Client::new(servers, tcp),
            kinds: if only_v4 {
                &[RecordType::A]
            } else {
                &[RecordType::A, RecordType::AAAA]
            },
        }
    }

    async fn ask(&self, name: &Name, kind: RecordType) -> Result<Message, Error> {
        let answer = self.servers.ask(name, kind).await;
        Ok(answer.map_err(Box::new)?)
    }

    /// The IPv4 addresses of a name, or the IPv6 addresses when it has none.
    async fn addresses(&self, name: &Name) -> Result<Vec<IpAddr>, Error> {
        for kind in self.kinds.iter().copied() {
            let answer = self.ask(name, kind).await?;
            let found = addresses(&answer.answers, None);
            if !found.is_empty() {
                return Ok(found);
            }
        }
        Ok(Vec::new())
    }
}
