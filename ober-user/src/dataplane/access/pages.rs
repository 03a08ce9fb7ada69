//! IPv4: a page number for each upper half of the addresses, and in a page one bit for each lower half.

use std::{
    net::Ipv4Addr,
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use ober_common::abi::{LISTS, PAGE_ALL, PAGE_NONE, Page};

use super::{Error, Others};
use crate::{
    dataplane::{GRACE, Maps, memory::word16},
    machine::drive,
    names::entries::{self, Entries, Range},
};

const WORDS: usize = 1024;
type Bits = [u64; WORDS];
type Numbers = std::ops::Range<u32>;
static EMPTY: Bits = [0; WORDS];
static FULL: Bits = [u64::MAX; WORDS];

/// The wanted content of a page.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Content {
    Empty,
    Full,
    Some,
}

/// Goes through pages in rising order and finds the ranges that touch each.
struct Walk<'a> {
    /// The ranges not passed yet, in the order of the pages in which they begin.
    ranges: &'a [Range],
    /// The last address of the ranges passed, which all began in earlier pages.
    reach: Option<u32>,
}

impl<'a> Walk<'a> {
    fn new(ranges: &'a [Range]) -> Self {
        Self {
            ranges,
            reach: None,
        }
    }

    /// May a range touch these pages, which come after all pages visited?
    fn any(&self, pages: &Numbers) -> bool {
        let begins = self.ranges.first();
        begins.is_some_and(|range| range.first >> 16 < pages.end)
            || self.reach.is_some_and(|reach| reach >> 16 >= pages.start)
    }

    /// Goes on to page `number`: do the ranges cover all of it, some of it, or nothing?
    fn page(&mut self, number: u32) -> Content {
        let (low, high) = (number << 16, number << 16 | 0xffff);
        while let Some(range) = self.ranges.first().filter(|range| range.first < low) {
            self.reach = self.reach.max(Some(range.last));
            self.ranges = &self.ranges[1..];
        }
        self.reach = self.reach.filter(|reach| *reach >= low);
        let begins = self.ranges.first().is_some_and(|range| range.first <= high);
        match self.reach {
            None if !begins => Content::Empty,
            Some(reach) if reach >= high => Content::Full,
            _ => Content::Some,
        }
    }

    /// First and last place of each range in page `number`, which is the page [`Walk::page`] went to last.
    fn places(&self, number: u32) -> impl Iterator<Item = (u32, u32)> {
        let high = number << 16 | 0xffff;
        let begin = self
            .ranges
            .iter()
            .take_while(move |range| range.first <= high)
            .map(move |range| (range.first & 0xffff, range.last.min(high) & 0xffff));
        let reach = self.reach.map(|reach| (0, reach.min(high) & 0xffff));
        reach.into_iter().chain(begin)
    }
}

/// The wanted contents of pages, computed in rising order.
struct Wanted<'a> {
    comes: Walk<'a>,
    /// `None`: all addresses that are not among `comes`.
    goes: Option<Walk<'a>>,
    bits: Box<Bits>,
}

impl<'a> Wanted<'a> {
    fn new(entries: &'a Entries, others: Others<'a>) -> Self {
        Self {
            comes: Walk::new(&entries.v4),
            goes: match others {
                Others::Go => None,
                Others::Stay { but } => Some(Walk::new(but)),
            },
            bits: Box::new([0; WORDS]),
        }
    }

    /// May one of these pages have to change? `held`: one of them lists an address now.
    fn any(&self, pages: &Numbers, held: bool) -> bool {
        let goes = self.goes.as_ref();
        self.comes.any(pages) || goes.map_or(held, |goes| goes.any(pages))
    }

