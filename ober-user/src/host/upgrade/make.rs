//! One package after the other: try, install, wait for the VIPs, or back.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;

use super::{
    Became, Manager, Offer, Package,
    keeper::{self, CACHE},
};
use crate::host::{Error, Host, platform::Platform};

const PROGRAM: &str = "/usr/bin/ober-user";
/// What distributions have it as.
const HAPROXY: &str = "/usr/sbin/haproxy";
/// Where the new program is unpacked, to be tried before it is installed.
const TRIAL: &str = "/var/cache/ober/trial";

/// How long VIPs may need to be served again.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    pub rounds: u32,
    pub pace: Duration,
}

impl Default for Patience {
    /// A minute: a gate opens after `rise` good rounds, and a start may wait 5 s for names.
    fn default() -> Self {
        Self {
            rounds: 60,
            pace: Duration::from_secs(1),
        }
    }
}

/// The upgrade of one machine.
struct Upgrade<'a, M> {
    host: &'a Host<M>,
    manager: Manager,
    /// The configuration.
    main: &'a str,
    patience: Patience,
}

/// Takes the offers; those after one that fails are not tried.
pub async fn make<M: Platform>(
    host: &Host<M>,
    manager: Manager,
    main: &Path,
    offers: &[Offer],
    patience: Patience,
) -> Vec<Became> {
    let main = main.display().to_string();
    let upgrade = Upgrade {
        host,
        manager,
        main: &main,
        patience,
    };
    let mut all = Vec::new();
    for offer in offers {
        let failed = all.iter().any(|it| *it != Became::Upgraded);
        all.push(if failed {
            Became::NotTried
        } else {
            upgrade.one(offer).await
        });
    }
    all
}

