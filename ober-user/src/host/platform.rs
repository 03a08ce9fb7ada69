//! Kernel settings and commands of the running machine. [`Live`] is the real one; tests have another beside it.

use std::{
    fs::{self, File},
    io::{self, Read as _, Seek as _},
    os::unix::fs::MetadataExt as _,
    path::Path,
    time::Duration,
};

use crate::system::{
    child::Child,
    file::{self, memory},
};

/// How long a command may take: a package manager downloads.
const PATIENCE: Duration = Duration::from_mins(15);
/// Bytes of output that are read.
const MOST: usize = 4 << 20;

/// Lines that are shown of what a package manager wrote before it failed.
const LINES: usize = 12;

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
    /// The same of one that must never be cut off, such as a package manager that installs: it is waited for without a limit,
    /// gets no signal of the terminal, and goes on when this process ends. `out` is all that it wrote.
    fn run_whole(&self, words: &[&str]) -> impl Future<Output = Result<Said, String>> {
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

    async fn run(&self, words: &[&str]) -> Result<Said, String> {
        let child = self.child(words)?;
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

    async fn run_whole(&self, words: &[&str]) -> Result<Said, String> {
        let child = self.child(words)?;
        let run = async || {
            // In memory: it takes what is written also after this process has ended.
            let mut log = File::from(memory::file(b"")?);
            let exit = child.start(&log)?.ended().await;
            let mut out = Vec::new();
            log.rewind()?;
            log.read_to_end(&mut out)?;
            Ok((exit, String::from_utf8_lossy(&out).trim().to_owned()))
        };
        let (exit, out) = run().await.map_err(|error: io::Error| error.to_string())?;
        Ok(Said {
            success: exit.success(),
            complaint: format!("{} ({exit})", end(&out)),
            out,
        })
    }
}

impl Live {
    fn child(self, words: &[&str]) -> Result<Child, String> {
        let [program, arguments @ ..] = words else {
            return Err("there is no program to run".to_owned());
        };
        if !self.running {
            return Err("an image runs nothing".to_owned());
        }
        Ok(Child::of_root(Path::new(program)).arguments(arguments))
    }
}

/// The last lines of what a command wrote.
fn end(out: &str) -> String {
    let lines: Vec<&str> = out.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}

impl<M: Platform> super::Host<M> {
    /// Runs a command that must succeed, and returns its output.
    pub(super) async fn order(&self, words: &[&str]) -> Result<String, super::Error> {
        judge(words, self.machine.run(words).await)
    }

    /// The same of one that must never be cut off: [`Platform::run_whole`].
    pub(super) async fn order_whole(&self, words: &[&str]) -> Result<(), super::Error> {
        judge(words, self.machine.run_whole(words).await).map(drop)
    }

    /// The output of a command that only looks; `None`: it is not there, or failed.
    pub(super) async fn ask(&self, words: &[&str]) -> Option<String> {
        let said = self.machine.run(words).await.ok()?;
        said.success.then_some(said.out)
    }
}

fn judge(words: &[&str], said: Result<Said, String>) -> Result<String, super::Error> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_command_that_must_not_be_cut_off_ends_although_its_caller_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("done");
        let script = format!("sleep 0.3; echo whole; echo whole >{}", file.display());
        let live = Live { running: true };
        let words = ["sh", "-c", &script];
        let short = Duration::from_millis(100);
        // The caller of `run` takes the command with it.
        tokio::time::timeout(short, live.run(&words))
            .await
            .unwrap_err();
        tokio::time::sleep(Duration::from_millis(600)).await;
        assert!(!file.exists());
        tokio::time::timeout(short, live.run_whole(&words))
            .await
            .unwrap_err();
        while !file.exists() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let said = live
            .run_whole(&["sh", "-c", "echo one; echo two >&2; exit 3"])
            .await;
        let said = said.unwrap();
        assert_eq!((said.success, said.out.as_str()), (false, "one\ntwo"));
        assert!(said.complaint.starts_with("one\ntwo ("), "{said:?}");
    }
}
