//! `ober-user upgrade`, with a repository of apt on the machine's own disk.

use super::restart::under_load;
use crate::machine::node::Node;
use crate::machine::packages::Packages;
use crate::machine::serving;
use anyhow::{Result, ensure};
use std::time::Duration;

const LIMIT: Duration = Duration::from_mins(8);
/// apt, the trial of the new program and dpkg fit into it, in seconds.
const LOAD: u32 = 150;
/// Gives the packages in a directory the names that apt expects, and writes what it needs to know of them.
const INDEX: &str = "cd /srv/repository && for f in *.deb; do \
    n=$(dpkg-deb --show --showformat='${Package}_${Version}_${Architecture}.deb' $f); [ $f = $n ] || mv $f $n; done; \
    for f in *.deb; do dpkg-deb -f $f; echo \"Filename: ./$f\"; echo \"Size: $(stat -c %s $f)\"; \
    echo \"SHA256: $(sha256sum $f | cut -d ' ' -f 1)\"; echo; done >Packages";
/// A package whose program understands the configuration and cannot serve.
const BROKEN: &str = "cd /srv && dpkg-deb -R next.deb broken && \
    sed -i 's/^Version:.*/Version: 99-1/' broken/DEBIAN/control && rm -f broken/DEBIAN/md5sums && \
    printf '#!/bin/sh\\ncase \"$*\" in *validate*) exit 0;; *) exit 1;; esac\\n' >broken/usr/bin/ober-user && \
    dpkg-deb --nocheck -b broken repository/broken.deb";
const VERSION: &str = "dpkg-query -W -f '${Version}' ober";

pub(super) fn upgraded(node: &mut Node, packages: &Packages) -> Result<String> {
    node.run("mkdir -p /srv/repository /root/sources; mv /etc/apt/sources.list* /root/sources/; mkdir /etc/apt/sources.list.d")?;
    let source = b"deb [trusted=yes] file:/srv/repository ./\n";
    node.put("/etc/apt/sources.list.d/own.list", source)?;
    node.bring(packages.first(), "/srv/repository/first.deb")?;
    node.run_within(INDEX, LIMIT)?;
    let none = node.ask_within("ober-user upgrade --check-only", LIMIT)?;
    ensure!(
        none.status == 0,
        "with nothing newer: {} {}",
        none.status,
        none.output
    );
    node.bring(&packages.next()?, "/srv/next.deb")?;
    node.run("cp /srv/next.deb /srv/repository/")?;
    node.run_within(INDEX, LIMIT)?;
    let some = node.ask_within("ober-user upgrade --check-only", LIMIT)?;
    ensure!(
        some.status == 4 && some.output.contains("ober: "),
        "{} {}",
        some.status,
        some.output
    );
    let before = node.run(VERSION)?;
    let said = under_load(node, "ober-user upgrade", LOAD)?;
    let now = node.run(VERSION)?;
    ensure!(before != now, "the version is still {before}");
    node.run_within(BROKEN, LIMIT)?;
    node.run_within(INDEX, LIMIT)?;
    let back = node.ask_within("ober-user upgrade", LIMIT)?;
    ensure!(
        back.status == 1 && back.output.contains("is back"),
        "a program that does not serve: {} {}",
        back.status,
        back.output
    );
    let after = node.run(VERSION)?;
    ensure!(after == now, "the version was {now} and is {after}");
    serving::answered(node)?;
    Ok(format!(
        "{before} to {now}: {said}; a package that does not serve was taken back"
    ))
}
