//! The clients: one whose addresses are on the node's list, one whose are not.

use crate::check;
use crate::inside::QUESTIONS;
use crate::node::{OPEN, RESTRICTED, VIPS, WORKERS};
use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, socket};
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::{Duration, Instant};

const LISTED: [&str; 2] = ["10.77.0.1", "fd77::1"];
const UNLISTED: [&str; 2] = ["10.77.0.2", "fd77::2"];
/// List entries that admit the unlisted: the address itself, and a prefix, which the kernel half looks up in another map.
const JOINING: [&str; 2] = ["10.77.0.2", "fd77::2/127"];
/// An emulated machine is slow, but not that slow.
const PATIENCE: Duration = Duration::from_secs(30);
/// The whole of `doctor` takes longer there.
const DIAGNOSIS: Duration = Duration::from_secs(90);
/// How long a check waits for an answer that must not come.
const SILENCE: Duration = Duration::from_secs(1);
/// Connections in the checks of how flows spread. The chance that one of four workers gets none: 4 in 10^12.
const FLOWS: usize = 96;
const UPLOAD: usize = 1 << 20;

pub(crate) fn run() -> Result<()> {
    ask(&format!("list {}", LISTED.join(" ")))?;
    for (place, family) in ["IPv4", "IPv6"].into_iter().enumerate() {
        check(
            &format!("a listed {family} client is served"),
            served(LISTED[place], VIPS[place], RESTRICTED),
        );
        check(
            &format!("an unlisted {family} client is dropped and counted"),
            dropped(UNLISTED[place], VIPS[place]),
        );
        check(
            &format!("the open {family} service serves every client"),
            served(UNLISTED[place], VIPS[place], OPEN),
        );
        check(
            &format!("an {family} client is let in and shut out live"),
            live(UNLISTED[place], JOINING[place], VIPS[place]),
        );
    }
    check(
        "a megabyte sent in segments of the sender's choice arrives",
        upload(),
    );
    check(
        "flows land on all four queues and every CPU judges some",
        all_queues(),
    );
    check(
        "connections spread over the workers and arrive on their CPUs",
        all_workers(),
    );
    check(
        "in a VRF no client is served without tcp_l3mdev_accept, and doctor says so",
        refused_in_a_vrf(),
    );
    check(
        "in a VRF with tcp_l3mdev_accept every client is served",
        served_in_a_vrf(),
    );
    ask("done").map(drop)
}

/// One question to the node.
fn ask(question: &str) -> Result<String> {
    ask_for(question, PATIENCE)
}

fn ask_for(question: &str, patience: Duration) -> Result<String> {
    let mut node = {
        let address = QUESTIONS.parse().context("read the node's address")?;
        TcpStream::connect_timeout(&address, PATIENCE).context("reach the node")?
    };
    node.set_read_timeout(Some(patience))
        .context("limit the wait")?;
    writeln!(node, "{question}").with_context(|| format!("ask {question}"))?;
    let mut answer = String::new();
    if question != "done" {
        node.read_to_string(&mut answer)
            .with_context(|| format!("hear the answer to {question}"))?;
    }
    if let Some(error) = answer.strip_prefix("error ") {
        bail!("{question}: {error}");
    }
    Ok(answer)
}

fn numbers(answer: &str) -> Result<Vec<u64>> {
    answer
        .split_whitespace()
        .map(|word| {
            word.parse()
                .with_context(|| format!("read the number {word}"))
        })
        .collect()
}

fn packets(verdict: &str) -> Result<u64> {
    numbers(&ask(&format!("packets {verdict}"))?)?
        .first()
        .copied()
        .context("read a count")
}

/// A worker's answer: its number, the CPU on which the connection reached it, the bytes it got.
struct Answer {
    worker: u32,
    cpu: u32,
    bytes: usize,
}

impl Answer {
    fn read(text: &str) -> Result<Self> {
        let [worker, cpu, bytes] = numbers(text)?[..] else {
            bail!("a worker answered {text:?}")
        };
        Ok(Self {
            worker: u32::try_from(worker)?,
            cpu: u32::try_from(cpu)?,
            bytes: usize::try_from(bytes)?,
        })
    }
}

/// Connects from that address, sends the body and reads the worker's answer.
fn visit(client: &str, vip: &str, port: u16, patience: Duration, body: &[u8]) -> Result<Answer> {
    let address = |text: &str, port| {
        Ok::<_, anyhow::Error>(SocketAddr::new(
            text.parse::<IpAddr>().context("read an address")?,
            port,
        ))
    };
    let (from, to) = (address(client, 0)?, address(vip, port)?);
    let family = if to.is_ipv4() {
        AddressFamily::Inet
    } else {
        AddressFamily::Inet6
    };
    let fd: OwnedFd =
        socket(family, SockType::Stream, SockFlag::empty(), None).context("make a socket")?;
    bind(fd.as_raw_fd(), &SockaddrStorage::from(from))
        .with_context(|| format!("bind to {from}"))?;
    let mut stream = TcpStream::from(fd);
    // On Linux the sending limit bounds connect as well.
    stream
        .set_write_timeout(Some(patience))
        .context("limit the wait")?;
    stream
        .set_read_timeout(Some(patience))
        .context("limit the wait")?;
    connect(stream.as_raw_fd(), &SockaddrStorage::from(to))
        .with_context(|| format!("connect {client} to {to}"))?;
    stream
        .write_all(body)
        .with_context(|| format!("send to {to}"))?;
    stream
        .shutdown(Shutdown::Write)
        .with_context(|| format!("end what is sent to {to}"))?;
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .with_context(|| format!("hear from {to}"))?;
    Answer::read(&answer)
}

