//! Why XDP is not in the driver of an interface, and how the operator can change that. Causes are matched by error
//! numbers and features; a driver's message is only shown, never matched.

use std::io;

use serde::{Deserialize, Serialize};

use super::{Asked, Features, Linux};
use crate::system::netlink::question::Refusal;

/// Drivers that run XDP themselves in the oldest supported Linux. For kernels that do not report it (before 6.3).
const NATIVE: [&str; 28] = [
    "atlantic",
    "bnxt_en",
    "dpaa2-eth",
    "ena",
    "fsl_dpaa2_eth",
    "fsl_enetc",
    "hv_netvsc",
    "i40e",
    "ice",
    "igb",
    "igc",
    "ixgbe",
    "ixgbevf",
    "mana",
    "mlx4_en",
    "mlx5_core",
    "mtk_soc_eth",
    "mvneta",
    "mvpp2",
    "nfp",
    "octeontx2-nicpf",
    "qede",
    "sfc",
    "stmmac",
    "thunder-nicvf",
    "tun",
    "veth",
    "virtio_net",
];
/// Drivers that run XDP since a later Linux.
const SINCE: [(&str, Linux); 4] = [
    ("fec", Linux(6, 2)),
    ("tsnep", Linux(6, 3)),
    ("gve", Linux(6, 4)),
    ("vmxnet3", Linux(6, 6)),
];
/// Drivers that need a transmit queue for XDP for each receive queue.
const HALVED: [&str; 2] = ["ena", "gve"];
/// Since this Linux, virtio-net accepts programs for frames in several buffers.
const VIRTIO_FRAGMENTS: Linux = Linux(6, 3);

/// Why the program is not in the driver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cause {
    /// The kernel or the driver refused the program.
    Refused { errno: i32, words: Option<String> },
    /// The driver would accept the program and never run it.
    Blind,
    /// The program was attached, and this many packets came in without one reaching it.
    Unseen { packets: u64 },
}

impl From<&Refusal> for Cause {
    fn from(refusal: &Refusal) -> Self {
        Self::Refused {
            errno: refusal.errno,
            words: refusal.words.clone(),
        }
    }
}

impl Cause {
    /// The cause as a clause, for messages.
    pub fn words(&self) -> String {
        match self {
            Self::Refused { errno, words } => {
                let error = io::Error::from_raw_os_error(*errno);
                match words {
                    Some(words) => format!("the driver refused it: {words} ({error})"),
                    None => format!("the driver refused it: {error}"),
                }
            }
            Self::Blind => "the driver would take the program and never run it (virtio-net without merged receive \
                            buffers, where packets may be large)"
                .to_owned(),
            Self::Unseen { packets } => {
                format!("the driver took the program, {packets} packets came in, and none reached it")
            }
        }
    }
}

/// Why the program of an interface is generic although the driver was to run it. Kept beside the pin of its link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WhyGeneric {
    /// Seconds since 1970.
    pub since: u64,
    pub cause: Cause,
}

/// Can the driver run XDP? `None`: unknown.
pub fn has_native(features: &Features) -> Option<bool> {
    if let Some(xdp) = features.xdp {
        return Some(xdp.native());
    }
    let driver = features.driver.as_deref()?;
    if NATIVE.contains(&driver) {
        return Some(true);
    }
    let (_, since) = SINCE.iter().find(|(name, _)| *name == driver)?;
    Some(features.linux.is_some_and(|linux| linux >= *since))
}

/// What the operator can do to get the program into the driver: a sentence without its full stop.
pub fn advice(cause: &Cause, features: &Features) -> String {
    match cause {
        Cause::Blind => merged(features),
        Cause::Unseen { .. } => format!(
            "`ober-user reload` tries the driver again; if it stays so, set `node.xdp = \"generic\"` and report the driver \
             ({}) with its version",
            features.what()
        ),
        Cause::Refused { errno, .. } => {
            let reason = made_of_others(features).or_else(|| by_driver(*errno, features));
            reason.unwrap_or_else(|| by_number(*errno, features))
        }
    }
}

fn merged(features: &Features) -> String {
    let large = features
        .virtio
        .map(super::virtio::Virtio::large)
        .unwrap_or_default();
    let more = if large.is_empty() {
        format!("or set an MTU of 1500 (it is {})", features.mtu)
    } else {
        format!("or turn all of these off there: {}", large.join(", "))
    };
    format!("turn `mrg_rxbuf` on for this card at the host, {more}")
}

