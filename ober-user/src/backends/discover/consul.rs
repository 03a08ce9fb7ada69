//! Kind `consul`: the instances of a service, as `GET /v1/health/service/NAME` lists them. The agent holds the answer
//! back until something changes (a blocking query).

use std::num::NonZeroU16;

use hyper::HeaderMap;
use serde::Deserialize;

use super::{Error, json};
use crate::{
    config::sections::discover::Consul,
    names::{notation::Miss, server_line::Found},
    system::url::Url,
};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    node: Node,
    service: Service,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Node {
    address: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Service {
    #[serde(default)]
    address: String,
    port: u16,
    #[serde(default)]
    tags: Option<Vec<String>>,
    #[serde(default)]
    weights: Weights,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Weights {
    passing: u32,
}

impl Default for Weights {
    fn default() -> Self {
        Self { passing: 1 }
    }
}

/// The URL of the question; with an index, the agent answers when something is newer.
pub(super) fn url(consul: &Consul, index: Option<u64>) -> Url {
    let mut parts = Vec::new();
    if consul.passing {
        parts.push("passing=1".to_owned());
    }
    let mut add = |name: &str, value: &str| parts.push(format!("{name}={}", percent(value)));
    if let Some(tag) = &consul.tag {
        add("tag", tag);
    }
    if let Some(datacenter) = &consul.datacenter {
        add("dc", datacenter);
    }
    if let Some(index) = index {
        add("index", &index.to_string());
        add("wait", &format!("{}ms", consul.wait.as_millis()));
    }
    let question = if parts.is_empty() {
        String::new()
    } else {
        format!("?{}", parts.join("&"))
    };
    consul.at.join(&format!(
        "/v1/health/service/{}{question}",
        percent(&consul.service)
    ))
}

/// The index of the answer. `None` for one that is zero or went back, on which the next question must not wait: the
/// agent has started anew.
pub(super) fn index(headers: &HeaderMap, before: Option<u64>) -> Option<u64> {
    let text = headers.get("x-consul-index")?.to_str().ok()?;
    let index = text.parse().ok().filter(|&index| index > 0)?;
    before.is_none_or(|before| index >= before).then_some(index)
}

/// Reads an answer. The tags `weight=`, `tier=`, `name=` and `GoBetween`'s `sni=` are read too.
pub(super) fn read(body: &[u8], most: usize) -> Result<Vec<Found>, Error> {
    json::each(body, most, |entry: Entry| entry.server().map(Some))
}

impl Entry {
    fn server(self) -> Result<Found, Error> {
        let Self { node, service } = self;
        // An instance without its own address has that of its node.
        let host = if service.address.is_empty() {
            node.address
        } else {
            service.address
        };
        let miss = |source| Error::Miss {
            of: format!("an instance at {host:?}"),
            source,
        };
        let port = NonZeroU16::new(service.port).ok_or_else(|| miss(Miss::Port))?;
        let tags = service.tags.unwrap_or_default();
        let tag = |key: &str| {
            tags.iter()
                .find_map(|tag| tag.strip_prefix(key)?.strip_prefix('='))
        };
        let number = |key: &str, default| match tag(key) {
            Some(text) => text
                .parse()
                .map_err(|_no_number| Error::Sense(format!("tag {key}={text} is no number"))),
            None => Ok(default),
        };
        let found = Found::new(&host, port)
            .map_err(miss)?
            .weighs(number("weight", service.weights.passing)?)
            .in_tier(number("tier", 0)?);
        found
            .named(tag("name").or_else(|| tag("sni")))
            .map_err(miss)
    }
}

/// Escapes all but letters, digits and `-._~` (RFC 3986 section 2.3).
pub(super) fn percent(text: &str) -> String {
    let escape = |byte: u8| {
        let plain = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        if plain {
            char::from(byte).to_string()
        } else {
            format!("%{byte:02X}")
        }
    };
    text.bytes().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::system::{
        tls::{Tls, Verify},
        url::Endpoint,
    };

    fn consul() -> Consul {
        Consul {
            at: Url {
                at: Endpoint::Tcp {
                    host: "c".into(),
                    port: 8500,
                    tls: false,
                },
                path: "/".into(),
            },
            tls: Tls {
                verify: Verify::System,
                name: None,
                identity: None,
            },
            service: "s3 gateway".into(),
            tag: Some("a&b".into()),
            datacenter: Some("dc2".into()),
            passing: true,
            token: None,
            wait: Duration::from_mins(1),
        }
    }

    #[test]
    fn the_consul_query_names_every_setting_and_waits_for_a_newer_index() {
        let first = "/v1/health/service/s3%20gateway?passing=1&tag=a%26b&dc=dc2";
        assert_eq!(url(&consul(), None).path, first);
        assert_eq!(
            url(&consul(), Some(42)).path,
            format!("{first}&index=42&wait=60000ms")
        );
        let plain = Consul {
            passing: false,
            tag: None,
            datacenter: None,
            ..consul()
        };
        assert_eq!(url(&plain, None).path, "/v1/health/service/s3%20gateway");
    }

    #[test]
    fn a_consul_index_that_went_back_is_reset() {
        let headers = |text: &str| {
            HeaderMap::from_iter([("x-consul-index".parse().unwrap(), text.parse().unwrap())])
        };
        assert_eq!(index(&headers("7"), None), Some(7));
        assert_eq!(index(&headers("7"), Some(7)), Some(7));
        assert_eq!(index(&headers("6"), Some(7)), None);
        assert_eq!(index(&headers("0"), None), None);
        assert_eq!(index(&headers("x"), None), None);
        assert_eq!(index(&HeaderMap::new(), Some(7)), None);
    }

    #[test]
    fn a_consul_instance_has_its_own_or_its_nodes_address_and_the_attributes_of_its_tags() {
        let body = r#"[
            {"Node":{"ID":"40e4a748","Node":"foobar","Address":"10.1.10.12","Datacenter":"dc1"},
             "Service":{"ID":"s3","Service":"s3","Tags":["primary","tier=2","sni=a.test"],"Address":"10.1.10.13","Port":8000,"Weights":{"Passing":10,"Warning":1}},
             "Checks":[{"Status":"passing"}]},
            {"Node":{"Address":"10.1.10.14"},"Service":{"Tags":null,"Address":"","Port":8001}}]"#;
        let port = |number| NonZeroU16::new(number).unwrap();
        let found = |host: &str, number| Found::new(host, port(number)).unwrap();
        let first = found("10.1.10.13", 8000)
            .weighs(10)
            .in_tier(2)
            .named(Some("a.test"))
            .unwrap();
        assert_eq!(
            read(body.as_bytes(), 2).unwrap(),
            [first, found("10.1.10.14", 8001)]
        );
        let error = read(body.as_bytes(), 1).unwrap_err().to_string();
        assert!(error.contains("more than 1 server"), "{error}");
        assert_eq!(read(b"[]", 0).unwrap(), []);
    }

    #[test]
    fn a_consul_answer_that_is_no_list_of_instances_is_a_failure() {
        let node = r#"{"Address":"10.0.0.1"}"#;
        for body in [
            String::new(),
            "{}".into(),
            "No cluster leader".into(),
            format!(r#"[{{"Node":{node},"Service":{{"Port":0}}}}]"#),
            format!(r#"[{{"Node":{node},"Service":{{"Port":1,"Tags":["weight=x"]}}}}]"#),
            format!(r#"[{{"Node":{node},"Service":{{"Port":1,"Tags":["name=a b"]}}}}]"#),
            r#"[{"Node":{"Address":"10.0.0.1-20"},"Service":{"Port":1}}]"#.into(),
            r#"[{"Node":{"Address":"a\\b"},"Service":{"Port":1}}]"#.into(),
            format!(r#"[{{"Node":{node},"Service":{{"Port":1}}}}] []"#),
        ] {
            assert!(read(body.as_bytes(), 9).is_err(), "{body}");
        }
    }
}
