//! The addresses of the VIPs on this node, for all that VRRP does not hold. What was added is noted first, so that
//! `ober-user detach` removes that and nothing else.

use std::{collections::BTreeSet, net::IpAddr};

use anyhow::Context as _;

use crate::{
    config::{Config, VipInterface},
    netlink, store,
};

/// In the state directory: the VIPs the daemon added.
const NOTE: &str = "vips.json";

/// Adds the VIPs this node lacks; says which.
pub async fn add(config: &Config) -> anyhow::Result<Vec<IpAddr>> {
    let present = netlink::lasting_addresses().await?;
    let vips = config.vips();
    let missing: BTreeSet<IpAddr> = vips.filter(|vip| !present.contains(vip)).collect();
    if missing.is_empty() {
        return Ok(Vec::new());
    }
    let interface = match &config.node.vip_interface {
        VipInterface::Unmanaged => return Ok(Vec::new()),
        VipInterface::Named(name) => name.clone(),
        VipInterface::Auto => netlink::dummy_or_lo(&config.node.dummy()).await?,
    };
    let mut noted = noted(config)?;
    noted.extend(&missing);
    note(config, &noted)?;
    let added = netlink::add_vips(&interface, &missing.into_iter().collect::<Vec<_>>()).await?;
    tracing::info!(?added, interface, "VIPs added");
    Ok(added)
}

/// Removes the VIPs that are noted and marked as ours and are none of `keep`; says which were noted.
pub async fn remove(config: &Config, keep: &[IpAddr]) -> anyhow::Result<Vec<IpAddr>> {
    let noted = noted(config)?;
    let (stay, go): (BTreeSet<_>, BTreeSet<_>) =
        noted.into_iter().partition(|vip| keep.contains(vip));
    let go: Vec<IpAddr> = go.into_iter().collect();
    let mut emptied = BTreeSet::new();
    if !go.is_empty() {
        emptied = netlink::remove_vips(&go, &places(config)).await?;
        note(config, &stay)?;
    }
    if stay.is_empty() && config.node.vip_interface == VipInterface::Auto {
        netlink::remove_dummy(&config.node.dummy(), &emptied).await?;
    }
    Ok(go)
}

/// The interfaces where a daemon that set no marks yet put VIPs.
fn places(config: &Config) -> Vec<String> {
    match &config.node.vip_interface {
        VipInterface::Named(name) => vec![name.clone()],
        VipInterface::Auto | VipInterface::Unmanaged => {
            vec![config.node.dummy(), "lo".to_owned()]
        }
    }
}

/// The VIPs that this daemon, or one before it, added for good.
pub fn noted(config: &Config) -> anyhow::Result<BTreeSet<IpAddr>> {
    Ok(store::read_json(&config.node.state.join(NOTE))?.unwrap_or_default())
}

fn note(config: &Config, vips: &BTreeSet<IpAddr>) -> anyhow::Result<()> {
    let path = config.node.state.join(NOTE);
    if vips.is_empty() {
        return std::fs::remove_file(&path).with_context(|| format!("remove {}", path.display()));
    }
    Ok(store::Pending::json(&path, vips)?.commit()?)
}