impl<M: Platform> Upgrade<'_, M> {
    async fn one(&self, offer: &Offer) -> Became {
        let prepared = self.prepare(offer).await;
        let (old, new) = match prepared {
            Ok(both) => both,
            Err(error) => return Became::Refused(error.to_string()),
        };
        let before = self.seen().await;
        let why = match self.change(offer.package, &new, &before).await {
            Ok(()) => {
                // What cannot be removed now is removed by the next upgrade.
                if let Err(error) = keeper::tidy(&self.host.root, self.manager, offer) {
                    tracing::warn!(%error, "remove package files that lead back no more");
                }
                return Became::Upgraded;
            }
            Err(error) => error.to_string(),
        };
        match self.change(offer.package, &old, &before).await {
            Ok(()) => Became::Back(why),
            Err(error) => Became::Stuck(format!("{why}; and to go back: {error}")),
        }
    }

    /// The files of both versions, and the word of the new program, or of the new HAProxy, on the configuration. Changes nothing
    /// that runs.
    async fn prepare(&self, offer: &Offer) -> Result<(PathBuf, PathBuf), Error> {
        if offer.installed == offer.candidate {
            let Offer {
                package, installed, ..
            } = offer;
            return Err(Error::Command {
                command: format!("install {} {installed}", package.name()),
                why: "it is already installed".to_owned(),
            });
        }
        keeper::home(&self.host.root)?;
        let fetch = |version| keeper::fetch(self.host, self.manager, offer.package, version);
        let old = fetch(&offer.installed).await.map_err(|error| {
            let package = offer.package.name();
            let version = &offer.installed;
            Error::Command {
                command: format!("keep {package} {version}"),
                why: format!(
                    "{error}: without this file there is no way back; put it into {CACHE} and run this again, or have the package \
                     manager install {package} itself"
                ),
            }
        })?;
        let new = fetch(&offer.candidate).await?;
        self.attempt(offer.package, &new).await?;
        Ok((old, new))
    }

    /// Has the program of a package file judge the configuration, without installing it.
    async fn attempt(&self, package: Package, new: &Path) -> Result<(), Error> {
        if !self.host.root.exists(self.main) {
            return Ok(());
        }
        let file = new.display().to_string();
        self.host.order(&["rm", "-rf", TRIAL]).await?;
        let unpacked = match self.manager {
            Manager::Apt => {
                self.host
                    .order(&["dpkg-deb", "--extract", &file, TRIAL])
                    .await
            }
            Manager::Dnf => {
                let script = "mkdir \"$2\" && cd \"$2\" && rpm2cpio \"$1\" | cpio --extract --make-directories --quiet";
                self.host
                    .order(&["sh", "-c", script, "sh", &file, TRIAL])
                    .await
            }
        };
        let judged = match (unpacked, package) {
            (Ok(_), Package::Ober) => self.validate(&format!("{TRIAL}{PROGRAM}")).await,
            (Ok(_), Package::Haproxy) => self.validate_with_new_haproxy().await,
            (Err(error), _) => Err(error),
        };
        self.host.order(&["rm", "-rf", TRIAL]).await?;
        judged
    }

    async fn validate(&self, program: &str) -> Result<(), Error> {
        let words = [program, "--config", self.main, "validate"];
        self.host.order(&words).await.map(drop)
    }

    /// The configuration names HAProxy by the place of the one that is installed: the new one is put there, for `validate` alone.
    async fn validate_with_new_haproxy(&self) -> Result<(), Error> {
        let new = format!("{TRIAL}{HAPROXY}");
        // One that does not start may need libraries that come with it; it is asked once it is installed.
        if self.host.ask(&[&new, "-v"]).await.is_none() || !self.host.root.exists(HAPROXY) {
            return Ok(());
        }
        let script = "mount --bind \"$1\" \"$2\" && exec \"$3\" --config \"$4\" validate";
        let places = [&new, HAPROXY, PROGRAM, self.main];
        let words = [
            &["unshare", "--mount", "sh", "-c", script, "sh"],
            &places[..],
        ]
        .concat();
        self.host.order(&words).await.map(drop)
    }

    /// Installs a package file, puts it in service, and waits for the VIPs.
    async fn change(&self, package: Package, file: &Path, before: &Seen) -> Result<(), Error> {
        let file = file.display().to_string();
        self.host.order_whole(&self.manager.replace(&file)).await?;
        // The package of Herr Ober has restarted the daemon itself.
        if package == Package::Haproxy && self.host.root.exists(self.main) {
            self.validate(PROGRAM).await?;
            if before.runs {
                let words = [PROGRAM, "--config", self.main, "restart", "--workers"];
                self.host.order(&words).await?;
            }
        }
        self.wait(&before.served).await
    }

    /// What the daemon says, if one runs.
    async fn seen(&self) -> Seen {
        let words = [PROGRAM, "--config", self.main, "status", "--json"];
        // It ends with a failure when every VIP is down, and answers all the same.
        let said = self.host.machine.run(&words).await;
        said.map(|it| seen(&it.out)).unwrap_or_default()
    }

    async fn wait(&self, before: &BTreeSet<IpAddr>) -> Result<(), Error> {
        let mut missing = before.clone();
        for _ in 0..self.patience.rounds {
            let now = self.seen().await.served;
            missing = before.difference(&now).copied().collect();
            if missing.is_empty() {
                return Ok(());
            }
            tokio::time::sleep(self.patience.pace).await;
        }
        let names: Vec<String> = missing.iter().map(ToString::to_string).collect();
        let time = self.patience.pace * self.patience.rounds;
        Err(Error::Command {
            command: "ober-user status".to_owned(),
            why: format!("{} not served again within {time:?}", names.join(", ")),
        })
    }
}

/// What is needed of the answer of `status`, which may be a newer program's.
#[derive(Deserialize)]
struct Status {
    /// Of the daemon; `None`: none runs, and the answer is what it left in the kernel.
    pid: Option<u32>,
    #[serde(default)]
    gate: Vec<Gate>,
}

#[derive(Deserialize)]
struct Gate {
    vip: IpAddr,
    state: String,
}

/// Does a daemon run, and which VIPs are served?
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) runs: bool,
    pub(super) served: BTreeSet<IpAddr>,
}

pub(super) fn seen(said: &str) -> Seen {
    let status: Option<Status> = serde_json::from_str(said).ok();
    let runs = status.as_ref().is_some_and(|it| it.pid.is_some());
    let gates = status.into_iter().flat_map(|it| it.gate);
    let served = gates.filter(|it| ["up", "falling"].contains(&it.state.as_str()));
    Seen {
        runs,
        served: served.map(|it| it.vip).collect(),
    }
}
