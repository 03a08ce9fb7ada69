//! One interface to FRR and BIRD, so that every cell of the matrix is written once.

use nix::sys::signal::Signal;
use ober_tests::{
    lab::until,
    peers::{Bird, Daemon, Frr},
};

use crate::topology::{PATIENCE, Topology};

pub(crate) const ROUTE4: &str = "192.0.2.10/32";
pub(crate) const ROUTE6: &str = "2001:db8::10/128";

/// How the router is set up towards the node.
#[derive(Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a line of the router's configuration, whatever the others are"
)]
pub(crate) struct Setup {
    /// The node's and the router's address.
    pub(crate) session: (&'static str, &'static str),
    pub(crate) asn: u32,
    pub(crate) node_as: u32,
    pub(crate) families: &'static [&'static str],
    pub(crate) password: Option<&'static str>,
    pub(crate) ttl_security: bool,
    pub(crate) passive: bool,
    pub(crate) extended: bool,
    pub(crate) hold_time: u32,
    /// 200 ms x 3: a router has no real-time thread, and the machine has other work.
    pub(crate) bfd: bool,
    /// Knows AS numbers of two octets alone. FRR cannot play that: it hears that we know four, and then takes no `AS4_PATH`.
    pub(crate) two_octets: bool,
    /// Networks it announces.
    pub(crate) networks: &'static [&'static str],
}

pub(crate) const V4: (&str, &str) = ("10.9.0.1", "10.9.0.2");
pub(crate) const V6: (&str, &str) = ("fd09::1", "fd09::2");
pub(crate) const LINK: (&str, &str) = ("fe80::1", "fe80::2");

impl Default for Setup {
    fn default() -> Self {
        Self {
            session: V4,
            asn: 65002,
            node_as: 65001,
            families: &["ipv4"],
            password: None,
            ttl_security: false,
            passive: false,
            extended: false,
            hold_time: 9,
            bfd: false,
            two_octets: false,
            networks: &[],
        }
    }
}

/// A route in the router's table.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) next_hop: String,
    pub(crate) path: String,
    pub(crate) med: Option<u64>,
    pub(crate) local_pref: Option<u64>,
    /// All kinds, as this project writes them.
    pub(crate) communities: Vec<String>,
}

pub(crate) trait Router: Sized + Send {
    /// Which BFD it runs on a link with GTSM.
    const BFD_WITH_GTSM: &'static str;

    /// Is its BFD session with the node up?
    fn bfd_is_up(&self) -> bool;
    fn start(topology: &Topology, setup: &Setup) -> Self;
    /// The route to this prefix, when there is one.
    fn route(&self, prefix: &str) -> Option<Seen>;
    fn established(&self, setup: &Setup) -> bool;
    /// Asks the node for all routes again.
    fn refresh(&self, setup: &Setup);
    fn signal(&mut self, signal: Signal);
    /// After SIGKILL.
    fn restart(&mut self, topology: &Topology, setup: &Setup);
    /// Whether it has received the node's End-of-RIB.
    fn heard_end_of_rib(&mut self) -> bool;
    /// Configures the router anew by the setup.
    fn configure(&mut self, setup: &Setup);
    /// The log of its sessions.
    fn log(&mut self) -> String;
    /// Its record of how the session last ended.
    fn last_error(&self, setup: &Setup) -> String;
}

pub(crate) fn sees<R: Router>(
    router: &R,
    prefix: &str,
    what: &str,
    wanted: impl Fn(Option<&Seen>) -> bool,
) -> Option<Seen> {
    until(&format!("{prefix} {what}"), PATIENCE, || {
        let seen = router.route(prefix);
        anyhow::ensure!(wanted(seen.as_ref()), "{seen:?}");
        Ok(Some(seen))
    })
    .unwrap_or_else(|error| panic!("{error:#}"))
}

pub(crate) fn learns<R: Router>(router: &R, prefix: &str) -> Seen {
    sees(router, prefix, "is learnt", |seen| seen.is_some()).expect("it is")
}

pub(crate) fn forgets<R: Router>(router: &R, prefix: &str) {
    sees(router, prefix, "is forgotten", |seen| seen.is_none());
}

pub(crate) fn ends<R: Router>(router: &R, setup: &Setup) {
    until("the router's end of the session", PATIENCE, || {
        Ok((!router.established(setup)).then_some(()))
    })
    .expect("ended");
}

