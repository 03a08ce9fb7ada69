//! The list of all crates in the program for programs that look for vulnerable ones: `CycloneDX` 1.5.

use super::Release;
use super::notices::{Package, packages};
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

pub(super) fn write(release: &Release) -> Result<PathBuf> {
    let file = release
        .into
        .join(format!("ober-{}.cdx.json", release.version));
    fs::write(&file, text(&release.version, &packages()?))
        .with_context(|| format!("write {}", file.display()))?;
    Ok(file)
}

pub(super) fn text(version: &str, packages: &BTreeSet<Package>) -> String {
    let components: Vec<String> = packages.iter().map(component).collect();
    format!(
        "{{\n  \"bomFormat\": \"CycloneDX\",\n  \"specVersion\": \"1.5\",\n  \"version\": 1,\n  \"metadata\": {{\n    \
         \"component\": {{ \"type\": \"application\", \"name\": \"ober\", \"version\": \"{version}\" }}\n  }},\n  \
         \"components\": [\n{}\n  ]\n}}\n",
        components.join(",\n")
    )
}

/// Names, versions and licences of crates hold no letter that JSON writes otherwise.
fn component(package: &Package) -> String {
    let Package {
        name,
        version,
        licence,
    } = package;
    // Older packages write a slash for OR.
    let licence: Vec<&str> = licence.split('/').map(str::trim).collect();
    format!(
        "    {{ \"type\": \"library\", \"name\": \"{name}\", \"version\": \"{version}\", \"purl\": \
         \"pkg:cargo/{name}@{version}\", \"licenses\": [{{ \"expression\": \"{}\" }}] }}",
        licence.join(" OR ")
    )
}
