//! Walks over an expression and the streams that it names, line by line and in constant memory.

use std::{
    io::{self, BufRead},
    net::Ipv4Addr,
    path::Path,
};

use super::{
    Cap, Error, Fault, FaultPosition, Sink, Sources,
    error::{LONGEST_LINE, Origin},
    parse::{At, Grammar, Token, parse},
};

/// Windows editors write it at the start of a file.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// Parses the whole of `expr`, takes its size from `cap`, and only then produces items.
pub(super) fn walk(
    expr: &str,
    grammar: Grammar,
    cap: &mut Cap,
    sources: &mut dyn Sources,
    sink: &mut impl Sink,
) -> Result<(), Error> {
    let refused = |at: At| Error::Refused {
        place: Box::new(FaultPosition::new(
            Origin::Expression,
            None,
            expr,
            at.offset,
        )),
        fault: at.fault,
    };
    let tokens = parse(expr, grammar).map_err(refused)?;
    reserve(&tokens, cap).map_err(refused)?;
    for token in &tokens {
        match token {
            Token::Term(term) => sink.term(term).map_err(|fault| {
                refused(At {
                    offset: term.offset,
                    fault,
                })
            })?,
            Token::File { path, .. } => {
                let path = Path::new(path);
                let origin = Origin::File(path.to_owned());
                read(sources.open(path), origin, grammar, cap, sink)?;
            }
            Token::Stdin { .. } => read(sources.stdin(), Origin::Stdin, grammar, cap, sink)?,
        }
    }
    Ok(())
}

fn reserve(tokens: &[Token<'_>], cap: &mut Cap) -> Result<(), At> {
    for token in tokens {
        if let Token::Term(term) = token {
            cap.spend(term.size).map_err(|fault| At {
                offset: term.offset,
                fault,
            })?;
        }
    }
    Ok(())
}

fn read<'a>(
    opened: io::Result<Box<dyn BufRead + 'a>>,
    origin: Origin,
    grammar: Grammar,
    cap: &mut Cap,
    sink: &mut impl Sink,
) -> Result<(), Error> {
    let mut lines = Lines {
        origin,
        grammar,
        number: 0,
        cap,
        sink,
    };
    let failed = |source, lines: Lines<'_, _>| Error::Read {
        origin: lines.origin,
        source,
    };
    let mut reader = match opened {
        Ok(reader) => reader,
        Err(source) => return Err(failed(source, lines)),
    };
    let mut carry = Vec::new();
    loop {
        let chunk = match reader.fill_buf() {
            Ok(chunk) => chunk,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(source) => return Err(failed(source, lines)),
        };
        if chunk.is_empty() {
            return if carry.is_empty() {
                Ok(())
            } else {
                lines.one(&carry)
            };
        }
        lines.chunk(chunk, &mut carry)?;
        let length = chunk.len();
        reader.consume(length);
    }
}

/// The lines of one stream, and the sink of their items.
struct Lines<'a, S> {
    origin: Origin,
    grammar: Grammar,
    number: u64,
    cap: &'a mut Cap,
    sink: &'a mut S,
}

impl<S: Sink> Lines<'_, S> {
    /// Works in the reader's own buffer; only a line that the end of the buffer cuts is copied, to `carry`.
    fn chunk(&mut self, chunk: &[u8], carry: &mut Vec<u8>) -> Result<(), Error> {
        let mut rest = chunk;
        while !rest.is_empty() {
            if carry.is_empty()
                && let Some((addr, length)) = v4_line(rest)
            {
                self.number += 1;
                self.cap
                    .spend(1)
                    .map_err(|fault| self.refused(rest, At { offset: 0, fault }))?;
                self.sink.v4(addr);
                rest = &rest[length..];
                continue;
            }
            let Some(end) = rest.iter().position(|&b| b == b'\n') else {
                carry.extend_from_slice(rest);
                return self.bounded(carry);
            };
            if carry.is_empty() {
                self.one(&rest[..end])?;
            } else {
                carry.extend_from_slice(&rest[..end]);
                self.one(carry)?;
                carry.clear();
            }
            rest = &rest[end + 1..];
        }
        Ok(())
    }

    /// Called with an unfinished line, which has no number yet.
    fn bounded(&mut self, carry: &[u8]) -> Result<(), Error> {
        if carry.len() <= LONGEST_LINE {
            return Ok(());
        }
        self.number += 1;
        Err(self.refused(
            carry,
            At {
                offset: 0,
                fault: Fault::LongLine,
            },
        ))
    }

    fn one(&mut self, line: &[u8]) -> Result<(), Error> {
        self.number += 1;
        let line = match line.strip_prefix(BYTE_ORDER_MARK) {
            Some(rest) if self.number == 1 => rest,
            _ => line,
        };
        self.terms(line).map_err(|at| self.refused(line, at))
    }

    fn terms(&mut self, line: &[u8]) -> Result<(), At> {
        let code = code(line)?;
        let tokens = parse(code, self.grammar)?;
        reserve(&tokens, self.cap)?;
        for token in &tokens {
            match token {
                Token::Term(term) => self.sink.term(term).map_err(|fault| At {
                    offset: term.offset,
                    fault,
                })?,
                // Included files could include themselves, and would hide the content of a list.
                Token::File { offset, .. } | Token::Stdin { offset } => {
                    return Err(At {
                        offset: *offset,
                        fault: Fault::NestedSource,
                    });
                }
            }
        }
        Ok(())
    }

    fn refused(&self, line: &[u8], at: At) -> Error {
        let line = line.split(|&b| b == b'\n').next().unwrap_or_default();
        refused(self.origin.clone(), self.number, line, at)
    }
}

