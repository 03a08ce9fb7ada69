//! Servers in a JSON document, found by pointers (RFC 6901). The document is never held as a tree: while it is read,
//! only the values at the pointers are kept.

mod pick;

use std::{fmt, num::NonZeroU16};

use serde::{
    Deserialize,
    de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use self::pick::{Key, Pointer, Scalar, Tree, ValueReader};
use super::Error;
use crate::{
    config::sections::discover::Json,
    names::server_line::{Counted, Found},
};

/// Reads a document. One without the array, or with an item that names no server, is an error.
pub fn read(body: &[u8], json: &Json, port: NonZeroU16, most: usize) -> Result<Vec<Found>, Error> {
    let fields = [&json.host, &json.port, &json.weight, &json.tier, &json.name];
    let tree = Tree::of(fields.map(|pointer| Pointer::read(pointer)));
    let path = Pointer::read(&json.items);
    let items = Items {
        json,
        port,
        most,
        tree: &tree,
        path: &path.0,
    };
    let mut reader = serde_json::Deserializer::from_slice(body);
    let found = items.deserialize(&mut reader)?;
    reader.end()?;
    found.ok_or_else(|| Error::Sense(format!("there is no array at `{}`", json.items)))
}

/// The path to the array of servers, and the fields to read there.
#[derive(Clone, Copy)]
struct Items<'a> {
    json: &'a Json,
    port: NonZeroU16,
    most: usize,
    tree: &'a Tree<5>,
    /// The remaining steps of the pointer.
    path: &'a [String],
}

impl Items<'_> {
    fn server(&self, number: usize, values: [Option<Scalar>; 5]) -> Result<Found, Error> {
        let [host, port, weight, tier, name] = values;
        let json = self.json;
        let nonsense =
            |at: &str| Error::Sense(format!("item {number} has nothing of use at `{at}`"));
        let integer = |value: Option<Scalar>, at: &str, default: u32| match value {
            None | Some(Scalar::Nothing) => Ok(default),
            Some(value) => value.integer().ok_or_else(|| nonsense(at)),
        };
        let Some(Scalar::Text(host)) = host else {
            return Err(nonsense(&json.host));
        };
        let port = u16::try_from(integer(port, &json.port, self.port.get().into())?)
            .ok()
            .and_then(NonZeroU16::new);
        let port = port.ok_or_else(|| nonsense(&json.port))?;
        let (weight, tier) = (
            integer(weight, &json.weight, 1)?,
            integer(tier, &json.tier, 0)?,
        );
        let name = match &name {
            Some(Scalar::Text(name)) => Some(name.as_str()),
            _ => None,
        };
        let miss = |source| Error::Item { number, source };
        let found = Found::new(&host, port).map_err(miss)?;
        found.weighs(weight).in_tier(tier).named(name).map_err(miss)
    }
}

impl<'de> DeserializeSeed<'de> for Items<'_> {
    /// `None`: the value is no array.
    type Value = Option<Vec<Found>>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        if self.path.is_empty() {
            from.deserialize_any(Array(self))
        } else {
            from.deserialize_any(PointerStep(self))
        }
    }
}

/// Follows one step of the pointer.
struct PointerStep<'a>(Items<'a>);

impl<'de> Visitor<'de> for PointerStep<'_> {
    type Value = Option<Vec<Found>>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object or an array")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (next, rest) = step(self.0.path);
        let mut found = None;
        while let Some(is) = map.next_key_seed(Key(|key: &str| key == next))? {
            if is {
                found = map.next_value_seed(Items {
                    path: rest,
                    ..self.0
                })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let (next, rest) = step(self.0.path);
        let mut found = None;
        let wanted = pick::index(next);
        for index in 0.. {
            if wanted == Some(index) {
                let items = Items {
                    path: rest,
                    ..self.0
                };
                let Some(item) = seq.next_element_seed(items)? else {
                    break;
                };
                found = item;
            } else if seq.next_element::<IgnoredAny>()?.is_none() {
                break;
            }
        }
        Ok(found)
    }

    pick::otherwise!(None);
}

fn step(path: &[String]) -> (&str, &[String]) {
    path.split_first()
        .map_or(("", &[]), |(next, rest)| (next.as_str(), rest))
}

/// The array itself.
struct Array<'a>(Items<'a>);

impl<'de> Visitor<'de> for Array<'_> {
    type Value = Option<Vec<Found>>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an array of servers")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut found = Counted::new(self.0.most);
        for number in 0.. {
            let mut values = [const { None }; 5];
            let place = ValueReader {
                node: &self.0.tree.0,
                values: &mut values,
            };
            if seq.next_element_seed(place)?.is_none() {
                break;
            }
            let server = self.0.server(number, values).map_err(de::Error::custom)?;
            found.push(server).map_err(de::Error::custom)?;
        }
        Ok(Some(found.all()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    pick::otherwise!(None);
}

/// Reads a JSON array and judges each element at once, so that unwanted elements take no memory. The first invalid
/// element, or one too many, ends the reading. An element that is no server, such as a container without the port, is
/// left out.
pub(super) fn each<T, F>(body: &[u8], most: usize, judge: F) -> Result<Vec<Found>, Error>
where
    T: for<'de> Deserialize<'de>,
    F: Fn(T) -> Result<Option<Found>, Error>,
{
    struct Each<T, F>(usize, F, std::marker::PhantomData<T>);

    impl<'de, T, F> Visitor<'de> for Each<T, F>
    where
        T: Deserialize<'de>,
        F: Fn(T) -> Result<Option<Found>, Error>,
    {
        type Value = Vec<Found>;

        fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
            out.write_str("an array")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let mut found = Counted::new(self.0);
            while let Some(element) = seq.next_element::<T>()? {
                if let Some(server) = (self.1)(element).map_err(de::Error::custom)? {
                    found.push(server).map_err(de::Error::custom)?;
                }
            }
            Ok(found.all())
        }
    }

    let mut reader = serde_json::Deserializer::from_slice(body);
    let found = reader.deserialize_seq(Each(most, judge, std::marker::PhantomData))?;
    reader.end()?;
    Ok(found)
}
