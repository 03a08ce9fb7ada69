//! One address on or off the guest's list, written as the kernel reads it.

use anyhow::{Context as _, Result};
use ober_common::abi::HostLine;
use ober_common::flow::{Ip, host_line};
use ober_user::dataplane::Plane;
use ober_user::dataplane::memory::{word16, word32, word64};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::Ordering;

/// The only page of IPv4 addresses in use.
const PAGE: u16 = 2;

pub(crate) fn set(plane: &Plane, address: &str, listed: bool) -> Result<()> {
    match address
        .parse()
        .with_context(|| format!("read the address {address}"))?
    {
        IpAddr::V4(address) => set_v4(plane, address, listed),
        IpAddr::V6(address) => set_v6(plane, address, listed),
    }
    Ok(())
}

fn set_v4(plane: &Plane, address: Ipv4Addr, listed: bool) {
    let address = u32::from(address) as usize;
    let page = plane.maps.pages.at(usize::from(PAGE)).as_ptr();
    let index = plane.maps.index.at(0).as_ptr();
    // SAFETY: both places are within values mapped as long as the plane.
    let (word, entry) = unsafe {
        (
            word64(&raw mut (*page).words[address >> 6 & 1023]),
            word16(&raw mut (*index).pages[address >> 16]),
        )
    };
    let bit = 1 << (address & 63);
    if listed {
        word.fetch_or(bit, Ordering::Relaxed);
    } else {
        word.fetch_and(!bit, Ordering::Relaxed);
    }
    entry.store(PAGE, Ordering::Release);
}

fn set_v6(plane: &Plane, address: Ipv6Addr, listed: bool) {
    let node = plane.maps.node.read(0);
    let home = host_line(node.key, Ip::from_bytes(address.octets()), node.line_mask);
    let line: *mut HostLine = plane.maps.lines.at(home as usize).as_ptr();
    // SAFETY: the line is mapped as long as the plane; an address in it counts once its list bit is set.
    unsafe {
        (*line).addresses[0] = address.octets();
        word32(&raw mut (*line).lists[0]).store(u32::from(listed), Ordering::Release);
    }
}