fn served(client: &str, vip: &str, port: u16) -> Result<()> {
    visit(client, vip, port, PATIENCE, &[]).map(drop)
}

fn silent(client: &str, vip: &str) -> Result<()> {
    match visit(client, vip, RESTRICTED, SILENCE, &[]) {
        Ok(answer) => bail!("worker {} answered", answer.worker),
        Err(error) if is_timeout(&error) => Ok(()),
        Err(error) => Err(error.context("expected silence")),
    }
}

/// A connect that takes longer than the sending limit fails with EINPROGRESS.
fn is_timeout(error: &anyhow::Error) -> bool {
    error.downcast_ref::<nix::Error>().is_some_and(|errno| {
        matches!(
            errno,
            nix::Error::EINPROGRESS | nix::Error::ETIMEDOUT | nix::Error::EAGAIN
        )
    })
}

fn dropped(client: &str, vip: &str) -> Result<()> {
    let before = packets("denied")?;
    silent(client, vip)?;
    let more = packets("denied")? - before;
    ensure!(more > 0, "nothing was counted as denied");
    Ok(())
}

/// `more` is put on the list, alone or as a prefix, and taken off again.
fn live(client: &str, more: &str, vip: &str) -> Result<()> {
    let [first, second] = LISTED;
    ask(&format!("list {first} {second} {more}"))?;
    served(client, vip, RESTRICTED).with_context(|| format!("after {more} was listed"))?;
    ask(&format!("list {first} {second}"))?;
    silent(client, vip).with_context(|| format!("after {more} was taken off"))
}

/// Packets that the sender's card would have cut up must not reach XDP whole.
fn upload() -> Result<()> {
    for (client, vip) in LISTED.into_iter().zip(VIPS) {
        let answer = visit(client, vip, OPEN, PATIENCE, &vec![7; UPLOAD])?;
        ensure!(
            answer.bytes == UPLOAD,
            "{} bytes of {UPLOAD} arrived at {vip}",
            answer.bytes
        );
    }
    Ok(())
}

fn refused_in_a_vrf() -> Result<()> {
    ask("vrf")?;
    let end = Instant::now() + PATIENCE;
    // The node does not answer until its card is in the VRF, and never what was asked before that.
    while let Err(error) = ask_for("queues", 3 * SILENCE) {
        ensure!(Instant::now() < end, "the node is silent: {error:#}");
        std::thread::sleep(SILENCE);
    }
    let before = packets("steered")?;
    let end = Instant::now() + PATIENCE;
    // The neighbours ask for the card's address anew, so the first packets may not come as far as the card.
    while packets("steered")? == before {
        ensure!(Instant::now() < end, "XDP saw none of these packets");
        for (client, vip) in LISTED.into_iter().zip(VIPS) {
            let answer = visit(client, vip, OPEN, SILENCE, &[]);
            ensure!(answer.is_err(), "{client} was served at {vip}");
        }
    }
    let finding = ask_for("doctor", DIAGNOSIS)?;
    for words in [
        "failed: ",
        "eth0 is in VRF red",
        "`sysctl -w net.ipv4.tcp_l3mdev_accept=1`",
    ] {
        ensure!(finding.contains(words), "doctor says {finding}");
    }
    Ok(())
}

fn served_in_a_vrf() -> Result<()> {
    ask("accept")?;
    for (client, vip) in LISTED.into_iter().zip(VIPS) {
        served(client, vip, OPEN).with_context(|| format!("at {vip}"))?;
    }
    let finding = ask_for("doctor", DIAGNOSIS)?;
    ensure!(finding == "nothing", "doctor says {finding}");
    Ok(())
}

fn all_queues() -> Result<()> {
    let before = numbers(&ask("queues")?)?;
    for _ in 0..FLOWS {
        served(LISTED[0], VIPS[0], RESTRICTED)?;
    }
    let after = numbers(&ask("queues")?)?;
    let more: Vec<u64> = after
        .iter()
        .zip(&before)
        .map(|(after, before)| after - before)
        .collect();
    println!("note {FLOWS} connections raised these interrupts a queue: {more:?}");
    ensure!(
        more.len() == 4 && more.iter().all(|count| *count > 0),
        "by queue: {more:?}"
    );
    let judged = numbers(&ask("packets steered")?)?;
    ensure!(judged.get(1) == Some(&4), "packets and CPUs: {judged:?}");
    Ok(())
}

fn all_workers() -> Result<()> {
    let mut shares = [0; WORKERS as usize];
    for turn in 0..FLOWS {
        let family = turn % 2;
        let answer = visit(LISTED[family], VIPS[family], OPEN, PATIENCE, &[])?;
        let (worker, cpu) = (answer.worker, answer.cpu);
        ensure!(
            cpu == worker,
            "worker {worker} got a connection that arrived on CPU {cpu}"
        );
        shares[worker as usize % shares.len()] += 1;
    }
    println!("note {FLOWS} connections by worker: {shares:?}");
    ensure!(
        shares.iter().all(|share| *share > 0),
        "by worker: {shares:?}"
    );
    Ok(())
}
