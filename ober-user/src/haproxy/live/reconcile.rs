//! The differences between a worker's servers and its configuration, from the worker's answers. Pure.

use std::{collections::BTreeMap, net::IpAddr};

use super::{
    Command, Key, Server, Text, Verb,
    command::{add, leave},
    text::{Backend, Method},
};

/// Bits of `srv_admin_state`: out of service by a command, out of service by its line, draining by a command.
const OUT: u32 = 0x01 | 0x04 | 0x08;

/// A server as the worker reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Observed {
    address: Option<IpAddr>,
    port: String,
    weight: u16,
    most: u32,
    out: bool,
}

/// A difference, and the commands that correct it; without commands, only another process would.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Deviation {
    pub(in super::super) key: Key,
    pub(in super::super) found: String,
    pub(in super::super) set: String,
    pub(in super::super) commands: Vec<Command>,
}

/// Reads the answers to `show servers state` and `show stat -1 4 -1`; `None`: they have another format.
pub(in super::super) fn observe(states: &str, stat: &str) -> Option<BTreeMap<Key, Observed>> {
    let mut lines = stat.lines().filter(|line| !line.is_empty());
    let [backend, name, limit] = columns(lines.next()?, ',', ["pxname", "svname", "slim"])?;
    let limits: BTreeMap<Key, u32> = lines
        .filter_map(|line| {
            let cells: Vec<&str> = line.split(',').collect();
            let key = key(cells.get(backend)?, cells.get(name)?);
            Some((key, cells.get(limit)?.parse().unwrap_or_default()))
        })
        .collect();
    // The first line is the version of the format.
    let mut lines = states.lines().skip(1).filter(|line| !line.is_empty());
    let heads = [
        "be_name",
        "srv_name",
        "srv_addr",
        "srv_port",
        "srv_admin_state",
        "srv_uweight",
    ];
    let [backend, name, address, port, admin, weight] = columns(lines.next()?, ' ', heads)?;
    let one = |line: &str| {
        let cells: Vec<&str> = line.split(' ').collect();
        let key = key(cells.get(backend)?, cells.get(name)?);
        let admin: u32 = cells.get(admin)?.parse().ok()?;
        let observed = Observed {
            address: cells.get(address)?.parse().ok(),
            port: (*cells.get(port)?).to_owned(),
            weight: cells.get(weight)?.parse().ok()?,
            most: limits.get(&key).copied().unwrap_or_default(),
            out: admin & OUT != 0,
        };
        Some((key, observed))
    };
    Some(lines.filter_map(one).collect())
}

fn columns<const N: usize>(head: &str, between: char, names: [&str; N]) -> Option<[usize; N]> {
    let heads: Vec<&str> = head.trim_start_matches("# ").split(between).collect();
    let places = names.map(|name| heads.iter().position(|head| *head == name));
    places
        .iter()
        .all(Option::is_some)
        .then(|| places.map(Option::unwrap_or_default))
}

fn key(backend: &str, server: &str) -> Key {
    Key {
        backend: backend.to_owned(),
        server: server.to_owned(),
    }
}

/// Servers that are not in the configuration and are finishing, by the commands of an earlier daemon.
pub(in super::super) fn left(text: &Text<'_>, observed: &BTreeMap<Key, Observed>) -> Vec<Key> {
    let wanted = text.servers();
    let left = observed.iter().filter(|(key, it)| {
        let finishes = it.out && it.weight == 0;
        finishes && !wanted.contains_key(key)
    });
    left.map(|(key, _)| key.clone()).collect()
}

/// The differences from the configuration, except for servers that leave.
pub(in super::super) fn deviations(
    text: &Text<'_>,
    observed: &BTreeMap<Key, Observed>,
    leaves: impl Fn(&Key) -> bool,
) -> Vec<Deviation> {
    let wanted = text.servers();
    let mut all: Vec<Deviation> = wanted
        .iter()
        .flat_map(|(key, (backend, server))| match observed.get(key) {
            Some(observed) => changed(key, backend, server, observed),
            None => vec![missing(key, backend, server)],
        })
        .collect();
    let strange = observed
        .keys()
        .filter(|key| !wanted.contains_key(key) && !leaves(key));
    all.extend(strange.map(|key| Deviation {
        key: key.clone(),
        found: "a server that is not configured".to_owned(),
        set: "it finishes its connections".to_owned(),
        commands: leave(key).into(),
    }));
    all
}

fn missing(key: &Key, backend: &Backend, server: &Server) -> Deviation {
    let commands = match backend.method {
        Method::Dynamic => add(key, backend, server),
        Method::Ordered | Method::Static => Vec::new(),
    };
    Deviation {
        key: key.clone(),
        found: "no such server".to_owned(),
        set: format!("server at {}", server.address),
        commands,
    }
}

