//! Text to terms. Every fault of the grammar and the size of every term are found here, before anything is produced.

use std::{net::Ipv4Addr, num::NonZeroU16};

use super::Fault;
use crate::names::notation::{self, LONGEST_NAME, Miss};

/// What may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grammar {
    Clients,
    /// `host:port`, `[address]:port`.
    Servers,
}

/// A fault and the byte it is at.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct At {
    pub(super) offset: usize,
    pub(super) fault: Fault,
}

fn at<T>(offset: usize, fault: impl Into<Fault>) -> Result<T, At> {
    let fault = fault.into();
    Err(At { offset, fault })
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    Stdin { offset: usize },
    File { offset: usize, path: &'a str },
    Term(Term<'a>),
}

/// One item of the list, with its brackets.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Term<'a> {
    pub(super) offset: usize,
    pub(super) shape: Shape<'a>,
    /// An address in brackets.
    pub(super) bracketed: bool,
    pub(super) port: Option<NonZeroU16>,
    /// Names or addresses that it stands for; saturates.
    pub(super) size: u64,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Shape<'a> {
    Parts(Vec<Part<'a>>),
    /// `a.b.c.d-e.f.g.h`
    Dashed(Ipv4Addr, Ipv4Addr),
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part<'a> {
    Text(&'a str),
    Set(Vec<Span>),
}

/// `lo-hi`, written with at least `width` digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) lo: u64,
    pub(super) hi: u64,
    pub(super) width: usize,
}

impl Span {
    fn size(self) -> u64 {
        (self.hi - self.lo).saturating_add(1)
    }
}

fn is_separator(byte: u8) -> bool {
    matches!(byte, b',' | b' ' | b'\t' | b'\n' | b'\r')
}

fn is_separator_char(c: char) -> bool {
    u8::try_from(c).is_ok_and(is_separator)
}

pub(super) fn parse(text: &str, grammar: Grammar) -> Result<Vec<Token<'_>>, At> {
    let bytes = text.as_bytes();
    let mut tokens = Vec::new();
    let mut start = 0;
    while start < bytes.len() {
        if is_separator(bytes[start]) {
            start += 1;
            continue;
        }
        let end = token_end(bytes, start)?;
        tokens.push(token(start, &text[start..end], grammar)?);
        start = end;
    }
    alone(text, &tokens)?;
    Ok(tokens)
}

/// Refuses `-` among other expressions, usually a range with blanks: `10.0.0.1 - 10.0.0.9` would be two addresses and the
/// content of standard input.
fn alone(text: &str, tokens: &[Token<'_>]) -> Result<(), At> {
    let dash = |token: &Token<'_>| match token {
        Token::Stdin { offset } => Some(*offset),
        Token::File { .. } | Token::Term(_) => None,
    };
    let Some(offset) = tokens.iter().find_map(dash).filter(|_| tokens.len() > 1) else {
        return Ok(());
    };
    let first = text[..offset]
        .split(is_separator_char)
        .rfind(|it| !it.is_empty());
    let last = text[offset + 1..]
        .split(is_separator_char)
        .find(|it| !it.is_empty());
    let range = first
        .zip(last)
        .map(|(first, last)| format!("{first}-{last}"));
    let meant = range.filter(|range| matches!(dashed(0, range), Ok(Some(_))));
    at(offset, Fault::Dash { meant })
}

/// Finds the end of a token. A separator inside a bracket does not end it; a path has no brackets.
fn token_end(bytes: &[u8], start: usize) -> Result<usize, At> {
    let is_path = bytes[start] == b'@';
    let mut open = None;
    for (offset, &byte) in bytes.iter().enumerate().skip(start) {
        match byte {
            _ if open.is_none() && is_separator(byte) => return Ok(offset),
            b'[' | b']' if is_path => {}
            b'[' if open.is_some() => return at(offset, Fault::Nested),
            b'[' => open = Some(offset),
            b']' if open.is_none() => return at(offset, Fault::Stray),
            b']' => open = None,
            _ => {}
        }
    }
    // Here scontrol appends the missing bracket and accepts the result as a name: `n[1-` gives `n]`, `n[1-3,5` gives `n]` and
    // `5`. A refusal is better than a list that lets the wrong hosts in.
    match open {
        Some(offset) => at(offset, Fault::Unclosed),
        None => Ok(bytes.len()),
    }
}

fn token(offset: usize, text: &str, grammar: Grammar) -> Result<Token<'_>, At> {
    if text == "-" {
        return Ok(Token::Stdin { offset });
    }
    match text.strip_prefix('@') {
        Some("") => at(offset, Fault::NoPath),
        Some(path) => Ok(Token::File { offset, path }),
        None => term(offset, text, grammar).map(Token::Term),
    }
}

/// Checks a refused term for common slips, whose messages help more than one about a single letter.
fn term(offset: usize, text: &str, grammar: Grammar) -> Result<Term<'_>, At> {
    read_term(offset, text, grammar).or_else(|refused| match notation::near(text) {
        Some(miss) if matches!(refused.fault, Fault::Miss(_)) => at(offset, miss),
        _ => Err(refused),
    })
}

fn read_term(offset: usize, text: &str, grammar: Grammar) -> Result<Term<'_>, At> {
    if let Some((address, rest)) = bracketed_address(text) {
        return Ok(Term {
            offset,
            shape: Shape::Parts(vec![checked_text(offset + 1, address)?]),
            bracketed: true,
            port: port_after(offset + text.len() - rest.len(), rest, grammar)?,
            size: 1,
        });
    }
    let (host, port) = match grammar {
        Grammar::Clients => (text, None),
        Grammar::Servers => split_port(offset, text)?,
    };
    let (shape, size) = match dashed(offset, host)? {
        Some((first, last)) => {
            let size = u64::from(last.to_bits() - first.to_bits()) + 1;
            (Shape::Dashed(first, last), size)
        }
        None => parts(offset, host)?,
    };
    Ok(Term {
        offset,
        shape,
        bracketed: false,
        port,
        size,
    })
}

