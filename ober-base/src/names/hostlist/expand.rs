//! Turns terms into names and items.

use std::net::Ipv4Addr;

use super::{
    Fault, Item, Sink,
    parse::{Part, Shape, Span, Term, digits},
};
use crate::names::notation::{self, Host, Miss};

/// Passes every item to the function.
pub(super) struct Items<F>(pub(super) F);

impl<F: FnMut(Item)> Sink for Items<F> {
    fn v4(&mut self, addr: Ipv4Addr) {
        (self.0)(Item::Addr(addr.into()));
    }

    fn term(&mut self, term: &Term<'_>) -> Result<(), Fault> {
        items(&term.shape, &mut self.0)
    }
}

/// Collects the names as text.
pub(super) struct Names<'a>(pub(super) &'a mut Vec<String>);

impl Sink for Names<'_> {
    fn v4(&mut self, addr: Ipv4Addr) {
        self.0.push(addr.to_string());
    }

    fn term(&mut self, term: &Term<'_>) -> Result<(), Fault> {
        let parts = match &term.shape {
            &Shape::Dashed(first, last) => {
                each_address(first, last, |addr| self.v4(addr));
                return Ok(());
            }
            Shape::Parts(parts) => parts,
        };
        // scontrol treats 10.0.0.300 as a name, so it is one here; only access lists treat it as an address.
        let is_address = parts
            .iter()
            .any(|part| matches!(part, Part::Text(text) if text.contains([':', '/'])));
        render(parts, &scontrol_order(parts), &mut |name| {
            if is_address {
                classify(name)?;
            }
            self.0.push(name.to_owned());
            Ok(())
        })
    }
}

pub(super) fn each_address(first: Ipv4Addr, last: Ipv4Addr, mut each: impl FnMut(Ipv4Addr)) {
    for bits in first.to_bits()..=last.to_bits() {
        each(Ipv4Addr::from_bits(bits));
    }
}

fn items(shape: &Shape<'_>, each: &mut impl FnMut(Item)) -> Result<(), Fault> {
    match shape {
        Shape::Dashed(first, last) => each(range(*first, *last)),
        Shape::Parts(parts) => match octets(parts) {
            Some((head, last)) => compact(head, last, each)?,
            None => render(parts, &scontrol_order(parts), &mut |text| {
                each(classify(text)?);
                Ok(())
            })?,
        },
    }
    Ok(())
}

fn range(first: Ipv4Addr, last: Ipv4Addr) -> Item {
    if first == last {
        Item::Addr(first.into())
    } else {
        Item::Range { first, last }
    }
}

/// `a.b.c.[...]` with or without brackets in a, b and c: the last set then counts through whole ranges.
fn octets<'a, 'b>(parts: &'a [Part<'b>]) -> Option<(&'a [Part<'b>], &'a [Span])> {
    let (Part::Set(last), head) = parts.split_last()? else {
        return None;
    };
    let Some(Part::Text(before)) = head.last() else {
        return None;
    };
    let text = || {
        head.iter().flat_map(|part| match part {
            Part::Text(text) => text.bytes(),
            Part::Set(_) => "".bytes(),
        })
    };
    let numeric = text().all(|b| b.is_ascii_digit() || b == b'.');
    let dots = text().filter(|&b| b == b'.').count();
    (numeric && dots == 3 && before.ends_with('.')).then_some((head, last))
}

fn compact(head: &[Part<'_>], last: &[Span], each: &mut impl FnMut(Item)) -> Result<(), Fault> {
    // Before the last bracket the first one counts fastest, as in `scontrol_order`.
    let order: Vec<usize> = (0..sets(head).count()).collect();
    let mut text = String::new();
    render(head, &order, &mut |head| {
        for span in last {
            let mut end = |number| {
                text.clear();
                text.push_str(head);
                push_padded(&mut text, number, span.width);
                text.parse::<Ipv4Addr>()
                    .map_err(|_no_address| Miss::NotV4(text.clone()))
            };
            each(range(end(span.lo)?, end(span.hi)?));
        }
        Ok(())
    })
}

/// Turns one name into the item it stands for.
pub(super) fn classify(text: &str) -> Result<Item, Fault> {
    if text.contains('/') {
        return Ok(notation::prefix(text).map(Item::Prefix)?);
    }
    Ok(match notation::host(text)? {
        Host::Name(name) => Item::Name(name),
        Host::Addr(address) => Item::Addr(address),
    })
}

fn sets<'a>(parts: &'a [Part<'_>]) -> impl Iterator<Item = &'a [Span]> {
    parts.iter().filter_map(|part| match part {
        Part::Set(set) => Some(set.as_slice()),
        Part::Text(_) => None,
    })
}

/// The order in which the brackets count, fastest first. In scontrol the last one is the innermost loop; of the others the
/// *first* is fastest: `a[1-2]b[3-4]c[5-6]` starts a1b3c5 a1b3c6 a2b3c5 a2b3c6 a1b4c5.
pub(super) fn scontrol_order(parts: &[Part<'_>]) -> Vec<usize> {
    match sets(parts).count() {
        0 => Vec::new(),
        count => std::iter::once(count - 1).chain(0..count - 1).collect(),
    }
}

/// The state of one bracket while it counts.
struct Wheel<'a> {
    spans: &'a [Span],
    index: usize,
    value: u64,
}

impl<'a> Wheel<'a> {
    fn new(spans: &'a [Span]) -> Self {
        let value = spans.first().map_or(0, |span| span.lo);
        Self {
            spans,
            index: 0,
            value,
        }
    }

    /// False when the bracket is back at its start.
    fn turn(&mut self) -> bool {
        if self
            .spans
            .get(self.index)
            .is_some_and(|s| self.value < s.hi)
        {
            self.value += 1;
            return true;
        }
        if let Some(next) = self.spans.get(self.index + 1) {
            self.index += 1;
            self.value = next.lo;
            return true;
        }
        *self = Self::new(self.spans);
        false
    }

    fn write(&self, text: &mut String) {
        let width = self.spans.get(self.index).map_or(0, |span| span.width);
        push_padded(text, self.value, width);
    }
}

/// Produces every name of `parts` in one buffer, with the brackets counting in `order`.
pub(super) fn render(
    parts: &[Part<'_>],
    order: &[usize],
    each: &mut impl FnMut(&str) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let mut wheels: Vec<Wheel<'_>> = sets(parts).map(Wheel::new).collect();
    let mut name = String::new();
    loop {
        name.clear();
        let mut wheel = wheels.iter();
        for part in parts {
            match part {
                Part::Text(text) => name.push_str(text),
                Part::Set(_) => {
                    if let Some(wheel) = wheel.next() {
                        wheel.write(&mut name);
                    }
                }
            }
        }
        each(&name)?;
        if !order.iter().any(|&index| wheels[index].turn()) {
            return Ok(());
        }
    }
}

fn push_padded(text: &mut String, mut number: u64, width: usize) {
    let length = digits(number).max(width);
    text.extend(std::iter::repeat_n('0', length.saturating_sub(20)));
    let mut buffer = [b'0'; 20];
    let mut place = buffer.len();
    while number > 0 {
        place -= 1;
        buffer[place] = b'0' + (number % 10) as u8;
        number /= 10;
    }
    let shown = buffer.len() - length.min(buffer.len());
    text.extend(buffer[shown..].iter().map(|&b| char::from(b)));
}
