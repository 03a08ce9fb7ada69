//! Cleans a namespace up: a shell that waits for the end of the process that made it, then ends everything else in its
//! namespace and removes the paths that it was given.
//!
//! A guard in the process itself would not do: HAProxy workers outlive their daemon on purpose, and neither Ctrl-C nor
//! SIGKILL runs a destructor. Being in the namespace, the shell also keeps its inode from being given to another one,
//! so it can never mistake a stranger's process for its own.

use std::{
    io::Write,
    os::fd::BorrowedFd,
    path::Path,
    process::{Child, Stdio},
};

use anyhow::{Context, Result};
use nix::{
    sched::{CloneFlags, setns},
    unistd::setsid,
};
use ober_programs::{RM, SH, SLEEP};

/// Lines on standard input: `reap` (end what runs in this namespace) and `remove PATH`. The end of input is the signal.
/// `-ef` compares namespaces without starting a process; the parent's and init's own namespace are never reaped.
const SCRIPT: &str = r#"set +e
trap '' INT TERM HUP
here=/proc/$$/ns/net
[ $here -ef /proc/$PPID/ns/net ] && own=no || own=yes
[ $here -ef /proc/1/ns/net ] && own=no
reap=no
set --
while read -r what path; do
    case $what in
        reap) reap=yes ;;
        remove) set -- "$@" "$path" ;;
    esac
done
if [ $reap$own = yesyes ]; then
    for round in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16; do
        left=
        for process in /proc/[0-9]*; do
            [ "$process" != "/proc/$$" ] && [ "$process/ns/net" -ef $here ] || continue
            kill -9 "${process#/proc/}" && left=yes
        done
        [ "$left" ] || break
        sleep 0.02
    done
fi
for round in 1 2 3; do
    gone=yes
    for path; do
        [ -e "$path" ] || continue
        rm -rf -- "$path" || gone=no
    done
    [ $gone = yes ] && break
    sleep 0.2
done
"#;

/// Cleans up when dropped, or when this process ends in any other way.
#[derive(Debug)]
pub(super) struct Cleanup {
    child: Child,
}

impl Cleanup {
    /// One in a namespace: everything that runs there ends with it.
    pub(super) fn inside(name: &str, namespace: BorrowedFd<'_>) -> Result<Self> {
        let mut cleanup = Self::start(name, Some(namespace))?;
        cleanup.tell("reap")?;
        Ok(cleanup)
    }

    /// One that only removes paths.
    pub(super) fn outside(name: &str) -> Result<Self> {
        Self::start(name, None)
    }

    fn start(name: &str, namespace: Option<BorrowedFd<'_>>) -> Result<Self> {
        let mut command = SH.script(SCRIPT, &[&SLEEP, &RM]);
        command
            .arg(format!("ober-lab-{name}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let namespace = namespace.map(|fd| fd.try_clone_to_owned()).transpose()?;
        // SAFETY: between fork and exec only the system calls setsid and setns run; both are async-signal-safe and
        // neither allocates.
        unsafe {
            command.pre_exec(move || {
                setsid()?;
                if let Some(namespace) = &namespace {
                    setns(namespace, CloneFlags::CLONE_NEWNET)?;
                }
                Ok(())
            });
        }
        let child = command
            .spawn()
            .with_context(|| format!("start the cleanup of {name}"))?;
        Ok(Self { child })
    }

    /// Remove this file or directory at the end.
    pub(super) fn remove(&mut self, path: &Path) -> Result<()> {
        let path = path.to_str().context("a laboratory path is not UTF-8")?;
        self.tell(&format!("remove {path}"))
    }

    /// A process in the namespace from its first moment to its last.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn tell(&mut self, line: &str) -> Result<()> {
        let input = self
            .child
            .stdin
            .as_mut()
            .context("the cleanup has no input")?;
        writeln!(input, "{line}").context("tell the cleanup what to do at the end")
    }
}

impl Drop for Cleanup {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        if let Err(error) = self.child.wait() {
            eprintln!("laboratory: the cleanup did not end: {error}");
        }
    }
}
