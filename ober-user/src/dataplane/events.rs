//! Sampled drops: reads events of the kernel's ring buffer into [`DropEvent`].

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, Ipv6Addr},
    path::Path,
    time::{Duration, Instant},
};

use aya::maps::{MapData, RingBuf};
use ober_common::abi::{Drop, Verdict};
use serde::{Deserialize, Serialize};
use tokio::io::unix::AsyncFd;

use crate::{
    dataplane::{
        self,
        counters::{NODE, NamedService},
        maps,
    },
    machine::drive,
    system::netlink,
};

/// How long a name of an interface is used before the kernel is asked again.
const NAMED: Duration = Duration::from_secs(1);
/// The most names that are kept.
const MOST_NAMES: usize = 64;

/// A sampled drop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropEvent {
    /// Nanoseconds of the monotonic clock.
    pub at: u64,
    /// The verdict.
    pub reason: String,
    /// Service name; `node` when it belongs to none.
    pub service: String,
    pub source: IpAddr,
    pub destination: IpAddr,
    pub source_port: u16,
    pub destination_port: u16,
    pub protocol: u8,
    /// Name of the interface, or its number when it is gone.
    pub interface: String,
    /// Bytes of the whole frame.
    pub length: u32,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Open(#[from] dataplane::Error),
    #[error("wait for drop events: {0}")]
    Wait(#[from] io::Error),
}

/// The drops in the order they are reported. The ring buffer has one reader at a time: an event that one reader takes
/// is not seen by another.
pub struct Drops {
    ring: AsyncFd<RingBuf<MapData>>,
    interfaces: Interfaces,
}

impl Drops {
    /// Opens the ring buffer pinned in `directory`.
    pub fn open(directory: &Path) -> Result<Self, Error> {
        let ring = maps::drops(directory)?;
        // SAFETY: the ring buffer owns its descriptor and keeps it open as long as it is registered.
        let ring = unsafe { AsyncFd::register(ring) }.map_err(io::Error::from)?;
        let interfaces = Interfaces::default();
        Ok(Self { ring, interfaces })
    }

    /// Waits for the next drop. The caller may cancel it at any point without losing one.
    pub async fn next(&mut self, names: &[NamedService]) -> Result<DropEvent, Error> {
        loop {
            // Events that are there come first: the kernel signals readiness once for several events.
            while let Some(bytes) = self.ring.get_mut().next() {
                if let Some(event) = decode(&bytes, names, &mut self.interfaces) {
                    return Ok(event);
                }
            }
            self.ring.readable_mut().await?.clear_ready();
        }
    }
}

/// Reads an event; `None` when its size is not that of [`Drop`].
pub fn decode(
    bytes: &[u8],
    names: &[NamedService],
    interfaces: &mut Interfaces,
) -> Option<DropEvent> {
    if bytes.len() != size_of::<Drop>() {
        return None;
    }
    // SAFETY: there are as many bytes as the value has; it is made of integers, so any bytes are valid; alignment is
    // not assumed.
    let drop: Drop = unsafe { bytes.as_ptr().cast::<Drop>().read_unaligned() };
    Some(DropEvent {
        at: drop.at,
        reason: reason(drop.verdict),
        service: service(drop.service, names),
        source: address(drop.source),
        destination: address(drop.destination),
        source_port: drop.source_port,
        destination_port: drop.destination_port,
        protocol: drop.protocol,
        interface: interfaces.name(drop.interface, drive::now()),
        length: drop.length,
    })
}

fn reason(verdict: u32) -> String {
    let known = Verdict::ALL.get(verdict as usize);
    known.map_or_else(|| format!("verdict_{verdict}"), |known| known.name().into())
}

fn service(index: u32, names: &[NamedService]) -> String {
    if index == 0 {
        return NODE.into();
    }
    let known = names.iter().find(|service| service.index == index);
    known.map_or_else(|| format!("service_{index}"), |known| known.name.clone())
}

fn address(bytes: ober_common::address::Address) -> IpAddr {
    Ipv6Addr::from(bytes).to_canonical()
}

/// Names of interfaces by number. To ask the kernel for each event would cost more than all other work for the event.
#[derive(Debug, Default)]
pub struct Interfaces(BTreeMap<u32, (Instant, String)>);

impl Interfaces {
    fn name(&mut self, index: u32, now: Instant) -> String {
        let fresh = |asked: &Instant| now.saturating_duration_since(*asked) < NAMED;
        if let Some((_, name)) = self.0.get(&index).filter(|(asked, _)| fresh(asked)) {
            return name.clone();
        }
        if self.0.len() >= MOST_NAMES {
            self.0.clear();
        }
        let name = netlink::name_of(index).unwrap_or_else(|| index.to_string());
        self.0.insert(index, (now, name.clone()));
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decode(bytes: &[u8], names: &[NamedService]) -> Option<DropEvent> {
        super::decode(bytes, names, &mut Interfaces::default())
    }

    fn bytes(drop: Drop) -> Vec<u8> {
        // SAFETY: integers without padding, so every byte is initialised.
        let bytes: [u8; size_of::<Drop>()] = unsafe { std::mem::transmute(drop) };
        bytes.to_vec()
    }

    fn denied() -> Drop {
        Drop {
            at: 7,
            source: std::net::Ipv4Addr::new(192, 0, 2, 1)
                .to_ipv6_mapped()
                .octets(),
            destination: "fd00::5".parse::<Ipv6Addr>().unwrap().octets(),
            source_port: 40_000,
            destination_port: 80,
            protocol: 6,
            pad: [0; 3],
            verdict: Verdict::Denied as u32,
            service: 2,
            interface: u32::MAX,
            length: 66,
        }
    }

    fn names() -> Vec<NamedService> {
        vec![NamedService {
            index: 2,
            name: "s3".into(),
            vip: "fd00::5".parse().unwrap(),
            port: 80,
        }]
    }

    #[test]
    fn an_event_names_service_reason_and_both_ends() {
        let expected = DropEvent {
            at: 7,
            reason: "denied".into(),
            service: "s3".into(),
            source: "192.0.2.1".parse().unwrap(),
            destination: "fd00::5".parse().unwrap(),
            source_port: 40_000,
            destination_port: 80,
            protocol: 6,
            interface: u32::MAX.to_string(),
            length: 66,
        };
        assert_eq!(decode(&bytes(denied()), &names()), Some(expected));
    }

    #[test]
    fn an_event_shows_unknown_values_by_number_and_loopback_by_name() {
        let drop = Drop {
            verdict: 99,
            service: 3,
            interface: 1,
            ..denied()
        };
        let event = decode(&bytes(drop), &names()).unwrap();
        assert_eq!(
            (event.reason.as_str(), event.service.as_str()),
            ("verdict_99", "service_3")
        );
        assert_eq!(event.interface, "lo");
        let event = decode(
            &bytes(Drop {
                service: 0,
                ..denied()
            }),
            &names(),
        )
        .unwrap();
        assert_eq!(event.service, "node");
    }

    #[test]
    fn an_interface_is_asked_for_its_name_once_a_second_and_few_names_are_kept() {
        let mut interfaces = Interfaces::default();
        let now = drive::now();
        interfaces.0.insert(1, (now, "old".into()));
        assert_eq!(interfaces.name(1, now + NAMED / 2), "old");
        assert_eq!(interfaces.name(1, now + NAMED), "lo");
        for index in 0..1000 {
            interfaces.name(u32::MAX - index, now);
            assert!(interfaces.0.len() <= MOST_NAMES);
        }
    }

    proptest! {
        #[test]
        fn decoding_an_arbitrary_event_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..130)) {
            let whole = bytes.len() == size_of::<Drop>();
            prop_assert_eq!(decode(&bytes, &[]).is_some(), whole);
        }
    }
}
