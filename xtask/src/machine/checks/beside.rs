//! Other programs of Debian that manage networks and containers, beside or around the daemon.

use super::restart::LOAD;
use super::says;
use crate::dist::Format;
use crate::machine::node::Node;
use crate::machine::packages::Packages;
use crate::machine::serving::{self, ANSWERED, CONFIGURATION, Load};
use anyhow::{Context, Result, ensure};
use std::time::Duration;

const LIMIT: Duration = Duration::from_mins(5);
const CONTAINER: &str = include_str!("../../../../ober-user/package/container/ober.container");

/// `NetworkManager` comes, goes and comes again; it takes no address of the daemon's interface away.
pub(super) fn network_manager(node: &mut Node, _: &Packages) -> Result<String> {
    let load = Load::start(node, LOAD)?;
    node.run_within(
        "systemctl unmask NetworkManager && systemctl start NetworkManager && nm-online -s -q",
        LIMIT,
    )?;
    let devices = node.run("nmcli -t -f DEVICE,STATE device")?;
    says(&devices, "ober-main:unmanaged")?;
    node.run_within("systemctl restart NetworkManager && nm-online -s -q", LIMIT)?;
    let result = load.finish(node)?;
    ensure!(result.is_clean(), "clients: {result}");
    node.run("ip address show dev ober-main | grep -F 10.77.9.1/32")?;
    Ok(format!(
        "ober-main is unmanaged and keeps the VIP; {result}"
    ))
}

/// The image, run by podman as `ober.container` says: Debian 12 has no quadlet, which would read that file itself.
pub(super) fn container(node: &mut Node, packages: &Packages) -> Result<String> {
    node.bring(&packages.other(Format::Oci)?, "/root/ober.oci.tar")?;
    let loaded = node.run_within("podman load -q -i /root/ober.oci.tar", LIMIT)?;
    let image = loaded
        .rsplit(' ')
        .next()
        .context("podman loaded no image")?;
    node.run("mkdir -p /etc/ober /var/lib/ober /run/ober")?;
    node.put(CONFIGURATION, serving::TEXT.as_bytes())?;
    let options = options(CONTAINER).join(" ");
    node.run_within(
        &format!("podman run -d --name ober {options} {image}"),
        LIMIT,
    )?;
    let took = node.wait("the VIP is served", ANSWERED, LIMIT);
    let took = match took {
        Ok(took) => took,
        Err(error) => return Err(error.context(node.ask("podman logs ober 2>&1")?.output)),
    };
    let load = Load::start(node, LOAD)?;
    let result = load.finish(node)?;
    ensure!(result.is_clean(), "clients: {result}");
    node.run_within(
        "podman exec ober ober-user status >/dev/null && podman stop ober",
        LIMIT,
    )?;
    let log = node.ask("podman logs ober 2>&1")?.output;
    says(&log, "stopped; the data plane goes on filtering")?;
    Ok(format!(
        "served {:.1} s after the start; {result}",
        took.as_secs_f32()
    ))
}

/// What podman is given, of a unit for quadlet.
pub(in crate::machine) fn options(unit: &str) -> Vec<String> {
    let pairs = unit.lines().filter_map(|line| line.split_once('='));
    let of = |(key, value): (&str, &str)| match key {
        "Network" => vec![format!("--network={value}")],
        "PodmanArgs" => vec![value.to_owned()],
        "DropCapability" => vec![format!("--cap-drop={value}")],
        "AddCapability" => value
            .split(' ')
            .map(|it| format!("--cap-add={it}"))
            .collect(),
        "Volume" => vec![format!("--volume={value}")],
        _ => Vec::new(),
    };
    pairs.flat_map(of).collect()
}
