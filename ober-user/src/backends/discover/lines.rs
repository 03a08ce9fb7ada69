//! Servers as lines of text from programs, and by a pattern from any text.

use std::num::NonZeroU16;

use super::Error as Failure;
use crate::{
    config::sections::check::Pattern,
    names::server_line::{Counted, Found, line},
};

/// Reads a program's output. Blank lines and those that begin with `#` are skipped; one invalid line makes the whole
/// output an error.
pub(super) fn lines(text: &str, port: NonZeroU16, most: usize) -> Result<Vec<Found>, Failure> {
    let mut found = Counted::new(most);
    for (number, text) in (1..).zip(text.lines()) {
        let text = text.trim();
        if !text.is_empty() && !text.starts_with('#') {
            let server = line(text, port);
            found.push(server.map_err(|source| Failure::Line { number, source })?)?;
        }
    }
    Ok(found.all())
}

/// Reads a server from every match of `pattern` in `text`.
pub(super) fn matches(
    text: &[u8],
    pattern: &Pattern,
    port: NonZeroU16,
    most: usize,
) -> Result<Vec<Found>, Failure> {
    let mut found = Counted::new(most);
    for captures in pattern.0.captures_iter(text) {
        let group = |name| {
            let found = captures.name(name);
            found.map(|found| String::from_utf8_lossy(found.as_bytes()))
        };
        let host = group("host").unwrap_or_default();
        let nonsense = |what: &str| {
            Failure::Sense(format!(
                "a match has no {what} that could be used: `{host}`"
            ))
        };
        let miss = |source| Failure::Miss {
            of: format!("a match with the host {host:?}"),
            source,
        };
        let number = |name, default| match group(name) {
            Some(text) if !text.is_empty() => text.parse().map_err(|_no_number| nonsense(name)),
            Some(_) | None => Ok(default),
        };
        let port = u16::try_from(number("port", port.get().into())?)
            .ok()
            .and_then(NonZeroU16::new);
        let server = Found::new(&host, port.ok_or_else(|| nonsense("port"))?)
            .map_err(miss)?
            .weighs(number("weight", 1)?)
            .in_tier(number("tier", 0)?);
        let name = group("name").filter(|name| !name.is_empty());
        found.push(server.named(name.as_deref()).map_err(miss)?)?;
    }
    Ok(found.all())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PORT: NonZeroU16 = NonZeroU16::new(80).unwrap();

    fn port(number: u16) -> NonZeroU16 {
        NonZeroU16::new(number).unwrap()
    }

    fn found(host: &str, number: u16) -> Found {
        Found::new(host, port(number)).unwrap()
    }

    #[test]
    fn one_bad_line_or_too_many_servers_refuse_the_whole_list_and_comments_are_skipped() {
        let all = lines("# two\n\na:1\n b:2 \n", PORT, 2).unwrap();
        assert_eq!(all, [found("a", 1), found("b", 2)]);
        for (text, start) in [
            ("a:1\n<html>\n", "read line 2: `<html>` is no server"),
            ("a:1\nb:1\nc:1\n", "it names more than 2 servers"),
        ] {
            let error = lines(text, PORT, 2).unwrap_err().to_string();
            assert!(error.starts_with(start), "{error}");
        }
        assert_eq!(lines("", PORT, 0).unwrap(), []);
    }

    #[test]
    fn a_pattern_finds_servers_in_any_text() {
        let pattern =
            r"(?<host>\S+) (?<port>\d+)( w(?<weight>\d+))?( t(?<tier>\d+))?( n(?<name>\S+))?";
        let pattern = Pattern(pattern.parse().unwrap());
        let text = b"a 1\nb 2 w5 t3 nc.test\n";
        let second = found("b", 2)
            .weighs(5)
            .in_tier(3)
            .named(Some("c.test"))
            .unwrap();
        assert_eq!(
            matches(text, &pattern, PORT, 2).unwrap(),
            [found("a", 1), second]
        );
        assert!(matches(text, &pattern, PORT, 1).is_err());
        for text in [&b"a 0"[..], b"<a> 1", b"10.0.0.1-9 1", b"a 1 nb/c"] {
            assert!(matches(text, &pattern, PORT, 2).is_err());
        }
    }

    proptest! {
        #[test]
        fn reading_arbitrary_server_lines_never_panics(text in "\\PC*|[a0\\[\\]:= \n]*") {
            let _either = lines(&text, PORT, 9);
        }
    }
}
