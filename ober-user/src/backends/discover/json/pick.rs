//! Picks the values at several pointers while a document is read.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// A JSON pointer, its steps unescaped (RFC 6901 section 4).
pub(super) struct Pointer(pub(super) Vec<String>);

impl Pointer {
    pub(super) fn read(text: &str) -> Self {
        let steps = text.split('/').skip(1);
        Self(
            steps
                .map(|step| step.replace("~1", "/").replace("~0", "~"))
                .collect(),
        )
    }
}

/// The index in an array that a step names: digits without leading zeros.
pub(super) fn index(step: &str) -> Option<usize> {
    let plain = step == "0" || !step.starts_with(['0', '+']);
    step.parse().ok().filter(|_| plain)
}

/// The value at a pointer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Scalar {
    Nothing,
    Text(String),
    Number(u32),
    /// An object, an array, a boolean or a number of another kind.
    Other,
}

impl Scalar {
    /// The number, also one in a string.
    pub(super) fn integer(&self) -> Option<u32> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Text(text) => text.parse().ok(),
            Self::Nothing | Self::Other => None,
        }
    }
}

/// N pointers as one tree.
pub(super) struct Tree<const N: usize>(pub(super) Node);

/// The pointers that end at a value or below it.
#[derive(Default)]
pub(super) struct Node {
    /// The pointers that end here.
    here: Vec<usize>,
    below: Vec<(String, Node)>,
}

impl<const N: usize> Tree<N> {
    pub(super) fn of(pointers: [Pointer; N]) -> Self {
        let mut root = Node::default();
        for (number, Pointer(steps)) in pointers.into_iter().enumerate() {
            let mut node = &mut root;
            for step in steps {
                let known = node.below.iter().position(|(name, _)| *name == step);
                let place = known.unwrap_or_else(|| {
                    node.below.push((step, Node::default()));
                    node.below.len() - 1
                });
                node = &mut node.below[place].1;
            }
            node.here.push(number);
        }
        Self(root)
    }
}

impl Node {
    fn put(&self, values: &mut [Option<Scalar>], value: &Scalar) {
        for number in &self.here {
            values[*number] = Some(value.clone());
        }
    }

    /// Removes the values at and below this node. An object may have a key twice: then only the last one counts.
    fn clear(&self, values: &mut [Option<Scalar>]) {
        for number in &self.here {
            values[*number] = None;
        }
        self.below.iter().for_each(|(_, node)| node.clear(values));
    }
}

/// Reads a value and keeps the parts that are wanted.
pub(super) struct ValueReader<'a> {
    pub(super) node: &'a Node,
    pub(super) values: &'a mut [Option<Scalar>],
}

impl<'de> DeserializeSeed<'de> for ValueReader<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        self.node.clear(self.values);
        if self.node.here.is_empty() && self.node.below.is_empty() {
            return from.deserialize_ignored_any(IgnoredAny).map(drop);
        }
        from.deserialize_any(self)
    }
}

/// The visits of values that are no containers, the same for every visitor here.
macro_rules! otherwise {
    ($value:expr) => {
        fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
            Ok($value)
        }
        fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
            Ok($value)
        }
        fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
            Ok($value)
        }
        fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
            Ok($value)
        }
        fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
            Ok($value)
        }
        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok($value)
        }
    };
}
pub(super) use otherwise;

impl ValueReader<'_> {
    fn is(self, value: &Scalar) {
        self.node.put(self.values, value);
    }
}

impl<'de> Visitor<'de> for ValueReader<'_> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("any value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        self.is(&Scalar::Other);
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        self.is(&Scalar::Other);
        Ok(())
    }

    fn visit_u64<E>(self, number: u64) -> Result<(), E> {
        let number = u32::try_from(number);
        self.is(&number.map_or(Scalar::Other, Scalar::Number));
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        self.is(&Scalar::Other);
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.is(&Scalar::Text(text.to_owned()));
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.is(&Scalar::Nothing);
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { node, values } = self;
        node.put(values, &Scalar::Other);
        let below = |key: &str| node.below.iter().position(|(name, _)| name == key);
        while let Some(place) = map.next_key_seed(Key(below))? {
            match place.and_then(|place| node.below.get(place)) {
                Some((_, node)) => map.next_value_seed(ValueReader { node, values })?,
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Self { node, values } = self;
        node.put(values, &Scalar::Other);
        for at in 0.. {
            let mut below = node.below.iter();
            let more = match below.find(|(name, _)| index(name) == Some(at)) {
                Some((_, node)) => seq
                    .next_element_seed(ValueReader { node, values })?
                    .is_some(),
                None => seq.next_element::<IgnoredAny>()?.is_some(),
            };
            if !more {
                break;
            }
        }
        Ok(())
    }
}

/// Examines a key without keeping it.
pub(super) struct Key<F>(pub(super) F);

impl<'de, T, F: Fn(&str) -> T> DeserializeSeed<'de> for Key<F> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<T, D::Error> {
        from.deserialize_str(self)
    }
}

impl<T, F: Fn(&str) -> T> Visitor<'_> for Key<F> {
    type Value = T;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<T, E> {
        Ok((self.0)(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picked(pointers: [&str; 2], document: &str) -> [Option<Scalar>; 2] {
        let tree = Tree::of(pointers.map(Pointer::read));
        let mut values = [const { None }; 2];
        let place = ValueReader {
            node: &tree.0,
            values: &mut values,
        };
        let mut reader = serde_json::Deserializer::from_str(document);
        place.deserialize(&mut reader).unwrap();
        values
    }

    /// The value in `serde_json`'s own tree, which holds the whole document.
    fn pointed(pointer: &str, document: &str) -> Option<Scalar> {
        use serde_json::Value;
        let document: Value = serde_json::from_str(document).unwrap();
        document.pointer(pointer).map(|value| match value {
            Value::Null => Scalar::Nothing,
            Value::String(text) => Scalar::Text(text.clone()),
            Value::Number(number) => match number.as_u64().map(u32::try_from) {
                Some(Ok(number)) => Scalar::Number(number),
                _ => Scalar::Other,
            },
            Value::Bool(_) | Value::Array(_) | Value::Object(_) => Scalar::Other,
        })
    }

    #[test]
    fn picking_by_json_pointer_gives_the_value_at_the_pointer() {
        let documents = [
            r#"{"a":{"b":[1,{"c":"x"}]},"b/c":7,"":null}"#,
            r#"{"a":1,"a":{"b":[2,3]}}"#,
            r#"{"a":{"b":[2]},"a":5}"#,
            r#"[[1,2],{"a":true}]"#,
            r#""text""#,
            "4294967296",
            "-1",
            "1.5",
        ];
        let pointers = [
            "", "/a", "/a/b", "/a/b/0", "/a/b/1/c", "/a/b/01", "/b~1c", "/", "/0/1", "/1/a",
        ];
        for document in documents {
            for one in pointers {
                for other in pointers {
                    let expected = [one, other].map(|it| pointed(it, document));
                    assert_eq!(
                        picked([one, other], document),
                        expected,
                        "{document} {one} {other}"
                    );
                }
            }
        }
    }
}
