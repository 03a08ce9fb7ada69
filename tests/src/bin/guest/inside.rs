//! `/init`: the node. It sets itself up, then answers one-line questions of the clients outside until they say `done`.

use crate::{boot, check, devices, node, vrf};
use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::reboot::{RebootMode, reboot};
use ober_common::abi::Verdict;
use ober_user::dataplane::Plane;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::thread;
use std::time::Duration;

/// The node's own addresses.
pub(crate) const ADDRESSES: [&str; 2] = ["10.77.0.10/24", "fd77::10/64"];
/// Where the node answers. It is no service's address, so these packets pass the data plane as `not_ours`.
pub(crate) const QUESTIONS: &str = "10.77.0.10:7000";

/// Never returns: when `/init` ends, the kernel panics.
pub(crate) fn run() -> ! {
    if let Err(error) = prepare_and_serve() {
        println!("FAILED guest: {error:#}");
    }
    println!("GUEST DONE");
    let Err(error) = reboot(RebootMode::RB_POWER_OFF);
    println!("FAILED power off: {error}");
    loop {
        std::thread::park();
    }
}

fn prepare_and_serve() -> Result<()> {
    boot::mounts()?;
    boot::modules()?;
    let cards = devices::named()?;
    if !cards.is_empty() {
        return devices::run(cards);
    }
    boot::network(&ADDRESSES)?;
    for vip in node::VIPS {
        boot::ip(&["address", "add", vip, "dev", "lo"])?;
    }
    check("the card has four receive queues", four_queues());
    let mut plane = None;
    check(
        "every program passes the verifier",
        node::load().map(|loaded| plane = Some(loaded)),
    );
    let mut plane = plane.context("go on without programs")?;
    check("XDP attaches in native mode", node::attach(&mut plane));
    said_by_the_driver()?;
    node::serve(&mut plane)?;
    answer_questions(&mut plane)
}

fn four_queues() -> Result<()> {
    let queues = boot::receive_queues()?;
    ensure!(queues == 4, "it has {queues}");
    Ok(())
}

/// Drivers give their reasons in the kernel's log alone.
fn said_by_the_driver() -> Result<()> {
    let about_card = |line: &&str| line.contains("XDP") && line.contains(boot::CARD);
    for line in boot::kernel_log()?.lines().filter(about_card) {
        println!("note the kernel said: {line}");
    }
    Ok(())
}

fn answer_questions(plane: &mut Plane) -> Result<()> {
    let mut socket =
        TcpListener::bind(QUESTIONS).with_context(|| format!("listen on {QUESTIONS}"))?;
    println!("GUEST READY");
    loop {
        let (client, _) = socket.accept().context("accept a question")?;
        let mut client = BufReader::new(client);
        let mut question = String::new();
        client.read_line(&mut question).context("read a question")?;
        match question.trim() {
            "done" => return Ok(()),
            "vrf" => {
                drop(client);
                // The end of this connection reaches the client before its way back goes.
                thread::sleep(Duration::from_millis(500));
                vrf::enter()?;
                socket = vrf::listen()?;
                continue;
            }
            _ => {}
        }
        let answer = answer(plane, &question).unwrap_or_else(|error| format!("error {error:#}"));
        client
            .get_mut()
            .write_all(answer.as_bytes())
            .context("answer")?;
    }
}

fn answer(plane: &mut Plane, question: &str) -> Result<String> {
    match question.split_whitespace().collect::<Vec<_>>().as_slice() {
        ["packets", name] => {
            let verdict = Verdict::ALL
                .into_iter()
                .find(|verdict| verdict.name() == *name);
            let (packets, cpus) = node::packets(
                plane,
                verdict.with_context(|| format!("there is no verdict {name}"))?,
            )?;
            Ok(format!("{packets} {cpus}"))
        }
        ["list", members @ ..] => node::list(plane, members).map(|()| String::new()),
        ["accept"] => vrf::accept().map(|()| String::new()),
        ["doctor"] => vrf::finding(),
        ["queues"] => {
            queues(&fs::read_to_string("/proc/interrupts").context("read /proc/interrupts")?)
        }
        words => bail!("there is no question {words:?}"),
    }
}

/// Interrupts of each receive queue, over all CPUs, as one line of numbers.
fn queues(interrupts: &str) -> Result<String> {
    let mut line = String::new();
    for row in interrupts.lines().filter(|row| row.contains("-input.")) {
        let counts = row
            .split_whitespace()
            .skip(1)
            .map_while(|word| word.parse::<u64>().ok());
        write!(line, "{} ", counts.sum::<u64>()).context("write a number")?;
    }
    ensure!(!line.is_empty(), "/proc/interrupts names no receive queue");
    Ok(line)
}
