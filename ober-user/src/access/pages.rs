//! IPv4: a page number for each upper half of an address, a bit in the page for each lower half.

use std::{
    net::Ipv4Addr,
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use ober_common::abi::{LISTS, PAGE_ALL, PAGE_NONE, Page};

use super::{Entries, Error, Others, Range, entries};
use crate::{
    dataplane::{GRACE, Maps, memory::word16},
    drive,
};

const WORDS: usize = 1024;
type Bits = [u64; WORDS];
type Numbers = std::ops::Range<u32>;
static NOBODY: Bits = [0; WORDS];
static EVERYBODY: Bits = [u64::MAX; WORDS];

/// What a page shall hold.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Content {
    Nobody,
    Everybody,
    Some,
}

/// Walks the pages a list wants, in order, and gives each one's bits.
struct Wanted<'a> {
    /// Those not passed yet, in the order of the pages they begin in.
    ranges: &'a [Range],
    /// The furthest address of those passed, which all began in earlier pages.
    reach: Option<u32>,
    bits: Box<Bits>,
}

impl<'a> Wanted<'a> {
    fn new(entries: &'a Entries) -> Self {
        Self {
            ranges: &entries.v4,
            reach: None,
            bits: Box::new([0; WORDS]),
        }
    }

    /// What page `number` shall hold; pages are asked for in rising order. The bits are left in `self.bits` when they
    /// differ.
    fn page(&mut self, number: u32) -> Content {
        let (low, high) = (number << 16, number << 16 | 0xffff);
        while let Some(range) = self.ranges.first().filter(|range| range.first < low) {
            self.reach = self.reach.max(Some(range.last));
            self.ranges = &self.ranges[1..];
        }
        let reach = self.reach.filter(|reach| *reach >= low);
        let begins = self.ranges.first().is_some_and(|range| range.first <= high);
        match reach {
            None if !begins => return Content::Nobody,
            Some(reach) if reach >= high => return Content::Everybody,
            _ => {}
        }
        self.bits.fill(0);
        if let Some(reach) = reach {
            set(&mut self.bits, 0, reach & 0xffff);
        }
        for range in self.ranges.iter().take_while(|range| range.first <= high) {
            let last = range.last.min(high);
            set(&mut self.bits, range.first & 0xffff, last & 0xffff);
        }
        if *self.bits == EVERYBODY {
            Content::Everybody
        } else {
            Content::Some
        }
    }

    /// May anybody be wanted in these pages, which were not asked for yet?
    fn any(&self, pages: &Numbers) -> bool {
        let begins = self.ranges.first();
        begins.is_some_and(|range| range.first >> 16 < pages.end)
            || self.reach.is_some_and(|reach| reach >> 16 >= pages.start)
    }

