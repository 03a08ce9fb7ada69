//! Asks the kernel about interfaces.

use std::{fs, io, path::Path};

use super::{Features, Linux, topology, virtio::Virtio};
use crate::system::{
    file,
    netlink::{
        ethtool::{Driver, Ethtool, Queues},
        links::{self, Link},
        netdev,
    },
};

/// All interfaces of this network namespace at one time, and the socket on which their drivers are asked.
#[derive(Debug)]
pub struct Snapshot {
    pub links: Vec<Link>,
    drivers: Ethtool,
    linux: Option<Linux>,
}

impl Snapshot {
    pub fn take() -> io::Result<Self> {
        let release = file::kernel_text("/proc/sys/kernel/osrelease")?;
        Ok(Self {
            links: links::all().map_err(|refusal| refusal.io())?,
            drivers: Ethtool::open()?,
            linux: Linux::read(&release),
        })
    }

    pub fn link(&self, name: &str) -> Option<&Link> {
        self.links.iter().find(|link| link.name == name)
    }

    /// `None`: there is no interface of that name.
    pub fn features(&self, name: &str) -> Option<Features> {
        let link = self.link(name)?;
        let below = topology::below(&self.links, link);
        let whole = || [link].into_iter().chain(below.iter().copied());
        let first = |wanted: fn(&Ethtool, &str) -> bool| {
            let mut all = whole();
            let found = all.find(|it| wanted(&self.drivers, &it.name));
            found.map(|it| it.name.clone())
        };
        let unfinished = whole().find_map(|it| Some((it, topology::unfinished(it)?)));
        let driver = self.drivers.driver(name);
        Some(Features {
            name: name.to_owned(),
            index: link.index,
            kind: link.kind.clone(),
            mtu: link.mtu,
            queues: self.queues(link, &below),
            below: below.iter().map(|it| it.name.clone()).collect(),
            strips_vlan: first(|drivers, name| {
                drivers.offloads(name).is_some_and(|it| it.strips_vlan)
            }),
            tagged_above: topology::tagged_above(&self.links, link).map(|it| it.name.clone()),
            unfinished: unfinished.map(|(it, kind)| (it.name.clone(), kind.to_owned())),
            large_receive: first(|drivers, name| {
                drivers.offloads(name).is_some_and(|it| it.large_receive)
            }),
            virtio: driver.as_ref().and_then(|driver| virtio(driver, link)),
            driver: driver.map(|driver| driver.name),
            xdp: netdev::xdp(link.index),
            linux: self.linux,
        })
    }

    /// The queues of a device made of others: the fewest of its lowest parts. `None` when one of them does not report
    /// its queues.
    fn queues(&self, link: &Link, below: &[&Link]) -> Option<Queues> {
        let last = |it: &&&Link| topology::below(&self.links, it).is_empty();
        let parts: Vec<_> = below.iter().filter(last).collect();
        if parts.is_empty() {
            return self.drivers.queues(&link.name);
        }
        let each = parts.into_iter().map(|it| self.drivers.queues(&it.name));
        let all: Option<Vec<Queues>> = each.collect();
        all?.into_iter().min_by_key(|queues| queues.now)
    }

    /// The counters of a driver, by name.
    pub fn counters(&self, name: &str) -> Option<Vec<(String, u64)>> {
        self.drivers.counters(name)
    }
}

/// The features of a virtio card. It is found by its PCI address, because `/sys/class/net` may show another network
/// namespace. A card without one is looked up there, and accepted only when the hardware address is the same.
fn virtio(driver: &Driver, link: &Link) -> Option<Virtio> {
    if driver.name != "virtio_net" {
        return None;
    }
    let bus = Path::new("/sys/bus/pci/devices").join(&driver.bus);
    let mut entries = fs::read_dir(bus).ok().into_iter().flatten().flatten();
    let device = entries
        .find(|entry| entry.file_name().to_string_lossy().starts_with("virtio"))
        .map(|entry| entry.path())
        .or_else(|| {
            let class = Path::new("/sys/class/net").join(&link.name);
            let address = file::kernel_text(class.join("address")).ok()?;
            let ours = link.address.iter().map(|byte| format!("{byte:02x}"));
            let same = address.trim() == ours.collect::<Vec<_>>().join(":");
            same.then(|| class.join("device"))
        })?;
    Virtio::read(&file::kernel_text(device.join("features")).ok()?)
}
