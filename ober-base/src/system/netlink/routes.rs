//! The interface by which an address is reached.

use std::net::IpAddr;

use rtnetlink::{
    packet_core::{Emitable as _, Parseable as _},
    packet_route::{
        AddressFamily,
        route::{RouteAddress, RouteAttribute, RouteMessage},
    },
};

use super::question::{Family, Want, ask};

const GET_ROUTE: u16 = 26;

/// The number of the interface; `None`: no route.
pub fn way(address: IpAddr) -> Option<u32> {
    let mut message = RouteMessage::default();
    let (family, length, destination) = match address {
        IpAddr::V4(address) => (AddressFamily::Inet, 32, RouteAddress::Inet(address)),
        IpAddr::V6(address) => (AddressFamily::Inet6, 128, RouteAddress::Inet6(address)),
    };
    message.header.address_family = family;
    message.header.destination_prefix_length = length;
    message
        .attributes
        .push(RouteAttribute::Destination(destination));
    let mut bytes = vec![0; message.buffer_len()];
    message.emit(&mut bytes);
    let answers = ask(Family::Route, GET_ROUTE, Want::One, &bytes).ok()?;
    let route = RouteMessage::parse(answers.first()?.as_slice()).ok()?;
    route
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            RouteAttribute::Oif(index) => Some(*index),
            _ => None,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_addresses_are_reached_by_loopback() {
        let lo = nix::net::if_::if_nametoindex("lo").unwrap();
        assert_eq!(way([127, 0, 0, 1].into()), Some(lo));
    }
}
