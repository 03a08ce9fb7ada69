//! Sysctls of the administrator's interfaces that VRRP needs otherwise: what was there is put back at the end.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::system::file;

/// What was found and what was written in its place.
#[derive(Debug)]
struct Written {
    before: String,
    now: String,
}

/// Shared by all that VRRP runs on one after the other, so that the first value found is the one put back.
#[derive(Clone, Debug, Default)]
pub(in crate::protocols::vrrp::net) struct Sysctls(Arc<Mutex<BTreeMap<PathBuf, Written>>>);

impl Sysctls {
    fn written(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Written>> {
        // An entry is whole before anything that could panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `family` is `ipv4` or `ipv6`.
    pub(super) fn set(
        &self,
        family: &str,
        interface: &str,
        key: &str,
        value: &str,
    ) -> io::Result<()> {
        let path = format!("/proc/sys/net/{family}/conf/{interface}/{key}");
        self.write(Path::new(&path), value)
    }

    fn write(&self, path: &Path, value: &str) -> io::Result<()> {
        let found = file::kernel_text(path)?;
        let found = found.trim();
        if found == value {
            return Ok(());
        }
        file::kernel_write(path, value)?;
        let mut written = self.written();
        let entry = written.entry(path.to_owned());
        let entry = entry.or_insert_with(|| Written {
            before: found.to_owned(),
            now: String::new(),
        });
        value.clone_into(&mut entry.now);
        Ok(())
    }

    /// Puts back what no other program has changed since. An interface that is gone took its sysctls along.
    pub(in crate::protocols::vrrp::net) fn restore(&self) -> io::Result<()> {
        let mut result = Ok(());
        for (path, Written { before, now }) in std::mem::take(&mut *self.written()) {
            let ours = file::kernel_text(&path).is_ok_and(|found| found.trim() == now);
            if ours {
                result = result.and(file::kernel_write(&path, &before));
            }
        }
        result
    }
}
