//! May packets be sent to their worker's CPU (CPUMAP)? The kernel builds a steered packet anew from its bytes and loses
//! what the driver knew beside them, such as a VLAN tag that the card took out, or that the checksum is still to be
//! filled in. Only packets that need none of that may be steered.

use super::Features;
use crate::config::Steer;

/// One interface, for the decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub features: Features,
    /// Does the driver run the program? `None`: it is not attached yet.
    pub native: Option<bool>,
}

/// Whether packets are steered, and why or why not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    pub steers: bool,
    /// A clause, for messages.
    pub why: String,
    /// The configuration asks for steering and does not get it.
    pub refused: bool,
}

/// The decision for a node, for all its interfaces or none: the kernel programs have one switch.
pub fn decide(steer: Steer, workers: usize, all: &[Candidate]) -> Decision {
    let asked = matches!(steer, Steer::Cpu | Steer::Always);
    let no = |why: String| Decision {
        steers: false,
        why,
        refused: asked,
    };
    if steer == Steer::Off {
        return no("steer = \"off\"".to_owned());
    }
    if let Some(why) = all.iter().find_map(impossible) {
        return no(why);
    }
    if steer == Steer::Always {
        return yes("steer = \"always\"".to_owned());
    }
    if let Some(why) = all.iter().find_map(lossy) {
        return no(why);
    }
    if steer == Steer::Cpu {
        return yes("steer = \"cpu\"".to_owned());
    }
    match all.iter().find_map(|it| few(&it.features, workers)) {
        Some(why) => yes(why),
        None => no(spread(workers, all)),
    }
}

fn yes(why: String) -> Decision {
    Decision {
        steers: true,
        why,
        refused: false,
    }
}

/// Why the kernel or the driver would drop steered packets, if it would.
fn impossible(candidate: &Candidate) -> Option<String> {
    let Candidate { features, native } = candidate;
    let name = &features.name;
    if *native == Some(false) {
        // Linux 6.18 passes a packet on at the other CPU with its link header still in front, and drops it (`IP_INHDR`).
        return Some(format!(
            "XDP is generic on {name}, and the kernel loses what it sends to another CPU there"
        ));
    }
    let redirects = features
        .xdp
        .is_none_or(|xdp| !xdp.native() || xdp.redirects());
    (!redirects).then(|| {
        format!(
            "the driver of {name} ({}) does not redirect",
            features.what()
        )
    })
}

/// Why steered packets would arrive without something they need, if they would.
fn lossy(candidate: &Candidate) -> Option<String> {
    let features = &candidate.features;
    if let Some((name, kind)) = &features.unfinished {
        return Some(format!(
            "{name} is a {kind}: frames of this machine come with checksums still to be filled in, and a packet sent to \
             another CPU loses that mark"
        ));
    }
    let (strips, above) = (
        features.strips_vlan.as_ref()?,
        features.tagged_above.as_ref()?,
    );
    Some(format!(
        "{strips} takes VLAN tags out of the frames (`rx-vlan-offload`) and {above} needs them: a packet sent to another \
         CPU loses its tag; with `ethtool -K {strips} rxvlan off` packets can be steered"
    ))
}

/// The reason when the interface is known to have fewer receive queues than there are workers.
fn few(features: &Features, workers: usize) -> Option<String> {
    let queues = features.queues?.now;
    let name = &features.name;
    ((queues as usize) < workers).then(|| {
        format!("{name} spreads packets over {queues} receive queues, for {workers} workers")
    })
}

