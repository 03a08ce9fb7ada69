//! Servers as people, programs and sources write them: as lines of text
//! `host:port [weight=1] [tier=0] [max_connections=50] [name=s3.example.net]`, and as hostlist expressions.
//!
//! It never asks what a name means and never knows who wrote the line.

mod expression;
mod found;
mod terms;

use std::num::NonZeroU16;

pub use self::found::Counted;
pub use self::{
    expression::{Error as ExpressionError, expand, judge},
    found::{Found, TooMany},
    terms::ServerTerms,
};
use crate::names::notation::{self, Miss};

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("`{text}` is no server: {miss}")]
    Server { text: String, miss: Miss },
    #[error(
        "`{0}` is none of `weight=NUMBER`, `tier=NUMBER`, `max_connections=NUMBER` and `name=HOST`"
    )]
    Attribute(String),
}

/// Reads one line. `port` is for a server without one. `GoBetween`'s words `priority` and `sni` mean `tier` and `name`.
pub fn line(text: &str, port: NonZeroU16) -> Result<Found, Error> {
    let mut words = text.split_whitespace();
    let server = words.next().unwrap_or_default();
    let miss = |miss| Error::Server {
        text: server.to_owned(),
        miss,
    };
    let (host, port) = notation::server(server, port).map_err(miss)?;
    let mut found = Found::of(host, port).map_err(miss)?;
    for word in words {
        let unknown = || Error::Attribute(word.to_owned());
        let (key, value) = word.split_once('=').ok_or_else(unknown)?;
        let number = || value.parse::<u32>().map_err(|_no_number| unknown());
        match key {
            "weight" => found = found.weighs(number()?),
            "tier" | "priority" => found = found.in_tier(number()?),
            "max_connections" => {
                let most = value.parse().map_err(|_no_number| unknown())?;
                found = found.limited(Some(most));
            }
            "name" | "sni" => found = found.named(Some(value)).map_err(|_no_host| unknown())?,
            _ => return Err(unknown()),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PORT: NonZeroU16 = NonZeroU16::new(80).unwrap();

    fn port(number: u16) -> NonZeroU16 {
        NonZeroU16::new(number).unwrap()
    }

    fn found(host: &str, number: u16) -> Found {
        Found::new(host, port(number)).unwrap()
    }

    #[test]
    fn a_line_is_a_server_with_attributes_in_any_order() {
        let full = found("a", 1)
            .weighs(5)
            .in_tier(2)
            .named(Some("s3.test"))
            .unwrap();
        for (text, found) in [
            ("a:1 weight=5 tier=2 name=s3.test", full.clone()),
            (" a:1\tsni=s3.test  priority=2 weight=5 ", full),
            ("10.0.0.1", found("10.0.0.1", 80)),
            ("[fd00::1]:7480", found("fd00::1", 7480)),
            ("[fd00::1]", found("fd00::1", 80)),
            ("fd00::1", found("fd00::1", 80)),
            ("a:1 weight=0", found("a", 1).weighs(0)),
        ] {
            assert_eq!(line(text, PORT), Ok(found), "{text}");
        }
    }

    #[test]
    fn a_malformed_server_line_is_refused_naming_the_word() {
        for text in [
            "",
            "a:0",
            "a:70000",
            "a:",
            "a/b:1",
            "[a]:1",
            "[fd00::1]x",
            "<html>",
            "http://a:1",
            "10.0.0.1-20:80",
            "10.0.0.300",
            "10.0.0.0/8",
            "fd00::2:9000",
            "a..b:1",
            "1:80",
        ] {
            let refused = line(text, PORT);
            assert!(
                matches!(refused, Err(Error::Server { .. })),
                "{text}: {refused:?}"
            );
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
}