fn refused(origin: Origin, number: u64, line: &[u8], at: At) -> Error {
    let text = String::from_utf8_lossy(line);
    Error::Refused {
        place: Box::new(FaultPosition::new(origin, Some(number), &text, at.offset)),
        fault: at.fault,
    }
}

/// The part of a line before its comment, which may be in any encoding.
fn code(line: &[u8]) -> Result<&str, At> {
    let code = line.split(|&b| b == b'#').next().unwrap_or_default();
    str::from_utf8(code).map_err(|error| At {
        offset: error.valid_up_to(),
        fault: Fault::NotText,
    })
}

/// The text of a stream that another process is to read: what is no text is refused here as it would be in a file.
pub(super) fn text(bytes: Vec<u8>, origin: &Origin) -> Result<String, Error> {
    let bytes = match String::from_utf8(bytes) {
        Ok(text) => return Ok(text),
        Err(error) => error.into_bytes(),
    };
    for (number, line) in (1..).zip(bytes.split(|&b| b == b'\n')) {
        code(line).map_err(|at| refused(origin.clone(), number, line, at))?;
    }
    // Comments alone are changed.
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A line that is an IPv4 address alone, and its length with the line end. Other text, and a line that begins less than 16
/// bytes before the end, are left to the parser: this must accept only what the parser would read as the same address. The CPU
/// cannot predict the lengths of octets, so no branch depends on them.
fn v4_line(bytes: &[u8]) -> Option<(Ipv4Addr, usize)> {
    let line: &[u8; 16] = bytes.first_chunk()?;
    let [low, high] = [0, 8].map(|half| digits(line, half));
    // The bits behind the line serve as ends of missing octets.
    let mut ends = others(low) | others(high) << 8 | 0xf_0000;
    let mut digits = [0; 20];
    digits[..8].copy_from_slice(&low.to_le_bytes());
    digits[8..16].copy_from_slice(&high.to_le_bytes());
    let (mut address, mut start, mut bad) = (0, 0, 0);
    for octet in 0..4 {
        let end = ends.trailing_zeros();
        ends &= ends - 1;
        let length = end - start;
        let word = u32::from_le_bytes(*digits[start as usize & 15..].first_chunk()?);
        // Shifts the last digit to the top, with zeros below the first.
        let shifted = word.wrapping_shl(32u32.wrapping_sub(8 * length));
        let value = (shifted >> 8 & 0xff) * 100 + (shifted >> 16 & 0xff) * 10 + (shifted >> 24);
        let zero_led = (length > 1) & (word.trailing_zeros() >= 8);
        bad |= u32::from(length.wrapping_sub(1) > 2) | u32::from(value > 255) | u32::from(zero_led);
        if octet < 3 {
            bad |= u32::from(line[end as usize & 15] ^ b'.');
        }
        address = address << 8 | value;
        start = end + 1;
    }
    let end = start as usize - 1;
    let length = match bytes.get(end)? {
        b'\n' => end + 1,
        b'\r' if bytes.get(end + 1) == Some(&b'\n') => end + 2,
        _ => return None,
    };
    (bad == 0).then(|| (Ipv4Addr::from_bits(address), length))
}

/// The number 1 in every byte.
const EVERY: u64 = u64::MAX / 0xff;

/// Eight characters, with each digit turned into 0 to 9.
fn digits(line: &[u8; 16], from: usize) -> u64 {
    let half = line[from..].first_chunk().copied().unwrap_or_default();
    u64::from_le_bytes(half) ^ (EVERY * 0x30)
}

/// One bit for every byte above 9.
fn others(bytes: u64) -> u32 {
    let tops = (((bytes & (EVERY * 0x7f)) + EVERY * 0x76) | bytes) & (EVERY * 0x80);
    // The multiplication collects the eight bits in the top byte.
    u32::from(
        (tops >> 7)
            .wrapping_mul(0x0102_0408_1020_4080)
            .to_be_bytes()[0],
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_line_is_read_as_an_address_exactly_if_the_standard_library_parses_it(
            line in "([0-9]{1,3}\\.){3}[0-9]{1,3}|[0-9./:-]{0,17}|\\PC{0,16}",
            end in prop_oneof![Just("\n"), Just("\r\n"), Just("\r"), Just("#")],
        ) {
            let text = format!("{line}{end}10.0.0.1\n10.0.0.2\n");
            let expected = line
                .parse()
                .ok()
                .filter(|_| end.ends_with('\n'))
                .map(|address: Ipv4Addr| (address, line.len() + end.len()));
            prop_assert_eq!(v4_line(text.as_bytes()), expected);
        }
    }
}