fn changed(key: &Key, backend: &Backend, server: &Server, observed: &Observed) -> Vec<Deviation> {
    let mut all = Vec::new();
    let mut find = |found: String, set: String, verb: Verb| {
        all.push(Deviation {
            key: key.clone(),
            found,
            set,
            commands: vec![Command::new(key, verb)],
        });
    };
    let (ip, port) = server.place();
    if ip.parse().ok() != observed.address || port != observed.port {
        let found = observed
            .address
            .map(|found| found.to_string())
            .unwrap_or_default();
        let verb = Verb::Address(ip.to_owned(), port.to_owned());
        find(
            format!("address {found} port {}", observed.port),
            format!("address {ip} port {port}"),
            verb,
        );
    }
    if server.weight() != observed.weight {
        let verb = match backend.method {
            Method::Static => Verb::WholeWeight,
            Method::Dynamic | Method::Ordered => Verb::Weight(server.weight()),
        };
        find(
            format!("weight {}", observed.weight),
            format!("weight {}", server.weight()),
            verb,
        );
    }
    if server.most() != observed.most {
        let verb = Verb::Connections(server.most());
        find(
            format!("maxconn {}", observed.most),
            format!("maxconn {}", server.most()),
            verb,
        );
    }
    // For servers of a waiting tier the verdicts decide that: see `crate::haproxy::health`.
    if observed.out && !server.held {
        find("out of service".to_owned(), "ready".to_owned(), Verb::Ready);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATES: &str = "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_port\n\
                          3 rgw 1 a 10.0.0.1 2 0 1 80\n3 rgw 2 b fd00::2 2 1 7 81\n3 rgw 3 c 10.0.0.3 0 1 1 80\n\
                          3 rgw 4 d 10.0.0.4 0 1 0 80\n";
    const STAT: &str = "# pxname,svname,qcur,slim,\nrgw,a,0,,\nrgw,b,0,5,\nrgw,c,0,,\nrgw,d,0,,\n";

    fn found(servers: &str, balance: &str) -> Vec<String> {
        let text = format!("backend rgw\n    balance {balance}\n{servers}");
        let observed = observe(STATES, STAT).unwrap();
        let found = deviations(&Text::read(&text), &observed, |key| key.server == "d");
        let line = |finding: &Deviation| {
            let commands: Vec<_> = finding.commands.iter().map(ToString::to_string).collect();
            format!(
                "{}, {}: {}",
                finding.found,
                finding.set,
                commands.join("; ")
            )
        };
        found.iter().map(line).collect()
    }

    #[test]
    fn servers_as_configured_and_servers_that_are_leaving_are_not_changed() {
        let as_put = "    server a 10.0.0.1:80\n    server b [fd00:0::2]:81 weight 7 maxconn 5 backup disabled\n    server c 10.0.0.3:80 disabled\n";
        assert_eq!(found(as_put, "leastconn"), [""; 0]);
    }

    #[test]
    fn servers_that_differ_from_the_configuration_are_set_right() {
        let wanted = "    server a 10.0.0.9:80 weight 2 maxconn 4\n    server b [fd00::2]:81 weight 7 maxconn 5\n    server e 10.0.0.5:80\n";
        assert_eq!(
            found(wanted, "leastconn"),
            [
                "address 10.0.0.1 port 80, address 10.0.0.9 port 80: set server rgw/a addr 10.0.0.9 port 80",
                "weight 1, weight 2: set server rgw/a weight 2",
                "maxconn 0, maxconn 4: set maxconn server rgw/a 4",
                "out of service, ready: set server rgw/b state ready",
                "no such server, server at 10.0.0.5:80: add server rgw/e 10.0.0.5:80; set server rgw/e state ready",
                "a server that is not configured, it finishes its connections: set server rgw/c weight 0; set server rgw/c state maint",
            ]
        );
    }

    #[test]
    fn map_based_backends_get_their_weights_restored_and_no_servers_added() {
        let wanted = "    server a 10.0.0.1:80 weight 2\n    server b [fd00::2]:81 weight 7 maxconn 5 disabled\n    server c 10.0.0.3:80 disabled\n    server e 10.0.0.5:80\n";
        assert_eq!(
            found(wanted, "source\n    hash-type map-based"),
            [
                "weight 1, weight 2: set server rgw/a weight 100%",
                "no such server, server at 10.0.0.5:80: "
            ]
        );
    }

    #[test]
    fn a_server_that_is_already_leaving_is_known_by_its_weight_of_zero() {
        let text = Text::read("backend rgw\n    server a 10.0.0.1:80\n");
        let left = left(&text, &observe(STATES, STAT).unwrap());
        assert_eq!(left, [key("rgw", "d")]);
    }

    #[test]
    fn an_answer_without_its_header_line_is_not_read() {
        assert_eq!(observe("1\n", STAT), None);
        assert_eq!(observe(STATES, "Unknown command\n"), None);
        assert_eq!(observe("", ""), None);
    }
}
