//! Servers as lines of text: `host:port [weight=1] [tier=0] [max_connections=50] [name=s3.example.net]`, in the configuration, from programs,
//! and by a pattern from any text.

use std::num::NonZeroU16;

use super::{Error as Failure, Found};
use crate::config::check::Pattern;

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("`{0}` is no server; write `host:port`, `[address]:port` or `host`")]
    Server(String),
    #[error(
        "`{0}` is none of `weight=NUMBER`, `tier=NUMBER`, `max_connections=NUMBER` and `name=HOST`"
    )]
    Attribute(String),
}

/// One line; `port` is for a server that names none. `GoBetween`'s words `priority` and `sni` mean `tier` and `name`.
pub fn line(text: &str, port: NonZeroU16) -> Result<Found, Error> {
    let mut words = text.split_whitespace();
    let server = words.next().unwrap_or_default();
    let mut found = server_of(server, port).ok_or_else(|| Error::Server(server.to_owned()))?;
    for word in words {
        let unknown = || Error::Attribute(word.to_owned());
        let (key, value) = word.split_once('=').ok_or_else(unknown)?;
        let number = || value.parse::<u32>().map_err(|_no_number| unknown());
        match key {
            "weight" => found.weight = number()?,
            "tier" | "priority" => found.tier = number()?,
            "max_connections" => {
                let most = value.parse().map_err(|_no_number| unknown())?;
                found.max_connections = Some(most);
            }
            "name" | "sni" if is_host(value) => found.name = Some(value.to_owned()),
            _ => return Err(unknown()),
        }
    }
    Ok(found)
}

/// What a program wrote. Blank lines and those that begin with `#` say nothing; one that makes no sense spoils all.
pub(super) fn lines(text: &str, port: NonZeroU16) -> Result<Vec<Found>, Failure> {
    let mut found = Vec::new();
    for (number, text) in (1..).zip(text.lines()) {
        let text = text.trim();
        if !text.is_empty() && !text.starts_with('#') {
            let server = line(text, port);
            found.push(server.map_err(|source| Failure::Line { number, source })?);
        }
    }
    Ok(found)
}

/// Every match of `pattern` in `text` is a server.
pub(super) fn matches(
    text: &[u8],
    pattern: &Pattern,
    port: NonZeroU16,
) -> Result<Vec<Found>, Failure> {
    let captured = pattern.0.captures_iter(text).map(|captures| {
        let group = |name| {
            captures
                .name(name)
                .map(|found| String::from_utf8_lossy(found.as_bytes()))
        };
        let host = group("host").unwrap_or_default();
        let nonsense = |what: &str| {
            Failure::Sense(format!(
                "a match has no {what} that could be used: `{host}`"
            ))
        };
        if !is_host(&host) {
            return Err(nonsense("host"));
        }
        let number = |name, default| match group(name) {
            Some(text) if !text.is_empty() => text.parse().map_err(|_no_number| nonsense(name)),
            Some(_) | None => Ok(default),
        };
        let port = u16::try_from(number("port", port.get().into())?)
            .ok()
            .and_then(NonZeroU16::new);
        Ok(Found {
            port: port.ok_or_else(|| nonsense("port"))?,
            weight: number("weight", 1)?,
            tier: number("tier", 0)?,
            name: group("name").filter(|name| is_host(name)).map(Into::into),
            ..Found::new(host.clone(), NonZeroU16::MIN)
        })
    });
    captured.collect()
}

fn server_of(text: &str, port: NonZeroU16) -> Option<Found> {
    if let Some(rest) = text.strip_prefix('[') {
        let (address, rest) = rest.split_once(']')?;
        address.parse::<std::net::Ipv6Addr>().ok()?;
        let port = match rest.strip_prefix(':') {
            Some(port) => port.parse().ok()?,
            None if rest.is_empty() => port,
            None => return None,
        };
        return Some(Found::new(address, port));
    }
    // More than one colon is an IPv6 address without a port.
    if text.parse::<std::net::Ipv6Addr>().is_ok() {
        return Some(Found::new(text, port));
    }
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, port.parse().ok()?),
        None => (text, port),
    };
    is_host(host).then(|| Found::new(host, port))
}

