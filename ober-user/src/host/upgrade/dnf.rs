//! What dnf says. It was made from its manual: no machine of its kind was at hand to try it on.

use super::{Offer, Package};

/// One line a package: name and version.
pub(super) const INSTALLED: [&str; 6] = [
    "rpm",
    "--query",
    "--queryformat",
    "%{NAME} %{EVR}\\n",
    "haproxy",
    "ober",
];
/// The same of the versions that would be installed. Other than `check-update` it succeeds whether there are any or not.
pub(super) const UPGRADES: [&str; 10] = [
    "dnf",
    "--quiet",
    "--refresh",
    "repoquery",
    "--upgrades",
    // Of each package that which would be installed: their order is not that of the versions.
    "--latest-limit=1",
    "--queryformat",
    "%{name} %{evr}\\n",
    "haproxy",
    "ober",
];

pub(super) fn offers(installed: &str, upgrades: &str) -> Vec<Offer> {
    let version = |text: &str, package: Package| {
        // Of several versions the last is the newest.
        let mut lines = text.lines().rev();
        let found = lines.find_map(|line| line.strip_prefix(package.name())?.strip_prefix(' '))?;
        // An epoch of 0 is written by one of the two and left out by the other.
        let found = found.trim();
        Some(found.strip_prefix("0:").unwrap_or(found).to_owned())
    };
    let find = |package| {
        let (installed, candidate) = (version(installed, package)?, version(upgrades, package)?);
        (installed != candidate).then_some(Offer {
            package,
            installed,
            candidate,
        })
    };
    Package::ALL.into_iter().filter_map(find).collect()
}
