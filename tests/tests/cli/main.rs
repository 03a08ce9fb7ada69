//! The command line, run as a user runs it: without a daemon, with a played one, and on maps that a daemon left.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what the tests share is part of them"
)]

mod bad_input;
mod config;
mod fake_daemon;
mod pins;
mod slow;
mod validate;
mod words;

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::{Output, Stdio},
};

use ober_programs::Command;
use ober_tests::lab::program;

/// What a command did.
#[derive(Debug)]
struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl Ran {
    fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
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

/// `ober-user` with nothing from the environment that could change what it says.
fn ober(args: &[&str]) -> Command {
    let mut command = Command::own(program("ober-user").unwrap());
    command
        .args(args)
        .env_remove("OBER_CONFIG")
        .env_remove("NO_COLOR")
        .env_remove("RUST_LOG")
        .stdin(Stdio::null());
    command
}

fn run(args: &[&str]) -> Ran {
    ober(args).output().unwrap().into()
}

fn run_with_input(args: &[&str], input: impl AsRef<[u8]>) -> Ran {
    let mut command = ober(args);
    let pipes = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = pipes.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_ref()).unwrap();
    drop(stdin);
    child.wait_with_output().unwrap().into()
}

/// A directory with a configuration of an instance that no daemon runs.
struct Node {
    directory: tempfile::TempDir,
    instance: String,
}

impl Node {
    fn new(name: &str) -> Self {
        Self::with(name, "")
    }

    fn with(name: &str, more: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let instance = format!("{name}-{}", std::process::id());
        let text = format!(
            r#"
[node]
instance = "{instance}"
interfaces = ["lo"]
state = "state"
run = "run"
metrics = "127.0.0.1:18404"

[limits]
ipv4_pages = 16
ipv6_hosts = 256
ipv6_prefixes = 8

[[services]]
name = "s3"
vips = ["192.0.2.10", "2001:db8::10"]
backend = "rgw"

[[services.listeners]]
port = 80
access = "frontend-http"

[backends.rgw]
servers = ["127.0.0.1:9000"]
{more}"#
        );
        std::fs::write(directory.path().join("ober.toml"), text).unwrap();
        Self {
            directory,
            instance,
        }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn config(&self) -> PathBuf {
        self.path().join("ober.toml")
    }

    fn args<'a>(&self, config: &'a mut String, args: &[&'a str]) -> Vec<&'a str> {
        *config = self.config().display().to_string();
        ["--config", config]
            .into_iter()
            .chain(args.iter().copied())
            .collect()
    }

    fn run(&self, args: &[&str]) -> Ran {
        let mut config = String::new();
        run(&self.args(&mut config, args))
    }

    fn run_with_input(&self, args: &[&str], input: impl AsRef<[u8]>) -> Ran {
        let mut config = String::new();
        run_with_input(&self.args(&mut config, args), input)
    }
}
