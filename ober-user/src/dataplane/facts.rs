//! What the kernel says about the pinned programs and maps.

use std::path::Path;

use aya::{maps::MapInfo, programs::ProgramInfo};
use serde::{Deserialize, Serialize};

use super::{
    load::PROGRAMS,
    maps::{NAMES, entries},
};
use crate::system::file;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    pub name: String,
    pub id: u32,
    /// The kernel's fingerprint of its instructions, hexadecimal.
    pub tag: String,
    /// Bytes of its instructions after translation by the kernel.
    pub size: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Map {
    pub name: String,
    pub id: u32,
    pub entries: u32,
    /// Bytes of memory that the kernel accounts to it.
    pub bytes: u64,
}

/// The programs pinned in `directory`, as the kernel describes them.
pub fn programs(directory: &Path) -> Vec<Program> {
    let pinned = PROGRAMS.iter().filter_map(|name| {
        ProgramInfo::from_pin(directory.join(name))
            .ok()
            .map(|info| (name, info))
    });
    let described = pinned.map(|(name, info)| Program {
        name: (*name).into(),
        id: info.id(),
        tag: format!("{:016x}", info.tag()),
        size: info.size_translated().unwrap_or(0),
    });
    described.collect()
}

/// The maps pinned in `directory`.
pub fn maps(directory: &Path) -> Vec<Map> {
    let pinned = NAMES.iter().filter_map(|name| {
        MapInfo::from_pin(directory.join(name))
            .ok()
            .map(|info| (name, info))
    });
    let described = pinned.map(|(name, info)| Map {
        name: (*name).to_lowercase(),
        id: info.id(),
        entries: entries(name, &info),
        bytes: memory(&info),
    });
    described.collect()
}

/// The bytes that the kernel accounts to a map (`memlock` in its fdinfo).
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