fn spread(workers: usize, all: &[Candidate]) -> String {
    let unknown = all.iter().find(|it| it.features.queues.is_none());
    match unknown {
        Some(it) => format!(
            "the number of receive queues of {} is unknown; steer = \"cpu\" steers all the same",
            it.features.name
        ),
        None => format!("every interface has receive queues for all {workers} workers"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::netlink::{ethtool::Queues, netdev::Xdp};

    fn nic(queues: Option<u32>) -> Features {
        Features {
            name: "eth0".into(),
            driver: Some("vmxnet3".into()),
            queues: queues.map(|now| Queues { now, most: 16 }),
            mtu: 1500,
            ..Features::default()
        }
    }

    fn of(steer: Steer, features: Features, native: Option<bool>) -> (bool, String) {
        let candidate = Candidate { features, native };
        let Decision { steers, why, .. } = decide(steer, 4, &[candidate]);
        (steers, why)
    }

    #[test]
    fn auto_steers_if_the_queues_are_known_to_be_fewer_than_the_workers() {
        for (queues, steers, words) in [
            (Some(1), true, "over 1 receive queues, for 4 workers"),
            (Some(3), true, "over 3"),
            (Some(4), false, "for all 4 workers"),
            (Some(16), false, "for all 4 workers"),
            (None, false, "the number of receive queues"),
        ] {
            let (found, why) = of(Steer::Auto, nic(queues), Some(true));
            assert!(found == steers && why.contains(words), "{queues:?}: {why}");
        }
        assert!(of(Steer::Cpu, nic(None), Some(true)).0);
        assert!(of(Steer::Auto, nic(Some(1)), None).0, "not attached yet");
    }

    #[test]
    fn packets_are_not_steered_if_they_would_lose_offload_or_vlan_data_unless_always_is_set() {
        let unfinished = |kind: &str| Features {
            unfinished: Some(("eth0".into(), kind.into())),
            ..nic(Some(1))
        };
        let tagged = Features {
            strips_vlan: Some("eth0".into()),
            tagged_above: Some("eth0.100".into()),
            ..nic(Some(1))
        };
        for (features, words) in [
            (unfinished("veth"), "eth0 is a veth"),
            (unfinished("tun"), "eth0 is a tun"),
            (tagged.clone(), "ethtool -K eth0 rxvlan off"),
        ] {
            for steer in [Steer::Auto, Steer::Cpu] {
                let (steers, why) = of(steer, features.clone(), Some(true));
                assert!(!steers && why.contains(words), "{steer:?}: {why}");
            }
            assert!(of(Steer::Always, features, Some(true)).0);
        }
        let stripping = Features {
            tagged_above: None,
            ..tagged.clone()
        };
        let in_frame = Features {
            strips_vlan: None,
            ..tagged
        };
        for harmless in [stripping, in_frame] {
            assert!(of(Steer::Cpu, harmless, Some(true)).0);
        }
    }

    #[test]
    fn always_does_not_steer_if_packets_would_be_dropped() {
        let deaf = Features {
            xdp: Some(Xdp::new(1)),
            ..nic(Some(1))
        };
        let able = Features {
            xdp: Some(Xdp::new(3)),
            ..nic(Some(1))
        };
        for steer in [Steer::Auto, Steer::Cpu, Steer::Always] {
            let (steers, why) = of(steer, nic(Some(1)), Some(false));
            assert!(!steers && why.contains("generic on eth0"), "{why}");
            let (steers, why) = of(steer, deaf.clone(), Some(true));
            assert!(!steers && why.contains("does not redirect"), "{why}");
            assert!(of(steer, able.clone(), Some(true)).0);
        }
    }

    #[test]
    fn one_interface_that_cannot_be_steered_turns_steering_off_for_the_node() {
        let native = |features| Candidate {
            features,
            native: Some(true),
        };
        let veth = Features {
            unfinished: Some(("in0".into(), "veth".into())),
            ..nic(Some(1))
        };
        for all in [[nic(Some(1)), veth.clone()], [veth, nic(Some(1))]] {
            let decision = decide(Steer::Cpu, 4, &all.map(native));
            assert!(!decision.steers && decision.refused && decision.why.contains("in0"));
        }
        let off = decide(Steer::Off, 4, &[native(nic(Some(1)))]);
        assert!(!off.steers && !off.refused && off.why.contains("off"));
    }
}
