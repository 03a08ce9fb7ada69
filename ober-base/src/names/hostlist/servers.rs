//! Backend servers: hosts with an optional port.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr},
    num::NonZeroU16,
};

use super::{
    Cap, Error, Fault, Sink, Sources, drop_duplicates,
    expand::{each_address, render, scontrol_order},
    parse::{Grammar, Shape, Term},
    stream,
};
use crate::names::notation::{self, Host, Miss};

/// A server: `rgw01.internal:7480`, `10.0.0.1:7480`, `[fd00::1]:7480`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Server {
    pub host: Host,
    pub port: NonZeroU16,
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Name(name) => write!(f, "{name}:{}", self.port),
            Host::Addr(IpAddr::V4(addr)) => write!(f, "{addr}:{}", self.port),
            Host::Addr(IpAddr::V6(addr)) => write!(f, "[{addr}]:{}", self.port),
        }
    }
}

/// Every server of `expr`, in order, without duplicates; `port` is for servers that name none.
///
/// `rgw[01-08].internal:7480`, `10.0.0.[1-4]:7480`, `[fd00::1]:7480`, `fd00::1`. An IPv6 address without brackets has no port.
pub fn expand_servers(
    expr: &str,
    port: NonZeroU16,
    mut cap: Cap,
    sources: &mut dyn Sources,
) -> Result<Vec<Server>, Error> {
    let mut sink = Servers {
        port,
        servers: Vec::new(),
    };
    stream::walk(expr, Grammar::Servers, &mut cap, sources, &mut sink)?;
    drop_duplicates(&mut sink.servers);
    Ok(sink.servers)
}

fn unbracketed(text: &str) -> Result<Host, Miss> {
    if text.contains(':') {
        return notation::unambiguous(text).map(Host::Addr);
    }
    notation::host(text)
}

struct Servers {
    port: NonZeroU16,
    servers: Vec<Server>,
}

impl Sink for Servers {
    fn v4(&mut self, addr: Ipv4Addr) {
        self.servers.push(Server {
            host: Host::Addr(addr.into()),
            port: self.port,
        });
    }

    fn term(&mut self, term: &Term<'_>) -> Result<(), Fault> {
        let port = term.port.unwrap_or(self.port);
        let mut push = |host| self.servers.push(Server { host, port });
        match &term.shape {
            &Shape::Dashed(first, last) => {
                each_address(first, last, |addr| push(Host::Addr(addr.into())));
                Ok(())
            }
            Shape::Parts(parts) => render(parts, &scontrol_order(parts), &mut |text| {
                if text.contains('/') {
                    notation::prefix(text)?;
                    return Err(Miss::PrefixAsServer.into());
                }
                // Brackets show where the address ends.
                let host = if term.bracketed {
                    notation::host(text)?
                } else {
                    unbracketed(text)?
                };
                push(host);
                Ok(())
            }),
        }
    }
}