    /// The wanted content of page `number`. Its bits are in `self.bits` when it is [`Content::Some`].
    fn page(&mut self, maps: &Maps, list: u32, number: u32) -> Content {
        let comes = self.comes.page(number);
        match &mut self.goes {
            _ if comes == Content::Full => return comes,
            None if comes == Content::Empty => return comes,
            None => self.bits.fill(0),
            Some(goes) => {
                goes.page(number);
                *self.bits = bits(maps, current(maps, list, number));
                goes.places(number)
                    .for_each(|(first, last)| clear(&mut self.bits, first, last));
            }
        }
        self.comes
            .places(number)
            .for_each(|(first, last)| set(&mut self.bits, first, last));
        if *self.bits == FULL {
            Content::Full
        } else if *self.bits == EMPTY {
            Content::Empty
        } else {
            Content::Some
        }
    }

    fn bits(&self, content: Content) -> &Bits {
        match content {
            Content::Empty => &EMPTY,
            Content::Full => &FULL,
            Content::Some => &self.bits,
        }
    }
}

fn set(bits: &mut Bits, first: u32, last: u32) {
    words_of(first, last, |word, mask| bits[word] |= mask);
}

fn clear(bits: &mut Bits, first: u32, last: u32) {
    words_of(first, last, |word, mask| bits[word] &= !mask);
}

/// Calls `each` for every word that has one of the places `first` to `last`, with their bits in it.
fn words_of(first: u32, last: u32, mut each: impl FnMut(usize, u64)) {
    let (from, to) = (first as usize / 64, last as usize / 64);
    let (head, tail) = (u64::MAX << (first % 64), u64::MAX >> (63 - last % 64));
    if from == to {
        return each(from, head & tail);
    }
    each(from, head);
    (from + 1..to).for_each(|word| each(word, u64::MAX));
    each(to, tail);
}

/// Addresses that are added, or removed.
#[derive(Default)]
pub(super) struct Moved {
    pub(super) count: u64,
    /// Their first ranges, sorted; all of them when there are no more than [`Moved::REMEMBERED`].
    pub(super) ranges: Vec<Range>,
}

impl Moved {
    const REMEMBERED: usize = 4096;

    fn push(&mut self, first: u32, last: u32) {
        self.count += u64::from(last - first) + 1;
        if self.is_whole() {
            entries::push(&mut self.ranges, Range { first, last });
        }
    }

    /// Adds the addresses whose bits are set in `word`; bit 0 is address `base`.
    fn push_word(&mut self, base: u32, word: u64) {
        for (first, last) in runs(word) {
            self.push(base + first, base + last);
        }
    }

    pub(super) fn is_whole(&self) -> bool {
        self.ranges.len() <= Self::REMEMBERED
    }
}

/// The pages that have to change, and the difference.
#[derive(Default)]
pub(super) struct Plan {
    numbers: Vec<u32>,
    /// How many of them need a free page.
    needed: usize,
    pub(super) added: Moved,
    pub(super) removed: Moved,
}

impl Plan {
    /// Compares the list with the wanted entries. Changes nothing.
    pub(super) fn new(
        maps: &Maps,
        list: u32,
        entries: &Entries,
        others: Others<'_>,
    ) -> Result<Self, Error> {
        let mut plan = Self::default();
        let mut wanted = Wanted::new(entries, others);
        for (four, any) in fours(maps, list) {
            if !wanted.any(&four, any) {
                continue;
            }
            for number in four {
                let content = wanted.page(maps, list, number);
                let page = current(maps, list, number);
                if plan.compare(maps, number, page, content, wanted.bits(content)) {
                    plan.numbers.push(number);
                    plan.needed += usize::from(content == Content::Some && shared(page));
                }
            }
        }
        if plan.needed > 0 {
            plan.free(maps)?;
        }
        Ok(plan)
    }

