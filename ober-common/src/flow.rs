//! The flow key, its keyed hash, and the slots the hash points at. XDP, `sk_lookup` and the daemon share these
//! functions, so all three always name the same worker for a flow.

use crate::{
    abi::{GROUPS, RING_SLOTS, SERVICE_SLOTS, TABLES, TAGGED, VIP_WORDS},
    address::Ip,
};

/// A client's connection to a service. Ports in host order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    pub client: Ip,
    pub vip: Ip,
    pub client_port: u16,
    pub port: u16,
    pub protocol: u8,
}

/// The 128-bit product of two words, folded by exclusive or. BPF has no multiplication of 128 bits, so this takes four
/// of 64 bits.
#[inline(always)]
const fn fold(a: u64, b: u64) -> u64 {
    const LOW: u64 = 0xffff_ffff;
    let (a_hi, a_lo, b_hi, b_lo) = (a >> 32, a & LOW, b >> 32, b & LOW);
    let (low, cross_a, cross_b) = (a_lo * b_lo, a_lo * b_hi, a_hi * b_lo);
    let middle = (low >> 32) + (cross_a & LOW) + (cross_b & LOW);
    let high = (a_hi * b_hi)
        .wrapping_add(cross_a >> 32)
        .wrapping_add(cross_b >> 32)
        .wrapping_add(middle >> 32);
    high ^ ((middle << 32) | (low & LOW))
}

/// The keyed hash of a flow. An attacker who does not know the key cannot choose addresses and ports that all lead to
/// one worker.
#[inline(always)]
pub const fn hash(key: [u64; 2], flow: &Flow) -> u64 {
    let ports = ((flow.client_port as u64) << 16) | flow.port as u64;
    // The address bits of IPv4 are in one half of `lo`, constants in the other; the ports are mixed into the constants.
    // An attacker can choose the upper half of an IPv6 client, so a product with the secret key adds it to the lower
    // half. VIPs are chosen by the operator, so a shift is enough for them. For IPv4 both upper halves are zero.
    let prefix = u64::from_be(flow.client.hi).wrapping_mul(key[1] | 1);
    let near = flow.client.lo.wrapping_add(prefix) ^ key[0] ^ flow.protocol as u64;
    let vip = flow.vip.lo.rotate_left(32) ^ flow.vip.hi.rotate_left(17);
    fold(near, vip ^ (ports << 32) ^ key[1])
}

/// The ring slot of a hash: its top bits, which a multiplication mixes best.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the shift leaves 12 bits")]
pub const fn ring_slot(hash: u64) -> usize {
    (hash >> (64 - RING_SLOTS.trailing_zeros())) as usize & (RING_SLOTS - 1)
}

/// Word and bit of an address in [`Node::vips`](crate::abi::Node::vips). When the bit is not set, the address is not
/// one of our VIPs.
#[inline(always)]
pub const fn vip_bit(address: Ip) -> (usize, u32) {
    let place = (address.lo ^ address.hi).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 55;
    (place as usize >> 6 & (VIP_WORDS - 1), place as u32 & 63)
}

/// The service table a seed belongs to, which its top bit names. The lowest bit could not: it is set in every seed,
/// because a multiplication by an even number loses bits.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "one bit")]
pub const fn service_table(seed: u64) -> usize {
    (seed >> (64 - TABLES.trailing_zeros())) as usize & (TABLES - 1)
}

/// The hash of a service, from which its group and its slot are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceHash(u64);

/// Hashes a service. `seed` is that of its table.
#[inline(always)]
pub const fn service_hash(seed: u64, vip: Ip, protocol: u8, port: u16) -> ServiceHash {
    let place = ((protocol as u64) << 16) | port as u64;
    let mixed = (vip.lo ^ vip.hi.wrapping_mul(seed)).wrapping_mul(seed);
    // VIPs differ in their last bytes, which are the top bits of the word. A multiplication carries upwards only, so a
    // shift brings the top bits down.
    ServiceHash((mixed ^ mixed >> 32 ^ place).wrapping_mul(seed))
}

#[expect(clippy::cast_possible_truncation, reason = "masked")]
impl ServiceHash {
    /// The group whose entries are moved together. The top bits, which a multiplication mixes best.
    #[inline(always)]
    pub const fn group(self) -> usize {
        (self.0 >> (64 - GROUPS.trailing_zeros())) as usize & (GROUPS - 1)
    }

    /// The slot in the table when the group is moved by `moved`: the bits below those of the group.
    #[inline(always)]
    pub const fn slot(self, moved: u16) -> usize {
        let unmoved = self.0 >> (64 - GROUPS.trailing_zeros() - SERVICE_SLOTS.trailing_zeros());
        (unmoved as usize ^ moved as usize) & (SERVICE_SLOTS - 1)
    }
}

/// The hash of an IPv6 host, from which its home among the host lines and its tag are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostHash(u64);

