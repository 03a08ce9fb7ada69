//! IPv4: a page number for each upper half of an address, a bit in the page for each lower half.

use std::{net::Ipv4Addr, sync::atomic::Ordering, thread};

use ober_common::abi::{LISTS, PAGE_ALL, PAGE_NONE, Page};

use super::{Change, Entries, Error, Range};
use crate::dataplane::{
    GRACE, Maps,
    memory::{word16, word64},
};

const WORDS: usize = 1024;
const EVERYBODY: u64 = 65_536;
type Bits = [u64; WORDS];

/// What a page shall hold.
#[derive(PartialEq, Eq)]
enum Content {
    Nobody,
    Everybody,
    Some,
}

/// Walks the pages a list wants, in order, and gives each one's bits.
struct Wanted<'a> {
    ranges: &'a [Range],
    bits: Box<Bits>,
}

impl<'a> Wanted<'a> {
    fn new(entries: &'a Entries) -> Self {
        Self {
            ranges: &entries.v4,
            bits: Box::new([0; WORDS]),
        }
    }

    /// What page `number` shall hold; pages are asked for in rising order. The bits are left in `self.bits`.
    fn page(&mut self, number: u32) -> Content {
        let (low, high) = (number << 16, number << 16 | 0xffff);
        while self.ranges.first().is_some_and(|range| range.last < low) {
            self.ranges = &self.ranges[1..];
        }
        match self.ranges.first() {
            None => return Content::Nobody,
            Some(range) if range.first > high => return Content::Nobody,
            Some(range) if range.first <= low && range.last >= high => return Content::Everybody,
            Some(_) => {}
        }
        self.bits.fill(0);
        for range in self.ranges.iter().take_while(|range| range.first <= high) {
            set(
                &mut self.bits,
                range.first.max(low) & 0xffff,
                range.last.min(high) & 0xffff,
            );
        }
        Content::Some
    }
}

fn set(bits: &mut Bits, first: u32, last: u32) {
    let (from, to) = (first as usize / 64, last as usize / 64);
    let (head, tail) = (u64::MAX << (first % 64), u64::MAX >> (63 - last % 64));
    if from == to {
        bits[from] |= head & tail;
        return;
    }
    bits[from] |= head;
    bits[from + 1..to].fill(u64::MAX);
    bits[to] |= tail;
}

/// Free pages, known to be enough.
pub(super) struct Room(Vec<u16>);

impl Room {
    /// Finds a free page for every page the list newly needs. Nothing is changed.
    pub(super) fn find(maps: &Maps, list: u32, entries: &Entries) -> Result<Self, Error> {
        let mut wanted = Wanted::new(entries);
        let needed = (0..=0xffff)
            .filter(|number| {
                shared(current(maps, list, *number)) && wanted.page(*number) == Content::Some
            })
            .count();
        if needed == 0 {
            return Ok(Self(Vec::new()));
        }
        let mut free = free_pages(maps);
        if free.len() < needed {
            return Err(Error::PagesFull {
                needed,
                free: free.len(),
            });
        }
        free.truncate(needed);
        // A page given up by the change before this one may still be looked at by a packet on another CPU.
        thread::sleep(GRACE);
        Ok(Self(free))
    }
}

/// Pages 0 and 1 are everybody's: not to be written.
fn shared(page: u16) -> bool {
    page == PAGE_NONE || page == PAGE_ALL
}

fn free_pages(maps: &Maps) -> Vec<u16> {
    let mut used = vec![false; maps.pages.count().min(usize::from(u16::MAX))];
    for list in 0..LISTS {
        for number in 0..=0xffff {
            if let Some(used) = used.get_mut(usize::from(current(maps, list, number))) {
                *used = true;
            }
        }
    }
    (PAGE_ALL + 1..)
        .zip(used.into_iter().skip(usize::from(PAGE_ALL) + 1))
        .filter(|(_, used)| !used)
        .map(|(page, _)| page)
        .collect()
}

