//! How a HAProxy process is started so that it outlives the daemon.

use std::{fs::File, io, os::fd::OwnedFd, path::PathBuf, sync::Arc};

use super::Generation;
use crate::{haproxy::render::variable, system::child::Child};

pub(crate) use crate::system::child::process::{Process, arguments, user};

/// What a process is started with.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    pub(crate) generation: Generation,
    pub(crate) haproxy: PathBuf,
    pub(crate) file: PathBuf,
    pub(crate) cpu: u32,
    /// In the order of the variables in the configuration.
    pub(crate) sockets: Vec<Arc<OwnedFd>>,
}

impl Launch {
    /// Starts HAProxy, its output going to `log`.
    pub(crate) fn start(&self, log: &File) -> io::Result<Process> {
        let child = self.child(&["-db", "-f"]).arguments([&self.file]);
        child.on(self.cpu).start(log)
    }

    /// HAProxy with these arguments and the sockets.
    pub(crate) fn child(&self, arguments: &[&str]) -> Child {
        let child = Child::haproxy(&self.haproxy).arguments(arguments);
        let sockets = self.sockets.iter().enumerate();
        sockets.fold(child, |child, (index, socket)| {
            child.hand_over(variable(index), Arc::clone(socket))
        })
    }
}