/// Each row with each router.
#[macro_export]
macro_rules! matrix {
    ($($row:ident)*) => {
        mod frr {
            $(#[test] fn $row() { super::$row::<ober_tests::peers::Frr>(); })*
        }
        mod bird {
            $(#[test] fn $row() { super::$row::<ober_tests::peers::Bird>(); })*
        }
    };
}

fn frr_config(setup: &Setup) -> String {
    use std::fmt::Write as _;
    let (node, _) = setup.session;
    let mut lines = format!(
        "router bgp {}\n bgp router-id 10.9.0.2\n bgp log-neighbor-changes\n no bgp ebgp-requires-policy\n no bgp network import-check\n \
         no bgp default ipv4-unicast\n neighbor {node} remote-as {}\n neighbor {node} timers 1 {}\n \
         neighbor {node} timers connect 1\n",
        setup.asn, setup.node_as, setup.hold_time
    );
    let mut option = |wanted: bool, text: &str| {
        if wanted {
            writeln!(lines, " neighbor {node} {text}").expect("to a string");
        }
    };
    option(setup.session == LINK, "interface r0");
    option(setup.ttl_security, "ttl-security hops 1");
    option(setup.passive, "passive");
    option(setup.extended, "capability extended-nexthop");
    option(setup.bfd, "bfd 3 200 200");
    if let Some(password) = setup.password {
        option(true, &format!("password {password}"));
    }
    for family in setup.families {
        writeln!(
            lines,
            " address-family {family} unicast\n  neighbor {node} activate"
        )
        .expect("to a string");
        let ours = setup
            .networks
            .iter()
            .filter(|it| it.contains(':') == (*family == "ipv6"));
        ours.for_each(|network| writeln!(lines, "  network {network}").expect("to a string"));
        lines.push_str(" exit-address-family\n");
    }
    lines
}

fn of_family(prefix: &str) -> &'static str {
    if prefix.contains(':') { "ipv6" } else { "ipv4" }
}

impl Router for Frr {
    const BFD_WITH_GTSM: &'static str = "multi-hop";

    fn bfd_is_up(&self) -> bool {
        let peers = self.show("bfd peers").expect("ask FRR");
        peers[0]["status"] == "up"
    }

    fn start(topology: &Topology, setup: &Setup) -> Self {
        Self::start(&topology.lab, &topology.router, &frr_config(setup)).expect("start FRR")
    }

    fn route(&self, prefix: &str) -> Option<Seen> {
        let table = self
            .show(&format!("bgp {} unicast {prefix}", of_family(prefix)))
            .expect("ask FRR");
        let path = table["paths"].get(0)?;
        let text = |of: &serde_json::Value| of["string"].as_str().unwrap_or_default().to_owned();
        let hops = path["nexthops"].as_array().expect("next hops");
        let global = hops
            .iter()
            .find(|hop| hop["scope"] != "link-local")
            .or(hops.first());
        let words = |name: &str| {
            let words = text(&path[name]).to_lowercase();
            words
                .split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let communities = ["community", "largeCommunity", "extendedCommunity"]
            .map(words)
            .concat();
        Some(Seen {
            next_hop: global.expect("a next hop")["ip"]
                .as_str()
                .expect("an address")
                .to_owned(),
            path: text(&path["aspath"]).replace("Local", ""),
            med: path["metric"].as_u64().or(path["med"].as_u64()),
            local_pref: path["locPrf"].as_u64(),
            communities,
        })
    }

    fn established(&self, setup: &Setup) -> bool {
        let (node, _) = setup.session;
        let shown = self
            .show(&format!("bgp neighbors {node}"))
            .expect("ask FRR");
        shown[node]["bgpState"] == "Established"
    }

    fn refresh(&self, setup: &Setup) {
        let (node, _) = setup.session;
        self.command(&format!(
            "clear bgp {} unicast {node} soft in",
            setup.families[0]
        ))
        .expect("ask for a refresh");
    }

    fn signal(&mut self, signal: Signal) {
        let daemon = self.daemon(Daemon::Bgpd).expect("bgpd");
        daemon.signal(signal).expect("signal bgpd");
    }

    fn restart(&mut self, topology: &Topology, setup: &Setup) {
        self.restart(&topology.router, Daemon::Bgpd)
            .expect("restart bgpd");
        Router::configure(self, setup);
    }

    fn configure(&mut self, setup: &Setup) {
        Self::configure(self, &frr_config(setup)).expect("configure FRR");
    }

    fn log(&mut self) -> String {
        self.daemon(Daemon::Bgpd).expect("bgpd").log()
    }

    fn heard_end_of_rib(&mut self) -> bool {
        self.log().contains("rcvd End-of-RIB for IPv4 Unicast")
    }

    fn last_error(&self, setup: &Setup) -> String {
        let (node, _) = setup.session;
        let shown = self
            .show(&format!("bgp neighbors {node}"))
            .expect("ask FRR");
        shown[node].to_string()
    }
}

fn bird_config(setup: &Setup) -> String {
    use std::fmt::Write as _;
    let (node, router) = setup.session;
    let node = if setup.session == LINK {
        format!("{node}%r0")
    } else {
        node.to_owned()
    };
    let mut lines = "router id 10.9.0.2;\nprotocol bfd {\n interface \"*\" { interval 200 ms; multiplier 3; };\n}\n".to_owned();
    for family in setup.families {
        writeln!(lines, "protocol static networks_{family} {{ {family};").expect("to a string");
        let ours = setup
            .networks
            .iter()
            .filter(|it| it.contains(':') == (*family == "ipv6"));
        ours.for_each(|network| {
            writeln!(lines, " route {network} blackhole;").expect("to a string");
        });
        lines.push_str("}\n");
    }
    write!(
        lines,
        "protocol bgp ours {{\n debug all;\n local {router} as {};\n neighbor {node} as {};\n direct;\n \
         hold time {};\n connect retry time 1;\n connect delay time 1;\n error wait time 1, 2;\n",
        setup.asn, setup.node_as, setup.hold_time
    )
    .expect("to a string");
    let mut option = |wanted: bool, text: &str| {
        if wanted {
            writeln!(lines, " {text};").expect("to a string");
        }
    };
    option(setup.ttl_security, "ttl security on");
    option(setup.passive, "passive on");
    option(setup.bfd, "bfd on");
    option(setup.two_octets, "enable as4 off");
    if let Some(password) = setup.password {
        option(true, &format!("password \"{password}\""));
    }
    for family in setup.families {
        let extended = if setup.extended && *family == "ipv4" {
            "extended next hop on; "
        } else {
            ""
        };
        writeln!(
            lines,
            " {family} {{ {extended}import all; export where source = RTS_STATIC; }};"
        )
        .expect("to a string");
    }
    lines.push_str("}\n");
    lines
}

impl Router for Bird {
    const BFD_WITH_GTSM: &'static str = "single-hop";

    fn bfd_is_up(&self) -> bool {
        let sessions = self.command("show bfd sessions").expect("ask BIRD");
        sessions.lines().any(|line| line.contains(" Up "))
    }

    fn start(topology: &Topology, setup: &Setup) -> Self {
        Self::start(&topology.lab, &topology.router, &bird_config(setup)).expect("start BIRD")
    }

    fn route(&self, prefix: &str) -> Option<Seen> {
        let text = match self.command(&format!("show route {prefix} all")) {
            Err(error) if format!("{error:#}").contains("Network not found") => return None,
            answer => answer.expect("ask BIRD"),
        };
        let value = |name: &str| {
            let mut lines = text.lines().map(str::trim);
            lines.find_map(|line| line.strip_prefix(&format!("BGP.{name}:")).map(str::trim))
        };
        let next_hop = value("next_hop")?.split_whitespace().next()?;
        let words = |name: &str| {
            let text = value(name)
                .unwrap_or_default()
                .replace(", ", ":")
                .replace(',', ":");
            let words = text.split(['(', ')', ' ']).filter(|word| !word.is_empty());
            words.map(str::to_owned).collect::<Vec<_>>()
        };
        let mut communities = ["community", "large_community", "ext_community"]
            .map(words)
            .concat();
        for word in &mut communities {
            // FRR shows this community by its name.
            if word == "65535:0" {
                "graceful-shutdown".clone_into(word);
            }
        }
        Some(Seen {
            next_hop: next_hop.to_owned(),
            path: value("as_path").unwrap_or_default().to_owned(),
            med: value("med").map(|it| it.parse().expect("a number")),
            local_pref: value("local_pref").map(|it| it.parse().expect("a number")),
            communities,
        })
    }

    fn established(&self, _: &Setup) -> bool {
        let shown = self.command("show protocols all ours").expect("ask BIRD");
        shown.contains("Established")
    }

    fn refresh(&self, _: &Setup) {
        self.command("reload in ours").expect("ask for a refresh");
    }

    fn signal(&mut self, signal: Signal) {
        self.process().signal(signal).expect("signal BIRD");
    }

    fn restart(&mut self, topology: &Topology, _: &Setup) {
        self.restart(&topology.router).expect("restart BIRD");
    }

    fn configure(&mut self, setup: &Setup) {
        Self::configure(self, &bird_config(setup)).expect("configure BIRD");
    }

    fn log(&mut self) -> String {
        self.process().log()
    }

    fn heard_end_of_rib(&mut self) -> bool {
        self.log().contains("Got END-OF-RIB")
    }

    fn last_error(&self, _: &Setup) -> String {
        self.command("show protocols all ours").expect("ask BIRD")
    }
}
