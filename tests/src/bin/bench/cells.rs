//! What is measured: every scenario, and the programs that run in it.

use anyhow::Result;
use aya::programs::ProgramFd;

use crate::{
    node::Node,
    packets::{Family, Packets, Vary},
    timing::Wrapper,
    xdp_filter::Filter,
};

const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;
const XDP_REDIRECT: u32 = 4;

/// Flows of a sweep, and hosts of the middle list.
pub(crate) const MANY: u32 = 65_536;
/// Hosts of the long list.
pub(crate) const MILLION: u32 = 1_000_000;

/// A program under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Subject {
    Ober,
    /// Its leanest form for addresses.
    XdpFilter,
    /// What `xdp-filter` loads by default.
    XdpFilterDefault,
}

impl Subject {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Ober => "ober",
            Self::XdpFilter => "xdp-filter",
            Self::XdpFilterDefault => "xdp-filter, default set",
        }
    }
}

/// What happens to a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Case {
    NotOurs,
    /// Passed to the kernel on this CPU.
    Listed,
    /// Sent to the worker's CPU.
    Steered,
    /// This many hosts are on the list, the client is not.
    Denied(u32),
}

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scenario {
    pub(crate) family: Family,
    pub(crate) case: Case,
    /// Different flows, or different clients where they are denied.
    pub(crate) flows: u32,
}

impl Scenario {
    /// Every row.
    pub(crate) fn all() -> Vec<Self> {
        let cases = [
            (Case::NotOurs, 1),
            (Case::Listed, 1),
            (Case::Listed, MANY),
            (Case::Steered, 1),
            (Case::Steered, MANY),
            (Case::Denied(1), 1),
            (Case::Denied(MANY), 1),
            (Case::Denied(MANY), MANY),
            (Case::Denied(MILLION), 1),
            (Case::Denied(MILLION), MANY),
        ];
        let of = |family| {
            cases.map(|(case, flows)| Self {
                family,
                case,
                flows,
            })
        };
        Family::ALL.into_iter().flat_map(of).collect()
    }

    pub(crate) fn name(&self) -> String {
        let many = if self.flows == 1 { "1" } else { "65,536" };
        let family = self.family.name();
        match self.case {
            Case::NotOurs => format!("{family} not for us"),
            Case::Listed => format!("{family} listed, passed here, {many} flows"),
            Case::Steered => format!("{family} listed, steered, {many} flows"),
            Case::Denied(hosts) => {
                let hosts = match hosts {
                    MILLION => "1,000,000",
                    MANY => "65,536",
                    _ => "1",
                };
                format!("{family} denied, {hosts} listed, {many} sources")
            }
        }
    }

    /// The programs that run in this row.
    pub(crate) fn subjects(&self) -> &'static [Subject] {
        match (self.case, self.flows) {
            (Case::Denied(1), 1) | (Case::Denied(MANY), MANY) => {
                &[Subject::Ober, Subject::XdpFilter, Subject::XdpFilterDefault]
            }
            _ => &[Subject::Ober],
        }
    }

    fn packets(&self) -> Packets {
        let base = Packets {
            family: self.family,
            destination: self.family.vip(),
            port: Node::port(1),
            client: 0,
            flows: u64::from(self.flows),
            vary: Vary::Port,
        };
        match self.case {
            Case::NotOurs => Packets {
                destination: self.family.stranger(),
                ..base
            },
            Case::Listed | Case::Steered => base,
            // Every second client is listed, so the first that is not has the number one, and a sweep of the others
            // meets every page the list has.
            Case::Denied(hosts) => Packets {
                client: 1,
                port: Node::port(u16::from(hosts == MANY)),
                vary: Vary::Client(if hosts == MILLION { 30 } else { 2 }),
                ..base
            },
        }
    }

    fn action(&self) -> u32 {
        match self.case {
            Case::NotOurs | Case::Listed => XDP_PASS,
            Case::Steered => XDP_REDIRECT,
            Case::Denied(_) => XDP_DROP,
        }
    }
}

/// Everything that is loaded.
pub(crate) struct Bench {
    frags: Wrapper,
    plain: Wrapper,
    /// Lists of one and of [`MANY`] hosts.
    node: Node,
    /// A list of [`MILLION`] hosts.
    large: Node,
    /// Leanest form, default set; one denied.
    filters_one: [Filter; 2],
    /// The same; [`MANY`] denied.
    filters_many: [Filter; 2],
    /// The CPU steered packets are meant for, which is not the one that measures.
    elsewhere: u32,
}

impl Bench {
    pub(crate) fn load(elsewhere: u32) -> Result<Self> {
        let denied = |count: u32| {
            Family::ALL
                .into_iter()
                .flat_map(|family| (0..count).map(move |number| family.client(number * 2 + 1)))
                .collect::<Vec<_>>()
        };
        let filters = |count| {
            let denied = denied(count);
            anyhow::Ok([Filter::leanest(&denied)?, Filter::default(&denied)?])
        };
        Ok(Self {
            frags: Wrapper::load(true)?,
            plain: Wrapper::load(false)?,
            node: Node::load("node", &[1, MANY])?,
            large: Node::load("large", &[MILLION])?,
            filters_one: filters(1)?,
            filters_many: filters(MANY)?,
            elsewhere,
        })
    }

    /// Nanoseconds per packet of every chunk: the empty program's, then the subject's, one run after the other.
    pub(crate) fn time(
        &mut self,
        scenario: &Scenario,
        subject: Subject,
        chunks: usize,
    ) -> Result<(Vec<f64>, Vec<f64>)> {
        let program = self.program(scenario, subject)?;
        let wrapper = match subject {
            Subject::Ober => &mut self.frags,
            Subject::XdpFilter | Subject::XdpFilterDefault => &mut self.plain,
        };
        let packets = scenario.packets();
        let empty = wrapper.empty()?;
        let floor = wrapper.time(&empty, &packets, chunks, XDP_PASS)?;
        let whole = wrapper.time(&program, &packets, chunks, scenario.action())?;
        Ok((floor, whole))
    }

    fn program(&mut self, scenario: &Scenario, subject: Subject) -> Result<ProgramFd> {
        let node = match scenario.case {
            Case::Denied(MILLION) => &mut self.large,
            _ => &mut self.node,
        };
        let [leanest, default] = if scenario.flows == 1 {
            &mut self.filters_one
        } else {
            &mut self.filters_many
        };
        match subject {
            Subject::Ober => {
                node.workers(self.elsewhere, scenario.case == Case::Steered)?;
                node.program()
            }
            Subject::XdpFilter => leanest.program(),
            Subject::XdpFilterDefault => default.program(),
        }
    }
}