/// Advice for a device made of others, which runs XDP in their drivers or not at all.
fn made_of_others(features: &Features) -> Option<String> {
    let parts = features.below.join("`, `");
    match features.kind.as_deref()? {
        "bridge" => Some(format!(
            "a bridge has no native XDP: attach to its ports instead (`{parts}` in `node.interfaces`)"
        )),
        "bond" => Some(format!(
            "a bond runs XDP in the modes balance-rr, active-backup, balance-xor and 802.3ad, when all its parts (`{parts}`) \
             do: see /proc/net/bonding/{}",
            features.name
        )),
        kind @ ("vlan" | "macvlan" | "macsec" | "ipvlan" | "team" | "vrf") => Some(format!(
            "a {kind} has no native XDP: attach to what it is made of (`{parts}` in `node.interfaces`); the program reads \
             VLAN tags"
        )),
        _ => None,
    }
}

/// Advice for particular drivers. The error number tells their refusals apart.
fn by_driver(errno: i32, features: &Features) -> Option<String> {
    let name = &features.name;
    let driver = features.driver.as_deref()?;
    match (driver, errno) {
        ("veth", libc::ENOSPC) => Some(format!(
            "it needs a receive queue for each queue its other end sends by: `ethtool -L {name} rx N`, where `ethtool -l` \
             at the other end shows N (TX), or fewer there"
        )),
        ("veth", libc::ERANGE) => Some("lower the MTU of its other end".to_owned()),
        ("virtio_net", libc::EOPNOTSUPP) => virtio_offloads(features),
        ("virtio_net", libc::EINVAL) if features.mtu > 1500 => Some(virtio_mtu(features)),
        (driver, libc::EINVAL | libc::EOPNOTSUPP | libc::ENOSPC | libc::EFBIG)
            if HALVED.contains(&driver) =>
        {
            halved(features)
        }
        _ => None,
    }
}

fn virtio_offloads(features: &Features) -> Option<String> {
    let fixed = features.virtio?.fixed();
    (!fixed.is_empty()).then(|| {
        format!(
            "the card cannot turn off what the host does for it: let the host offer `ctrl_guest_offloads`, or turn all of \
             these off there: {}",
            fixed.join(", ")
        )
    })
}

fn virtio_mtu(features: &Features) -> String {
    let old = features.linux.is_none_or(|linux| linux < VIRTIO_FRAGMENTS);
    let more = if old {
        format!(", or take Linux {VIRTIO_FRAGMENTS} or newer")
    } else {
        String::new()
    };
    format!(
        "the MTU of {} is too large for it: 4064 or less{more}",
        features.mtu
    )
}

fn halved(features: &Features) -> Option<String> {
    let queues = features.queues?;
    let half = queues.most / 2;
    (queues.now > half).then(|| {
        format!(
            "it needs half of its {} channels to send by: `ethtool -L {} combined {half}`",
            queues.most, features.name
        )
    })
}

fn by_number(errno: i32, features: &Features) -> String {
    let name = &features.name;
    if let Some(part) = &features.large_receive {
        return format!("turn off what puts packets together: `ethtool -K {part} lro off`");
    }
    if errno == libc::EOPNOTSUPP && has_native(features) != Some(true) {
        return no_native(features);
    }
    match errno {
        libc::ENOMEM => {
            "the kernel had no memory for it: `ober-user reload` tries again; fewer queues need less".to_owned()
        }
        libc::EBUSY | libc::EAGAIN => {
            "the driver was busy: `ober-user reload` tries again".to_owned()
        }
        // Since Linux 5.13 it shares queues when it has too few.
        _ if features.driver.as_deref() == Some("virtio_net") => {
            "the kernel's log (`dmesg`) may say more".to_owned()
        }
        libc::ENOSPC | libc::EINVAL | libc::ERANGE | libc::EOPNOTSUPP if features.mtu > 1500 => format!(
            "the MTU of {} may be too large for it, or its queues too many (`ethtool -L {name}`); the kernel's log may say \
             more",
            features.mtu
        ),
        libc::ENOSPC | libc::EINVAL | libc::EOPNOTSUPP => format!(
            "the driver needs queues to spare, about as many again to send by (`ethtool -l {name}`, `ethtool -L {name}`); \
             the kernel's log may say more"
        ),
        _ => "the kernel's log (`dmesg`) may say more".to_owned(),
    }
}

fn no_native(features: &Features) -> String {
    let driver = features.what();
    let since = SINCE.iter().find(|(name, _)| *name == driver);
    match since {
        Some((_, since)) => format!("{driver} runs XDP itself since Linux {since}"),
        None => format!(
            "{driver} has no native XDP in this kernel: it works all the same, slower, and without steering"
        ),
    }
}

/// Is it useless to ask the driver again? During an attempt no program is attached for a moment.
pub fn is_hopeless(
    why_generic: &WhyGeneric,
    before: &Asked,
    now: &Asked,
    features: &Features,
) -> bool {
    match &why_generic.cause {
        Cause::Blind => true,
        Cause::Unseen { .. } => false,
        // Useless when the driver has no native XDP and no feature of the interface has changed.
        Cause::Refused { errno, .. } => {
            *errno == libc::EOPNOTSUPP && has_native(features) == Some(false) && before == now
        }
    }
}

#[cfg(test)]
mod tests;
