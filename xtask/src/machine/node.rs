//! A running machine, and what tests do in it.

use super::channel::{Agent, Answer, Monitor};
use super::image::Image;
use crate::vm::is_left_over;
use anyhow::{Context, Result, bail, ensure};
use ober_programs::{NICE, QEMU, SETPRIV};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio, id};
use std::time::{Duration, Instant};

/// No KVM: CI machines seldom have it. Its cards are few, since a snapshot fits only a machine with the same ones.
const MACHINE: &str = "-accel tcg,thread=multi -cpu max -smp 2 -m 1536M -nodefaults -no-user-config -display none -net none \
                       -device virtio-rng-pci -device i6300esb -device virtio-serial-pci \
                       -device virtserialport,chardev=agent,name=machine.agent -mon chardev=monitor,mode=readline";
const KERNEL_LINE: &str = "root=/dev/vda rw console=ttyS0 quiet net.ifnames=0";
/// Where sockets and console are: the path of a socket may have only a hundred letters.
const SCRATCH: &str = "/run";
const PREFIX: &str = "ober-machine-";
/// A boot takes fifty seconds on two idle cores.
const BOOT: Duration = Duration::from_mins(6);
/// A machine out of a snapshot answers after four seconds.
const WAKE: Duration = Duration::from_mins(2);
/// Writing its memory to the disk.
const SAVE: Duration = Duration::from_mins(3);
/// What a command may take that should take a moment.
const SHORT: Duration = Duration::from_mins(1);
/// What a command of ours may take, that waits for something.
const LONG: Duration = Duration::from_mins(3);

/// A machine; its QEMU ends when dropped.
pub(super) struct Node {
    agent: Agent,
    monitor: Monitor,
    qemu: Child,
    /// Sockets and console.
    scratch: PathBuf,
    /// Commands are shown.
    verbose: bool,
}

impl Node {
    /// Starts a machine, from the beginning or as a snapshot holds it, and waits until it answers.
    pub(super) fn start(image: &Image, snapshot: Option<&str>, verbose: bool) -> Result<Self> {
        let began = Instant::now();
        sweep()?;
        let scratch = Path::new(SCRATCH).join(format!("{PREFIX}{}", id()));
        fs::create_dir_all(&scratch).with_context(|| format!("create {}", scratch.display()))?;
        let qemu = spawn(image, snapshot, &scratch)?;
        let mut starting = Starting {
            qemu: Some(qemu),
            scratch: &scratch,
        };
        let monitor = Monitor::connect(&scratch.join("monitor"));
        let agent = Agent::connect(&scratch.join("agent"));
        let (monitor, mut agent) = match (monitor, agent) {
            (Ok(monitor), Ok(agent)) => (monitor, agent),
            (Err(error), _) | (_, Err(error)) => return Err(starting.fail(error)),
        };
        let patience = if snapshot.is_some() { WAKE } else { BOOT };
        if let Err(error) = agent.boot(patience) {
            return Err(starting.fail(error));
        }
        let qemu = starting.qemu.take().context("QEMU is gone")?;
        if verbose {
            let from = snapshot.unwrap_or("the beginning");
            println!("{:6.1} s  start from {from}", began.elapsed().as_secs_f32());
        }
        Ok(Self {
            agent,
            monitor,
            qemu,
            scratch: scratch.clone(),
            verbose,
        })
    }

    /// Keeps the machine as it is now, under this name.
    pub(super) fn save(&mut self, snapshot: &str) -> Result<()> {
        self.run("sync")?;
        let began = Instant::now();
        self.monitor.order(&format!("savevm {snapshot}"), SAVE)?;
        self.tell(began, snapshot);
        Ok(())
    }

    /// Runs a command there, and returns its output; an error when it fails.
    pub(super) fn run(&mut self, command: &str) -> Result<String> {
        self.run_within(command, SHORT)
    }

    pub(super) fn run_within(&mut self, command: &str, limit: Duration) -> Result<String> {
        let answer = self.ask_within(command, limit)?;
        let output = answer.output.trim_end();
        match answer.status {
            0 => Ok(output.to_owned()),
            124 => bail!(
                "`{command}` had not ended after {} s: {output}",
                limit.as_secs()
            ),
            status => bail!("`{command}` ended with {status}: {output}"),
        }
    }

    /// Runs a command there, which may fail.
    pub(super) fn ask(&mut self, command: &str) -> Result<Answer> {
        self.ask_within(command, SHORT)
    }

    pub(super) fn ask_within(&mut self, command: &str, limit: Duration) -> Result<Answer> {
        let began = Instant::now();
        let answer = self.agent.run(command, limit);
        self.tell(began, command);
        answer
    }

    /// Runs a command that ends with this exit status; returns what it wrote, errors too.
    pub(super) fn ends(&mut self, command: &str, status: i32) -> Result<String> {
        let answer = self.ask_within(&format!("{command} 2>&1"), LONG)?;
        ensure!(
            answer.status == status,
            "`{command}` ended with {}, and {status} was expected: {}",
            answer.status,
            answer.output
        );
        Ok(answer.output)
    }

    fn tell(&self, began: Instant, what: &str) {
        if self.verbose {
            println!("{:6.1} s  {what}", began.elapsed().as_secs_f32());
        }
    }

    /// Runs a command, and returns how long it took.
    pub(super) fn timed(&mut self, command: &str, limit: Duration) -> Result<Duration> {
        let began = Instant::now();
        self.run_within(command, limit)?;
        Ok(began.elapsed())
    }

