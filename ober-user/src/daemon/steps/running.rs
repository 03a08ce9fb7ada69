//! The steps of a change while the daemon runs. The way back is the same with old and new exchanged.

use std::{collections::BTreeSet, mem, net::IpAddr, path::Path};

use super::Steps;
use crate::{
    announce::addresses::{self, Noted},
    backends::{Backends, Ready, server::Servers},
    config::Config,
    daemon::{Daemon, files::Files, kernel, membership},
    dataplane,
    haproxy::{Pool, Report},
    lists::{self, AccessLists},
    plan::Step,
    system::store::Batch,
};

/// One direction of a change.
pub(crate) struct Direction<'c> {
    pub(crate) daemon: &'c Daemon,
    pub(crate) pool: &'c mut Pool,
    pub(crate) from: &'c Config,
    pub(crate) to: &'c Config,
    /// The lists of the services so far, of which `lists` may lack some.
    pub(crate) was: &'c AccessLists,
    pub(crate) lists: &'c mut AccessLists,
    pub(crate) filling: Filling,
    pub(crate) servers: &'c Servers,
    pub(crate) withdrawn: BTreeSet<IpAddr>,
    /// The files to commit at the end; `None`: there is nothing to commit.
    pub(crate) commit: Option<Commit<'c>>,
    pub(crate) report: Report,
}

/// Where the entries of the lists come from.
pub(crate) enum Filling {
    /// From names that were resolved before.
    Preview(lists::Preview),
    /// From their sources, with the earlier addresses of names: the way back.
    Recalled,
    /// The lists have them.
    Done,
}

/// Files written beside their places.
pub(crate) struct Commit<'c> {
    pub(crate) files: Files,
    pub(crate) backends: &'c mut Backends,
    pub(crate) ready: Ready,
    pub(crate) pending: Batch,
}

impl Steps for Direction<'_> {
    async fn take(&mut self, step: &Step) -> anyhow::Result<()> {
        let announcer = &self.daemon.announcer;
        match step {
            Step::Withdraw { vips } => {
                self.withdrawn.extend(vips);
                let left = without(self.from, &self.withdrawn);
                let sockets = self.pool.sockets();
                announcer.withdraw(vips, &left, &sockets).await
            }
            Step::Open => announcer.prepare(self.to).await,
            Step::Speak => announcer.speak(self.to).await,
            Step::Attach { .. } => {
                // The mode is that of the new configuration, on the interfaces of both.
                let mut plane = self.daemon.plane();
                let both = reaching(self.to, self.from, plane.directory());
                kernel::attach(&both, &mut plane)
            }
            Step::TakeOut { .. } => {
                let staying = staying(self.from, self.to);
                self.daemon.put(&staying, self.was, self.pool)
            }
            Step::Confine { workers } => {
                self.daemon.confine(*workers);
                Ok(())
            }
            Step::Workers => {
                self.report = self.pool.reload(self.to, self.servers).await?;
                Ok(())
            }
            Step::Lists { .. } => {
                self.fill().await;
                Ok(())
            }
            Step::Services => self.services().await,
            Step::Detach { .. } => kernel::attach(self.to, &mut self.daemon.plane()),
            Step::AddAddresses { .. } => addresses::add(self.to, Noted::May).await.map(drop),
            Step::RemoveAddresses { .. } => {
                let keep: BTreeSet<IpAddr> = self.to.vips().collect();
                addresses::remove(self.to, &keep).await.map(drop)
            }
            Step::Guard => announcer.guard(self.to, &self.pool.sockets()).await,
            Step::Commit => self.commit(),
        }
    }
}

impl Direction<'_> {
    /// Fills the lists, once: in the first step that needs them.
    pub(crate) async fn fill(&mut self) {
        let errors = match mem::replace(&mut self.filling, Filling::Done) {
            Filling::Preview(preview) => self.lists.put(preview),
            Filling::Recalled => self.lists.recall().await,
            Filling::Done => return,
        };
        for error in errors {
            tracing::warn!(target: "ober_user::lists", %error, "fill an access list; it keeps its entries");
        }
    }

    async fn services(&mut self) -> anyhow::Result<()> {
        // Entries may stay while the sources of a list change.
        self.fill().await;
        self.daemon.put(self.to, self.lists, self.pool)?;
        let mut plane = self.daemon.plane();
        // With the programs, and before a session with a new neighbour begins: BFD would take a neighbour whose packets it does
        // not accept for down.
        let routers = kernel::routers(self.to, &plane.maps, self.lists)?;
        self.daemon.announcer.routers(routers);
        let both = reaching(self.to, self.from, plane.directory());
        kernel::attach(&both, &mut plane)
    }

    fn commit(&mut self) -> anyhow::Result<()> {
        if let Some(commit) = self.commit.take() {
            let servers = commit.pending.place()?;
            // Last: a node that loses power in between starts with the configuration it had.
            let files = commit.files.place()?;
            commit.backends.commit(commit.ready, servers);
            files.keep();
        }
        Ok(())
    }
}