    fn bits(&self, content: Content) -> &Bits {
        match content {
            Content::Nobody => &NOBODY,
            Content::Everybody => &EVERYBODY,
            Content::Some => &self.bits,
        }
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

/// Addresses that come, or go.
#[derive(Default)]
pub(super) struct Moved {
    pub(super) count: u64,
    /// The first of them, in order; all when there are no more than [`Moved::REMEMBERED`].
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

    /// The bits of one word, of which the first is address `base`.
    fn push_word(&mut self, base: u32, word: u64) {
        for (first, last) in runs(word) {
            self.push(base + first, base + last);
        }
    }

    pub(super) fn is_whole(&self) -> bool {
        self.ranges.len() <= Self::REMEMBERED
    }
}

/// The pages that do not hold what they shall, and the difference.
pub(super) struct Plan {
    others: Others,
    numbers: Vec<u32>,
    /// So many of them need a page of their own.
    needed: usize,
    pub(super) added: Moved,
    pub(super) removed: Moved,
}

impl Plan {
    /// Compares. Nothing is changed.
    pub(super) fn new(
        maps: &Maps,
        list: u32,
        entries: &Entries,
        others: Others,
    ) -> Result<Self, Error> {
        let mut plan = Self {
            others,
            numbers: Vec::new(),
            needed: 0,
            added: Moved::default(),
            removed: Moved::default(),
        };
        let mut wanted = Wanted::new(entries);
        for (four, any) in fours(maps, list) {
            let matters = any && others == Others::Go;
            if !matters && !wanted.any(&four) {
                continue;
            }
            for number in four {
                let (content, page) = (wanted.page(number), current(maps, list, number));
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

    /// Does the page differ from what it shall hold?
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
            (Content::Nobody, PAGE_NONE) | (Content::Everybody, PAGE_ALL) => return false,
            (Content::Nobody, _) if self.others == Others::Stay => return false,
            (Content::Everybody, PAGE_NONE) => self.added.push(first, last),
            (Content::Nobody, PAGE_ALL) => self.removed.push(first, last),
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
            let wanted = match self.others {
                Others::Stay => held | wanted,
                Others::Go => *wanted,
            };
            if held != wanted {
                differs = true;
                self.added.push_word(first + place * 64, wanted & !held);
                self.removed.push_word(first + place * 64, held & !wanted);
            }
        }
        differs
    }

    /// A free page for every page the list newly needs.
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
        // A page given up a moment ago may still be looked at by a packet on another CPU.
        let since = drive::now().saturating_duration_since(maps.pages_given_up);
        thread::sleep(GRACE.saturating_sub(since));
        Ok(Room(free))
    }

    /// First all that is added, then all that is removed: an address that stays is on the list all the time.
    pub(super) fn apply(&self, maps: &mut Maps, list: u32, entries: &Entries, mut room: Room) {
        self.add(maps, list, entries, &mut room);
        if self.others == Others::Go {
            self.remove(maps, list, entries, &mut room);
        }
        if !self.numbers.is_empty() {
            maps.pages_given_up = drive::now();
        }
    }

    fn add(&self, maps: &Maps, list: u32, entries: &Entries, room: &mut Room) {
        let mut wanted = Wanted::new(entries);
        for number in &self.numbers {
            let page = current(maps, list, *number);
            match wanted.page(*number) {
                Content::Nobody => {}
                Content::Everybody => publish(maps, list, *number, PAGE_ALL),
                Content::Some if page == PAGE_ALL => {}
                Content::Some if page == PAGE_NONE => {
                    give(maps, list, *number, &wanted.bits, room);
                }
                Content::Some => write(maps, page, &wanted.bits, |held, wanted| held | wanted),
            }
        }
    }

    fn remove(&self, maps: &Maps, list: u32, entries: &Entries, room: &mut Room) {
        let mut wanted = Wanted::new(entries);
        for number in &self.numbers {
            let page = current(maps, list, *number);
            match wanted.page(*number) {
                Content::Everybody => {}
                Content::Nobody => publish(maps, list, *number, PAGE_NONE),
                Content::Some if page == PAGE_ALL => {
                    give(maps, list, *number, &wanted.bits, room);
                }
                Content::Some => write(maps, page, &wanted.bits, |_, wanted| wanted),
            }
        }
    }
}

/// Free pages, known to be enough.
pub(super) struct Room(Vec<u16>);

/// Pages 0 and 1 are everybody's: not to be written.
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
    // `Plan` counted these very pages; without one the old content stays, which refuses or admits as before.
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
    // SAFETY: a page is its words, mapped as long as `maps`; everybody who changes a page in force does it by word.
    unsafe { &*page.cast() }
}

fn entry(maps: &Maps, list: u32, number: u32) -> *mut u16 {
    let index = maps.index.at(list as usize).as_ptr();
    // SAFETY: masked to the index's size; mapped as long as `maps`.
    unsafe { &raw mut (*index).pages[(number & 0xffff) as usize] }
}

/// Page numbers of a list four by four, and whether any holds more than page 0, nobody: most of an index is empty.
fn fours(maps: &Maps, list: u32) -> impl Iterator<Item = (Numbers, bool)> {
    let index = maps.index.at(list as usize).as_ptr();
    // SAFETY: an index is a whole number of words and begins at a page of memory; mapped as long as `maps`, changed by
    // aligned stores alone.
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

/// First and last place of every run of set bits.
fn runs(mut word: u64) -> impl Iterator<Item = (u32, u32)> {
    std::iter::from_fn(move || {
        let first = word.trailing_zeros();
        let length = word.checked_shr(first)?.trailing_ones();
        word &= u64::MAX.checked_shl(first + length).unwrap_or(0);
        Some((first, first + length - 1))
    })
}
