//! Newer packages of Herr Ober and HAProxy, and back where one does not serve.
//!
//! ```text
//! mod     packages, and what became of each, as data
//! apt     what apt says, without I/O; dnf: the same
//! keeper  the package files that lead back, in /var/cache/ober
//! make    one package after the other: try, install, wait for the VIPs, or back
//! ```
//! Nothing is installed before the file that leads back is on disk.

mod apt;
mod dnf;
mod keeper;
mod make;
#[cfg(test)]
mod tests;

use serde::Serialize;

pub use super::parts::packages::Manager;
use super::{Error, Host, platform::Platform};
pub use make::{Patience, make};

/// Packages whose upgrade concerns clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Package {
    Haproxy,
    Ober,
}

impl Package {
    /// In the order of their upgrades: the new program of Herr Ober is tried with the HAProxy that it will have.
    pub const ALL: [Self; 2] = [Self::Haproxy, Self::Ober];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Haproxy => "haproxy",
            Self::Ober => "ober",
        }
    }
}

/// A version that is installed, and the one that the package manager would install.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Offer {
    pub package: Package,
    pub installed: String,
    pub candidate: String,
}

/// What became of an offer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Became {
    /// Installed, and every VIP is served that was served before.
    Upgraded,
    /// Nothing was installed, and why.
    Refused(String),
    /// It was installed, and the old package is back.
    Back(String),
    /// It was installed, and the old package could not be put back.
    Stuck(String),
    /// One before it failed.
    NotTried,
}

impl Manager {
    /// How the names of its files end.
    const fn end(self) -> &'static str {
        match self {
            Self::Apt => ".deb",
            Self::Dnf => ".rpm",
        }
    }
}

/// The offers, after the lists of packages were read anew.
pub async fn offers<M: Platform>(host: &Host<M>, manager: Manager) -> Result<Vec<Offer>, Error> {
    match manager {
        Manager::Apt => {
            host.order(&["apt-get", "--quiet", "update"]).await?;
            let said = host
                .order(&["apt-cache", "policy", "haproxy", "ober"])
                .await?;
            Ok(apt::offers(&said))
        }
        Manager::Dnf => {
            let installed = host.ask(&dnf::INSTALLED).await.unwrap_or_default();
            let said = host.order(&dnf::UPGRADES).await?;
            Ok(dnf::offers(&installed, &said))
        }
    }
}
