//! The emulated machine: four CPUs, one virtio-net card of four queue pairs or many cards, and a serial line that xtask reads.

use super::devices;
use super::kernel::Kernel;
use super::wire::Wire;
use anyhow::{Context, Result};
use ober_programs::{QEMU, SETPRIV};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

/// No KVM: CI machines seldom have it, and without it the kernel still boots in seconds.
const MACHINE: &str = "-accel tcg,thread=multi -cpu max -smp 4 -m 1G -no-reboot -nodefaults -display none -serial stdio";
/// Two vectors for each queue pair, one for the control queue, one for configuration changes.
const CARD: &str = "virtio-net-pci,netdev=wire,mq=on,vectors=10,romfile=";
const CABLE: &str = "tap,id=wire,ifname=tap0,script=no,downscript=no,vhost=off,queues=4";
const KERNEL_LINE: &str = "console=ttyS0 quiet panic=-1";

/// A running machine; stopped when dropped.
pub(super) struct Machine {
    qemu: Child,
}

impl Machine {
    /// Boots the machine. Its serial output goes to the receiver, which is closed when the machine ends.
    pub(super) fn boot(
        kernel: &Kernel,
        initramfs: &Path,
        wire: &Wire,
        devices: bool,
    ) -> Result<(Self, Receiver<String>)> {
        let (cards, more) = if devices {
            devices::words()
        } else {
            let card = ["-netdev", CABLE, "-device", CARD];
            (card.map(ToOwned::to_owned).to_vec(), String::new())
        };
        let mut command = QEMU.command();
        command.args(MACHINE.split(' ')).args(cards);
        command.args(["-append", &format!("{KERNEL_LINE} {more}")]);
        command
            .arg("-kernel")
            .arg(&kernel.image)
            .arg("-initrd")
            .arg(initramfs);
        // The machine is killed when xtask is killed.
        let mut command = wire.inside(&SETPRIV.before(["--pdeathsig", "KILL"], &command));
        let mut qemu = command
            .stdout(Stdio::piped())
            .spawn()
            .context("start QEMU")?;
        let serial = qemu.stdout.take().context("read QEMU's serial line")?;
        let (sender, lines) = channel();
        thread::spawn(move || forward(serial, &sender));
        Ok((Self { qemu }, lines))
    }
}

/// Sends the lines on. Firmware and kernel also write bytes that are no text; the thread ends with the machine or the receiver.
fn forward(serial: ChildStdout, sender: &Sender<String>) {
    for line in BufReader::new(serial).split(b'\n').map_while(Result::ok) {
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        if sender.send(text).is_err() {
            break;
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Err(error) = self.qemu.kill().and_then(|()| self.qemu.wait()) {
            eprintln!("vm: stop QEMU, process {}: {error}", self.qemu.id());
        }
    }
}