/// First all that is added, then all that is removed: an address that stays is on the list all the time.
pub(super) fn replace(maps: &Maps, list: u32, entries: &Entries, mut room: Room) -> Change {
    let mut change = Change::default();
    let mut wanted = Wanted::new(entries);
    let mut surplus = Vec::new();
    for number in 0..=0xffff {
        let page = current(maps, list, number);
        match (wanted.page(number), page) {
            (Content::Nobody, PAGE_NONE) | (Content::Everybody, PAGE_ALL) => {}
            (Content::Nobody, _) | (Content::Some, PAGE_ALL) => surplus.push(number),
            (Content::Everybody, page) => {
                change.added += EVERYBODY - population(maps, page);
                publish(maps, list, number, PAGE_ALL);
            }
            (Content::Some, PAGE_NONE) => {
                change.added += count(&wanted.bits);
                give(maps, list, number, &wanted.bits, &mut room);
            }
            (Content::Some, page) => {
                let before = write(maps, page, &wanted.bits, |held, wanted| held | wanted);
                change.added += before.missing;
                if before.surplus > 0 {
                    surplus.push(number);
                }
            }
        }
    }
    let mut wanted = Wanted::new(entries);
    for number in surplus {
        let page = current(maps, list, number);
        match wanted.page(number) {
            Content::Everybody => {}
            Content::Nobody => {
                change.removed += population(maps, page);
                publish(maps, list, number, PAGE_NONE);
            }
            Content::Some if page == PAGE_ALL => {
                change.removed += EVERYBODY - count(&wanted.bits);
                give(maps, list, number, &wanted.bits, &mut room);
            }
            Content::Some => {
                change.removed += write(maps, page, &wanted.bits, |_, wanted| wanted).surplus;
            }
        }
    }
    change
}

/// Fills a free page and puts it in force.
fn give(maps: &Maps, list: u32, number: u32, bits: &Bits, room: &mut Room) {
    // `Room::find` counted these very pages; without one the old content stays, which refuses or admits as before.
    if let Some(page) = room.0.pop() {
        maps.pages.fill(usize::from(page), &Page { words: *bits });
        publish(maps, list, number, page);
    }
}

/// How many bits of a page differed from what it shall hold.
#[derive(Default)]
struct Before {
    missing: u64,
    surplus: u64,
}

/// Changes the words of a page that differ.
fn write(maps: &Maps, page: u16, wanted: &Bits, combine: impl Fn(u64, u64) -> u64) -> Before {
    let words = maps.pages.at(usize::from(page)).as_ptr();
    let mut before = Before::default();
    for (at, wanted) in wanted.iter().enumerate() {
        // SAFETY: `at` is within the page, which is mapped as long as `maps`.
        let word = unsafe { word64(&raw mut (*words).words[at]) };
        let held = word.load(Ordering::Relaxed);
        if held != *wanted {
            before.missing += u64::from((wanted & !held).count_ones());
            before.surplus += u64::from((held & !wanted).count_ones());
            let next = combine(held, *wanted);
            if next != held {
                word.store(next, Ordering::Relaxed);
            }
        }
    }
    before
}

fn entry(maps: &Maps, list: u32, number: u32) -> *mut u16 {
    let index = maps.index.at(list as usize).as_ptr();
    // SAFETY: masked to the index's size; mapped as long as `maps`.
    unsafe { &raw mut (*index).pages[(number & 0xffff) as usize] }
}

fn current(maps: &Maps, list: u32, number: u32) -> u16 {
    // SAFETY: `entry` points into the mapping.
    unsafe { word16(entry(maps, list, number)) }.load(Ordering::Acquire)
}

fn publish(maps: &Maps, list: u32, number: u32, page: u16) {
    // SAFETY: as above.
    unsafe { word16(entry(maps, list, number)) }.store(page, Ordering::Release);
}

fn count(bits: &Bits) -> u64 {
    bits.iter().map(|word| u64::from(word.count_ones())).sum()
}

fn bits(maps: &Maps, page: u16) -> Bits {
    maps.pages.read(usize::from(page)).words
}

fn population(maps: &Maps, page: u16) -> u64 {
    match page {
        PAGE_NONE => 0,
        PAGE_ALL => EVERYBODY,
        page => count(&bits(maps, page)),
    }
}

pub(super) fn listed(maps: &Maps, list: u32, address: Ipv4Addr) -> bool {
    let address = address.to_bits();
    let page = current(maps, list, address >> 16);
    page != PAGE_NONE
        && bits(maps, page)[(address as usize >> 6) & (WORDS - 1)] >> (address & 63) & 1 == 1
}

/// The list's addresses as ranges.
pub(super) fn read(maps: &Maps, list: u32) -> Vec<Range> {
    let mut entries = Entries::default();
    for number in 0..=0xffffu32 {
        let base = number << 16;
        match current(maps, list, number) {
            PAGE_NONE => {}
            PAGE_ALL => entries.push_range(base.into(), (base | 0xffff).into()),
            page => read_page(&bits(maps, page), base, &mut entries),
        }
    }
    entries.settle();
    entries.v4
}

fn read_page(bits: &Bits, base: u32, entries: &mut Entries) {
    for (first, word) in (base..).step_by(64).zip(bits) {
        let mut rest = *word;
        while rest != 0 {
            let address = first + rest.trailing_zeros();
            entries.push_range(address.into(), address.into());
            rest &= rest - 1;
        }
    }
}