    /// Waits until a command succeeds there, and returns how long that took.
    pub(super) fn wait(&mut self, what: &str, command: &str, limit: Duration) -> Result<Duration> {
        let began = Instant::now();
        let tries = limit.as_millis() / 250;
        let text = format!(
            "i=0; until {{ {command}; }} >/run/waited 2>&1; do i=$((i+1)); [ $i -lt {tries} ] || {{ cat /run/waited; exit 1; }}; \
             sleep 0.25; done"
        );
        self.run_within(&text, limit * 2)
            .with_context(|| format!("wait until {what}"))?;
        Ok(began.elapsed())
    }

    pub(super) fn put(&mut self, path: &str, bytes: &[u8]) -> Result<()> {
        let began = Instant::now();
        self.agent.put(path, 0o644, bytes)?;
        self.tell(began, path);
        Ok(())
    }

    /// Copies a file of this machine into it.
    pub(super) fn bring(&mut self, file: &Path, path: &str) -> Result<()> {
        let bytes = fs::read(file).with_context(|| format!("read {}", file.display()))?;
        self.put(path, &bytes)
    }

    /// Has it restart by this command, and waits until it answers again.
    pub(super) fn reboot(&mut self, command: &str) -> Result<Duration> {
        let before = self.agent.boot(WAKE)?;
        let began = Instant::now();
        self.run(command)?;
        loop {
            let left = BOOT.saturating_sub(began.elapsed());
            ensure!(
                !left.is_zero(),
                "the machine did not restart in {} s",
                BOOT.as_secs()
            );
            if self.agent.boot(left)? != before {
                return Ok(began.elapsed());
            }
            std::thread::sleep(Duration::from_secs(1));
        }
    }

    /// The last lines on its console.
    pub(super) fn console(&self) -> String {
        console(&self.scratch)
    }

    /// Ends it, so that its disk is whole.
    pub(super) fn stop(mut self) -> Result<()> {
        self.monitor.quit()?;
        let end = Instant::now() + SHORT;
        while self.qemu.try_wait().context("wait for QEMU")?.is_none() {
            ensure!(
                Instant::now() < end,
                "QEMU did not end when it was asked to"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        end(&mut self.qemu, &self.scratch);
    }
}

/// A machine that does not answer yet: what fails meanwhile ends it.
struct Starting<'a> {
    qemu: Option<Child>,
    scratch: &'a Path,
}

impl Starting<'_> {
    /// Explains why the machine does not answer, with the last words of QEMU and of its console.
    fn fail(&mut self, error: anyhow::Error) -> anyhow::Error {
        let said = fs::read_to_string(self.scratch.join("qemu")).unwrap_or_default();
        error.context(format!(
            "start the machine; QEMU wrote: {}; its console ends with:\n{}",
            said.trim(),
            console(self.scratch)
        ))
    }
}

impl Drop for Starting<'_> {
    fn drop(&mut self) {
        if let Some(qemu) = &mut self.qemu {
            end(qemu, self.scratch);
        }
    }
}

fn end(qemu: &mut Child, scratch: &Path) {
    if qemu.try_wait().is_ok_and(|ended| ended.is_none())
        && let Err(error) = qemu.kill().and_then(|()| qemu.wait())
    {
        eprintln!("machine: stop QEMU, process {}: {error}", qemu.id());
    }
    if let Err(error) = fs::remove_dir_all(scratch) {
        eprintln!("machine: remove {}: {error}", scratch.display());
    }
}

/// Removes what killed runs have left.
fn sweep() -> Result<()> {
    for left in fs::read_dir(SCRATCH).context("read /run")?.flatten() {
        if is_left_over(&left.file_name().to_string_lossy(), PREFIX) {
            fs::remove_dir_all(left.path())
                .with_context(|| format!("remove {}", left.path().display()))?;
        }
    }
    Ok(())
}

fn spawn(image: &Image, snapshot: Option<&str>, scratch: &Path) -> Result<Child> {
    let mut qemu = QEMU.command();
    for socket in ["agent", "monitor"] {
        let path = scratch.join(socket);
        let words = format!(
            "socket,id={socket},path={},server=on,wait=off",
            path.display()
        );
        qemu.args(["-chardev", &words]);
    }
    qemu.args(MACHINE.split_whitespace());
    qemu.arg("-serial")
        .arg(format!("file:{}", scratch.join("console").display()));
    let disk = format!(
        "file={},if=virtio,format=qcow2,cache=unsafe,discard=unmap",
        image.disk().display()
    );
    qemu.args(["-drive", &disk]);
    qemu.arg("-kernel").arg(image.kernel());
    qemu.arg("-initrd").arg(image.initrd());
    qemu.args(["-append", KERNEL_LINE]);
    if let Some(snapshot) = snapshot {
        qemu.args(["-loadvm", snapshot]);
    }
    let words = scratch.join("qemu");
    let words = fs::File::create(&words).with_context(|| format!("create {}", words.display()))?;
    // It takes every core that it gets, and it is killed when xtask is killed.
    let qemu = SETPRIV.before(["--pdeathsig", "KILL"], &qemu);
    let mut qemu = NICE.before(["-n", "5"], &qemu);
    qemu.stdout(Stdio::null())
        .stderr(words)
        .spawn()
        .context("start QEMU")
}

fn console(scratch: &Path) -> String {
    let said = fs::read(scratch.join("console")).unwrap_or_default();
    let said = String::from_utf8_lossy(&said);
    let lines: Vec<&str> = said.lines().collect();
    let first = lines.len().saturating_sub(20);
    lines.get(first..).unwrap_or_default().join("\n")
}
