//! What apt says.

use super::{Offer, Package};

/// What apt says of a package that it knows no version of.
const NONE: &str = "(none)";

/// From the answer of `apt-cache policy`: packages that are installed in another version than the candidate.
pub(super) fn offers(said: &str) -> Vec<Offer> {
    let find = |package: Package| {
        let head = format!("{}:", package.name());
        let mut lines = said.lines().skip_while(|line| *line != head).skip(1);
        let mut field = |name: &str| {
            let value = lines.next()?.trim().strip_prefix(name)?.trim();
            (value != NONE).then(|| value.to_owned())
        };
        let (installed, candidate) = (field("Installed:")?, field("Candidate:")?);
        (installed != candidate).then_some(Offer {
            package,
            installed,
            candidate,
        })
    };
    Package::ALL.into_iter().filter_map(find).collect()
}

/// How a version stands in the name of a package file.
pub(super) fn in_file_name(version: &str) -> String {
    version.replace('%', "%25").replace(':', "%3a")
}
