//! What drivers report about their interfaces (`linux/ethtool.h`). `None`, here and below: the driver does not report it.

use std::{io, os::fd::AsRawFd as _};

use socket2::{Domain, Socket, Type};

/// Numbers of receive queues: in use now, and at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Queues {
    pub now: u32,
    pub most: u32,
}

/// The driver of an interface, and the bus address of its device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Driver {
    /// Such as `virtio_net`.
    pub name: String,
    /// Such as `0000:00:03.0`; empty when the device is on no bus.
    pub bus: String,
}

/// Receive offloads that matter to XDP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offloads {
    /// The card takes VLAN tags out of the frames and reports them in metadata.
    pub strips_vlan: bool,
    /// The card merges packets.
    pub large_receive: bool,
}

/// Asks the drivers of this network namespace. Opened once, it needs no further descriptors.
#[derive(Debug)]
pub struct Ethtool(Socket);

impl Ethtool {
    pub fn open() -> io::Result<Self> {
        Socket::new(Domain::IPV4, Type::DGRAM, None).map(Self)
    }

    /// `ETHTOOL_GCHANNELS`.
    pub fn queues(&self, interface: &str) -> Option<Queues> {
        /// `struct ethtool_channels`.
        #[repr(C)]
        #[derive(Default)]
        struct Channels {
            command: u32,
            most_rx: u32,
            most_tx: u32,
            most_other: u32,
            most_combined: u32,
            rx: u32,
            tx: u32,
            other: u32,
            combined: u32,
        }
        let mut channels = Channels {
            command: 0x3c,
            ..Channels::default()
        };
        // SAFETY: this command reads and writes a structure of that shape.
        unsafe { self.ask(interface, &raw mut channels) }?;
        Some(Queues {
            now: channels.rx.saturating_add(channels.combined),
            most: channels.most_rx.max(channels.most_combined),
        })
    }

    /// `ETHTOOL_GDRVINFO`.
    pub fn driver(&self, interface: &str) -> Option<Driver> {
        /// `struct ethtool_drvinfo`.
        #[repr(C)]
        struct Info {
            command: u32,
            name: [u8; 32],
            version: [u8; 32],
            firmware: [u8; 32],
            bus: [u8; 32],
            others: [u8; 64],
        }
        let mut info = Info {
            command: 0x3,
            name: [0; 32],
            version: [0; 32],
            firmware: [0; 32],
            bus: [0; 32],
            others: [0; 64],
        };
        // SAFETY: this command reads and writes a structure of that shape, 196 bytes long.
        unsafe { self.ask(interface, &raw mut info) }?;
        let name = text(&info.name);
        (!name.is_empty()).then(|| Driver {
            name,
            bus: text(&info.bus),
        })
    }

    /// `ETHTOOL_GFLAGS`.
    pub fn offloads(&self, interface: &str) -> Option<Offloads> {
        const STRIPS_VLAN: u32 = 1 << 8;
        const LARGE_RECEIVE: u32 = 1 << 15;
        let mut value = [0x25_u32, 0];
        // SAFETY: this command reads and writes `struct ethtool_value`, which is two such numbers.
        unsafe { self.ask(interface, value.as_mut_ptr()) }?;
        let [_, flags] = value;
        Some(Offloads {
            strips_vlan: flags & STRIPS_VLAN != 0,
            large_receive: flags & LARGE_RECEIVE != 0,
        })
    }

    /// A driver's counters, by name in its order (`ETHTOOL_GSTRINGS`, `ETHTOOL_GSTATS`).
    pub fn counters(&self, interface: &str) -> Option<Vec<(String, u64)>> {
        /// Bytes of a name.
        const LENGTH: usize = 32;
        /// Room for more: the kernel may write more counters than it counted a moment before.
        const SPARE: usize = 4096;
        const COUNTERS: u32 = 1;
        let mut count = [0x37_u32, 0, 1 << COUNTERS, 0, 0];
        // SAFETY: this command reads and writes `struct ethtool_sset_info` with room for one number.
        unsafe { self.ask(interface, count.as_mut_ptr()) }?;
        let [.., count] = count;
        let room = (count as usize).checked_mul(2)?.checked_add(SPARE)?;
        let mut names = vec![0_u32; 3 + room * LENGTH / 4];
        (names[0], names[1]) = (0x1b, COUNTERS);
        // SAFETY: this command reads and writes `struct ethtool_gstrings`: three numbers and the names, and there is room for
        // them.
        unsafe { self.ask(interface, names.as_mut_ptr()) }?;
        // `struct ethtool_stats`: two numbers of 32 bits, then the values of 64.
        let mut values = vec![0_u64; 1 + room];
        values[0] = u64::from_ne_bytes(pair(0x1d, count));
        // SAFETY: this command reads and writes two numbers and the values, and there is room for them.
        unsafe { self.ask(interface, values.as_mut_ptr()) }?;
        let count = (names[2] as usize).min(room);
        let words = names[3..].chunks_exact(LENGTH / 4).take(count);
        let names = words.map(|words| {
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
            text(&bytes).trim().to_owned()
        });
        Some(names.zip(values.into_iter().skip(1)).collect())
    }

    /// One question to the driver.
    ///
    /// # Safety
    /// `question` must begin with the number of its command and be of the shape that this command reads and writes.
    unsafe fn ask<T>(&self, interface: &str, question: *mut T) -> Option<()> {
        const SIOCETHTOOL: libc::Ioctl = 0x8946;
        // SAFETY: plain bytes, for which zero is valid.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        if interface.len() >= request.ifr_name.len() {
            return None;
        }
        for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes()) {
            *to = from.cast_signed();
        }
        request.ifr_ifru.ifru_data = question.cast();
        // SAFETY: `request` names an interface and points at `question`, whose shape the caller guarantees.
        let result = unsafe { libc::ioctl(self.0.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
        (result == 0).then_some(())
    }
}

fn pair(first: u32, second: u32) -> [u8; 8] {
    let (mut bytes, [a, b]) = ([0; 8], [first, second].map(u32::to_ne_bytes));
    bytes[..4].copy_from_slice(&a);
    bytes[4..].copy_from_slice(&b);
    bytes
}

fn text(bytes: &[u8]) -> String {
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_interface_gives_no_ethtool_facts() {
        let drivers = Ethtool::open().unwrap();
        assert_eq!(drivers.queues("none9"), None);
        assert_eq!(drivers.driver("none9"), None);
        assert_eq!(drivers.offloads("none9"), None);
        assert_eq!(drivers.counters("none9"), None);
        assert_eq!(drivers.driver("a name that is longer than any"), None);
    }
}