    /// Does the page differ from its wanted content? Records the difference.
    fn compare(
        &mut self,
        maps: &Maps,
        number: u32,
        page: u16,
        content: Content,
        wanted: &Bits,
    ) -> bool {
        let (first, last) = (number << 16, number << 16 | 0xffff);
        match (content, page) {
            (Content::Empty, PAGE_NONE) | (Content::Full, PAGE_ALL) => return false,
            (Content::Full, PAGE_NONE) => self.added.push(first, last),
            (Content::Empty, PAGE_ALL) => self.removed.push(first, last),
            _ => {
                return self.compare_words(words(maps, page), first, wanted)
                    || content != Content::Some;
            }
        }
        true
    }

    fn compare_words(&mut self, held: &[AtomicU64; WORDS], first: u32, wanted: &Bits) -> bool {
        let mut differs = false;
        for (place, (held, wanted)) in (0..).zip(held.iter().zip(wanted)) {
            let held = held.load(Ordering::Relaxed);
            if held != *wanted {
                differs = true;
                self.added.push_word(first + place * 64, wanted & !held);
                self.removed.push_word(first + place * 64, held & !wanted);
            }
        }
        differs
    }

    /// A free page for every page that needs one.
    fn free(&self, maps: &Maps) -> Result<Vec<u16>, Error> {
        let mut free = free_pages(maps);
        if free.len() < self.needed {
            return Err(Error::PagesFull {
                needed: self.needed,
                free: free.len(),
            });
        }
        free.truncate(self.needed);
        Ok(free)
    }

    /// Free pages for [`Plan::apply`].
    pub(super) fn room(&self, maps: &Maps) -> Result<Room, Error> {
        if self.needed == 0 {
            return Ok(Room(Vec::new()));
        }
        let free = self.free(maps)?;
        // A kernel program on another CPU may still be reading a page that was given up less than [`GRACE`] ago.
        let since = drive::now().saturating_duration_since(maps.pages_given_up);
        thread::sleep(GRACE.saturating_sub(since));
        Ok(Room(free))
    }

    /// Makes all additions first, then all removals: an address that stays is on the list all the time.
    pub(super) fn apply(
        &self,
        maps: &mut Maps,
        list: u32,
        entries: &Entries,
        others: Others<'_>,
        mut room: Room,
    ) {
        self.add(maps, list, Wanted::new(entries, others), &mut room);
        self.remove(maps, list, Wanted::new(entries, others), &mut room);
        if !self.numbers.is_empty() {
            maps.pages_given_up = drive::now();
        }
    }

    fn add(&self, maps: &Maps, list: u32, mut wanted: Wanted<'_>, room: &mut Room) {
        for number in &self.numbers {
            let page = current(maps, list, *number);
            match wanted.page(maps, list, *number) {
                Content::Empty => {}
                Content::Full => publish(maps, list, *number, PAGE_ALL),
                Content::Some if page == PAGE_ALL => {}
                Content::Some if page == PAGE_NONE => {
                    give(maps, list, *number, &wanted.bits, room);
                }
                Content::Some => write(maps, page, &wanted.bits, |held, wanted| held | wanted),
            }
        }
    }

    fn remove(&self, maps: &Maps, list: u32, mut wanted: Wanted<'_>, room: &mut Room) {
        for number in &self.numbers {
            let page = current(maps, list, *number);
            match wanted.page(maps, list, *number) {
                Content::Full => {}
                Content::Empty => publish(maps, list, *number, PAGE_NONE),
                Content::Some if page == PAGE_ALL => {
                    give(maps, list, *number, &wanted.bits, room);
                }
                Content::Some => write(maps, page, &wanted.bits, |_, wanted| wanted),
            }
        }
    }
}

/// Free pages, as many as the plan needs.
pub(super) struct Room(Vec<u16>);

/// Pages 0 and 1 are shared by all lists and must not be written.
fn shared(page: u16) -> bool {
    page == PAGE_NONE || page == PAGE_ALL
}

