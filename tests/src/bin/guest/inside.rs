//! `/init`: the node.

use crate::boot;
use crate::check;
use anyhow::{Result, ensure};
use nix::sys::reboot::{RebootMode, reboot};

/// The node's own addresses.
const ADDRESSES: [&str; 2] = ["10.77.0.10/24", "fd77::10/64"];

/// Never returns: when `/init` ends, the kernel panics.
pub(crate) fn run() -> ! {
    if let Err(error) = node() {
        println!("FAILED guest: {error:#}");
    }
    println!("GUEST DONE");
    let Err(error) = reboot(RebootMode::RB_POWER_OFF);
    println!("FAILED power off: {error}");
    loop {
        std::thread::park();
    }
}

fn node() -> Result<()> {
    boot::mounts()?;
    boot::modules()?;
    boot::network(&ADDRESSES)?;
    check("the card has four receive queues", four_queues());
    println!("GUEST READY");
    Ok(())
}

fn four_queues() -> Result<()> {
    let queues = boot::receive_queues()?;
    ensure!(queues == 4, "it has {queues}");
    Ok(())
}
