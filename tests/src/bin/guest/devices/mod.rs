//! Cards of many kinds in one machine: for each, where XDP must run, what must be reported, and whether it sees what comes in.

mod expected;

use crate::{boot, check, node};
use anyhow::{Context as _, Result, bail, ensure};
use aya::programs::xdp::XdpMode as AyaMode;
use expected::{Expected, Where};
use ober_user::{
    config::{Steer, XdpMode},
    dataplane::{
        Attached, Plane, counters,
        interface::{
            Features,
            gather::Snapshot,
            refusal::advice,
            runs::{self, Runs},
            steer::{self, Candidate, Decision},
        },
    },
    system::netlink::ethtool::Ethtool,
};
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Connections that are refused, each of which brings a packet back.
const TRIES: u32 = 150;
const WORKERS: usize = 4;

/// A card of the machine.
struct Card {
    name: String,
    interface: String,
    /// The card's number on the bus, and in the addresses.
    place: u8,
}

/// The cards that the kernel's command line names; none in the ordinary machine.
pub(crate) fn named() -> Result<Vec<(String, u8)>> {
    let line = fs::read_to_string("/proc/cmdline").context("read the kernel's command line")?;
    let words = line
        .split_whitespace()
        .find_map(|word| word.strip_prefix("ober.cards="));
    let cards = words.into_iter().flat_map(|words| words.split(','));
    let card = |text: &str| {
        let (name, place) = text.split_once('@').context("a card has a place")?;
        Ok((name.to_owned(), place.parse().context("read a place")?))
    };
    cards.map(card).collect()
}

pub(crate) fn run(named: Vec<(String, u8)>) -> Result<()> {
    let cards = bring_up(named)?;
    let mut plane = node::load_with(XdpMode::Auto)?;
    let direct = |card: &&Card| !matches!(card.name.as_str(), "bonded" | "blind");
    let mut interfaces: Vec<String> = cards
        .iter()
        .filter(direct)
        .map(|card| card.interface.clone())
        .collect();
    interfaces.push("bonded".to_owned());
    let attached = plane.attach(&interfaces)?;
    let linux = Snapshot::take()?
        .features("lo")
        .and_then(|lo| lo.linux)
        .context("a version")?;
    for card in &cards {
        let all = expected::of(&card.name, linux)
            .with_context(|| format!("the table of expectations has no line for {}", card.name))?;
        for expected in all {
            check(
                &format!("{}: {}", card.name, expected.law),
                judge(&mut plane, card, &attached, &expected),
            );
        }
    }
    said_by_the_kernel()
}

fn bring_up(named: Vec<(String, u8)>) -> Result<Vec<Card>> {
    let drivers = Ethtool::open().context("ask drivers")?;
    let end = Instant::now() + Duration::from_secs(20);
    let mut cards = Vec::new();
    for (name, place) in named {
        let bus = format!("0000:00:{place:02x}.0");
        let interface = loop {
            let all = Snapshot::take().context("ask for the interfaces")?.links;
            let here = |name: &str| drivers.driver(name).is_some_and(|driver| driver.bus == bus);
            if let Some(link) = all.iter().find(|link| here(&link.name)) {
                break link.name.clone();
            }
            ensure!(Instant::now() < end, "no interface for {name} at {bus}");
            std::thread::sleep(Duration::from_millis(20));
        };
        cards.push(Card {
            name,
            interface,
            place,
        });
    }
    for card in &cards {
        card.set_up()
            .with_context(|| format!("set {} up", card.name))?;
    }
    Ok(cards)
}

impl Card {
    fn set_up(&self) -> Result<()> {
        let link = self.interface.as_str();
        let mut owner = link;
        match self.name.as_str() {
            "jumbo-before" => drop(boot::ip(&["link", "set", link, "mtu", "9000"])?),
            "bonded" => {
                boot::ip(&[
                    "link",
                    "add",
                    "bonded",
                    "type",
                    "bond",
                    "mode",
                    "active-backup",
                    "miimon",
                    "100",
                ])?;
                boot::ip(&["link", "set", link, "master", "bonded"])?;
                boot::ip(&[
                    "link",
                    "add",
                    "link",
                    "bonded",
                    "name",
                    "bonded.100",
                    "type",
                    "vlan",
                    "id",
                    "100",
                ])?;
                boot::ip(&["link", "set", "bonded", "up"])?;
                owner = "bonded";
            }
            "vmxnet3" => drop(boot::ip(&[
                "link", "add", "link", link, "name", "tagged0", "type", "vlan", "id", "100",
            ])?),
            _ => {}
        }
        let address = format!("10.78.{}.10/24", self.place);
        boot::ip(&["address", "add", &address, "dev", owner])?;
        boot::ip(&["link", "set", link, "up"])?;
        boot::carrier(owner)
    }

    /// The interface that receives the card's packets.
    fn owner(&self) -> &str {
        if self.name == "bonded" {
            "bonded"
        } else {
            &self.interface
        }
    }

    fn features(&self) -> Result<Features> {
        let features = Snapshot::take()?.features(self.owner());
        features.with_context(|| format!("{} is gone", self.owner()))
    }

