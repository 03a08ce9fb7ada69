//! Kernel settings and commands of the running machine. [`Live`] is the real one; tests have another beside it.

use std::{fs, io, os::unix::fs::MetadataExt as _, path::Path, time::Duration};

use crate::system::{child::Child, file};

/// How long a command may take: a package manager downloads.
const PATIENCE: Duration = Duration::from_mins(15);
/// Bytes of output that are read.
const MOST: usize = 4 << 20;

/// How a command ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    pub success: bool,
    pub out: String,
    /// What it wrote to standard error, and how it ended.
    pub complaint: String,
}

pub trait Platform {
    /// `false`: the image of a machine, which has files alone.
    fn is_running(&self) -> bool;
    /// A setting below `/proc/sys`, blanks as one space; `None`: there is none of this name.
    fn setting(&self, key: &str) -> io::Result<Option<String>>;
    /// Is it this machine's, or this namespace's, to set? Newer kernels show a namespace some settings of the whole machine.
    fn is_settable(&self, key: &str) -> bool;
    fn set(&self, key: &str, value: &str) -> io::Result<()>;
    /// Is a file or directory of the kernel or of `/run` there?
    fn exists(&self, path: &str) -> bool;
    /// Runs a command to its end; an error when it cannot be started.
    fn run(&self, words: &[&str]) -> impl Future<Output = Result<Said, String>>;
    /// The same, where systemd runs as a unit of its own: it goes on when this process is interrupted or waits no longer.
    fn run_apart(&self, words: &[&str]) -> impl Future<Output = Result<Said, String>> {
        self.run(words)
    }
}

/// The machine that this program runs on.
#[derive(Clone, Copy, Debug)]
pub struct Live {
    pub running: bool,
}

/// The file of a setting. As sysctl(8) reads them, a key whose first separator is a slash has its dots in names of interfaces.
pub(super) fn place(key: &str) -> String {
    let separator = key.find(['.', '/']).map(|at| &key[at..=at]);
    if separator == Some("/") {
        return format!("/proc/sys/{key}");
    }
    format!("/proc/sys/{}", key.replace('.', "/"))
}

impl Platform for Live {
    fn is_running(&self) -> bool {
        self.running
    }

    fn setting(&self, key: &str) -> io::Result<Option<String>> {
        if !self.running {
            return Ok(None);
        }
        match file::kernel_text(place(key)) {
            Ok(text) => Ok(Some(text.split_whitespace().collect::<Vec<_>>().join(" "))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn is_settable(&self, key: &str) -> bool {
        fs::metadata(place(key)).is_ok_and(|facts| facts.mode() & 0o222 != 0)
    }

    fn set(&self, key: &str, value: &str) -> io::Result<()> {
        // Without the end of the line an empty value would write nothing.
        file::kernel_write(place(key), &format!("{value}\n"))
    }

    fn exists(&self, path: &str) -> bool {
        self.running && Path::new(path).exists()
    }

    async fn run_apart(&self, words: &[&str]) -> Result<Said, String> {
        if !self.exists("/run/systemd/system") {
            return self.run(words).await;
        }
        let apart = [
            "systemd-run",
            "--quiet",
            "--collect",
            "--wait",
            "--pipe",
            "--",
        ];
        self.run(&[&apart, words].concat()).await
    }

    async fn run(&self, words: &[&str]) -> Result<Said, String> {
        let [program, arguments @ ..] = words else {
            return Err("there is no program to run".to_owned());
        };
        if !self.running {
            return Err("an image runs nothing".to_owned());
        }
        let child = Child::of_root(Path::new(program)).arguments(arguments);
        let ended = tokio::time::timeout(PATIENCE, child.output(MOST)).await;
        let ended =
            ended.map_err(|elapsed| format!("it did not end within {PATIENCE:?}: {elapsed}"))?;
        let ended = ended.map_err(|error| error.to_string())?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        Ok(Said {
            success: ended.exit.success(),
            out: text(&ended.out),
            complaint: format!("{} ({})", text(&ended.errors), ended.exit),
        })
    }
}

fn succeeded(words: &[&str], said: Result<Said, String>) -> Result<String, super::Error> {
    let failed = |why| super::Error::Command {
        command: words.join(" "),
        why,
    };
    match said {
        Ok(said) if said.success => Ok(said.out),
        Ok(said) => Err(failed(said.complaint)),
        Err(why) => Err(failed(format!("{why}; is it installed?"))),
    }
}

impl<M: Platform> super::Host<M> {
    /// Runs a command that must succeed, and returns its output.
    pub(super) async fn order(&self, words: &[&str]) -> Result<String, super::Error> {
        succeeded(words, self.machine.run(words).await)
    }

    /// The same for a command that must not be cut off half way, such as a package manager.
    pub(super) async fn order_apart(&self, words: &[&str]) -> Result<String, super::Error> {
        succeeded(words, self.machine.run_apart(words).await)
    }

    /// The output of a command that only looks; `None`: it is not there, or failed.
    pub(super) async fn ask(&self, words: &[&str]) -> Option<String> {
        let said = self.machine.run(words).await.ok()?;
        said.success.then_some(said.out)
    }
}
