//! The units that are installed: systemd understands them, they leave the daemon little it could do to the machine, and they are
//! what the messages call them.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails by it, in its helpers as well"
)]
#![expect(
    clippy::disallowed_methods,
    reason = "a test reads the files of the package"
)]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use ober_programs::SYSTEMD_ANALYZE;

const UNITS: [&str; 3] = ["ober.service", "ober@.service", "ober-workers.slice"];
/// Tenths of what `systemd-analyze security` calls the exposure; a service without any restriction has 9.6.
const EXPOSURE: u32 = 40;

fn home() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("package")
}

fn unit(name: &str) -> String {
    fs::read_to_string(home().join("systemd").join(name)).unwrap()
}

/// What systemd reads: without comments.
fn settings(name: &str) -> Vec<String> {
    let text = unit(name);
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(str::to_owned).collect()
}

/// A directory with the units, which start the program that was built here: that of the package is not installed.
fn built() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for name in UNITS {
        let text = unit(name).replace("/usr/bin/ober-user", env!("CARGO_BIN_EXE_ober-user"));
        fs::write(directory.path().join(name), text).unwrap();
    }
    directory
}

#[test]
fn systemd_understands_every_line_of_the_units() {
    let units = built();
    for name in UNITS {
        let file = units.path().join(name);
        let mut verify = SYSTEMD_ANALYZE.args(["verify", "--man=no"]);
        let said = verify.arg(file).output().unwrap();
        let text = String::from_utf8_lossy(&said.stderr);
        assert!(said.status.success() && text.is_empty(), "{name}: {text}");
    }
}

#[test]
fn the_daemon_may_do_little_to_the_machine() {
    let units = built();
    for name in ["ober.service", "ober@.service"] {
        let threshold = format!("--threshold={EXPOSURE}");
        let mut security = SYSTEMD_ANALYZE.args(["security", "--offline=yes", &threshold]);
        let said = security.arg(units.path().join(name)).output().unwrap();
        let text = String::from_utf8_lossy(&said.stdout);
        assert!(text.contains("Overall exposure level"), "{name}: {said:?}");
        assert!(said.status.success(), "{name}: {text}");
    }
}

#[test]
fn a_further_instance_differs_from_the_first_one_only_by_its_name_and_its_file() {
    let further = settings("ober@.service").join("\n");
    let first = further
        .replace("ober-user --config /etc/ober/%i.toml", "ober-user")
        .replace("/etc/ober/%i.toml", "/etc/ober/ober.toml")
        .replace(", instance %i", "");
    assert_eq!(first, settings("ober.service").join("\n"));
}

#[test]
fn the_unit_grants_every_capability_that_the_daemon_asks_for() {
    let text = include_str!("../../ober-base/src/system/privilege.rs");
    let names = text.split(|letter: char| !letter.is_ascii_uppercase() && letter != '_');
    // For `bootstrap`, which no unit runs.
    let others = ["CAP_CHOWN", "CAP_DAC_OVERRIDE"];
    let wanted: BTreeSet<&str> = names
        .filter(|word| word.starts_with("CAP_") && !others.contains(word))
        .collect();
    let lines = settings("ober.service");
    let sets = lines
        .iter()
        .filter_map(|line| line.strip_prefix("CapabilityBoundingSet="));
    let granted: BTreeSet<&str> = sets.flat_map(str::split_whitespace).collect();
    assert!(wanted.len() > 5, "{wanted:?}");
    assert_eq!(wanted.difference(&granted).next(), None, "{granted:?}");
}

/// The sources of the program.
fn sources(directory: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else {
            found.push(fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn every_unit_that_a_message_names_is_installed() {
    let mut texts = Vec::new();
    sources(&home().join("../src"), &mut texts);
    let (mut named, mut commands) = (BTreeSet::new(), 0);
    for text in &texts {
        for (_, rest) in text
            .match_indices("systemctl ")
            .map(|(at, it)| text.split_at(at + it.len()))
        {
            let mut words = rest.split(|letter: char| letter.is_whitespace() || letter == '`');
            let (verb, unit) = (words.next().unwrap(), words.next().unwrap());
            if !["start", "stop", "restart", "reload"].contains(&verb) {
                continue;
            }
            commands += 1;
            // A name that the program puts in is that of a unit which reads the configuration at hand.
            if !unit.starts_with('{') {
                named.insert(unit.to_owned());
            }
        }
    }
    assert!(commands > 0, "no message has a command about a unit");
    for name in named {
        let file = home().join("systemd").join(format!("{name}.service"));
        assert!(file.is_file(), "{} is named by a message", file.display());
    }
}
