//! The addresses of the VIPs on this node, for all that VRRP does not hold. What was added is noted first, so that
//! `ober-user detach` removes that and nothing else.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::{
    config::{Config, VipInterface},
    netlink,
    store::{self, Kind, Pending},
};

/// In the state directory: the VIPs the daemon added.
const NOTE: &str = "vips.json";

/// Whether a VIP may be added that cannot be noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noted {
    /// No: nothing depends on it yet, and the state directory is of no use.
    Must,
    /// Yes: a node that serves does not stop for a full disk. `status` tells.
    May,
}

/// Adds the VIPs this node lacks; says which.
pub async fn add(config: &Config, how: Noted) -> anyhow::Result<Vec<IpAddr>> {
    let present = netlink::lasting_addresses().await?;
    let vips = config.vips();
    let missing: BTreeSet<IpAddr> = vips.filter(|vip| !present.contains(vip)).collect();
    if missing.is_empty() {
        note(config, &BTreeSet::new(), Noted::May)?;
        return Ok(Vec::new());
    }
    let interface = match &config.node.vip_interface {
        VipInterface::Unmanaged => return Ok(Vec::new()),
        VipInterface::Named(name) => name.clone(),
        VipInterface::Auto => netlink::dummy_or_lo(&config.node.dummy()).await?,
    };
    note(config, &missing, how)?;
    let added = netlink::add_vips(&interface, &missing.into_iter().collect::<Vec<_>>()).await?;
    tracing::info!(?added, interface, "VIPs added");
    Ok(added)
}

/// Removes the VIPs that are noted and marked as ours and are none of `keep`; says which were noted.
pub async fn remove(config: &Config, keep: &BTreeSet<IpAddr>) -> anyhow::Result<Vec<IpAddr>> {
    let noted = noted(config)?;
    unnoted().clear();
    let (stay, go): (BTreeSet<_>, BTreeSet<_>) =
        noted.into_iter().partition(|vip| keep.contains(vip));
    let go: Vec<IpAddr> = go.into_iter().collect();
    let mut emptied = BTreeSet::new();
    if !go.is_empty() {
        emptied = netlink::remove_vips(&go, &places(config)).await?;
        write(config, &stay, Noted::May)?;
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
    let mut noted = on_disk(config)?;
    noted.extend(unnoted().iter());
    Ok(noted)
}

fn on_disk(config: &Config) -> Result<BTreeSet<IpAddr>, store::Error> {
    let path = config.node.state.join(NOTE);
    Ok(store::recover_json(Kind::Addresses, &path)?.unwrap_or_default())
}

/// What was added and could not be noted: it is tried again with the next word.
fn unnoted() -> MutexGuard<'static, BTreeSet<IpAddr>> {
    static UNNOTED: Mutex<BTreeSet<IpAddr>> = Mutex::new(BTreeSet::new());
    UNNOTED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Notes more of them.
fn note(config: &Config, more: &BTreeSet<IpAddr>, how: Noted) -> Result<(), store::Error> {
    let before = on_disk(config)?;
    let mut noted: BTreeSet<IpAddr> = before.union(more).copied().collect();
    noted.extend(unnoted().iter());
    if noted == before || write(config, &noted, how)? {
        unnoted().clear();
    } else {
        unnoted().extend(more);
    }
    Ok(())
}

/// Was it written? Only if it must is it an error when not.
fn write(config: &Config, vips: &BTreeSet<IpAddr>, how: Noted) -> Result<bool, store::Error> {
    let path = config.node.state.join(NOTE);
    let noted = if vips.is_empty() {
        store::remove(&path)
    } else {
        Pending::json(Kind::Addresses, &path, vips).and_then(Pending::commit)
    };
    match noted {
        Err(error) if how == Noted::May => {
            store::unkept(&path, &error);
            Ok(false)
        }
        noted => noted.map(|()| true),
    }
}
