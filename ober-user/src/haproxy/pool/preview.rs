//! What a reload would do to each worker.

use super::{Pool, complete_all};
use crate::{
    backends::server::Servers,
    config::Config,
    haproxy::{Error, live::Comparison, prepare::draft, sockets::keys},
};

/// What a reload would do to a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Preview {
    Unchanged,
    /// It is changed while it runs, by these commands.
    Live(Vec<String>),
    /// A successor takes its sockets, and it finishes its connections.
    Replace {
        why: String,
    },
}

impl Pool {
    /// What [`Pool::reload`] would do to each configured worker, by number. HAProxy checks the configuration.
    pub async fn preview(
        &self,
        config: &Config,
        servers: &Servers,
    ) -> Result<Vec<(usize, Preview)>, Error> {
        let have = (0..config.workers.cpus.len()).map(|worker| {
            let slot = self.slots.get(worker);
            slot.map(|slot| slot.sockets.clone()).unwrap_or_default()
        });
        let sets = complete_all(&keys(config), have)?;
        let drafts = draft(config, servers, &sets).await?;
        let mut preview = Vec::new();
        for (worker, (text, order)) in drafts.iter().enumerate() {
            let change = match self.slots.get(worker) {
                Some(slot) => slot.change(text, order).await,
                None => Comparison::Replace("there is no such worker yet".to_owned()),
            };
            let change = match change {
                Comparison::Unchanged => Preview::Unchanged,
                Comparison::Live(commands) => {
                    Preview::Live(commands.iter().map(ToString::to_string).collect())
                }
                Comparison::Replace(why) => Preview::Replace { why },
            };
            preview.push((worker, change));
        }
        Ok(preview)
    }
}
