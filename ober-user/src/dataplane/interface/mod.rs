//! The properties of an interface that matter to XDP and steering: only `gather` asks the kernel, the others never do.
//!
//! ```text
//! gather -> Features -+-> steer    may packets be sent to another CPU?
//!                     +-> refusal  why XDP is not in the driver, and what would help
//! samples ------------+-> runs     does the attached program get the packets?
//!                     +-> drops    packets that the driver dropped without a program's verdict
//! ```
//!
//! `topology` finds out which devices are made of which, `virtio` reads the features of a card.

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

/// A version of Linux: its first two numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Linux(pub u32, pub u32);

impl Linux {
    /// `6.1.0-26-amd64`.
    pub fn read(release: &str) -> Option<Self> {
        let mut numbers = release
            .split(['.', '-', '+'])
            .map_while(|it| it.parse().ok());
        Some(Self(numbers.next()?, numbers.next()?))
    }
}

impl fmt::Display for Linux {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}.{}", self.0, self.1)
    }
}

/// One interface. `None` stands for a property that the kernel does not report.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Features {
    pub name: String,
    pub index: u32,
    /// `veth`, `vlan`, `bond`, ...; `None` also for a device with a driver of its own.
    pub kind: Option<String>,
    pub driver: Option<String>,
    pub mtu: u32,
    /// Its own, or the fewest among the devices it is made of.
    pub queues: Option<Queues>,
    /// The devices it is made of, down to the lowest.
    pub below: Vec<String>,
    /// The device, this one or one it is made of, that takes VLAN tags out of the frames.
    pub strips_vlan: Option<String>,
    /// The device made of this one that needs those tags: a VLAN, a bridge, a virtual switch.
    pub tagged_above: Option<String>,
    /// Name and kind of the device, this one or one it is made of, that gets frames of this machine without their
    /// checksums.
    pub unfinished: Option<(String, String)>,
    /// The device, this one or one it is made of, that merges received packets into larger ones.
    pub large_receive: Option<String>,
    pub virtio: Option<Virtio>,
    pub xdp: Option<Xdp>,
    pub linux: Option<Linux>,
}

impl Features {
    /// The name that messages use: the driver, or the kind of a device without one.
    pub fn what(&self) -> &str {
        let name = self.driver.as_deref().or(self.kind.as_deref());
        name.unwrap_or("an unknown driver")
    }

    /// The features that a driver checks when a program is attached. When they change, the driver must be asked again.
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
