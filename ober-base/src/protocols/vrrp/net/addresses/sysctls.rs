//! Sysctls of the administrator's interfaces that VRRP must change; the earlier values are restored at the end.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::system::file;

/// The value found, and the value written.
#[derive(Debug)]
struct Written {
    before: String,
    now: String,
}

/// Shared by all links that VRRP runs on one after another, so that the first value found is restored.
#[derive(Clone, Debug, Default)]
pub(in crate::protocols::vrrp::net) struct Sysctls(Arc<Mutex<BTreeMap<PathBuf, Written>>>);

impl Sysctls {
    fn written(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Written>> {
        // A panic cannot leave an entry half written, so a poisoned lock is used.
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
        let text = file::kernel_text(path)?;
        let found = text.trim();
        if found == value {
            return Ok(());
        }
        file::kernel_write(path, value)?;
        let mut written = self.written();
        let entry = written.entry(path.to_owned()).or_insert_with(|| Written {
            before: found.to_owned(),
            now: String::new(),
        });
        value.clone_into(&mut entry.now);
        Ok(())
    }

    /// Restores the values that no other program has changed since. Those of a removed interface are gone.
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
