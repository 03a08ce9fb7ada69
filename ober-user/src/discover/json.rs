//! Servers in a JSON document, found by pointers (RFC 6901).

use std::num::NonZeroU16;

use serde_json::Value;

use super::{Error, Found, lines::is_host};
use crate::config::discover::Json;

/// A document without the array, or with an item that names no server, is no answer.
pub(super) fn read(body: &[u8], json: &Json, port: NonZeroU16) -> Result<Vec<Found>, Error> {
    let document: Value = serde_json::from_slice(body)?;
    let items = document.pointer(&json.items).and_then(Value::as_array);
    let items =
        items.ok_or_else(|| Error::Sense(format!("there is no array at `{}`", json.items)))?;
    let found = (0..).zip(items).map(|(number, item): (usize, _)| {
        let nonsense =
            |at: &str| Error::Sense(format!("item {number} has nothing of use at `{at}`"));
        let host = item.pointer(&json.host).and_then(Value::as_str);
        let host = host
            .filter(|host| is_host(host))
            .ok_or_else(|| nonsense(&json.host))?;
        let integer = |at: &str, default: u32| match item.pointer(at) {
            None | Some(Value::Null) => Ok(default),
            Some(value) => integer(value).ok_or_else(|| nonsense(at)),
        };
        let port = u16::try_from(integer(&json.port, port.get().into())?);
        let name = item.pointer(&json.name).and_then(Value::as_str);
        Ok(Found {
            port: port
                .ok()
                .and_then(NonZeroU16::new)
                .ok_or_else(|| nonsense(&json.port))?,
            weight: integer(&json.weight, 1)?,
            tier: integer(&json.tier, 0)?,
            name: name.filter(|name| is_host(name)).map(ToOwned::to_owned),
            ..Found::new(host, NonZeroU16::MIN)
        })
    });
    found.collect()
}

/// A number, or a string of one.
fn integer(value: &Value) -> Option<u32> {
    match value {
        Value::Number(number) => number
            .as_u64()
            .and_then(|number| u32::try_from(number).ok()),
        Value::String(text) => text.parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{
        tls_client::{Tls, Verify},
        url::{Endpoint, Url},
    };

    fn pointers() -> Json {
        Json {
            at: Url {
                at: Endpoint::Unix("/".into()),
                path: "/".into(),
            },
            tls: Tls {
                verify: Verify::System,
                name: None,
                identity: None,
            },
            items: "/data/servers".into(),
            host: "/address/0".into(),
            port: "/port".into(),
            weight: "/w".into(),
            tier: "/t".into(),
            name: "/n".into(),
        }
    }

    #[test]
    fn pointers_lead_to_servers_with_their_attributes() {
        let body = br#"{"data":{"servers":[{"address":["10.0.0.1"],"port":"7480","w":3,"t":2,"n":"a.test"},{"address":["b"]}]}}"#;
        let port = |number| NonZeroU16::new(number).unwrap();
        let first = Found {
            weight: 3,
            tier: 2,
            name: Some("a.test".into()),
            ..Found::new("10.0.0.1", port(7480))
        };
        assert_eq!(
            read(body, &pointers(), port(80)).unwrap(),
            [first, Found::new("b", port(80))]
        );
        let empty = br#"{"data":{"servers":[]}}"#;
        assert_eq!(read(empty, &pointers(), port(80)).unwrap(), []);
    }

    #[test]
    fn what_is_not_such_a_document_is_a_failure_and_no_empty_list() {
        for body in [
            &b""[..],
            b"<html>",
            b"{}",
            br#"{"data":{"servers":{}}}"#,
            br#"{"data":{"servers":[{}]}}"#,
            br#"{"data":{"servers":[{"address":["a b"]}]}}"#,
            br#"{"data":{"servers":[{"address":["a"],"port":0}]}}"#,
            br#"{"data":{"servers":[{"address":["a"],"port":70000}]}}"#,
            br#"{"data":{"servers":[{"address":["a"],"w":-1}]}}"#,
        ] {
            assert!(
                read(body, &pointers(), NonZeroU16::MIN).is_err(),
                "{}",
                String::from_utf8_lossy(body)
            );
        }
    }
}
