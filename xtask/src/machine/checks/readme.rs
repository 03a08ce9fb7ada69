//! The commands that README gives an operator, typed as they stand there on a machine that never had the package.

use super::says;
use crate::machine::node::Node;
use crate::machine::packages::Packages;
use crate::machine::serving::{self, ANSWERED, CONFIGURATION};
use anyhow::{Context, Result, ensure};
use std::time::{Duration, Instant};

const README: &str = include_str!("../../../../README.md");
const LIMIT: Duration = Duration::from_mins(5);
/// What the operator answers `bootstrap`.
const BOOTSTRAP: &[(&str, &str)] = &[("changes?", "y")];
/// What the operator answers `config`: a VIP of plain HTTP for one client, announced by no protocol.
const CONFIG: &[(&str, &str)] = &[
    ("Interfaces that clients come in by", "front"),
    // Up from the first to the last: no protocol.
    ("How the VIPs become known", "\u{1b}[A"),
    ("VIPs of service s3", "10.77.9.1"),
    ("Servers of backend rgw", "10.77.0.3:9000"),
    ("Certificate of service s3", "\u{1b}[A"),
    ("Clients of service s3", "10.77.0.1"),
    ("Put this in force?", "y"),
];

/// The commands of the block that follows the words "On a node", without their comments.
pub(in crate::machine) fn commands() -> Option<Vec<&'static str>> {
    let (_, rest) = README.split_once("\nOn a node, ")?;
    let (_, rest) = rest.split_once("```sh\n")?;
    let (block, _) = rest.split_once("```")?;
    let lines = block.lines();
    let command = |line: &'static str| Some(line.split_once('#').map_or(line, |(it, _)| it).trim());
    lines.map(command).collect()
}

pub(super) fn readme(node: &mut Node, packages: &Packages) -> Result<String> {
    let commands = commands().context("README has no commands for a node")?;
    let [install, bootstrap, config, start] = commands[..] else {
        anyhow::bail!("README has other commands for a node: {commands:?}");
    };
    // Root needs no sudo, which a minimal Debian does not have.
    node.run(
        "printf '#!/bin/sh\\nexec \"$@\"\\n' >/usr/local/bin/sudo && chmod +x /usr/local/bin/sudo",
    )?;
    let name = install.rsplit('/').next().unwrap_or_default();
    node.bring(packages.first(), &format!("/root/{name}"))?;
    let began = Instant::now();
    node.ends(&format!("cd /root && {install} -y"), 0)?;
    typed(node, BOOTSTRAP, bootstrap)?;
    typed(node, CONFIG, config)?;
    node.run(&format!("test -s {CONFIGURATION}"))?;
    says(&node.ends(start, 0)?, "1 of 1 VIP announced")?;
    let took = began.elapsed();
    serving::answered(node)?;
    let listed = node.ask("nsenter --net=/run/netns/outside curl -sS -m 3 --interface 10.77.0.2 http://10.77.9.1/small")?;
    ensure!(
        listed.status != 0,
        "a client that is not listed was answered"
    );
    node.reboot("systemctl reboot")?;
    node.wait("the VIP is served after a reboot", ANSWERED, LIMIT)?;
    Ok(format!(
        "four commands in {:.0} s; the listed client is answered, another one is not; it serves after a reboot",
        took.as_secs_f32()
    ))
}

/// Runs a command at a terminal, where these answers are typed.
fn typed(node: &mut Node, answers: &[(&str, &str)], command: &str) -> Result<()> {
    let lines = answers
        .iter()
        .map(|(words, answer)| format!("{words}\t{answer}\n"));
    node.put("/root/dialogue", lines.collect::<String>().as_bytes())?;
    let person = format!("python3 /usr/local/lib/machine/person.py 170 /root/dialogue {command}");
    node.ends(&person, 0).map(drop)
}
