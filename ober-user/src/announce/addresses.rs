//! The addresses of the VIPs on this node, except those that VRRP holds. The daemon notes an address before it adds it, so that
//! `ober-user detach` removes the noted ones and nothing else.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::{
    config::{Config, VipInterface, paths},
    system::{
        netlink,
        store::{self, Kind, Pending},
    },
};

/// May a VIP be added when the note cannot be written?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noted {
    /// No: nothing depends on the VIP yet, and the state directory is of no use.
    Must,
    /// Yes: a node that serves must not stop because of a full disk. `status` shows the failure.
    May,
}

/// Adds the VIPs that this node lacks and returns them.
pub async fn add(config: &Config, how: Noted) -> anyhow::Result<Vec<IpAddr>> {
    let present = netlink::lasting_addresses().await?;
    let vips = config.vips();
    let missing: BTreeSet<IpAddr> = vips.filter(|vip| !present.contains(vip)).collect();
    if missing.is_empty() {
        keep(config)?;
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

/// Removes the VIPs that are noted, are marked as ours and are not in `keep`; returns those that were noted.
pub async fn remove(config: &Config, keep: &BTreeSet<IpAddr>) -> anyhow::Result<Vec<IpAddr>> {
    let (stay, go): (BTreeSet<_>, BTreeSet<_>) = noted(config)?
        .into_iter()
        .partition(|vip| keep.contains(vip));
    let go: Vec<IpAddr> = go.into_iter().collect();
    let mut emptied = BTreeSet::new();
    if !go.is_empty() {
        emptied = netlink::remove_vips(&go, &places(config)).await?;
        rewrite(config, Noted::May, |vips| {
            vips.retain(|vip| !go.contains(vip));
        })?;
    }
    if stay.is_empty() && config.node.vip_interface == VipInterface::Auto {
        netlink::remove_dummy(&config.node.dummy(), &emptied).await?;
    }
    Ok(go)
}

/// The interfaces where an earlier daemon, which set no marks, put VIPs.
fn places(config: &Config) -> Vec<String> {
    match &config.node.vip_interface {
        VipInterface::Named(name) => vec![name.clone()],
        VipInterface::Auto | VipInterface::Unmanaged => {
            vec![config.node.dummy(), "lo".to_owned()]
        }
    }
}

/// The VIPs of a note that could not be written. While this process lives they count, and the file does not.
static UNWRITTEN: Mutex<Option<BTreeSet<IpAddr>>> = Mutex::new(None);

/// The lock is held for a moment, never while a file is written.
fn unwritten() -> MutexGuard<'static, Option<BTreeSet<IpAddr>>> {
    UNWRITTEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The VIPs that this daemon, or an earlier one, added permanently.
pub fn noted(config: &Config) -> Result<BTreeSet<IpAddr>, store::Error> {
    let unwritten = unwritten().clone();
    unwritten.map_or_else(|| on_disk(config), Ok)
}

fn on_disk(config: &Config) -> Result<BTreeSet<IpAddr>, store::Error> {
    Ok(store::recover_json(Kind::Addresses, &place(config))?.unwrap_or_default())
}

fn place(config: &Config) -> PathBuf {
    paths::vips(&config.node.state)
}

/// Adds VIPs to the note.
fn note(config: &Config, more: &BTreeSet<IpAddr>, how: Noted) -> Result<(), store::Error> {
    rewrite(config, how, |vips| vips.extend(more))
}

/// Writes the note if it could not be written before.
pub fn keep(config: &Config) -> Result<(), store::Error> {
    if unwritten().is_none() {
        return Ok(());
    }
    rewrite(config, Noted::May, |_| ())
}

/// Edits the note. A failure to write it is an error only with [`Noted::Must`].
fn rewrite(
    config: &Config,
    how: Noted,
    edit: impl FnOnce(&mut BTreeSet<IpAddr>),
) -> Result<(), store::Error> {
    /// Held while the note is written, so that each writer begins with the result of the one before.
    static WRITING: Mutex<()> = Mutex::new(());
    let _turn = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
    let mut vips = noted(config)?;
    edit(&mut vips);
    let path = place(config);
    let written = if on_disk(config)? == vips {
        store::kept(&path);
        Ok(())
    } else if vips.is_empty() {
        store::remove(&path)
    } else {
        Pending::json(Kind::Addresses, &path, &vips).and_then(Pending::commit)
    };
    match written {
        Ok(()) => *unwritten() = None,
        Err(error) if how == Noted::May => {
            store::unkept(&path, &error);
            *unwritten() = Some(vips);
        }
        Err(error) => return Err(error),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;
    use crate::config::Env;

    fn set(vips: &[&str]) -> BTreeSet<IpAddr> {
        vips.iter().map(|vip| vip.parse().unwrap()).collect()
    }

    #[test]
    fn vips_that_could_not_be_noted_stay_in_memory_until_a_later_write_succeeds() {
        let home = tempfile::tempdir().unwrap();
        let state = home.path().join("state");
        let text = format!(
            "[node]\ninterfaces=['in0']\nstate='{}'\n[workers]\nhaproxy='/usr/sbin/haproxy'\n[backends.rgw]\n\
             servers=['10.0.0.1:80']\n[[services]]\nname='s3'\nvips=['192.0.2.1']\nbackend='rgw'\n\
             listeners=[{{ port = 80, access = 'open' }}]\n",
            state.display()
        );
        let config = Config::parse(&text, Path::new("/nowhere"), &Env::default()).unwrap();
        let unkept = || {
            let unkept = store::disk().unkept;
            unkept.iter().any(|it| it.file == place(&config))
        };
        // The note cannot be written, as on a full disk.
        let beside = state.join("vips.json.new");
        let full = || fs::create_dir(&beside).unwrap();
        let room = || fs::remove_dir(&beside).unwrap();
        let (first, all) = (
            set(&["192.0.2.1"]),
            set(&["192.0.2.1", "192.0.2.2", "192.0.2.3"]),
        );
        note(&config, &first, Noted::Must).unwrap();
        full();
        note(&config, &set(&["192.0.2.2"]), Noted::Must).unwrap_err();
        assert_eq!(noted(&config).unwrap(), first);
        note(&config, &set(&["192.0.2.2"]), Noted::May).unwrap();
        note(&config, &set(&["192.0.2.3"]), Noted::May).unwrap();
        assert!(unkept());
        assert_eq!(noted(&config).unwrap(), all);
        // One VIP goes; those that stay are still noted.
        rewrite(&config, Noted::May, |vips| {
            vips.retain(|vip| !first.contains(vip));
        })
        .unwrap();
        let left = set(&["192.0.2.2", "192.0.2.3"]);
        assert_eq!(noted(&config).unwrap(), left);
        room();
        assert_eq!(on_disk(&config).unwrap(), first);
        keep(&config).unwrap();
        assert_eq!(on_disk(&config).unwrap(), left);
        assert!(!unkept());
        // The VIPs are those on disk again: nothing is left to write.
        full();
        note(&config, &first, Noted::May).unwrap();
        assert!(unkept());
        rewrite(&config, Noted::May, |vips| vips.clone_from(&left)).unwrap();
        assert!(!unkept());
        assert_eq!(*unwritten(), None);
    }
}
