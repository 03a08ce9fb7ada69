mod course;
mod words;

use std::{collections::BTreeSet, path::Path};

use ober_test_support::scale;

use super::State;
use crate::config::{
    Config, Env,
    tests::{ConfigDirectory, large},
};

fn parse(text: &str) -> Config {
    let cpus = vec![0, 1, 2];
    let env = Env {
        cpus,
        ..Env::default()
    };
    let config = Config::parse(text, Path::new("/nowhere"), &env);
    config.unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// A service: its name, VIPs, and ports with their access.
type Service = (&'static str, Vec<u8>, Vec<(u16, &'static str)>);

fn text(interfaces: &[&str], workers: u8, services: &[Service]) -> String {
    let mut parts = vec![format!(
        "[node]\ninterfaces={interfaces:?}\n[workers]\nhaproxy='/usr/sbin/haproxy'\ncount={workers}\n\
         [backends.rgw]\nservers=['10.0.0.1:80']\n"
    )];
    let (mut lists, mut taken) = (BTreeSet::new(), BTreeSet::new());
    for (name, vips, ports) in services {
        let places: Vec<_> = vips
            .iter()
            .flat_map(|vip| {
                let ports = ports.iter();
                ports.map(move |(port, _)| (*vip, *port))
            })
            .collect();
        if places.iter().any(|directory| !taken.insert(*directory)) {
            continue;
        }
        let vips: Vec<String> = vips.iter().map(|vip| format!("192.0.2.{vip}")).collect();
        parts.push(format!(
            "[[services]]\nname='{name}'\nvips={vips:?}\nbackend='rgw'\n"
        ));
        for (port, access) in ports {
            parts.push(format!(
                "[[services.listeners]]\nport={port}\naccess='{access}'\n"
            ));
            lists.insert(*access);
        }
    }
    lists.remove("open");
    parts.extend(lists.iter().map(|list| format!("[lists.{list}]\n")));
    parts.concat()
}

#[test]
fn computing_the_state_takes_work_linear_in_services_vips_and_servers() {
    let directory = ConfigDirectory::new();
    let config = |count| directory.parse(&large(count)).unwrap();
    scale::linear([1, 10], config, |config| {
        std::hint::black_box(State::of(config));
    });
}
