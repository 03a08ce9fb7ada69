//! The interfaces that packets come in by: can their drivers run XDP, does it run, and does it see what comes?

use crate::{
    config::{Config, XdpMode},
    finding::Finding,
};

const PART: &str = "interfaces";
/// Fewer packets prove nothing.
const TELLING: u64 = 10;
/// Drivers that run XDP themselves in Linux 6.1 and later.
const NATIVE: [&str; 30] = [
    "atlantic",
    "bnxt_en",
    "dpaa2-eth",
    "ena",
    "fec",
    "fsl_dpaa2_eth",
    "fsl_enetc",
    "gve",
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
    "mvneta",
    "mvpp2",
    "nfp",
    "qede",
    "sfc",
    "stmmac",
    "thunder-nicvf",
    "tsnep",
    "tun",
    "veth",
    "virtio_net",
    "vmxnet3",
];

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    pub name: String,
    pub exists: bool,
    /// `None`: the kernel does not tell.
    pub driver: Option<String>,
    pub queues: Option<u32>,
    /// Number of the XDP program on it.
    pub program: Option<u32>,
    /// Is that the one of this instance?
    pub ours: bool,
    /// Does the driver run it? `None`: it is not attached.
    pub native: Option<bool>,
    /// While the daemon ran: packets the interface took in, and packets the programs counted on all interfaces.
    pub sample: Option<Sample>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    pub received: u64,
    pub counted: u64,
}

pub(super) fn judge(config: &Config, all: &[Facts]) -> Vec<Finding> {
    let mut findings: Vec<_> = all.iter().map(|facts| xdp(config, facts)).collect();
    findings.extend(all.iter().filter_map(blind));
    findings
}

fn xdp(config: &Config, facts: &Facts) -> Finding {
    let name = &facts.name;
    if !facts.exists {
        return Finding::failed(PART, name, "there is no such interface")
            .advice("correct `node.interfaces`; `ip -brief link` lists them");
    }
    let driver = facts.driver.as_deref().unwrap_or("an unknown driver");
    if let Some(program) = facts.program.filter(|_| !facts.ours) {
        return Finding::failed(PART, name, format!("another XDP program (id {program}) is on it")).advice(format!(
            "`bpftool prog show id {program}` names it; take it off with `ip link set {name} xdp off`"
        ));
    }
    let queues = facts.queues.map_or_else(
        || "queues unknown".to_owned(),
        |queues| format!("{queues} queues"),
    );
    let known = facts
        .driver
        .as_deref()
        .is_some_and(|it| NATIVE.contains(&it));
    let finding = match (facts.native, known) {
        (Some(true), _) => Finding::ok(PART, name, format!("{driver}, native XDP, {queues}")),
        (Some(false), _) if config.node.xdp == XdpMode::Generic => Finding::ok(
            PART,
            name,
            format!("{driver}, generic XDP as configured, {queues}"),
        ),
        (Some(false), _) => {
            Finding::warning(PART, name, format!("{driver}, generic XDP only, {queues}"))
                .advice(mend(driver))
        }
        (None, true) => Finding::ok(
            PART,
            name,
            format!("{driver}, which has native XDP, {queues}"),
        ),
        (None, false) if config.node.xdp == XdpMode::Native => Finding::failed(
            PART,
            name,
            format!("{driver} is not known to have native XDP"),
        )
        .advice("set `node.xdp = \"auto\"`, or take a card whose driver has it"),
        (None, false) => Finding::warning(
            PART,
            name,
            format!("{driver} is not known to have native XDP"),
        )
        .advice("it works all the same, slower, and without steering to the workers' CPUs"),
    };
    finding.detail("driver", driver)
}

fn mend(driver: &str) -> String {
    if driver == "virtio_net" {
        "virtio-net needs queues to spare, twice as many as CPUs (`queues=` at the host, `ethtool -L`), and no receive \
         offloads from the host (guest_tso4, guest_tso6, guest_ufo, guest_ecn off)"
            .to_owned()
    } else {
        "the MTU may be too large for it (jumbo frames), or receive offloads on (`ethtool -K ... lro off`); packets are \
         slower, and not steered to the workers' CPUs"
            .to_owned()
    }
}

/// Attached, and never run: virtio-net with `mrg_rxbuf=off` does that.
fn blind(facts: &Facts) -> Option<Finding> {
    let Sample { received, counted } = facts.sample.filter(|it| it.received >= TELLING)?;
    if counted > 0 {
        let reason = format!("{received} packets came in, the programs counted {counted}");
        return Some(Finding::ok(
            PART,
            format!("{} counters", facts.name),
            reason,
        ));
    }
    let reason = format!("{received} packets came in, and the programs saw none of them");
    Some(
        Finding::failed(PART, format!("{} counters", facts.name), reason).advice(
            "the driver takes the program and does not run it, as virtio-net does with `mrg_rxbuf=off`: turn that on at \
             the host, or set `node.xdp = \"generic\"`",
        ),
    )
}
