//! Firewalls that drop what clients send, until bootstrap has them let it pass.

use crate::machine::node::Node;
use crate::machine::packages::Packages;
use crate::machine::serving::ANSWERED;
use anyhow::{Result, ensure};
use std::time::Duration;

/// The managers are Python, which a machine without KVM runs slowly.
const LIMIT: Duration = Duration::from_mins(5);
const OPEN: &str = "ober bootstrap -y --only firewall";

pub(super) fn firewalld(node: &mut Node, _: &Packages) -> Result<String> {
    node.run_within(
        "systemctl unmask firewalld && systemctl start firewalld",
        LIMIT,
    )?;
    // systemd calls it started when it has its name on the bus, before it has put its rules in force.
    node.wait("firewalld runs", "firewall-cmd --state", LIMIT)?;
    let list = "firewall-cmd --list-all; firewall-cmd --permanent --list-all";
    opened(
        node,
        list,
        "firewall-cmd --reload",
        "firewall-cmd --query-service=ssh",
    )
}

pub(super) fn ufw(node: &mut Node, _: &Packages) -> Result<String> {
    node.run_within("ufw allow 22/tcp && ufw --force enable", LIMIT)?;
    opened(
        node,
        "ufw show added",
        "ufw reload",
        "ufw show added | grep 22/tcp",
    )
}

fn nftables(node: &mut Node) -> Result<()> {
    node.run(
        "nft 'add table inet filter; add chain inet filter input { type filter hook input priority 0; policy drop; }; \
         add rule inet filter input ct state established accept; add rule inet filter input tcp dport 22 accept'",
    )
    .map(drop)
}

/// A chain that drops: bootstrap finds it, changes nothing unless the chain is named, and then lets the VIP's packets pass.
pub(super) fn chain(node: &mut Node, _: &Packages) -> Result<String> {
    nftables(node)?;
    dropped(node)?;
    let doctor = node.ask("ober doctor")?;
    ensure!(
        doctor.status != 0 && doctor.output.contains("inet/filter/input drops it"),
        "doctor does not name the chain: {}",
        doctor.output
    );
    node.run_within(OPEN, LIMIT)?;
    dropped(node)?;
    node.run_within(&format!("{OPEN} --firewall-chain inet/filter/input"), LIMIT)?;
    node.run(ANSWERED)?;
    node.run_within("ober bootstrap -y --undo --only firewall", LIMIT)?;
    dropped(node)?;
    Ok("doctor names the chain; named to bootstrap it gets rules, and loses them again".to_owned())
}

fn dropped(node: &mut Node) -> Result<()> {
    let answer = node.ask(ANSWERED)?;
    ensure!(answer.status != 0, "the firewall drops nothing");
    Ok(())
}

/// The firewall stops clients; bootstrap opens it, for good; a second run finds nothing; undone, it is as before.
fn opened(node: &mut Node, list: &str, reload: &str, ssh: &str) -> Result<String> {
    dropped(node)?;
    let before = node.run_within(list, LIMIT)?;
    let took = node.timed(OPEN, LIMIT)?;
    node.run(ANSWERED)?;
    node.run_within(reload, LIMIT)?;
    node.run(ANSWERED)?;
    node.run_within(ssh, LIMIT)?;
    let again = node.ask_within("ober bootstrap --dry-run --only firewall", LIMIT)?;
    ensure!(
        again.status == 0,
        "a second run would change: {}",
        again.output
    );
    node.run_within("ober bootstrap -y --undo --only firewall", LIMIT)?;
    let after = node.run_within(list, LIMIT)?;
    ensure!(before == after, "was\n{before}\nand is\n{after}");
    dropped(node)?;
    Ok(format!(
        "bootstrap {:.1} s, also after a reload; undone it is as before",
        took.as_secs_f32()
    ))
}
