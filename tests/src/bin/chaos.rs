//! Random faults on a whole installation, and invariants checked all the time.

use std::{
    process::ExitCode,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use clap::Parser;
use ober_tests::chaos::{Options, fault::FAULTS, run};

#[derive(Parser)]
struct Arguments {
    /// How long faults are begun
    #[arg(long, default_value_t = 10)]
    minutes: u64,
    /// The sequence of faults; another one each time unless given
    #[arg(long)]
    seed: Option<u64>,
    /// Only faults whose name contains this; may be given more than once
    #[arg(long)]
    only: Vec<String>,
    /// Go on after a breach
    #[arg(long)]
    go_on: bool,
    /// Print events and breaches as they happen
    #[arg(long)]
    loud: bool,
    /// List the faults and do nothing
    #[arg(long)]
    list: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.list {
        for fault in FAULTS {
            println!("{:?}: {}", fault.kind, fault.name);
        }
        return ExitCode::SUCCESS;
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let seed = arguments
        .seed
        .unwrap_or_else(|| now.unwrap_or_default().as_secs());
    let time = Duration::from_secs(60 * arguments.minutes);
    let options = Options {
        time,
        seed,
        only: arguments.only,
        go_on: arguments.go_on,
        loud: arguments.loud,
    };
    println!("chaos: {} minutes with seed {seed}", arguments.minutes);
    match run(&options) {
        Ok(report) => {
            println!("chaos: {report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
