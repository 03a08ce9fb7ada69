//! Checks the dependencies for advisories, in a copy of the `RustSec` database, because CI reaches the package registry only.
//! Without a copy it says so.

use crate::shell::{cargo, command, read, run, target};
use anyhow::{Context, Result, ensure};
use ober_programs::GIT;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

/// The variable with the path of the copy: a clone of <https://github.com/RustSec/advisory-db>.
const VARIABLE: &str = "OBER_ADVISORIES";
/// Where the copy is looked for otherwise, below cargo's home.
const DIRECTORY: &str = "advisory-db";

/// Fails for an advisory and for an unreadable copy; not when there is no copy.
pub(crate) fn check() -> Result<()> {
    let Some(copy) = copy()? else {
        println!(
            "advisories: NOT CHECKED, there is no copy of the database: clone RustSec's advisory-db to {}, or name a \
             clone in {VARIABLE}",
            usual().display()
        );
        return Ok(());
    };
    let date = read(
        command(&GIT)
            .arg("-C")
            .arg(&copy)
            .args(["log", "-1", "--format=%cs"]),
    )
    .with_context(|| format!("ask the age of the advisories at {}", copy.display()))?;
    println!("advisories: of {}, {}", date.trim(), copy.display());
    let work = target().join("advisories");
    fs::create_dir_all(&work).with_context(|| format!("make {}", work.display()))?;
    let settings = work.join("deny.toml");
    fs::write(&settings, configuration(&copy, &work.join("copies")))
        .with_context(|| format!("write {}", settings.display()))?;
    let mut deny = cargo();
    deny.args(["deny", "--config"]).arg(&settings);
    run(deny.args(["check", "advisories"]))
}

fn usual() -> PathBuf {
    ober_programs::cargo_home().join(DIRECTORY)
}

fn copy() -> Result<Option<PathBuf>> {
    let Some(named) = env::var_os(VARIABLE) else {
        return Ok(Some(usual()).filter(|copy| copy.is_dir()));
    };
    let named = PathBuf::from(named);
    ensure!(
        named.is_absolute() && named.is_dir(),
        "{VARIABLE} names {}, which is no directory by its whole path",
        named.display()
    );
    Ok(Some(named))
}

/// cargo-deny clones from the copy as it would over the network.
fn configuration(copy: &Path, clones: &Path) -> String {
    format!(
        "[graph]\nall-features = true\n\n[advisories]\ndb-urls = [\"file://{}\"]\ndb-path = \"{}\"\n\
         git-fetch-with-cli = true\nunmaintained = \"workspace\"\nyanked = \"allow\"\n",
        copy.display(),
        clones.display()
    )
}
