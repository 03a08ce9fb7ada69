//! Both ends of `cargo xtask vm`: `/init` of a machine with another kernel, and the clients outside it. Every check
//! is one line, `ok NAME` or `FAILED NAME: WHY`, and the lines are counted by the command that started both.

mod boot;
mod devices;
mod inside;
mod node;
mod outside;
mod vrf;

use anyhow::{Result, bail};
use std::process::ExitCode;

fn main() -> ExitCode {
    if std::process::id() == 1 {
        inside::run();
    }
    match std::env::args().nth(1).as_deref() {
        Some("outside") => end(outside::run()),
        _ => end(usage()),
    }
}

fn usage() -> Result<()> {
    bail!("this is the guest of `cargo xtask vm`; it is started by it")
}

fn end(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Prints how a check went.
fn check(name: &str, result: Result<()>) {
    match result {
        Ok(()) => println!("ok {name}"),
        Err(error) => {
            // A verifier's log has many lines, and the counting command shows only lines that begin with a word it knows.
            for (place, line) in format!("{error:#}").lines().enumerate() {
                println!(
                    "{} {line}",
                    if place == 0 {
                        format!("FAILED {name}:")
                    } else {
                        "note".into()
                    }
                );
            }
        }
    }
}
