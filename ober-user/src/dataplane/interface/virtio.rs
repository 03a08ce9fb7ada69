//! The features of a virtio-net card, by the numbers of the standard (OASIS virtio 1.2, section 5.1.3).

use serde::{Deserialize, Serialize};

/// The largest MTU at which a card without merged buffers receives into buffers on which XDP runs.
const SMALL: u32 = 1500;
const MERGED_BUFFERS: u32 = 15;
const SWITCHABLE: u32 = 2;
/// Work that the host may leave to the guest, by QEMU's names. All but the first make packets large.
const OFFLOADS: [(u32, &str); 7] = [
    (1, "guest_csum"),
    (7, "guest_tso4"),
    (8, "guest_tso6"),
    (9, "guest_ecn"),
    (10, "guest_ufo"),
    (54, "guest_uso4"),
    (55, "guest_uso6"),
];

/// The features that host and guest have agreed on: bit n is feature n.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Virtio(u128);

impl Virtio {
    /// Reads `features` of sysfs: one digit for each feature, the first for feature 0.
    pub fn read(digits: &str) -> Option<Self> {
        let digits = digits.trim();
        let bits = (0..)
            .zip(digits.chars())
            .try_fold(0, |bits, (number, digit)| {
                let bit = 1_u128.checked_shl(number)?;
                match digit {
                    '0' => Some(bits),
                    '1' => Some(bits | bit),
                    _ => None,
                }
            });
        bits.filter(|_| !digits.is_empty()).map(Self)
    }

    #[cfg(test)]
    pub fn with(features: &[u32]) -> Self {
        Self(features.iter().fold(0, |bits, number| bits | 1 << number))
    }

    fn has(self, number: u32) -> bool {
        self.0 >> number & 1 == 1
    }

    /// Does the driver accept a program and never run it? It then receives into large buffers (`receive_big`), which it
    /// passes to the kernel without running XDP.
    pub fn is_blind(self, mtu: u32) -> bool {
        !self.has(MERGED_BUFFERS) && (mtu > SMALL || !self.large().is_empty())
    }

    /// The offloads that make packets large, by QEMU's names.
    pub fn large(self) -> Vec<&'static str> {
        let mut all = self.offloads();
        all.retain(|name| *name != "guest_csum");
        all
    }

    /// The offloads that keep XDP out of the driver because it cannot turn them off itself.
    pub fn fixed(self) -> Vec<&'static str> {
        if self.has(SWITCHABLE) {
            Vec::new()
        } else {
            self.offloads()
        }
    }

    fn offloads(self) -> Vec<&'static str> {
        let on = OFFLOADS.iter().filter(|(number, _)| self.has(*number));
        on.map(|(_, name)| *name).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_read_digit_by_digit() {
        let digits = "1100000110000001";
        assert_eq!(Virtio::read(digits), Some(Virtio::with(&[0, 1, 7, 8, 15])));
        assert_eq!(Virtio::read(&format!("{digits}\n")), Virtio::read(digits));
        assert_eq!(Virtio::read(&"0".repeat(128)), Some(Virtio::with(&[])));
        for bad in ["", "01x", &"0".repeat(129)] {
            assert_eq!(Virtio::read(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_card_without_merged_buffers_never_runs_xdp_where_packets_may_be_large() {
        for (features, mtu, blind) in [
            (&[15, 7, 8, 9, 10][..], 1500, false),
            (&[15, 7], 9000, false),
            (&[], 1500, false),
            (&[1, 2], 1500, false),
            (&[], 1501, true),
            (&[7], 1500, true),
            (&[8], 1500, true),
            (&[9], 1500, true),
            (&[10], 1500, true),
            (&[54], 1500, true),
        ] {
            assert_eq!(
                Virtio::with(features).is_blind(mtu),
                blind,
                "{features:?} {mtu}"
            );
        }
    }

    #[test]
    fn offloads_the_guest_cannot_turn_off_are_named_as_qemu_names_them() {
        assert_eq!(Virtio::with(&[1, 2, 7]).fixed(), Vec::<&str>::new());
        assert_eq!(
            Virtio::with(&[1, 7, 10]).fixed(),
            ["guest_csum", "guest_tso4", "guest_ufo"]
        );
        assert_eq!(Virtio::with(&[1, 8]).large(), ["guest_tso6"]);
    }
}
