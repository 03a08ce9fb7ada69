//! What a reload would do to each worker.

use super::{Error, Pool, Servers, Stage, check::draft, complete_all, sockets::keys};
use crate::config::Config;

/// What becomes of a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Foreseen {
    Unchanged,
    /// It is changed while it runs, so.
    Live(Vec<String>),
    /// A successor takes its sockets, and it finishes its connections.
    Replace {
        why: String,
    },
}

impl Pool {
    /// What [`Pool::reload`] would do to every worker there is to be, by number. HAProxy is asked whether it would run.
    pub async fn foresee(
        &self,
        config: &Config,
        servers: &Servers,
    ) -> Result<Vec<(usize, Foreseen)>, Error> {
        let have = (0..config.workers.cpus.len()).map(|worker| {
            let slot = self.slots.get(worker);
            slot.map(|slot| slot.sockets.clone()).unwrap_or_default()
        });
        let sets = complete_all(&keys(config), have)?;
        let drafts = draft(config, servers, &sets).await?;
        let foreseen = drafts.iter().enumerate().map(|(worker, (_, order))| {
            let slot = self.slots.get(worker).filter(|slot| slot.active);
            let before = slot.map(|slot| slot.handle.snapshot());
            let foreseen = match before {
                None => replace("there is no such worker yet"),
                Some(it) if it.stage != Stage::Running => replace("it does not run"),
                Some(it) if it.generation != Some(order.launch.generation) => {
                    replace("its configuration or a certificate is another")
                }
                Some(_) => Foreseen::Unchanged,
            };
            (worker, foreseen)
        });
        Ok(foreseen.collect())
    }
}

fn replace(why: &str) -> Foreseen {
    Foreseen::Replace {
        why: why.to_owned(),
    }
}