/// Could it be a name or an address?
pub(super) fn is_host(text: &str) -> bool {
    let letters = |letter: u8| letter.is_ascii_alphanumeric() || b"-._".contains(&letter);
    let name = !text.is_empty() && text.len() < 254 && text.bytes().all(letters);
    name || text.parse::<std::net::IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PORT: NonZeroU16 = NonZeroU16::new(80).unwrap();

    fn port(number: u16) -> NonZeroU16 {
        NonZeroU16::new(number).unwrap()
    }

    #[test]
    fn a_line_is_a_server_with_attributes_in_any_order() {
        let full = Found {
            weight: 5,
            tier: 2,
            name: Some("s3.test".into()),
            ..Found::new("a", port(1))
        };
        for (text, found) in [
            ("a:1 weight=5 tier=2 name=s3.test", full.clone()),
            (" a:1\tsni=s3.test  priority=2 weight=5 ", full),
            ("10.0.0.1", Found::new("10.0.0.1", PORT)),
            ("[fd00::1]:7480", Found::new("fd00::1", port(7480))),
            ("[fd00::1]", Found::new("fd00::1", PORT)),
            ("fd00::1", Found::new("fd00::1", PORT)),
            (
                "a:1 weight=0",
                Found {
                    weight: 0,
                    ..Found::new("a", port(1))
                },
            ),
        ] {
            assert_eq!(line(text, PORT), Ok(found), "{text}");
        }
    }

    #[test]
    fn a_line_that_makes_no_sense_is_refused_with_the_word() {
        for text in [
            "",
            "a:0",
            "a:70000",
            "a:",
            "a/b:1",
            "[a]:1",
            "[fd00::1]x",
            "<html>",
        ] {
            assert!(matches!(line(text, PORT), Err(Error::Server(_))), "{text}");
        }
        for word in [
            "weight",
            "weight=x",
            "weight=-1",
            "colour=1",
            "max_connections=0",
            "name=a/b",
            "tier=",
        ] {
            let refused = Err(Error::Attribute(word.into()));
            assert_eq!(line(&format!("a:1 {word}"), PORT), refused);
        }
    }

    #[test]
    fn one_bad_line_spoils_all_and_comments_say_nothing() {
        let found = lines("# two\n\na:1\n b:2 \n", PORT).unwrap();
        assert_eq!(found, [Found::new("a", port(1)), Found::new("b", port(2))]);
        let error = lines("a:1\n<html>\n", PORT).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("read line 2: `<html>` is no server"),
            "{error}"
        );
        assert_eq!(lines("", PORT).unwrap(), []);
    }

    #[test]
    fn a_pattern_finds_servers_in_any_text() {
        let pattern =
            r"(?<host>\S+) (?<port>\d+)( w(?<weight>\d+))?( t(?<tier>\d+))?( n(?<name>\S+))?";
        let pattern = Pattern(pattern.parse().unwrap());
        let found = matches(b"a 1\nb 2 w5 t3 nc.test\n", &pattern, PORT).unwrap();
        let second = Found {
            weight: 5,
            tier: 3,
            name: Some("c.test".into()),
            ..Found::new("b", port(2))
        };
        assert_eq!(found, [Found::new("a", port(1)), second]);
        assert!(matches(b"a 0", &pattern, PORT).is_err());
        assert!(matches(b"<a> 1", &pattern, PORT).is_err());
    }

    proptest! {
        #[test]
        fn no_text_whatever_makes_it_panic(text in "\\PC*|[a0\\[\\]:= \n]*") {
            let _either = lines(&text, PORT);
        }
    }
}
