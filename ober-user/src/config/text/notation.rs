//! Values as written: with their place, and in notations for which TOML has no type.

use std::{borrow::Cow, fmt, marker::PhantomData, net::IpAddr, time::Duration};

use ipnet::IpNet;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};
use toml::Spanned;

use super::source::Span;
use crate::names::notation;

/// A written value, and its place.
#[derive(Clone, Debug)]
pub(crate) struct At<T> {
    pub(crate) value: T,
    pub(crate) span: Span,
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for At<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<T>::deserialize(from)?;
        Ok(Self {
            span: spanned.span(),
            value: spanned.into_inner(),
        })
    }
}

/// A key that may be missing.
#[derive(Clone, Debug)]
pub(crate) struct Key<T>(pub(crate) Option<At<T>>);

impl<T> Default for Key<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> Key<T> {
    pub(crate) fn or(self, default: T) -> T {
        self.0.map_or(default, |at| at.value)
    }

    pub(crate) fn span(&self) -> Option<Span> {
        self.0.as_ref().map(|at| at.span.clone())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Key<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        At::deserialize(from).map(|at| Self(Some(at)))
    }
}

/// In the schema, a value with its place is the value alone.
macro_rules! schema_of_the_value {
    ($wrapper:ident) => {
        impl<T: JsonSchema> JsonSchema for $wrapper<T> {
            fn schema_name() -> Cow<'static, str> {
                T::schema_name()
            }
            fn schema_id() -> Cow<'static, str> {
                T::schema_id()
            }
            fn inline_schema() -> bool {
                T::inline_schema()
            }
            fn json_schema(generator: &mut SchemaGenerator) -> Schema {
                T::json_schema(generator)
            }
        }
    };
}
schema_of_the_value!(At);
schema_of_the_value!(Key);

/// A value that is written as a string.
pub(crate) trait Notation: Sized {
    const EXPECTED: &'static str;
    fn read(text: &str) -> Option<Self>;
    /// Why a text is not such a value.
    fn refusal(text: &str) -> String {
        format!("`{text}` is not {}", Self::EXPECTED)
    }
    /// The value of a bare number, where one is allowed.
    fn number(_: u64) -> Option<Self> {
        None
    }
}

pub(crate) struct Reader<T>(pub(crate) PhantomData<T>);

impl<T: Notation> de::Visitor<'_> for Reader<T> {
    type Value = T;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(T::EXPECTED)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        T::read(text).ok_or_else(|| E::custom(T::refusal(text)))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        let value = u64::try_from(number).ok().and_then(T::number);
        value.ok_or_else(|| E::custom(format!("`{number}` is not {}", T::EXPECTED)))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        T::number(number).ok_or_else(|| E::custom(format!("`{number}` is not {}", T::EXPECTED)))
    }
}

/// A duration: `"250ms"`, `"5s"`, `"5m"`, `"1h"`, or `"0"`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Period(pub(crate) Duration);

/// Reads a duration in the notation of the configuration; `None`: it is none.
pub fn period(text: &str) -> Option<Duration> {
    Period::read(text).map(|Period(period)| period)
}

impl Notation for Period {
    const EXPECTED: &'static str =
        "a length of time such as \"250ms\", \"5s\", \"5m\", \"1h\" or \"0\"";

    fn read(text: &str) -> Option<Self> {
        if text == "0" {
            return Some(Self(Duration::ZERO));
        }
        let digits = text.find(|letter: char| !letter.is_ascii_digit())?;
        let number: u64 = text[..digits].parse().ok()?;
        let seconds = match &text[digits..] {
            "ms" => return Some(Self(Duration::from_millis(number))),
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            "d" => 86400,
            _ => return None,
        };
        Some(Self(Duration::from_secs(number.checked_mul(seconds)?)))
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Reader(PhantomData))
    }
}

impl JsonSchema for Period {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Period".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^(0|[0-9]+(ms|s|m|h|d))$|[$][{]" })
    }
}

/// A count for each span of time: `"50/s"`, `"1000/10s"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    pub count: u32,
    pub period: Duration,
}

impl Notation for Rate {
    const EXPECTED: &'static str = "a rate such as \"50/s\", \"1000/10s\" or \"6000/m\"";

