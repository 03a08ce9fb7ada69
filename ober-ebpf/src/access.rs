//! Is a client on a list? IPv4: two dependent loads, however long the list is. IPv6: two bits that rule most unlisted
//! addresses out, then one line of exact addresses; then the prefix trie, for lists that have prefixes.

use aya_ebpf::maps::lpm_trie::Key;
use ober_common::{
    abi::{HostLine, LISTS, Node, PREFIX_LIST_BITS, PrefixKey, SPILL, Service, WAYS},
    address::Ip,
    flow::{host_hash, tags_of},
};

use crate::maps::{
    HOST_LINES, HOST_TAGS, NODE, PAGE_COUNT, PAGE_INDEX, PAGES, PREFIXES, TAG_COUNT,
};

/// May the client use the service?
#[inline(always)]
pub(crate) fn admits(node: &Node, service: &Service, client: Ip) -> bool {
    service.list == 0 || listed(node, service.list - 1, client)
}

/// Is the client on the list? When a lookup fails, the client counts as not listed.
#[inline(always)]
pub(crate) fn listed(node: &Node, list: u32, client: Ip) -> bool {
    match client.v4() {
        Some(address) => listed_v4(list, address),
        None => listed_v6(node, list, client),
    }
}

/// As [`admits`], with fewer instructions but slower.
#[inline(always)]
pub(crate) fn may_use(service: &Service, client: Ip) -> bool {
    service.list == 0 || on_any(1 << ((service.list - 1) & (LISTS - 1)), client)
}

/// Is the client on the list of routers?
#[inline(always)]
pub(crate) fn is_router(client: Ip) -> bool {
    ober_router(client.hi, client.lo) != 0
}

/// Is the client on one of these lists, a bit each?
#[inline(always)]
pub(crate) fn on_any(lists: u32, client: Ip) -> bool {
    ober_on_any(lists, client.hi, client.lo) != 0
}

#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn ober_router(hi: u64, lo: u64) -> u32 {
    let node = NODE.get();
    u32::from(listed(node, node.routers.wrapping_sub(1), Ip { hi, lo }))
}

#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn ober_on_any(lists: u32, hi: u64, lo: u64) -> u32 {
    let (node, client) = (NODE.get(), Ip { hi, lo });
    let Some(address) = client.v4() else {
        let found = node.host_lists & lists != 0 && in_lines(node, client, lists)
            || in_prefixes(node.prefix_lists & lists, client);
        return u32::from(found);
    };
    for list in 0..LISTS {
        if lists >> list & 1 == 1 && listed_v4(list, address) {
            return 1;
        }
    }
    0
}

#[inline(always)]
fn in_prefixes(lists: u32, client: Ip) -> bool {
    for list in 0..LISTS {
        if lists >> list & 1 == 1 && ober_in_prefix(list, client.hi, client.lo) != 0 {
            return true;
        }
    }
    false
}

#[inline(always)]
fn listed_v4(list: u32, address: u32) -> bool {
    // Every list number is below `LISTS`. The mask is for the verifier of Linux 6.1, which loses the bounds of a number
    // that was compared before one was subtracted from it.
    let index = &PAGE_INDEX.get()[list as usize & (LISTS as usize - 1)];
    // Where the list has no address with these upper 16 bits, the index leads to the empty page.
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
    line.spilled != 0 && ober_in_spill(home, client.hi, client.lo, bit) != 0
}

/// Not inlined: the verifier would otherwise follow its branches once for every path by which the packet was read.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn ober_in_spill(home: u32, hi: u64, lo: u64, bit: u32) -> u32 {
    let (node, client) = (NODE.get(), Ip { hi, lo });
    for step in 1..=SPILL {
        let Some(line) = HOST_LINES.get(home.wrapping_add(step) & node.line_mask) else {
            return 0;
        };
        if holds(line, client, bit) {
            return 1;
        }
    }
    0
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

/// Not inlined, so that its key is on the stack only during the call: Linux 6.1 allows 512 bytes of stack for a chain
/// of calls, and rounds each function's share up.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn ober_in_prefix(list: u32, hi: u64, lo: u64) -> u32 {
    u32::from(in_prefix(list, Ip { hi, lo }))
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
