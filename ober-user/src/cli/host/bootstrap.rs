//! `bootstrap`: makes this machine what it should be, part by part, and takes that back.

use std::path::{Path, PathBuf};

use clap::Args;

use super::{Manner, back, forth, instance};
use crate::{
    cli::{Error, Outcome, screen::Screen},
    config::{self, Config},
    host::{
        Host, bootstrap,
        part::Part,
        platform::Live,
        record::{Author, Record},
        wants::{Configured, Wants},
    },
    system::privilege,
};

#[derive(Debug, Args)]
pub(crate) struct Bootstrap {
    #[command(flatten)]
    manner: Manner,
    /// These parts alone, with commas between them
    #[arg(long, value_name = "PARTS", value_delimiter = ',')]
    only: Vec<Part>,
    /// Put back what was there before, as it was recorded
    #[arg(long)]
    undo: bool,
    /// The machine serves nothing else: it also restarts when memory runs out
    #[arg(long, conflicts_with = "undo")]
    dedicated: bool,
    /// Put rules for what the configuration needs first into this chain of nftables, such as inet/filter/input
    #[arg(long, value_name = "CHAIN", conflicts_with = "undo")]
    firewall_chain: Option<String>,
    /// Prepare the image of a machine below this directory: its files, nothing that runs
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
}

impl Bootstrap {
    pub(crate) async fn run(mut self, path: &Path, screen: &mut Screen) -> Result<Outcome, Error> {
        privilege::require(&privilege::MACHINE)?;
        let author = Author::Bootstrap;
        if self.only.is_empty() {
            self.only = author.parts().to_vec();
        }
        let host = match self.root.clone() {
            Some(root) => Host::image(std::path::absolute(root)?),
            None => Host::here(),
        };
        if self.undo {
            return back(&host, author, &self.only, self.manner, screen).await;
        }
        let wants = self.wants(&host, path).await;
        let plan =
            async |record: &Record| Ok(bootstrap::plan(&host, record, &wants, &self.only).await);
        forth(&host, author, self.manner, plan, screen).await
    }

    async fn wants(&self, host: &Host<Live>, path: &Path) -> Wants {
        let place = if path == Path::new(config::MAIN) {
            host.root.at(path)
        } else {
            path.to_owned()
        };
        let loaded = if instance::is_absent(&place).await {
            Err(format!("{} is not there yet", place.display()))
        } else {
            load(&place).await
        };
        Wants {
            configured: loaded.as_ref().ok().map(Configured::of),
            why_not: loaded.err(),
            dedicated: self.dedicated,
            firewall_chain: self.firewall_chain.clone(),
        }
    }
}

async fn load(path: &Path) -> Result<Config, String> {
    let loaded = instance::load(path).await;
    loaded.map_err(|error| format!("the configuration has a mistake: {}", error.line()))
}