/// `[fd00::1]` and the text after it: a colon distinguishes it from a numeric bracket.
fn bracketed_address(text: &str) -> Option<(&str, &str)> {
    let (inside, rest) = text.strip_prefix('[')?.split_once(']')?;
    inside.contains(':').then_some((inside, rest))
}

fn port_after(offset: usize, rest: &str, grammar: Grammar) -> Result<Option<NonZeroU16>, At> {
    match (rest.strip_prefix(':'), grammar) {
        (None, _) if rest.is_empty() => Ok(None),
        (Some(port), Grammar::Servers) => parse_port(offset + 1, port).map(Some),
        _ => at(offset, Miss::AfterAddress),
    }
}

/// One colon starts a port; several mean an IPv6 address without a port, as elsewhere.
fn split_port(offset: usize, text: &str) -> Result<(&str, Option<NonZeroU16>), At> {
    let Some((host, port)) = text.rsplit_once(':') else {
        return Ok((text, None));
    };
    if host.contains(':') || port.contains(']') {
        return Ok((text, None));
    }
    let behind = offset + host.len() + 1;
    if host.is_empty() {
        return at(offset, Miss::Character(':'));
    }
    Ok((host, Some(parse_port(behind, port)?)))
}

fn parse_port(offset: usize, text: &str) -> Result<NonZeroU16, At> {
    notation::port(text).or_else(|miss| at(offset, miss))
}

fn dashed(offset: usize, text: &str) -> Result<Option<(Ipv4Addr, Ipv4Addr)>, At> {
    let ends = text
        .split_once('-')
        .and_then(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?)));
    match ends {
        Some((first, last)) if first > last => at(offset, Fault::Backwards),
        ends => Ok(ends),
    }
}

fn parts(offset: usize, text: &str) -> Result<(Shape<'_>, u64), At> {
    let (mut parts, mut size, mut longest) = (Vec::with_capacity(1), 1u64, 0);
    let mut rest = text;
    while !rest.is_empty() {
        let here = offset + text.len() - rest.len();
        if let Some((inside, after)) = rest
            .strip_prefix('[')
            .and_then(|inner| inner.split_once(']'))
        {
            let set = spans(here + 1, inside)?;
            size = size.saturating_mul(set.iter().fold(0, |sum, s| s.size().saturating_add(sum)));
            longest += set
                .iter()
                .map(|s| s.width.max(digits(s.hi)))
                .max()
                .unwrap_or(0);
            parts.push(Part::Set(set));
            rest = after;
        } else {
            // A '[' at the start was closed, or `token_end` would have refused it, so the loop advances.
            let end = rest.find('[').unwrap_or(rest.len());
            parts.push(checked_text(here, &rest[..end])?);
            longest += end;
            rest = &rest[end..];
        }
    }
    if longest > LONGEST_NAME {
        return at(offset, Miss::TooLong);
    }
    Ok((Shape::Parts(parts), size))
}

/// Colons and slashes may only be parts of addresses and prefixes; the caller checks that on the whole text.
fn checked_text(offset: usize, text: &str) -> Result<Part<'_>, At> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '/');
    match text.char_indices().find(|&(_, c)| !legal(c)) {
        Some((place, c)) => at(offset + place, Miss::Character(c)),
        None => Ok(Part::Text(text)),
    }
}

fn spans(offset: usize, text: &str) -> Result<Vec<Span>, At> {
    let mut here = offset;
    text.split(',')
        .map(|element| {
            let span = span(here, element);
            here += element.len() + 1;
            span
        })
        .collect()
}

/// Reads numbers as `strtoul` does in scontrol: blanks and a plus may come before the digits, and count as digits of the width.
/// `n[1, 3]` is n1 and n03. `3-` is 3. A blank may come before the dash, but not at the end.
///
/// scontrol also accepts any text before the dash (`n[1a-3]` is n01 to n03) and turns a number beyond 64 bits into the largest
/// one. Both are refused here.
fn span(offset: usize, text: &str) -> Result<Span, At> {
    let (low, high) = match text.split_once('-') {
        Some((low, high)) => (low, Some(high)),
        None => (text, None),
    };
    let lead = if high.is_some() {
        low.trim_end_matches(is_c_blank)
    } else {
        low
    };
    let lo = number(offset, lead)?;
    let hi = match high {
        None | Some("") => lo,
        Some(high) => number(offset + low.len() + 1, high)?,
    };
    if lo > hi {
        return at(offset, Fault::Backwards);
    }
    Ok(Span {
        lo,
        hi,
        width: low.len(),
    })
}

fn is_c_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c')
}

fn number(offset: usize, text: &str) -> Result<u64, At> {
    let trimmed = text.trim_start_matches(is_c_blank);
    let bare = trimmed.strip_prefix('+').unwrap_or(trimmed);
    let here = offset + text.len() - bare.len();
    if bare.is_empty() {
        return at(here, Fault::NoNumber);
    }
    if let Some(place) = bare.bytes().position(|b| !b.is_ascii_digit()) {
        return at(here + place, Fault::NotDigits);
    }
    bare.parse().or_else(|_| at(here, Fault::TooBig))
}

pub(super) fn digits(number: u64) -> usize {
    number.checked_ilog10().map_or(1, |log| log as usize + 1)
}