fn free_pages(maps: &Maps) -> Vec<u16> {
    let mut used = vec![false; maps.pages.count().min(usize::from(u16::MAX))];
    for list in 0..LISTS {
        for number in fours(maps, list)
            .filter(|(_, any)| *any)
            .flat_map(|(four, _)| four)
        {
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

/// Fills a free page and puts it in force.
fn give(maps: &Maps, list: u32, number: u32, bits: &Bits, room: &mut Room) {
    // `Plan` counted these pages, so there is one. Without one the old content would stay in force.
    if let Some(page) = room.0.pop() {
        maps.pages.fill(usize::from(page), &Page { words: *bits });
        publish(maps, list, number, page);
    }
}

/// Changes the words of a page that differ.
fn write(maps: &Maps, page: u16, wanted: &Bits, combine: impl Fn(u64, u64) -> u64) {
    for (word, wanted) in words(maps, page).iter().zip(wanted) {
        let held = word.load(Ordering::Relaxed);
        let next = combine(held, *wanted);
        if next != held {
            word.store(next, Ordering::Relaxed);
        }
    }
}

fn words(maps: &Maps, page: u16) -> &[AtomicU64; WORDS] {
    let page: *mut Page = maps.pages.at(usize::from(page)).as_ptr();
    // SAFETY: a page consists of its words, mapped as long as `maps`; a page in force is changed by whole words only.
    unsafe { &*page.cast() }
}

fn entry(maps: &Maps, list: u32, number: u32) -> *mut u16 {
    let index = maps.index.at(list as usize).as_ptr();
    // SAFETY: masked to the index's size; mapped as long as `maps`.
    unsafe { &raw mut (*index).pages[(number & 0xffff) as usize] }
}

/// The upper halves of all addresses in fours, each with whether the index of the list has a page other than the empty
/// one there. Most of an index is empty, and one load shows that of four.
fn fours(maps: &Maps, list: u32) -> impl Iterator<Item = (Numbers, bool)> {
    let index = maps.index.at(list as usize).as_ptr();
    // SAFETY: an index is a whole number of words and begins at a page of memory; it is mapped as long as `maps` and
    // changed by aligned stores only.
    let words: &[AtomicU64; 16_384] = unsafe { &*index.cast() };
    let four =
        |(first, word): (u32, &AtomicU64)| (first..first + 4, word.load(Ordering::Acquire) != 0);
    (0..).step_by(4).zip(words).map(four)
}

fn current(maps: &Maps, list: u32, number: u32) -> u16 {
    // SAFETY: `entry` points into the mapping.
    unsafe { word16(entry(maps, list, number)) }.load(Ordering::Acquire)
}

fn publish(maps: &Maps, list: u32, number: u32, page: u16) {
    // SAFETY: as above.
    unsafe { word16(entry(maps, list, number)) }.store(page, Ordering::Release);
}

fn bits(maps: &Maps, page: u16) -> Bits {
    maps.pages.read(usize::from(page)).words
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
    let some = fours(maps, list).filter(|(_, any)| *any);
    for number in some.flat_map(|(four, _)| four) {
        let base = number << 16;
        match current(maps, list, number) {
            PAGE_NONE => {}
            PAGE_ALL => entries.push_range(base.into(), (base | 0xffff).into()),
            page => read_page(&bits(maps, page), base, &mut entries),
        }
    }
    entries.v4
}

fn read_page(bits: &Bits, base: u32, entries: &mut Entries) {
    for (first, word) in (base..).step_by(64).zip(bits) {
        for (low, high) in runs(*word) {
            entries.push_range((first + low).into(), (first + high).into());
        }
    }
}

/// First and last bit of every run of set bits.
fn runs(mut word: u64) -> impl Iterator<Item = (u32, u32)> {
    std::iter::from_fn(move || {
        let first = word.trailing_zeros();
        let length = word.checked_shr(first)?.trailing_ones();
        word &= u64::MAX.checked_shl(first + length).unwrap_or(0);
        Some((first, first + length - 1))
    })
}
