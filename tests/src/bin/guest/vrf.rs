//! The card in a VRF: the workers' sockets are in none, and the kernel finds them for packets of the VRF only where
//! `tcp_l3mdev_accept` is set.

use crate::{
    boot::{self, CARD},
    inside::{ADDRESSES, QUESTIONS},
    node::VIPS,
};
use anyhow::{Context as _, Result};
use ober_tests::plane;
use ober_user::{api::status::Counters, diagnose::doctor};
use socket2::{Domain, Socket, Type};
use std::fs;
use std::net::{SocketAddr, TcpListener};

const VRF: &str = "red";
const ACCEPT: &str = "/proc/sys/net/ipv4/tcp_l3mdev_accept";

/// Puts the card and the VIPs into a VRF.
pub(crate) fn enter() -> Result<()> {
    boot::ip(&["link", "add", VRF, "type", "vrf", "table", "10"])?;
    boot::ip(&["link", "set", VRF, "up"])?;
    boot::ip(&["link", "set", CARD, "master", VRF])?;
    for address in ADDRESSES.iter().filter(|it| it.contains(':')) {
        // IPv6 addresses do not follow their interface.
        boot::ip(&["address", "replace", address, "dev", CARD, "nodad"])?;
    }
    for vip in VIPS {
        boot::ip(&["address", "del", vip, "dev", "lo"])?;
        boot::ip(&["address", "add", vip, "dev", VRF])?;
    }
    Ok(())
}

/// Where the node answers from now on: a socket that is in the VRF itself.
pub(crate) fn listen() -> Result<TcpListener> {
    let address: SocketAddr = QUESTIONS.parse().context("read the node's address")?;
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).context("make a socket")?;
    socket.set_reuse_address(true).context("share the port")?;
    socket
        .bind_device(Some(VRF.as_bytes()))
        .context("put a socket into the VRF")?;
    socket.bind(&address.into()).context("bind in the VRF")?;
    socket.listen(16).context("listen in the VRF")?;
    Ok(socket.into())
}

pub(crate) fn accept() -> Result<()> {
    fs::write(ACCEPT, "1").with_context(|| format!("write {ACCEPT}"))
}

/// What `doctor` says about the setting.
pub(crate) fn finding() -> Result<String> {
    let mut config = plane::config("guest", plane::LIMITS);
    config.node.interfaces = vec![CARD.to_owned()];
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().context("make a runtime")?;
    let counters = async || Counters::default();
    let findings = runtime.block_on(doctor::run(&config, None, counters));
    let mut about = findings
        .into_iter()
        .filter(|it| it.object == "net.ipv4.tcp_l3mdev_accept");
    Ok(about.next().map_or_else(
        || "nothing".to_owned(),
        |it| {
            let advice = it.advice.unwrap_or_default();
            format!("{}: {}; {advice}", it.verdict.name(), it.reason)
        },
    ))
}
