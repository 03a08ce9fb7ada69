//! What the nodes use: memory, descriptors, threads, processes, pins. After all faults it must be what it was.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path};

use anyhow::{Context, Result};

use crate::chaos::{
    fault::workers,
    world::{Node, World},
};

/// What one node uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::chaos) struct Resources {
    /// Of the daemon, in KiB.
    memory: usize,
    descriptors: usize,
    threads: usize,
    /// HAProxy's processes.
    workers: usize,
    /// All processes of the node's network namespace, by their names.
    processes: Vec<String>,
    pins: usize,
    /// In the run and state directories.
    files: usize,
}

// Allowed differences: connections that are open just now, names asked for, history kept.
const DESCRIPTORS: usize = 40;
const THREADS: usize = 12;
const FILES: usize = 80;
/// KiB: what the allocator keeps after a list of four thousand came and went.
const MEMORY: usize = 64 << 10;

impl Resources {
    pub(in crate::chaos) fn of(world: &World, number: usize) -> Result<Self> {
        let node = &world.nodes[number];
        let pid = node
            .pid()
            .with_context(|| format!("node {number} has no daemon"))?;
        let count = |path: &str| fs::read_dir(path).map(Iterator::count);
        let host = world.host(number);
        Ok(Self {
            memory: memory(pid)?,
            descriptors: count(&format!("/proc/{pid}/fd"))?,
            threads: count(&format!("/proc/{pid}/task"))?,
            workers: workers(host)?.len(),
            processes: processes(host.pid())?,
            pins: fs::read_dir(node.pins())?.count(),
            files: files(node)?,
        })
    }

    /// What has grown by more than it may, in words.
    pub(in crate::chaos) fn beyond(&self, before: &Self) -> Vec<String> {
        let rows = [
            ("KiB of memory", self.memory, before.memory * 2 + MEMORY),
            (
                "descriptors",
                self.descriptors,
                before.descriptors + DESCRIPTORS,
            ),
            ("threads", self.threads, before.threads + THREADS),
            ("workers", self.workers, before.workers),
            ("processes", self.processes.len(), before.processes.len()),
            ("pins", self.pins, before.pins),
            ("files", self.files, before.files + FILES),
        ];
        let beyond = rows.into_iter().filter(|(_, now, most)| now > most);
        beyond
            .map(|(what, now, most)| {
                let names = &self.processes;
                format!("{now} {what}, at most {most} are allowed; its processes: {names:?}")
            })
            .collect()
    }
}

fn memory(pid: u32) -> Result<usize> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let word = line.and_then(|line| line.split_whitespace().next());
    Ok(word.context("the daemon has no VmRSS")?.parse()?)
}

fn processes(keeper: u32) -> Result<Vec<String>> {
    let inode = |pid: &str| fs::metadata(format!("/proc/{pid}/ns/net")).map(|it| it.ino());
    let ours = inode(&keeper.to_string())?;
    let all = fs::read_dir("/proc")?.flatten();
    let names = all.filter_map(|entry| entry.file_name().into_string().ok());
    Ok(names
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
        .filter(|name| inode(name).is_ok_and(|other| other == ours))
        .map(|pid| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default())
        .map(|name| name.trim().to_owned())
        .collect())
}

fn files(node: &Node) -> Result<usize> {
    Ok(below(&node.state())? + below(&node.directory.join("run"))?)
}

fn below(directory: &Path) -> Result<usize> {
    let mut count = 0;
    for entry in fs::read_dir(directory)?.flatten() {
        let path = entry.path();
        count += if path.is_dir() { below(&path)? } else { 1 };
    }
    Ok(count)
}
