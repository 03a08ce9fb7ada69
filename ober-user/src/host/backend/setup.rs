//! What the operator typed, and the settings of the kernel that follow from it.

use std::{
    collections::BTreeSet,
    fmt,
    net::{IpAddr, Ipv4Addr},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

/// How packets for the VIPs come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// As frames to this server's card (direct routing): the balancers are on the same link
    #[default]
    Dr,
    /// Within packets to this server's own address: the balancers may be anywhere
    Ipip,
}

/// An address that the balancers announce.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Vip(IpAddr);

impl Vip {
    pub fn address(self) -> IpAddr {
        self.0
    }
}

/// As `ip address` takes it.
impl fmt::Display for Vip {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let length = if self.0.is_ipv4() { 32 } else { 128 };
        write!(out, "{}/{length}", self.0)
    }
}

impl FromStr for Vip {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (address, length) = text.split_once('/').unwrap_or((text, ""));
        let address: IpAddr = address.parse().map_err(|_unread| {
            "an address is wanted, such as 192.0.2.10 or 2001:db8::10".to_owned()
        })?;
        let whole = if address.is_ipv4() { "32" } else { "128" };
        if ![whole, ""].contains(&length) {
            return Err(format!(
                "a VIP is one address, and /{length} is a network: with it this server would take every address of it for its own; write {address}"
            ));
        }
        let useless = address.is_unspecified() || address.is_loopback() || address.is_multicast();
        let special = match address {
            IpAddr::V4(it) => it == Ipv4Addr::BROADCAST || it.is_link_local(),
            IpAddr::V6(it) => it.to_ipv4_mapped().is_some() || it.is_unicast_link_local(),
        };
        if useless || special {
            return Err(format!("clients cannot connect to {address}; it is no VIP"));
        }
        Ok(Self(address))
    }
}

/// The name of an interface. It becomes part of paths and of scripts, so it has only letters that need no quoting there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface(String);

impl Interface {
    pub fn name(&self) -> &str {
        &self.0
    }
}

impl FromStr for Interface {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let plain = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
        let good = (1..=15).contains(&text.len()) && text.chars().all(plain);
        if !good || text.starts_with(['.', '-']) {
            return Err("a name of an interface is wanted; see `ip -brief link`".to_owned());
        }
        if text == "lo" {
            return Err(
                "the VIPs come to be on lo; name the interface that packets for them come by"
                    .to_owned(),
            );
        }
        Ok(Self(text.to_owned()))
    }
}

/// What this storage server is to take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setup {
    pub vips: BTreeSet<Vip>,
    pub mode: Mode,
    /// What packets for the VIPs come by. `None`: not known, and the settings of all interfaces must do.
    pub interface: Option<Interface>,
}

/// The device that takes an IP packet out of another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tunnel {
    pub link: &'static str,
    pub module: &'static str,
}

const OUT_OF_IPV4: Tunnel = Tunnel {
    link: "tunl0",
    module: "ipip",
};
const OUT_OF_IPV6: Tunnel = Tunnel {
    link: "ip6tnl0",
    module: "ip6_tunnel",
};

/// What a value must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Want {
    OneOf(&'static [&'static str]),
    NoneOf(&'static [&'static str]),
}

/// One setting with its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// As sysctl(8) takes it: with slashes where the name of the interface has a dot.
    pub key: String,
    pub value: &'static str,
    want: Want,
    pub reason: &'static str,
    pub of: Of,
}

/// What a setting belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    All,
    /// It may come later than the settings of a start.
    Interface,
    Tunnel,
}

impl Setting {
    pub fn is_met(&self, value: &str) -> bool {
        match self.want {
            Want::OneOf(good) => good.contains(&value),
            Want::NoneOf(bad) => !bad.contains(&value),
        }
    }

    /// Its file, as a shell writes into it.
    pub fn file(&self) -> String {
        crate::host::platform::place(&self.key)
    }
}

/// Whose setting it is.
const ALL: &str = "all";

fn key(interface: &str, name: &str) -> String {
    if interface.contains('.') {
        format!("net/ipv4/conf/{interface}/{name}")
    } else {
        format!("net.ipv4.conf.{interface}.{name}")
    }
}

/// A value as these are, or one that does more: 2 also asks for the network of the questioner.
const SILENT: Want = Want::OneOf(&["1", "2"]);
const OWN_SENDER: Want = Want::OneOf(&["2"]);
const NOT_STRICT: Want = Want::NoneOf(&["1"]);

impl Setup {
    pub fn has_ipv4(&self) -> bool {
        self.vips.iter().any(|it| it.address().is_ipv4())
    }

    pub fn has_ipv6(&self) -> bool {
        self.vips.iter().any(|it| it.address().is_ipv6())
    }

    /// The tunnels that packets for these VIPs come out of.
    pub fn tunnels(&self) -> impl Iterator<Item = Tunnel> {
        let families = [
            (OUT_OF_IPV4, self.has_ipv4()),
            (OUT_OF_IPV6, self.has_ipv6()),
        ];
        let needed = self.mode == Mode::Ipip;
        let tunnels = families.into_iter().filter(move |it| needed && it.1);
        tunnels.map(|it| it.0)
    }

    /// What must be in force before a VIP is on this server. Of IPv6 nothing: the kernel answers a solicitation only for an
    /// address of the interface that it came by, and `lo` is another.
    pub fn settings(&self) -> Vec<Setting> {
        let mut settings = Vec::new();
        if self.has_ipv4() {
            self.add_arp(&mut settings);
        }
        for tunnel in self.tunnels().filter(|it| *it == OUT_OF_IPV4) {
            for interface in [ALL, tunnel.link] {
                settings.push(Setting {
                    key: key(interface, "rp_filter"),
                    value: "0",
                    want: NOT_STRICT,
                    reason: if interface == ALL {
                        "the kernel takes the larger of this one and the tunnel's, so a strict filter here would count there too; \
                         each interface keeps its own"
                    } else {
                        "a packet out of the tunnel comes by the tunnel, and its client is reached by another interface: a strict \
                         filter drops it"
                    },
                    of: if interface == ALL { Of::All } else { Of::Tunnel },
                });
            }
        }
        settings
    }

    fn add_arp(&self, settings: &mut Vec<Setting>) {
        let interface = self.interface.as_ref().map(Interface::name);
        for (name, value, want, reason) in [
            (
                "arp_ignore",
                "1",
                SILENT,
                "the kernel answers ARP only for an address of the interface that asks: for the VIPs, which are on lo, the \
                 balancers answer",
            ),
            (
                "arp_announce",
                "2",
                OWN_SENDER,
                "this server's own questions never have a VIP as their sender, which would give its card to the neighbours as \
                 that of the VIP",
            ),
        ] {
            for interface in [Some(ALL), interface].into_iter().flatten() {
                settings.push(Setting {
                    key: key(interface, name),
                    value,
                    want,
                    reason: if interface == ALL {
                        reason
                    } else {
                        "the kernel takes the larger of this one and that of `all`: it holds when another program sets `all` back"
                    },
                    of: if interface == ALL { Of::All } else { Of::Interface },
                });
            }
        }
    }
}
