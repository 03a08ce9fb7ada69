//! Debian's `xdp-filter` with a list of denied addresses: loaded, filled, never attached.

use std::{net::IpAddr, path::PathBuf};

use anyhow::{Context as _, Result, bail};
use aya::{
    Ebpf, EbpfLoader,
    maps::{Map, PerCpuHashMap, PerCpuValues},
    programs::ProgramFd,
    util::nr_cpus,
};

use crate::timing::xdp;

/// Its files are named after what happens to addresses that are not listed: here those are allowed, listed ones denied.
const LEANEST: &str = "xdpfilt_alw_ip";
/// What `xdp-filter load` takes when no features are named.
const DEFAULT: &str = "xdpfilt_alw_all";
/// The flag of an entry that is compared with the source address (`MAP_FLAG_SRC` in its `common_kern_user.h`).
const SOURCE: u64 = 1;

/// A loaded filter with its deny list.
pub(crate) struct Filter {
    programs: Ebpf,
    name: &'static str,
}

impl Filter {
    /// Denies these addresses, in the leanest form for addresses.
    pub(crate) fn leanest(denied: &[IpAddr]) -> Result<Self> {
        Self::load(LEANEST, denied)
    }

    /// Denies these addresses, with everything else it can do.
    pub(crate) fn default(denied: &[IpAddr]) -> Result<Self> {
        Self::load(DEFAULT, denied)
    }

    fn load(name: &'static str, denied: &[IpAddr]) -> Result<Self> {
        let path = object(name)?;
        let entries = u32::try_from(denied.len())?.max(16);
        let mut loader = EbpfLoader::new();
        // Its maps ask to be pinned by name; ours must not meet those of a filter that is in use.
        let pins = PathBuf::from(format!("/sys/fs/bpf/ober-bench-{}", std::process::id()));
        std::fs::create_dir_all(&pins).with_context(|| format!("make {}", pins.display()))?;
        loader
            .default_map_pin_directory(&pins)
            .map_max_entries("filter_ipv4", entries)
            .map_max_entries("filter_ipv6", entries);
        let result = loader.load_file(&path);
        std::fs::remove_dir_all(&pins).or_else(|_| unpin(&pins))?;
        let mut programs = result.with_context(|| format!("load {}", path.display()))?;
        xdp(&mut programs, name)?
            .load()
            .context("load xdp-filter")?;
        fill(&mut programs, denied)?;
        Ok(Self { programs, name })
    }

    pub(crate) fn program(&mut self) -> Result<ProgramFd> {
        Ok(xdp(&mut self.programs, self.name)?.fd()?.try_clone()?)
    }
}

/// The BPF file system removes no directory that has files in it, and `remove_dir_all` cannot open it there.
fn unpin(pins: &std::path::Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(pins)? {
        std::fs::remove_file(entry?.path())?;
    }
    std::fs::remove_dir(pins)
}

fn fill(programs: &mut Ebpf, denied: &[IpAddr]) -> Result<()> {
    let cpus = nr_cpus().map_err(|(_, error)| error)?;
    let flags = || PerCpuValues::try_from(vec![SOURCE; cpus]);
    let mut v4 = map::<[u8; 4]>(programs, "filter_ipv4")?;
    for address in denied {
        if let IpAddr::V4(address) = address {
            v4.insert(address.octets(), flags()?, 0)?;
        }
    }
    let mut v6 = map::<[u8; 16]>(programs, "filter_ipv6")?;
    for address in denied {
        if let IpAddr::V6(address) = address {
            v6.insert(address.octets(), flags()?, 0)?;
        }
    }
    Ok(())
}

fn map<K: aya::Pod>(
    programs: &mut Ebpf,
    name: &str,
) -> Result<PerCpuHashMap<aya::maps::MapData, K, u64>> {
    let map: Map = programs
        .take_map(name)
        .with_context(|| format!("xdp-filter has no map {name}"))?;
    map.try_into()
        .with_context(|| format!("map {name} of xdp-filter"))
}

/// Where Debian's libxdp1 puts it, whatever the architecture.
fn object(name: &str) -> Result<PathBuf> {
    for directory in std::fs::read_dir("/usr/lib")? {
        let path = directory?.path().join("bpf").join(name).with_extension("o");
        if path.exists() {
            return Ok(path);
        }
    }
    bail!("no {name}.o under /usr/lib/*/bpf: apt-get install xdp-tools")
}
