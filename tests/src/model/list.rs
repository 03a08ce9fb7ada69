//! An access list as a list: prefixes, searched from the first to the last.

use std::net::{IpAddr, Ipv6Addr};

use ober_common::address::Address;

/// The sixteen bytes of an address, IPv4 mapped.
pub fn address(address: IpAddr) -> Address {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

/// All addresses that share the first `length` bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    pub address: IpAddr,
    pub length: u8,
}

impl Prefix {
    /// One host.
    pub fn host(address: IpAddr) -> Self {
        Self {
            address,
            length: if address.is_ipv4() { 32 } else { 128 },
        }
    }

    /// A prefix of one family never holds an address of the other.
    fn holds(self, client: IpAddr) -> bool {
        match (self.address, client) {
            (IpAddr::V4(ours), IpAddr::V4(client)) => same_bits(
                u128::from(ours.to_bits() ^ client.to_bits()),
                32,
                self.length,
            ),
            (IpAddr::V6(ours), IpAddr::V6(client)) => {
                same_bits(ours.to_bits() ^ client.to_bits(), 128, self.length)
            }
            _ => false,
        }
    }
}

/// Are the first `length` of `width` bits of the difference zero?
fn same_bits(difference: u128, width: u32, length: u8) -> bool {
    difference
        .checked_shr(width - u32::from(length))
        .unwrap_or(0)
        == 0
}

/// The prefixes that are listed.
#[derive(Clone, Debug, Default)]
pub struct List {
    pub prefixes: Vec<Prefix>,
}

impl List {
    /// Is the client on the list? A mapped IPv4 address is the IPv4 address.
    pub fn holds(&self, client: Address) -> bool {
        let client = Ipv6Addr::from(client).to_canonical();
        self.prefixes.iter().any(|prefix| prefix.holds(client))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_holds_its_first_and_last_address_and_not_the_ones_next_to_them() {
        let list = |text: &str, length| List {
            prefixes: vec![Prefix {
                address: text.parse().unwrap(),
                length,
            }],
        };
        let holds = |list: &List, client: &str| list.holds(address(client.parse().unwrap()));
        let v4 = list("10.1.2.64", 26);
        assert!(holds(&v4, "10.1.2.64") && holds(&v4, "10.1.2.127"));
        assert!(!holds(&v4, "10.1.2.63") && !holds(&v4, "10.1.2.128"));
        let v6 = list("fd00:1::", 33);
        assert!(holds(&v6, "fd00:1::") && holds(&v6, "fd00:1:7fff:ffff:ffff:ffff:ffff:ffff"));
        assert!(!holds(&v6, "fd00:1:8000::") && !holds(&v6, "fd00:0:ffff::"));
    }

    #[test]
    fn a_prefix_of_length_zero_of_one_family_matches_nothing_of_the_other() {
        let every = |text: &str| List {
            prefixes: vec![Prefix {
                address: text.parse().unwrap(),
                length: 0,
            }],
        };
        let v4 = address("192.0.2.1".parse().unwrap());
        let v6 = address("2001:db8::1".parse().unwrap());
        assert!(every("0.0.0.0").holds(v4) && !every("0.0.0.0").holds(v6));
        assert!(every("::").holds(v6) && !every("::").holds(v4));
    }
}
