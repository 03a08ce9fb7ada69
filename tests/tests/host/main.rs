//! `ober-user bootstrap`, `backend-setup` and `uninstall` as an operator runs them: on the image of a machine, and on this kernel in namespaces of the test's own, with
//! settings of the whole machine and `/etc` out of its reach.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what the helpers of a test expect is part of the test"
)]

mod backend;
mod faults;
mod firewall;
mod image;
mod living;
mod uninstall;

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::{Output, Stdio},
};

use ober_programs::Command;
use ober_tests::lab::program;

/// How a command ended.
#[derive(Debug)]
struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Ran {
    #[track_caller]
    fn says(&self, code: i32, words: &[&str]) {
        let all = format!("{}{}", self.out, self.err);
        assert_eq!(self.code, code, "{all}");
        for word in words {
            assert!(all.contains(word), "{word:?} is not in: {all}");
        }
    }
}

/// `ober-user bootstrap` without a terminal.
fn bootstrap(arguments: &[&str]) -> Command {
    ober("bootstrap", arguments)
}

/// A command without a terminal.
fn ober(verb: &str, arguments: &[&str]) -> Command {
    let mut command = Command::own(program("ober-user").unwrap());
    command
        .arg(verb)
        .args(arguments)
        .env_remove("OBER_CONFIG")
        .env_remove("RUST_LOG")
        .stdin(Stdio::null());
    command
}

/// The files of a machine that was just installed.
struct Image {
    directory: tempfile::TempDir,
}

impl Image {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        for path in ["etc/sysctl.d", "var/lib", "usr/lib"] {
            fs::create_dir_all(directory.path().join(path)).unwrap();
        }
        let image = Self { directory };
        let release = "ID=debian\nVERSION_ID=\"12\"\n";
        fs::write(image.at("etc/os-release"), release).unwrap();
        image
    }

    fn at(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = bootstrap(arguments);
        command.arg("--root").arg(self.directory.path());
        command
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        self.command(arguments).output().unwrap().into()
    }

    /// Every file with owner, mode and text.
    fn whole(&self) -> BTreeMap<PathBuf, String> {
        let mut found = BTreeMap::new();
        walk(self.directory.path(), &mut found);
        found
    }
}

fn walk(directory: &Path, found: &mut BTreeMap<PathBuf, String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let facts = fs::symlink_metadata(&path).unwrap();
        let text = if facts.is_file() {
            fs::read_to_string(&path).unwrap()
        } else {
            String::new()
        };
        let (mode, user, group) = (facts.permissions().mode(), facts.uid(), facts.gid());
        found.insert(path.clone(), format!("{mode:o} {user}:{group} {text}"));
        if facts.is_dir() {
            walk(&path, found);
        }
    }
}
