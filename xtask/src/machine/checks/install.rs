//! The package on a Debian that never had it.

use crate::machine::node::Node;
use crate::machine::packages::Packages;
use crate::machine::serving;
use anyhow::{Result, ensure};

pub(super) fn install(node: &mut Node, packages: &Packages) -> Result<String> {
    let took = serving::install(node, packages.first())?;
    let failed = node.run("systemctl list-units --failed --plain --no-legend")?;
    ensure!(failed.is_empty(), "units have failed: {failed}");
    let state =
        node.run("systemctl show -p ActiveState,Result,ConditionResult,UnitFileState ober")?;
    for expected in [
        "ActiveState=inactive",
        "Result=success",
        "ConditionResult=no",
        "UnitFileState=enabled",
    ] {
        ensure!(
            state.lines().any(|line| line == expected),
            "without a configuration the unit has not {expected}: {state}"
        );
    }
    let changed = node.run("dpkg --verify ober")?;
    ensure!(
        changed.is_empty(),
        "files are not those of the package: {changed}"
    );
    names(node)?;
    let started = serving::serve(node)?;
    Ok(format!(
        "dpkg {:.1} s, without a configuration the unit waits, start to served {:.1} s",
        took.as_secs_f32(),
        started.as_secs_f32()
    ))
}

/// Both names of the program are there, and what explains and completes them.
fn names(node: &mut Node) -> Result<()> {
    let [short, long] = ["ober --version", "ober-user --version"].map(|words| node.run(words));
    let (short, long) = (short?, long?);
    ensure!(short == long, "ober is {short}, and ober-user is {long}");
    for file in [
        "/usr/share/man/man1/ober.1",
        "/usr/share/man/man1/ober-user-status.1",
        "/usr/share/bash-completion/completions/ober",
        "/usr/share/ober/ober.example.toml",
        "/usr/share/doc/ober/NOTICES",
    ] {
        node.run(&format!("test -s {file}"))?;
    }
    let owner = node.run("stat -c '%a %U:%G' /etc/ober /var/lib/ober")?;
    ensure!(
        owner == "750 root:ober\n700 root:root",
        "/etc/ober and /var/lib/ober are {owner}"
    );
    Ok(())
}