impl Daemon {
    fn put(&self, config: &Config, access_lists: &AccessLists, pool: &Pool) -> anyhow::Result<()> {
        let mut members = membership::members(&self.members);
        let mut plane = self.plane();
        kernel::put_services(config, &mut plane, access_lists, &pool.sockets())?;
        members.admit(config.workers.cpus.len());
        // A new service starts with an empty ring.
        plane.set_ring(&members.ring());
        Ok(())
    }

    fn confine(&self, workers: usize) {
        let mut members = membership::members(&self.members);
        members.admit(workers);
        self.plane().set_ring(&members.ring());
    }
}

/// The new configuration on the interfaces of both; an interface of the old one alone counts if the programs are attached
/// there. On the way back the old one is the refused one, maybe refused by such an interface.
fn reaching(new: &Config, old: &Config, pins: &Path) -> Config {
    let mut both = new.clone();
    for name in &old.node.interfaces {
        if !new.node.interfaces.contains(name)
            && nix::net::if_::if_nametoindex(name.as_str()).is_ok()
            && dataplane::holds(pins, name).known() != Some(false)
        {
            both.node.interfaces.push(name.clone());
        }
    }
    both
}

/// A configuration without these VIPs.
fn without(config: &Config, vips: &BTreeSet<IpAddr>) -> Config {
    let mut left = config.clone();
    for service in &mut left.services {
        service.vips.retain(|vip| !vips.contains(vip));
    }
    left
}

/// The old configuration without the services that go.
fn staying(old: &Config, new: &Config) -> Config {
    let mut staying = old.clone();
    for service in &mut staying.services {
        let Some(next) = new.services.iter().find(|next| next.name == service.name) else {
            service.vips.clear();
            continue;
        };
        service.vips.retain(|vip| next.vips.contains(vip));
        service.listeners.retain(|listener| {
            next.listeners
                .iter()
                .any(|other| other.port == listener.port)
        });
    }
    staying
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{config::Env, plan::State};

    fn config(services: &[(&str, &str, &[u16])]) -> Config {
        let services = services.iter().map(|(name, vips, ports)| {
            let listener = |port: &u16| format!("{{ port = {port}, access = 'open' }}");
            let listeners = ports.iter().map(listener).collect::<Vec<_>>().join(", ");
            format!(
                "[[services]]\nname='{name}'\nvips={vips}\nbackend='rgw'\nlisteners=[{listeners}]\n"
            )
        });
        let text = format!(
            "[node]\ninterfaces=['in0']\n[workers]\nhaproxy='/usr/sbin/haproxy'\n[backends.rgw]\n\
             servers=['10.0.0.1:80']\n{}",
            services.collect::<String>()
        );
        Config::parse(&text, Path::new("/nowhere"), &Env::default()).expect(&text)
    }

    #[test]
    fn services_that_the_plan_does_not_remove_stay_in_the_kernel() {
        let old = config(&[
            ("one", "['192.0.2.1', '192.0.2.2']", &[80, 81]),
            ("two", "['192.0.2.3']", &[80]),
            ("three", "['192.0.2.4']", &[80]),
        ]);
        let new = config(&[
            ("one", "['192.0.2.2', '192.0.2.5']", &[81, 82]),
            ("other", "['192.0.2.3']", &[80]),
            ("three", "['192.0.2.4']", &[443]),
        ]);
        let (from, to) = (State::of(&old), State::of(&new));
        let mut planned = from.clone();
        for step in crate::plan::steps(&from, &to) {
            if matches!(step, Step::TakeOut { .. }) {
                planned = planned.after(&step, &to);
            }
        }
        let staying = State::of(&staying(&old, &new));
        assert_eq!(staying.services, planned.services);
        assert_eq!(staying.services.len(), 1);
    }
}