    /// Makes packets come in.
    fn receive(&self) -> Result<()> {
        let closed: SocketAddr = format!("10.78.{}.1:9", self.place).parse()?;
        for _ in 0..TRIES {
            let refused = TcpStream::connect_timeout(&closed, Duration::from_secs(3));
            let error = refused.err().context("port 9 is open")?;
            ensure!(
                error.kind() == std::io::ErrorKind::ConnectionRefused,
                "connect: {error}"
            );
        }
        Ok(())
    }

    /// `generic`: the kernel runs the program.
    fn sample(&self, plane: &Plane, generic: bool) -> Result<runs::Sample> {
        let snapshot = Snapshot::take()?;
        let before = counters::totals(&plane.maps)?.packets;
        let name = self.owner();
        let (ran, every) = runs::ran(&snapshot.counters(name).unwrap_or_default());
        let seen = runs::Seen {
            generic,
            received: snapshot.link(name).context("it is gone")?.received,
            ran,
            every,
        };
        Ok(runs::Sample {
            before,
            interfaces: [(name.to_owned(), seen)].into(),
            after: counters::totals(&plane.maps)?.packets,
        })
    }
}

fn judge(plane: &mut Plane, card: &Card, attached: &[Attached], expected: &Expected) -> Result<()> {
    match expected.place {
        Where::Attached { native, words } => {
            let found = attached.iter().find(|it| it.interface == card.owner());
            judge_attached(card, found.context("it was not attached")?, native, words)
        }
        Where::Meets => {
            let found = attached.iter().find(|it| it.interface == card.owner());
            meets(plane, card, found.is_some_and(|it| !it.native))
        }
        Where::AfterJumbo { native, words } => {
            boot::ip(&["link", "set", &card.interface, "mtu", "9000"])?;
            let features = card.features()?;
            let twin = plane.twin()?()?;
            let attached = plane.judge_again(&features, twin)?;
            judge_attached(card, &attached, native, words)
        }
        Where::Blind => blind(plane, card),
        Where::Steers { steers, words } => {
            let found = attached.iter().find(|it| it.interface == card.owner());
            let candidate = Candidate {
                features: card.features()?,
                native: found.map(|it| it.native),
            };
            let Decision {
                steers: does, why, ..
            } = steer::decide(Steer::Cpu, WORKERS, &[candidate]);
            println!("note {}: steers {does}: {why}", card.name);
            ensure!(
                does == steers && why.contains(words),
                "steers {does}: {why}"
            );
            Ok(())
        }
        Where::Queues(count) => {
            let queues = card.features()?.queues;
            ensure!(queues.is_some_and(|it| it.now == count), "{queues:?}");
            Ok(())
        }
    }
}

fn judge_attached(card: &Card, found: &Attached, native: bool, words: &[&str]) -> Result<()> {
    let features = card.features()?;
    let said = found
        .why_generic
        .as_ref()
        .map_or_else(String::new, |why_generic| {
            format!(
                "{}; {}",
                why_generic.cause.words(),
                advice(&why_generic.cause, &features)
            )
        });
    println!(
        "note {}: {}, native {}, MTU {}, queues {:?}, xdp {:?}: {said}",
        card.name,
        features.what(),
        found.native,
        features.mtu,
        features.queues,
        features.xdp
    );
    ensure!(found.native == native, "native {}: {said}", found.native);
    for word in words {
        ensure!(said.contains(word), "{word} is not in: {said}");
    }
    Ok(())
}

/// Incoming packets are counted.
fn meets(plane: &Plane, card: &Card, generic: bool) -> Result<()> {
    let (mut watch, now) = (runs::InterfaceRuns::default(), Instant::now());
    watch.learn(now, &card.sample(plane, generic)?);
    card.receive()?;
    watch.learn(now + runs::LATE, &card.sample(plane, generic)?);
    let runs = watch.of(card.owner());
    ensure!(runs == Runs::Yes, "{runs:?}");
    Ok(())
}

/// A program is forced into a driver that never runs it; the packets alone show that.
fn blind(plane: &mut Plane, card: &Card) -> Result<()> {
    let features = card.features()?;
    let xdp = plane.xdp()?;
    let link = xdp
        .attach_to_if_index(features.index, AyaMode::Driver)
        .context("the driver takes it")?;
    let (mut watch, now) = (runs::InterfaceRuns::default(), Instant::now());
    watch.learn(now, &card.sample(plane, false)?);
    watch.learn(now + runs::LATE, &card.sample(plane, false)?);
    card.receive()?;
    watch.learn(now + 2 * runs::LATE, &card.sample(plane, false)?);
    let runs = watch.of(card.owner());
    println!("note {}: in the driver by force: {runs:?}", card.name);
    plane.xdp()?.detach(link).context("take it off")?;
    match runs {
        Runs::No { .. } => Ok(()),
        other => bail!("it is taken for {other:?}"),
    }
}

fn said_by_the_kernel() -> Result<()> {
    for line in boot::kernel_log()?
        .lines()
        .filter(|line| line.contains("XDP"))
    {
        println!("note the kernel said: {line}");
    }
    Ok(())
}
