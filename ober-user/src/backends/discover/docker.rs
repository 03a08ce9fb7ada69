//! Kind `docker`: the running containers, as `GET /containers/json` of the Docker Engine API lists them.

use std::{collections::BTreeMap, num::NonZeroU16};

use serde::Deserialize;

use super::{Error, json};
use crate::{
    config::sections::discover::Docker,
    names::server_line::Found,
    system::url::{Endpoint, Url},
};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Container {
    #[serde(default)]
    ports: Vec<Port>,
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
    #[serde(default)]
    network_settings: Settings,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Port {
    #[serde(default, rename = "IP")]
    ip: Option<String>,
    #[serde(rename = "PrivatePort")]
    private: u16,
    #[serde(default, rename = "PublicPort")]
    public: Option<u16>,
    #[serde(default)]
    r#type: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Settings {
    networks: BTreeMap<String, Network>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Network {
    #[serde(rename = "IPAddress")]
    ipv4: String,
    #[serde(rename = "GlobalIPv6Address")]
    ipv6: String,
}

/// The URL of the list, which has only running containers.
pub(super) fn url(docker: &Docker) -> Url {
    let filter = docker.label.as_ref().map(|label| {
        let filters = serde_json::json!({ "label": [label] }).to_string();
        format!("?filters={}", super::consul::percent(&filters))
    });
    docker
        .at
        .join(&format!("/containers/json{}", filter.unwrap_or_default()))
}

/// One server for each container that has the port. A container that is not reachable from outside, or has no address
/// yet, is left out.
pub(super) fn read(body: &[u8], docker: &Docker, most: usize) -> Result<Vec<Found>, Error> {
    json::each(body, most, |container: Container| {
        let mut port = container.ports.iter().filter(|port| {
            port.private == docker.private.get() && matches!(port.r#type.as_str(), "tcp" | "")
        });
        let place = if docker.inside {
            container.inside().map(|host| (host, docker.private))
        } else {
            port.find_map(|port| published(port, &docker.at))
        };
        let found = place.map(|(host, number)| container.labelled(&host, number));
        found.transpose()
    })
}

/// The address at which a port is published. For "all interfaces" it is the address at which the engine is asked.
fn published(port: &Port, at: &Url) -> Option<(String, NonZeroU16)> {
    let number = NonZeroU16::new(port.public?)?;
    let host = match port.ip.as_deref() {
        None | Some("" | "0.0.0.0" | "::") => match &at.at {
            Endpoint::Unix(_) => "127.0.0.1",
            Endpoint::Tcp { host, .. } => host,
        },
        Some(address) => address,
    };
    Some((host.to_owned(), number))
}

impl Container {
    fn inside(&self) -> Option<String> {
        let networks = self.network_settings.networks.values();
        let addresses = networks.flat_map(|network| [&network.ipv4, &network.ipv6]);
        addresses
            .filter(|address| !address.is_empty())
            .min_by_key(|address| address.contains(':'))
            .cloned()
    }

    /// The server, with weight, tier and name from the labels `ober.weight`, `ober.tier` and `ober.name`, or
    /// `GoBetween`'s `sni`.
    fn labelled(&self, host: &str, port: NonZeroU16) -> Result<Found, Error> {
        let miss = |source| Error::Miss {
            of: format!("a container at {host:?}"),
            source,
        };
        let label = |name: &str| self.labels.as_ref()?.get(name);
        let number = |name: &str, default| match label(name) {
            Some(text) => text
                .parse()
                .map_err(|_no_number| Error::Sense(format!("label {name}={text} is no number"))),
            None => Ok(default),
        };
        let name = label("ober.name").or_else(|| label("sni"));
        let found = Found::new(host, port)
            .map_err(miss)?
            .weighs(number("ober.weight", 1)?)
            .in_tier(number("ober.tier", 0)?);
        found.named(name.map(String::as_str)).map_err(miss)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::tls::{Tls, Verify};

    /// An answer in the form of the API's documentation: a published container, one of another port, one without a
    /// published port.
    pub(in crate::backends::discover) const ANSWER: &str = r#"[
        {"Id":"8dfafdbc3a40","Names":["/rgw1"],"State":"running","Labels":{"app":"rgw","ober.weight":"3","sni":"a.test"},
         "Ports":[{"IP":"0.0.0.0","PrivatePort":7480,"PublicPort":32768,"Type":"tcp"},{"IP":"::","PrivatePort":7480,"PublicPort":32768,"Type":"tcp"}],
         "NetworkSettings":{"Networks":{"bridge":{"IPAddress":"172.17.0.2","GlobalIPv6Address":""}}}},
        {"Id":"9cd87474be90","Names":["/web"],"Labels":{},"Ports":[{"PrivatePort":80,"PublicPort":8080,"Type":"tcp"}],
         "NetworkSettings":{"Networks":{"bridge":{"IPAddress":"172.17.0.8"}}}},
        {"Id":"3176a2479c92","Names":["/rgw2"],"Labels":null,"Ports":[{"PrivatePort":7480,"Type":"tcp"}],
         "NetworkSettings":{"Networks":{"v6":{"IPAddress":"","GlobalIPv6Address":"fd00::5"}}}}]"#;

    fn docker(at: &str, inside: bool) -> Docker {
        let at = match at.strip_prefix("tcp:") {
            Some(host) => Endpoint::Tcp {
                host: host.into(),
                port: 2375,
                tls: false,
            },
            None => Endpoint::Unix(at.into()),
        };
        Docker {
            at: Url {
                at,
                path: "/".into(),
            },
            tls: Tls {
                verify: Verify::System,
                name: None,
                identity: None,
            },
            label: Some("app=rgw".into()),
            private: NonZeroU16::new(7480).unwrap(),
            inside,
        }
    }

    #[test]
    fn a_published_port_is_used_and_the_wildcard_address_means_the_engines_host() {
        let port = NonZeroU16::new(32768).unwrap();
        let found = |host: &str| {
            let found = Found::new(host, port).unwrap().weighs(3);
            found.named(Some("a.test")).unwrap()
        };
        for (at, host) in [
            ("/docker.sock", "127.0.0.1"),
            ("tcp:engine.test", "engine.test"),
        ] {
            assert_eq!(
                read(ANSWER.as_bytes(), &docker(at, false), 1).unwrap(),
                [found(host)]
            );
        }
    }

    #[test]
    fn with_inside_every_container_with_an_address_is_a_server() {
        let hosts = read(ANSWER.as_bytes(), &docker("/s", true), 3).unwrap();
        let hosts: Vec<_> = hosts
            .iter()
            .map(|found| format!("{} {}", found.host(), found.port()))
            .collect();
        assert_eq!(
            hosts,
            ["172.17.0.2 7480", "172.17.0.8 7480", "fd00::5 7480"]
        );
        let error = read(ANSWER.as_bytes(), &docker("/s", true), 2).unwrap_err();
        assert!(error.to_string().contains("more than 2 servers"), "{error}");
    }

    #[test]
    fn the_docker_query_writes_the_label_in_the_engines_notation() {
        let path = url(&docker("/s", false)).path;
        assert_eq!(
            path,
            "/containers/json?filters=%7B%22label%22%3A%5B%22app%3Drgw%22%5D%7D"
        );
    }

    #[test]
    fn a_docker_answer_that_is_no_list_of_containers_is_a_failure() {
        for body in [
            "",
            "{}",
            r#"{"message":"page not found"}"#,
            r#"[{"Ports":[{}]}]"#,
            r#"[{"Ports":[{"IP":"10.0.0.1 ","PrivatePort":7480,"PublicPort":1,"Type":"tcp"}]}]"#,
        ] {
            assert!(
                read(body.as_bytes(), &docker("/s", false), 9).is_err(),
                "{body}"
            );
        }
    }
}
