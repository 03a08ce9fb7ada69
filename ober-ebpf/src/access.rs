//! Is a client on a list? IPv4: two dependent loads whatever the list holds. IPv6: two bits that tell
//! most strangers, then one line of exact addresses; and the prefix trie for lists that have prefixes.

use aya_ebpf::maps::lpm_trie::Key;
use ober_common::{
    abi::{HostLine, LISTS, Node, PREFIX_LIST_BITS, PrefixKey, SPILL, Service, WAYS},
    flow::{Ip, host_hash, tags_of},
};

use crate::maps::{HOST_LINES, HOST_TAGS, PAGE_COUNT, PAGE_INDEX, PAGES, PREFIXES, TAG_COUNT};

/// May the client use the service?
#[inline(always)]
pub(crate) fn admits(node: &Node, service: &Service, client: Ip) -> bool {
    service.list == 0 || listed(node, service.list - 1, client)
}

/// Silence means no: whatever cannot be looked up is not listed.
#[inline(always)]
pub(crate) fn listed(node: &Node, list: u32, client: Ip) -> bool {
    match client.v4() {
        Some(address) => listed_v4(list, address),
        None => listed_v6(node, list, client),
    }
}

#[inline(always)]
fn listed_v4(list: u32, address: u32) -> bool {
    // There are no other lists; a mask, because Linux 6.1 loses track of a number that was compared before one was
    // taken from it.
    let index = &PAGE_INDEX.get()[list as usize & (LISTS as usize - 1)];
    // An address nobody asked about leads to the page nobody is on.
    let page = index.pages[(address >> 16) as usize];
    let Some(page) = PAGES.get(u32::from(page), &PAGE_COUNT) else {
        return false;
    };
    let word = page.words[(address as usize >> 6) & 1023];
    word >> (address & 63) & 1 == 1
}

#[inline(always)]
fn listed_v6(node: &Node, list: u32, client: Ip) -> bool {
    let bit = 1u32 << (list & 31);
    node.host_lists & bit != 0 && in_lines(node, client, bit)
        || node.prefix_lists & bit != 0 && in_prefix(list, client)
}

#[inline(always)]
fn in_lines(node: &Node, client: Ip, bit: u32) -> bool {
    let hash = host_hash(node.key, client);
    let (home, tag) = (hash.line(node.line_mask), hash.tag());
    let tagged = HOST_TAGS
        .get(tags_of(home), &TAG_COUNT)
        .is_some_and(|tags| tags.bits & tag == tag);
    if !tagged {
        return false;
    }
    let Some(line) = HOST_LINES.get(home) else {
        return false;
    };
    if holds(line, client, bit) {
        return true;
    }
    line.spilled != 0 && in_spill(node, home, client, bit)
}

/// A call of its own: the verifier would otherwise follow its branches once for every way the packet was read.
#[inline(never)]
fn in_spill(node: &Node, home: u32, client: Ip, bit: u32) -> bool {
    for step in 1..=SPILL {
        let Some(line) = HOST_LINES.get((home + step) & node.line_mask) else {
            return false;
        };
        if holds(line, client, bit) {
            return true;
        }
    }
    false
}

#[inline(always)]
fn holds(line: &HostLine, client: Ip, bit: u32) -> bool {
    for way in 0..WAYS {
        if Ip::from_bytes(line.addresses[way]) == client && line.lists[way] & bit != 0 {
            return true;
        }
    }
    false
}

#[inline(always)]
fn in_prefix(list: u32, client: Ip) -> bool {
    let key = Key::new(
        PREFIX_LIST_BITS + 128,
        PrefixKey {
            list: list.to_be_bytes(),
            address: client.bytes(),
        },
    );
    PREFIXES.get(key).is_some()
}
