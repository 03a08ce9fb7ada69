//! How a HAProxy process is started: so that it outlives the daemon.

use std::{fs::File, io, os::fd::OwnedFd, path::PathBuf, sync::Arc};

use super::{render::variable, worker::Generation};
use crate::child::Child;

pub(super) use crate::child::process::{Process, arguments, user};

/// Everything a process is started with.
#[derive(Clone, Debug)]
pub(super) struct Launch {
    pub(super) generation: Generation,
    pub(super) haproxy: PathBuf,
    pub(super) file: PathBuf,
    pub(super) cpu: u32,
    /// In the order of the configuration's variables.
    pub(super) sockets: Vec<Arc<OwnedFd>>,
}

impl Launch {
    /// Starts HAProxy, its output going to `log`.
    pub(super) fn start(&self, log: &File) -> io::Result<Process> {
        let child = self.child(&["-db", "-f"]).arguments([&self.file]);
        child.on(self.cpu).start(log)
    }

    /// HAProxy with these arguments and the sockets.
    pub(super) fn child(&self, arguments: &[&str]) -> Child {
        let child = Child::haproxy(&self.haproxy).arguments(arguments);
        let sockets = self.sockets.iter().enumerate();
        sockets.fold(child, |child, (index, socket)| {
            child.hand_over(variable(index), Arc::clone(socket))
        })
    }
}
