//! What an interface is, as far as XDP and steering are concerned: asked of the kernel (`gather`), and judged by
//! functions that ask nothing.
//!
//! ```text
//! gather -> Features -+-> steer    may packets be sent to another CPU?
//!                     +-> refusal  why XDP is not in the driver, and what would help
//! samples ------------+-> runs     does the attached program meet the packets?
//!                     +-> drops    what the driver dropped beyond what we told it to
//! ```
//!
//! `topology` tells what is made of what, `virtio` names features by number. But for `gather` they never ask the kernel.

pub mod drops;
pub mod gather;
pub mod refusal;
pub mod runs;
pub mod steer;
pub mod topology;
pub mod virtio;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::system::netlink::{ethtool::Queues, netdev::Xdp};
use virtio::Virtio;

/// A version of Linux, as far as it is looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Linux(pub u32, pub u32);

impl Linux {
    /// `6.1.0-26-amd64`.
    pub fn read(release: &str) -> Option<Self> {
        let numbers = release.split(['.', '-', '+']);
        let mut numbers = numbers.map_while(|it| it.parse().ok());
        Some(Self(numbers.next()?, numbers.next()?))
    }
}

impl fmt::Display for Linux {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}.{}", self.0, self.1)
    }
}

/// One interface. `None` stands for what the kernel does not tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Features {
    pub name: String,
    pub index: u32,
    /// `veth`, `vlan`, `bond`, ...; `None` also for a device with a driver of its own.
    pub kind: Option<String>,
    pub driver: Option<String>,
    pub mtu: u32,
    /// Its own, or the fewest among those of the devices it is made of.
    pub queues: Option<Queues>,
    /// The devices it is made of, down to the last.
    pub below: Vec<String>,
    /// It, or one that it is made of, takes VLAN tags out of the frames.
    pub strips_vlan: Option<String>,
    /// What is made of it and needs those tags: a VLAN, a bridge, a virtual switch.
    pub tagged_above: Option<String>,
    /// It, or one that it is made of, gets frames of this machine that are not finished: its name and kind.
    pub unfinished: Option<(String, String)>,
    /// It, or one that it is made of, puts packets together.
    pub large_receive: Option<String>,
    pub virtio: Option<Virtio>,
    pub xdp: Option<Xdp>,
    pub linux: Option<Linux>,
}

impl Features {
    /// The kind where there is one, else the driver: what messages call it.
    pub fn what(&self) -> &str {
        let name = self.driver.as_deref().or(self.kind.as_deref());
        name.unwrap_or("an unknown driver")
    }

    /// What a driver looks at when a program is attached. It changed: the driver must be asked again.
    pub fn asked(&self) -> Asked {
        Asked {
            driver: self.driver.clone(),
            mtu: self.mtu,
            queues: self.queues,
            large_receive: self.large_receive.clone(),
            virtio: self.virtio,
            below: self.below.clone(),
            linux: self.linux,
        }
    }
}

/// See [`Features::asked`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    pub driver: Option<String>,
    pub mtu: u32,
    pub queues: Option<Queues>,
    pub large_receive: Option<String>,
    pub virtio: Option<Virtio>,
    pub below: Vec<String>,
    pub linux: Option<Linux>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_begins_with_the_version_and_versions_are_compared_by_number() {
        assert_eq!(Linux::read("6.1.0-26-amd64"), Some(Linux(6, 1)));
        assert_eq!(Linux::read("7.0-rc1"), Some(Linux(7, 0)));
        assert_eq!(Linux::read("strange"), None);
        assert!(Linux(6, 12) > Linux(6, 6) && Linux(7, 0) > Linux(6, 19));
    }
}
