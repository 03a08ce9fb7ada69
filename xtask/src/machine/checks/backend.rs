//! A storage server that takes packets out of tunnels, which needs modules that this repository's own kernel lacks.

use crate::machine::node::Node;
use crate::machine::packages::Packages;
use crate::machine::serving;
use anyhow::{Result, ensure};
use std::time::Duration;

const LIMIT: Duration = Duration::from_mins(3);
const SETUP: &str =
    "ober-user backend-setup --vip 10.77.0.100 2001:db8::100 --mode ipip --interface front -y";
/// The balancer's end of the tunnels, on the other machine of the wire.
const TUNNELS: &str = "ip address add fd77::10/64 dev front nodad; ip -n outside address add fd77::1/64 dev wire nodad; \
    ip -n outside link add t4 type ipip local 10.77.0.1 remote 10.77.0.10 && ip -n outside link set t4 up && \
    ip -n outside route add 10.77.0.100 dev t4 src 10.77.0.1 && \
    ip -n outside link add t6 type ip6tnl mode ip6ip6 local fd77::1 remote fd77::10 && ip -n outside link set t6 up && \
    ip -n outside -6 route add 2001:db8::100 dev t6 src fd77::1";
/// Listeners that have nothing but the VIPs, and clients whose packets come within others.
const LISTEN: &str = "for vip in 10.77.0.100 2001:db8::100; do systemd-run --quiet --collect \
    python3 -m http.server 8000 --bind $vip --directory /usr/share; done";
const ASK: &str = "ip netns exec outside curl -sS -m 5 -o /dev/null http://10.77.0.100:8000/ && \
    ip netns exec outside curl -sS -g -m 5 -o /dev/null 'http://[2001:db8::100]:8000/'";
/// Succeeds when this machine answers for the VIP.
const ANSWERED: &str = "ip -n outside neigh flush dev wire; \
    ip netns exec outside bash -c 'echo >/dev/udp/10.77.0.100/9'; sleep 4; \
    ip -n outside neigh show 10.77.0.100 dev wire | grep lladdr";
/// What the command may change.
const STATE: &str = "sysctl -a 2>/dev/null | grep -E '^net.ipv4.conf.*(arp_ignore|arp_announce|rp_filter)'; \
    ip -o address show dev lo; lsmod | grep -oE '^(ipip|ip6_tunnel) '; ls /etc/sysctl.d /etc/systemd/system";

pub(super) fn backend(node: &mut Node, packages: &Packages) -> Result<String> {
    serving::install(node, packages.first())?;
    let before = node.ask(STATE)?.output;
    node.run("ip address add 10.77.0.100/32 dev lo")?;
    let answered = node.ask(ANSWERED)?;
    ensure!(
        answered.status == 0,
        "without the settings the machine must answer: {}",
        answered.output
    );
    node.run("ip address del 10.77.0.100/32 dev lo")?;
    node.run_within(SETUP, LIMIT)?;
    serves(node)?;
    let again = node.run(SETUP)?;
    ensure!(again.contains("nothing to do"), "a second run: {again}");
    let took = node.reboot("systemctl reboot")?;
    serves(node)?;
    // The tunnels of the balancer are gone before their modules.
    node.run("ip -n outside link del t4; ip -n outside link del t6")?;
    node.run_within("ober-user backend-setup --undo -y", LIMIT)?;
    let after = node.ask(STATE)?.output;
    ensure!(
        before == after,
        "the machine was so: {before}\nand is so: {after}"
    );
    Ok(format!(
        "no answer for the VIP, IPv4 and IPv6 out of tunnels, also after a restart ({:.0} s); undone",
        took.as_secs_f32()
    ))
}

/// It leaves the questions for the VIP to the balancer, and takes packets for both VIPs out of others.
fn serves(node: &mut Node) -> Result<()> {
    node.run("systemctl is-enabled ober-vip && systemctl is-active ober-vip")?;
    let answered = node.ask(ANSWERED)?;
    ensure!(
        answered.status != 0,
        "it answers for the VIP: {}",
        answered.output
    );
    node.run(TUNNELS)?;
    node.run(LISTEN)?;
    node.wait("a packet out of a tunnel is answered", ASK, LIMIT)
        .map(drop)
}
