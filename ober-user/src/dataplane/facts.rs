//! Facts of pinned programs and maps.

use std::path::Path;

use aya::{maps::MapInfo, programs::ProgramInfo};

use super::{
    load::PROGRAMS,
    maps::{NAMES, entries},
};
use crate::{api::status, system::file};

/// The programs pinned in `directory`, as the kernel describes them.
pub fn programs(directory: &Path) -> Vec<status::Program> {
    let pinned = PROGRAMS.iter().filter_map(|name| {
        ProgramInfo::from_pin(directory.join(name))
            .ok()
            .map(|info| (name, info))
    });
    let described = pinned.map(|(name, info)| status::Program {
        name: (*name).into(),
        id: info.id(),
        tag: format!("{:016x}", info.tag()),
        size: info.size_translated().unwrap_or(0),
    });
    described.collect()
}

/// The maps pinned in `directory`.
pub fn maps(directory: &Path) -> Vec<status::Map> {
    let pinned = NAMES.iter().filter_map(|name| {
        MapInfo::from_pin(directory.join(name))
            .ok()
            .map(|info| (name, info))
    });
    let described = pinned.map(|(name, info)| status::Map {
        name: (*name).to_lowercase(),
        id: info.id(),
        entries: entries(name, &info),
        bytes: memory(&info),
    });
    described.collect()
}

/// What the kernel accounts to a map, as its file tells (`memlock` in fdinfo).
fn memory(info: &MapInfo) -> u64 {
    let text = info.fd().ok().and_then(|fd| {
        let fd = std::os::fd::AsRawFd::as_raw_fd(&std::os::fd::AsFd::as_fd(&fd));
        file::kernel_text(format!("/proc/self/fdinfo/{fd}")).ok()
    });
    let value = text
        .as_ref()
        .and_then(|text| text.lines().find_map(|line| line.strip_prefix("memlock:")));
    value
        .and_then(|value| value.trim().parse().ok())
        .unwrap_or(0)
}
