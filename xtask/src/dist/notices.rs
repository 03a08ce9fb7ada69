//! The licences of all that is in the program: each crate with the texts that its authors ship. A text that several crates
//! ship stands once.

use super::tree::inside;
use crate::shell::{cargo, read};
use anyhow::{Context, Result, ensure};
use ober_programs::cargo_home;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Beginnings of the names of files that hold a licence or a notice, in lower case.
const NAMES: [&str; 5] = ["licen", "copying", "copyright", "notice", "unlicense"];
const HEAD: &str = "\
ober-user holds code of these packages, each under one of the licences behind its name. Their texts follow, each with the
packages that ship it. The Rust standard library is in it as well (MIT OR Apache-2.0, https://github.com/rust-lang/rust).

";

/// A crate in the program.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Package {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) licence: String,
}

/// The text of the file NOTICES.
pub(super) fn all() -> Result<String> {
    let packages = packages()?;
    let sources = inside(&cargo_home().join("registry/src"))?;
    let mut lines = Vec::new();
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in &packages {
        let name = format!("{} {}", package.name, package.version);
        lines.push(format!("{name}: {}", package.licence));
        for licence in licences(&sources, package)? {
            texts.entry(licence).or_default().push(name.clone());
        }
    }
    let mut texts: Vec<(Vec<String>, String)> = texts
        .into_iter()
        .map(|(licence, names)| (names, licence))
        .collect();
    texts.sort();
    for (names, licence) in texts {
        lines.push(format!("\n\n==== {}\n\n{licence}", names.join(", ")));
    }
    Ok(format!("{HEAD}{}\n", lines.join("\n")))
}

/// The crates of others in both halves of the program.
pub(super) fn packages() -> Result<BTreeSet<Package>> {
    let mut tree = cargo();
    tree.args(["tree", "--locked", "--edges", "normal", "--prefix", "none"])
        .args(["--package", "ober-user", "--package", "ober-ebpf"])
        .args(["--target", "x86_64-unknown-linux-gnu"])
        .args(["--format", "{p}|{l}"]);
    let packages = listed(&read(&mut tree)?);
    ensure!(!packages.is_empty(), "cargo tree names no package");
    Ok(packages)
}

/// Reads the lines of `cargo tree`. Our own packages have a directory behind the version; a repeated one has `(*)`.
pub(super) fn listed(said: &str) -> BTreeSet<Package> {
    let package = |line: &str| {
        let (package, licence) = line.trim_end_matches(" (*)").split_once('|')?;
        let mut words = package.split(' ');
        let (name, version) = (words.next()?, words.next()?.strip_prefix('v')?);
        let is_ours = words.next().is_some_and(|more| more.starts_with("(/"));
        (!is_ours).then(|| Package {
            name: name.to_owned(),
            version: version.to_owned(),
            licence: licence.to_owned(),
        })
    };
    said.lines().filter_map(package).collect()
}

/// The texts that a package ships.
fn licences(sources: &[PathBuf], package: &Package) -> Result<Vec<String>> {
    let name = format!("{}-{}", package.name, package.version);
    let mut places = sources.iter().map(|source| source.join(&name));
    let place = places.find(|place| place.is_dir()).with_context(|| {
        format!("find the source of {name} in cargo's registry: `cargo fetch --locked` brings it")
    })?;
    let files = inside(&place)?
        .into_iter()
        .filter(|file| is_licence(file) && file.is_file());
    files
        .map(|file| {
            let text = fs::read(&file).with_context(|| format!("read {}", file.display()))?;
            let text = String::from_utf8_lossy(&text).replace('\r', "");
            Ok(text.trim_end().to_owned())
        })
        .collect()
}

fn is_licence(file: &Path) -> bool {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let name = name.to_lowercase();
    NAMES.iter().any(|beginning| name.starts_with(beginning))
}
