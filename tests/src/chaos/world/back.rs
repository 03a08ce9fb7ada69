//! The servers behind the nodes of a site: two S3 servers of the same objects, a name server, a source of servers.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, atomic::AtomicBool},
    time::Duration,
};

use anyhow::{Result, bail};
use ober_programs::Command;

use super::{source::Source, texts};
use crate::{
    lab::{Host, Lab, Process, fabric::STORAGE, program, until},
    nodes::one::S3_PORT,
    peers::Nsd,
};

/// The bucket, which both servers have.
const BUCKET: &str = "chaos";

pub(in crate::chaos) struct Back {
    pub(in crate::chaos) servers: [Mutex<Option<Process>>; 2],
    pub(in crate::chaos) names: Arc<Mutex<Nsd>>,
    /// The name server answers slowly.
    pub(in crate::chaos) slow: Arc<AtomicBool>,
    pub(in crate::chaos) source: Source,
    directory: PathBuf,
}

impl Back {
    pub(super) fn start(lab: &Lab, host: &Host) -> Result<Self> {
        let directory = lab.directory().to_owned();
        fs::create_dir(directory.join(BUCKET))?;
        for number in 0..2 {
            // Each server has a root of its own: two on one root would meet in their temporary files.
            let root = root(&directory, number);
            fs::create_dir(&root)?;
            symlink(directory.join(BUCKET), root.join(BUCKET))?;
        }
        let address = SocketAddr::new(STORAGE, 53);
        let back = Self {
            servers: [Mutex::new(None), Mutex::new(None)],
            names: Arc::new(Mutex::new(Nsd::start(lab, host, address, &texts::zone())?)),
            slow: Arc::default(),
            source: Source::start(host, SocketAddr::new(STORAGE, texts::SOURCE_PORT))?,
            directory,
        };
        for number in 0..2 {
            back.serve(host, number)?;
        }
        Ok(back)
    }

    pub(in crate::chaos) fn serve(&self, host: &Host, number: usize) -> Result<()> {
        let port = S3_PORT + u16::try_from(number)?;
        let mut command = Command::own(program("s3-server")?);
        command.arg(SocketAddr::new(STORAGE, port).to_string());
        let mut server = host.spawn(command.arg(root(&self.directory, number)))?;
        until("a listening S3 server", Duration::from_secs(10), || {
            if let Some(end) = server.ended()? {
                bail!("s3-server ended: {end}: {}", server.tail());
            }
            Ok(server.log().contains("listening on").then_some(()))
        })?;
        *super::hold(&self.servers[number]) = Some(server);
        Ok(())
    }

    /// The name server's records without a fault.
    pub(in crate::chaos) fn zone() -> String {
        texts::zone()
    }
}

fn root(directory: &Path, number: usize) -> PathBuf {
    directory.join(format!("store-{number}"))
}