    fn read(text: &str) -> Option<Self> {
        let (count, period) = text.split_once('/')?;
        let written = if period.starts_with(|letter: char| letter.is_ascii_digit()) {
            Period::read(period)
        } else {
            Period::read(&format!("1{period}"))
        };
        let Period(period) = written.filter(|Period(period)| !period.is_zero())?;
        let count = count.parse().ok().filter(|&count| count > 0)?;
        Some(Self { count, period })
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Reader(PhantomData))
    }
}

impl JsonSchema for Rate {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Rate".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[1-9][0-9]*/[0-9]*(ms|s|m|h|d)$|[$][{]" })
    }
}

/// `"auto"` or a number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Count {
    Auto,
    Of(u64),
}

impl Notation for Count {
    const EXPECTED: &'static str = "a number or \"auto\"";

    fn read(text: &str) -> Option<Self> {
        (text == "auto").then_some(Self::Auto)
    }

    fn number(number: u64) -> Option<Self> {
        Some(Self::Of(number))
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Reader(PhantomData))
    }
}

impl JsonSchema for Count {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Count".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "const": "auto" }, { "type": "integer", "minimum": 1 }] })
    }
}

/// The autonomous system of a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AsNumber {
    Internal,
    External,
    Auto,
    Of(u32),
}

impl Notation for AsNumber {
    const EXPECTED: &'static str = "the number of an AS, \"internal\", \"external\" or \"auto\"";

    fn read(text: &str) -> Option<Self> {
        match text {
            "internal" => Some(Self::Internal),
            "external" => Some(Self::External),
            "auto" => Some(Self::Auto),
            _ => None,
        }
    }

    fn number(number: u64) -> Option<Self> {
        u32::try_from(number).ok().map(Self::Of)
    }
}

impl<'de> Deserialize<'de> for AsNumber {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Reader(PhantomData))
    }
}

impl JsonSchema for AsNumber {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "AsNumber".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [
            { "enum": ["internal", "external", "auto"] },
            { "type": "integer", "minimum": 1, "maximum": u32::MAX }
        ] })
    }
}

/// An address, read as everywhere by [`crate::names::notation`].
struct Address(IpAddr);

impl Notation for Address {
    const EXPECTED: &'static str = "an address such as \"192.0.2.1\" or \"2001:db8::1\"";

    fn read(text: &str) -> Option<Self> {
        // IPv4 mapped into IPv6 stays as written: keys that do not accept it say so.
        text.parse().ok().map(Self)
    }

    fn refusal(text: &str) -> String {
        let miss = notation::address(text).err();
        miss.map_or_else(String::new, |miss| miss.to_string())
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Reader(PhantomData))
    }
}

impl At<Address> {
    fn bare(self) -> At<IpAddr> {
        At {
            value: self.value.0,
            span: self.span,
        }
    }
}

/// A key that is an address.
pub(crate) fn address<'de, D: Deserializer<'de>>(from: D) -> Result<Key<IpAddr>, D::Error> {
    Ok(Key(Key::<Address>::deserialize(from)?.0.map(At::bare)))
}

/// A list of addresses.
pub(crate) fn addresses<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<At<IpAddr>>, D::Error> {
    let all = Vec::<At<Address>>::deserialize(from)?;
    Ok(all.into_iter().map(At::bare).collect())
}

/// An address and the length of its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Prefix(pub(crate) IpNet);

impl Notation for Prefix {
    const EXPECTED: &'static str = "a prefix such as \"192.0.2.0/24\" or \"2001:db8::/64\"";

    fn read(text: &str) -> Option<Self> {
        text.parse().ok().map(Self)
    }

    fn refusal(text: &str) -> String {
        let miss = notation::prefix(text).err();
        miss.map_or_else(String::new, |miss| miss.to_string())
    }
}

impl<'de> Deserialize<'de> for Prefix {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Reader(PhantomData))
    }
}

impl JsonSchema for Prefix {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Prefix".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string" })
    }
}

/// A string that is never shown in a message, log or picture.
#[derive(Clone)]
pub(crate) struct Secret(pub(crate) String);

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("(secret)")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        // serde's own message would quote the value.
        match String::deserialize(from) {
            Ok(text) => Ok(Self(text)),
            Err(_) => Err(de::Error::custom(
                "wrong type, expected a string (secret, so not shown)",
            )),
        }
    }
}

impl JsonSchema for Secret {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "writeOnly": true })
    }
}
