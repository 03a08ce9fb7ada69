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
use crate::host::{Error, Host, parts::packages::LOCK, platform::Platform};

const PROGRAM: &str = "/usr/bin/ober-user";
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
        let before = self.served().await;
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

    /// The files of both versions, and the new program's word on the configuration. Changes nothing that runs.
    async fn prepare(&self, offer: &Offer) -> Result<(PathBuf, PathBuf), Error> {
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
        if offer.package == Package::Ober {
            self.attempt(&new).await?;
        }
        Ok((old, new))
    }

    /// Has the program of a package file read the configuration, without installing it.
    async fn attempt(&self, new: &Path) -> Result<(), Error> {
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
        let program = format!("{TRIAL}{PROGRAM}");
        let judged = match unpacked {
            Ok(_) => self.validate(&program).await,
            Err(error) => Err(error),
        };
        self.host.order(&["rm", "-rf", TRIAL]).await?;
        judged
    }

    async fn validate(&self, program: &str) -> Result<(), Error> {
        let words = [program, "--config", self.main, "validate"];
        self.host.order(&words).await.map(drop)
    }

    /// Installs a package file, puts it in service, and waits for the VIPs.
    async fn change(&self, package: Package, file: &Path, before: &Served) -> Result<(), Error> {
        let file = file.display().to_string();
        self.host.order_apart(&self.install(&file)).await?;
        // The package of Herr Ober has restarted the daemon itself.
        if package == Package::Haproxy && self.host.root.exists(self.main) {
            self.validate(PROGRAM).await?;
            if before.daemon {
                let words = [PROGRAM, "--config", self.main, "restart", "--workers"];
                self.host.order(&words).await?;
            }
        }
        self.wait(&before.vips).await
    }

    fn install<'f>(&self, file: &'f str) -> Vec<&'f str> {
        match self.manager {
            Manager::Apt => vec![
                "env",
                "DEBIAN_FRONTEND=noninteractive",
                "apt-get",
                "install",
                "--yes",
                "--allow-downgrades",
                "--no-install-recommends",
                "--option",
                LOCK,
                "--option",
                "APT::Get::AutomaticRemove=false",
                "--option",
                "Dpkg::Options::=--force-confold",
                file,
            ],
            Manager::Dnf => vec!["rpm", "--upgrade", "--oldpackage", "--replacepkgs", file],
        }
    }

    /// What is served now; nothing where no daemon runs.
    async fn served(&self) -> Served {
        let words = [PROGRAM, "--config", self.main, "status", "--json"];
        // It ends with a failure when every VIP is down, and answers all the same.
        let said = self.host.machine.run(&words).await;
        said.map(|it| served(&it.out)).unwrap_or_default()
    }

    async fn wait(&self, before: &BTreeSet<IpAddr>) -> Result<(), Error> {
        let mut missing = before.clone();
        for _ in 0..self.patience.rounds {
            let now = self.served().await;
            missing = before.difference(&now.vips).copied().collect();
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

/// What is served.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Served {
    /// Does a daemon answer?
    pub(super) daemon: bool,
    pub(super) vips: BTreeSet<IpAddr>,
}

/// What is needed of the answer of `status`, which may be a newer program's.
#[derive(Deserialize)]
struct Status {
    pid: Option<u32>,
    #[serde(default)]
    gate: Vec<Gate>,
}

#[derive(Deserialize)]
struct Gate {
    vip: IpAddr,
    state: String,
}

pub(super) fn served(said: &str) -> Served {
    let Ok(status) = serde_json::from_str::<Status>(said) else {
        return Served::default();
    };
    let is_served = |gate: &Gate| ["up", "falling"].contains(&gate.state.as_str());
    Served {
        daemon: status.pid.is_some(),
        vips: status
            .gate
            .into_iter()
            .filter(is_served)
            .map(|it| it.vip)
            .collect(),
    }
}
