//! BIRD 2, spoken to through birdc.

use std::{
    fs,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use ober_programs::{BIRD, BIRDC};

use crate::lab::{Host, Lab, Process, until};

const PATIENCE: Duration = Duration::from_secs(20);
/// The beginning of every configuration: the log, and `device`, without which BIRD knows no interfaces.
const PREAMBLE: &str = "log stderr all;\nprotocol device {}\n";

/// One router. Killed when it is dropped.
#[derive(Debug)]
pub struct Bird {
    directory: PathBuf,
    process: Process,
}

impl Bird {
    /// Starts it in `host`; `config` is written as in `bird.conf`, where log and `protocol device` are given. At most
    /// one a host.
    pub fn start(lab: &Lab, host: &Host, config: &str) -> Result<Self> {
        let directory = lab.directory().join(format!("bird-{}", host.name()));
        fs::create_dir(&directory)
            .with_context(|| format!("create BIRD's directory {}", directory.display()))?;
        fs::write(directory.join("bird.conf"), format!("{PREAMBLE}{config}"))?;
        let process = launch(host, &directory)?;
        let mut bird = Self { directory, process };
        bird.answers()?;
        Ok(bird)
    }

    /// Starts it again with its last configuration, after it was killed.
    pub fn restart(&mut self, host: &Host) -> Result<()> {
        self.process.kill()?;
        self.process = launch(host, &self.directory)?;
        self.answers()
    }

    /// The process: to stop, to kill, to read its log.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// A new configuration in place of the old one.
    pub fn configure(&self, config: &str) -> Result<()> {
        fs::write(
            self.directory.join("bird.conf"),
            format!("{PREAMBLE}{config}"),
        )?;
        let answer = self.command("configure")?;
        ensure!(answer.contains("Reconfigur"), "configure BIRD: {answer}");
        Ok(())
    }

    /// The answer of one command of birdc, as text.
    pub fn command(&self, command: &str) -> Result<String> {
        let output = BIRDC
            .command()
            .arg("-s")
            .arg(self.directory.join("control"))
            .args(command.split_whitespace())
            .output()
            .context("start birdc; install bird2")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(
            output.status.success(),
            "birdc {command}: {}: {}{text}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(text)
    }

    fn answers(&mut self) -> Result<()> {
        let socket = self.directory.join("control");
        until("BIRD answers", PATIENCE, || {
            if let Some(status) = self.process.ended()? {
                bail!("it ended with {status}:\n{}", self.process.tail());
            }
            Ok(Some(UnixStream::connect(&socket)?))
        })?;
        Ok(())
    }
}

fn launch(host: &Host, directory: &Path) -> Result<Process> {
    let mut command = BIRD.command();
    command
        .arg("-f")
        .arg("-c")
        .arg(directory.join("bird.conf"))
        .arg("-s")
        .arg(directory.join("control"))
        .arg("-P")
        .arg(directory.join("bird.pid"));
    host.spawn(&mut command)
}
