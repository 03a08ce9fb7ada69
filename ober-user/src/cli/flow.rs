//! `flow explain`: always reads the maps themselves, since the kernel decides by them.

use std::{net::SocketAddr, path::Path};

use clap::{Args, Subcommand, ValueEnum};
use ober_common::{abi::RING_SLOTS, packet};
use serde::Serialize;

use super::{
    Error, Outcome,
    instance::{Instance, pinned},
    screen::{Cell, Screen, Tone},
};
use crate::{
    config::Config,
    dataplane::{
        Maps,
        flow::{Explanation, Question, explain},
    },
    lists::AccessLists,
};

#[derive(Debug, Subcommand)]
pub(super) enum Flow {
    /// Say which service, list entry, ring slot, worker and CPU a flow meets, and what becomes of it
    Explain(Explain),
}

#[derive(Debug, Args)]
pub(super) struct Explain {
    #[arg(
        value_name = "SRC:PORT",
        help = "The client, 192.0.2.1:40000 or [2001:db8::1]:40000"
    )]
    source: SocketAddr,
    #[arg(
        value_name = "DST:PORT",
        help = "The VIP it talks to, 192.0.2.10:443 or [2001:db8::10]:443"
    )]
    destination: SocketAddr,
    /// Protocol of the packets
    #[arg(long, value_enum, default_value_t = Protocol::Tcp)]
    protocol: Protocol,
    #[command(flatten)]
    json: super::Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Protocol {
    Tcp,
    Udp,
}

impl Protocol {
    fn number(self) -> u8 {
        match self {
            Self::Tcp => packet::TCP,
            Self::Udp => packet::UDP,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// The explanation with the names only the configuration knows.
#[derive(Serialize)]
struct Named {
    source: SocketAddr,
    destination: SocketAddr,
    protocol: Protocol,
    service_name: Option<String>,
    list_name: Option<String>,
    #[serde(flatten)]
    explanation: Explanation,
}

impl Flow {
    pub(super) async fn run(self, path: &Path, screen: &mut Screen) -> Result<Outcome, Error> {
        let Self::Explain(asked) = self;
        if asked.source.is_ipv4() != asked.destination.is_ipv4() {
            return Err(Error::Usage(format!(
                "explain a flow from {} to {}: both ends must be IPv4 or both IPv6",
                asked.source, asked.destination
            )));
        }
        let instance = Instance::find(path).await?;
        let config = instance.config().await?;
        let pins = pinned(config)?;
        let maps = Maps::open(&pins)?;
        let access_lists =
            AccessLists::open(config, &pins).map_err(|error| Error::data_plane(&error))?;
        let question = Question {
            client: asked.source,
            vip: asked.destination,
            protocol: asked.protocol.number(),
        };
        let explanation = explain(&maps, &question);
        let named = asked.named(config, &access_lists, explanation);
        if asked.json.json {
            screen.json(&named)?;
        } else {
            show(&named, screen)?;
        }
        Ok(Outcome::Done)
    }
}

impl Explain {
    fn named(
        &self,
        config: &Config,
        access_lists: &AccessLists,
        explanation: Explanation,
    ) -> Named {
        let place = explanation.service.as_ref();
        let service = place.and_then(|place| {
            let mut services = config.vip_listeners();
            services.find(|known| known.vip == place.vip && known.listener.port.get() == place.port)
        });
        let list = explanation
            .list
            .and_then(|list| access_lists.name(list.number));
        Named {
            source: self.source,
            destination: self.destination,
            protocol: self.protocol,
            service_name: service.map(|known| known.service.name.clone()),
            list_name: list.map(ToOwned::to_owned),
            explanation,
        }
    }
}

fn show(named: &Named, screen: &mut Screen) -> Result<(), Error> {
    let mut rows = vec![
        ("flow", flow(named)),
        ("service", service(named)),
        ("list", list(named)),
    ];
    if let Some(slot) = &named.explanation.slot {
        let text = format!("{}, slot {} of {RING_SLOTS}", slot.hash, slot.slot);
        rows.push(("hash", text));
        rows.push(("worker", worker(slot.worker)));
    }
    let mut rows: Vec<Vec<Cell>> = rows
        .into_iter()
        .map(|(name, text)| vec![Cell::toned(name, Tone::Faint), Cell::text(text)])
        .collect();
    let verdict = named.explanation.verdict;
    let drops = ober_common::abi::Verdict::ALL
        .iter()
        .any(|known| known.name() == verdict && known.drops());
    let end = if drops { "dropped" } else { "let through" };
    rows.push(vec![
        Cell::toned("verdict", Tone::Faint),
        Cell::toned(format!("{verdict}: {end}"), Tone::of(!drops)),
    ]);
    screen.table(&["step", "result"], &rows)?;
    Ok(())
}

fn flow(named: &Named) -> String {
    let (source, destination) = (named.source, named.destination);
    format!("{source} to {destination}, {}", named.protocol.name())
}

fn service(named: &Named) -> String {
    let Some(place) = &named.explanation.service else {
        return "none: the packet is the kernel's own business".into();
    };
    let name = named
        .service_name
        .as_deref()
        .unwrap_or("not in the configuration any more");
    format!("{name}, counter {}, ring {}", place.index, place.ring)
}

fn list(named: &Named) -> String {
    let Some(list) = &named.explanation.list else {
        return "none asked".into();
    };
    let number = list.number.to_string();
    let name = named.list_name.as_ref().unwrap_or(&number);
    let of = if list.routers { "routers, " } else { "" };
    let is = if list.listed { "listed" } else { "not listed" };
    format!("{of}{name}: {} is {is}", named.source.ip())
}

fn worker(worker: Option<crate::dataplane::flow::Target>) -> String {
    match worker {
        None => "none: the slot is empty, no worker runs".into(),
        Some(worker) if worker.steering => {
            let crate::dataplane::flow::Target { number, cpu, .. } = worker;
            format!("{number} on CPU {cpu}; packets that arrive on another CPU are sent there")
        }
        Some(worker) => format!("{} on CPU {}, not steered", worker.number, worker.cpu),
    }
}
