//! Receives the advertisements of other nodes and sends nothing, for commands that look before this node takes part.

use std::{io, net::IpAddr};

use super::{
    super::packet::Advertisement,
    Error,
    interface::Interface,
    link::senders,
    receive::Senders,
    sockets::{Datagram, LARGEST, Raw},
};
use crate::protocols::vrrp::configured::{Instance, Transport, Vrrp};

/// A received VRRP packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    Advertisement {
        from: IpAddr,
        advertisement: Advertisement,
    },
    /// This node would refuse it.
    Refused { from: IpAddr, why: String },
}

/// Receives advertisements of the families that have virtual routers.
#[derive(Debug)]
pub struct Listener {
    senders: Senders,
    v4: Option<Ear>,
    v6: Option<Ear>,
}

#[derive(Debug)]
struct Ear {
    raw: Raw,
    /// The address that this node would advertise from.
    source: IpAddr,
    buffer: Vec<u8>,
}

impl Listener {
    /// Must be called inside a runtime.
    pub fn open(config: &Vrrp) -> Result<Self, Error> {
        let interface = Interface::of(config)?;
        let group = config.transport == Transport::Multicast;
        let ear = |six| -> Result<Option<Ear>, Error> {
            let mut instances = config.instances.iter().map(Instance::is_ipv6);
            if !instances.any(|it| it == six) {
                return Ok(None);
            }
            let failed = |source| Error::Socket {
                interface: interface.name.clone(),
                source,
            };
            Ok(Some(Ear {
                raw: Raw::open(&interface, six, group).map_err(failed)?,
                source: interface.source(config, six, None)?,
                buffer: vec![0; LARGEST],
            }))
        };
        Ok(Self {
            senders: senders(config),
            v4: ear(false)?,
            v6: ear(true)?,
        })
    }

    /// The address that this node would advertise from; `None`: no virtual router has this family.
    pub fn source(&self, six: bool) -> Option<IpAddr> {
        let ear = if six { &self.v6 } else { &self.v4 };
        ear.as_ref().map(|ear| ear.source)
    }

    /// The next packet. Loses nothing when dropped before it is ready.
    pub async fn next(&mut self) -> io::Result<Heard> {
        tokio::select! {
            heard = hear(self.v4.as_mut(), &self.senders) => heard,
            heard = hear(self.v6.as_mut(), &self.senders) => heard,
        }
    }
}

async fn hear(ear: Option<&mut Ear>, senders: &Senders) -> io::Result<Heard> {
    let Some(Ear { raw, buffer, .. }) = ear else {
        return std::future::pending().await;
    };
    let datagram = raw.receive(buffer).await?;
    let payload = buffer.get(datagram.payload.clone()).unwrap_or_default();
    Ok(judge(&datagram, payload, senders))
}

fn judge(datagram: &Datagram, payload: &[u8], senders: &Senders) -> Heard {
    let Datagram { from, to, ttl, .. } = *datagram;
    if let Err((_, why)) = senders.allow(from, to, ttl) {
        return Heard::Refused { from, why };
    }
    match Advertisement::decode(payload, from, to) {
        Ok((advertisement, _)) => Heard::Advertisement {
            from,
            advertisement,
        },
        Err(error) => Heard::Refused {
            from,
            why: error.to_string(),
        },
    }
}
