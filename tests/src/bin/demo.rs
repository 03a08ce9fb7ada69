//! `cargo xtask demo`: the main job, shown and proven. Needs root, HAProxy, iproute2 and ethtool, and the binaries
//! `ober-user` and `s3-server` beside it.

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use nix::sys::signal::{SigSet, Signal};
use ober_tests::demo;

/// Builds clients, an ingress node and a storage host in network namespaces and shows Herr Ober at work.
#[derive(Parser)]
struct Arguments {
    /// Leave everything running until Ctrl-C, and say how to look.
    #[arg(long)]
    stay: bool,
    /// Write data to standard output, and nothing else.
    #[arg(long)]
    json: bool,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let mut script = demo::voice(arguments.json);
    let scene = demo::run(&mut script);
    if arguments.json {
        println!("{}", script.data()?);
    }
    if let Some(scene) = scene.as_ref().filter(|_| arguments.stay) {
        eprintln!("{}\nCtrl-C ends it.", scene.invitation()?);
        script.end();
        wait_for_interrupt()?;
    } else {
        script.end();
    }
    drop(scene);
    Ok(if script.failed() == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn wait_for_interrupt() -> Result<()> {
    let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]
        .into_iter()
        .collect();
    signals.thread_block()?;
    signals.wait().context("wait for Ctrl-C")?;
    Ok(())
}