/// Hashes an IPv6 host.
#[inline(always)]
pub const fn host_hash(key: [u64; 2], address: Ip) -> HostHash {
    // Numbers in host order, so that neighbouring addresses differ in low bits, which a product carries upwards. The
    // two products do not wait for each other. Without the second multiplication, neighbouring addresses would share
    // lines.
    let (hi, lo) = (u64::from_be(address.hi), u64::from_be(address.lo));
    let sum = hi
        .wrapping_mul(key[1] | 1)
        .wrapping_add(lo.wrapping_mul(key[0] | 1));
    HostHash((sum ^ (sum >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

impl HostHash {
    /// The home line. `mask`: the number of lines, a power of two, less one.
    #[inline(always)]
    pub const fn line(self, mask: u32) -> u32 {
        (self.0 >> 32) as u32 & mask
    }

    /// The host's bits in the [`Tags`](crate::abi::Tags) of its home line: two or, rarely, one. They are taken from
    /// bits of the hash that do not choose the line.
    #[inline(always)]
    pub const fn tag(self) -> u64 {
        1 << (self.0 >> 26 & 63) | 1 << (self.0 >> 20 & 63)
    }
}

/// The index of a home line's tags.
#[inline(always)]
pub const fn tags_of(line: u32) -> u32 {
    line / TAGGED
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "halves of wide numbers")]
mod tests {
    use super::*;

    const KEY: [u64; 2] = [0x9e37_79b9_7f4a_7c15, 0xd1b5_4a32_d192_ed03];

    #[test]
    fn folding_gives_the_folded_128_bit_product() {
        let mut state = 1u64;
        for _ in 0..10_000 {
            let a = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let b = a.rotate_left(31) ^ state;
            let wide = u128::from(a) * u128::from(b);
            assert_eq!(fold(a, b), (wide >> 64) as u64 ^ wide as u64);
            state = a;
        }
    }

    #[test]
    fn an_address_survives_the_round_trip() {
        let v4 = Ip::from_v4(u32::from_ne_bytes([10, 1, 2, 3]));
        assert_eq!(v4.v4(), Some(0x0a01_0203));
        assert_eq!(
            v4.bytes(),
            [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 1, 2, 3]
        );
        let v6 = Ip::from_bytes([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]);
        assert_eq!(v6.v4(), None);
        assert_eq!(Ip::from_bytes(v6.bytes()), v6);
    }

    fn client(host: u32, wide: bool) -> Ip {
        if wide {
            Ip {
                hi: 0x20,
                lo: u64::from(host),
            }
        } else {
            Ip::from_v4(host.to_be())
        }
    }

    /// 65,536 flows over 64 shares: a fair hash leaves each within a few standard deviations (32) of 1,024.
    #[test]
    fn ports_alone_and_addresses_alone_spread_evenly() {
        let vary_port = |i: u32| (0x0a00_0001u32, i as u16);
        let vary_host = |i: u32| (0x0a00_0000u32 + i, 40_000u16);
        for vary in [vary_port as fn(u32) -> (u32, u16), vary_host] {
            for wide in [false, true] {
                let mut shares = [0u32; 64];
                for i in 0..65_536 {
                    let (host, client_port) = vary(i);
                    let client = client(host, wide);
                    let flow = Flow {
                        client,
                        vip: Ip::from_v4(1),
                        client_port,
                        port: 443,
                        protocol: 6,
                    };
                    shares[ring_slot(hash(KEY, &flow)) / (RING_SLOTS / 64)] += 1;
                }
                assert!(
                    shares.iter().all(|share| (850..1200).contains(share)),
                    "{shares:?}"
                );
            }
        }
    }

    /// As many addresses as there are lines, spread at random, put more than three into one line in 53 (Poisson with
    /// mean 1), which is 1,243 lines. Lists are full of neighbouring addresses, which must not do worse.
    #[test]
    fn neighbouring_hosts_are_spread_over_the_lines_like_random_ones() {
        const LINES: usize = 65_536;
        let spread = |address: &dyn Fn(u64) -> Ip| {
            let mut lines = std::vec![0u32; LINES];
            for number in 0..LINES as u64 {
                lines[host_hash(KEY, address(number)).line(LINES as u32 - 1) as usize] += 1;
            }
            let overfull = lines.iter().filter(|count| **count > 3).count();
            assert!(overfull < 1500, "{overfull} lines are overfull");
            assert!(lines.iter().all(|count| *count < 12));
        };
        let prefix = 0xfd00u64.to_be();
        spread(&|number| Ip {
            hi: prefix,
            lo: number.to_be(),
        });
        spread(&|number| Ip {
            hi: prefix,
            lo: (number * 2).to_be(),
        });
        spread(&|number| Ip {
            hi: prefix,
            lo: (number << 16).to_be(),
        });
        spread(&|number| Ip {
            hi: (number << 16).to_be(),
            lo: 1u64.to_be(),
        });
    }

    /// Clients that differ only in bits 48 to 63 of their addresses, as the owner of a /48 could make them.
    #[test]
    fn prefixes_alone_spread_evenly() {
        let mut shares = [0u32; 64];
        for number in 0..65_536u64 {
            let hi = (0x2001_0db8_0000_0000 | number).to_be();
            let flow = Flow {
                client: Ip { hi, lo: 1 },
                vip: Ip { hi: 0x20, lo: 7 },
                client_port: 40_000,
                port: 443,
                protocol: 6,
            };
            shares[ring_slot(hash(KEY, &flow)) / (RING_SLOTS / 64)] += 1;
        }
        assert!(
            shares.iter().all(|share| (850..1200).contains(share)),
            "{shares:?}"
        );
    }

    #[test]
    fn another_hash_key_maps_flows_to_other_slots() {
        let flow = |i: u16| Flow {
            client: Ip::from_v4(7),
            vip: Ip::from_v4(9),
            client_port: i,
            port: 80,
            protocol: 6,
        };
        let same = (0..4096)
            .filter(|i| {
                ring_slot(hash(KEY, &flow(*i))) == ring_slot(hash([KEY[1], KEY[0]], &flow(*i)))
            })
            .count();
        assert!(same < 20, "{same} of 4096 flows kept their slot");
    }
}
