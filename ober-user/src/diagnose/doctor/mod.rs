//! What this machine must have and should have, and what is odd about it. Only reads.
//!
//! ```text
//! gather -> Facts -> a file a topic, each a function from facts to findings
//! ```
//! The daemon's sessions are judged as `test` judges them.
//!
//! `gather/` alone reads; the other files judge and never read anything: `kernel`, `interfaces`, `bypass`, `packets`, `haproxy`,
//! `files`, `ports`, `realtime`, `sysctls`, `host`, `clock`, `speaking`, `daemon`. What `bootstrap` makes of a machine is judged by
//! the tables of the room `host`.

pub mod bypass;
mod clock;
mod daemon;
pub mod files;
mod gather;
pub mod haproxy;
pub mod host;
pub mod interfaces;
pub mod kernel;
pub mod packets;
pub mod ports;
pub mod realtime;
pub mod speaking;
pub mod sysctls;

use std::time::Duration;

use crate::{
    api::status::{Counters, Status},
    config::Config,
    diagnose::{
        finding::Finding,
        trial::{self, certificates},
    },
    host::parts::time::{self, ClockFacts},
};

/// Certificates that end within this get a warning.
const EXPIRY: Duration = Duration::from_hours(24 * 30);

/// All facts.
#[derive(Clone, Debug)]
pub struct MachineFacts {
    pub kernel: kernel::KernelFacts,
    pub interfaces: Vec<interfaces::InterfaceFacts>,
    /// The daemon's facts about the interfaces; `None`: no daemon runs.
    pub node: Option<interfaces::Node>,
    pub bypasses: Vec<bypass::Bypass>,
    /// `None`: no daemon runs.
    pub packets: Option<packets::PacketFacts>,
    pub haproxy: haproxy::HaproxyFacts,
    pub realtime: realtime::RealtimeFacts,
    pub files: files::FileFacts,
    pub ports: ports::PortFacts,
    pub speaking: speaking::SpeakingFacts,
    pub sysctls: sysctls::SysctlFacts,
    pub host: host::HostFacts,
    pub clock: ClockFacts,
}

/// The facts from a running daemon.
#[derive(Clone, Debug)]
pub struct Running {
    pub status: Box<Status>,
    /// Two answers, some time apart.
    pub counters: [Counters; 2],
}

/// Looks everything up and judges it. `counters`: asks the daemon for its counters, twice.
pub async fn run<C>(config: &Config, status: Option<Box<Status>>, counters: C) -> Vec<Finding>
where
    C: AsyncFn() -> Counters,
{
    let (facts, running) = gather::all(config, status, counters).await;
    let mut findings = judge(config, &facts);
    findings.extend(certificates::look(config, EXPIRY));
    if let Some(running) = running {
        findings.extend(daemon::judge(&running.status));
        findings.extend(trial::remarks(config, &running.status));
    }
    findings
}

/// What can be looked at before there is a configuration.
pub async fn without_configuration() -> Vec<Finding> {
    let (live, lacking) = gather::of_table();
    [
        kernel::judge(None, &gather::kernel(None)),
        host::installed(gather::packages().await.as_ref()),
        sysctls::of_table(None, &live, &lacking),
        host::judge(&gather::host(None).await),
        clock::judge(&time::look()),
    ]
    .concat()
}

/// Every topic, without looking at anything but the facts.
pub fn judge(config: &Config, facts: &MachineFacts) -> Vec<Finding> {
    [
        kernel::judge(Some(config), &facts.kernel),
        interfaces::judge(config, &facts.interfaces, facts.node.as_ref()),
        bypass::judge(&facts.bypasses),
        packets::judge(facts.packets.as_ref()),
        haproxy::judge(config, &facts.haproxy),
        realtime::judge(config, facts.realtime),
        files::judge(config, &facts.files),
        ports::judge(config, &facts.ports),
        speaking::judge(config, &facts.speaking),
        sysctls::judge(config, &facts.sysctls),
        host::judge(&facts.host),
        clock::judge(&facts.clock),
    ]
    .concat()
}

#[cfg(test)]
mod tests;
