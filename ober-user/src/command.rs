//! A program of the administrator's, run to its end: by checks and by sources of kind `exec`. Given up, it is killed with
//! everything it started.

use std::{env, io, process::Stdio};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    process::{Child, Command},
};

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Exit status 0?
    pub success: bool,
    /// For a person: `exit status: 1`, `signal: 9 (SIGKILL)`.
    pub status: String,
    pub out: Vec<u8>,
    /// The last line it wrote to standard error.
    pub complaint: String,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("run {program}: {source}; is it there and may it be executed?")]
    Start { program: String, source: io::Error },
    #[error("run {program}: {source}")]
    Wait { program: String, source: io::Error },
    #[error("run {program}: it wrote more than {most} bytes")]
    TooMuch { program: String, most: u64 },
}

/// Runs `program` with the arguments. Its environment is `PATH` alone: the daemon's own may hold secrets. Dropped
/// before it is ready, it kills the process group.
pub async fn run(program: &str, arguments: &[String], most: u64) -> Result<Ended, Error> {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .envs(env::var_os("PATH").map(|path| ("PATH", path)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    let child = command.spawn().map_err(|source| Error::Start {
        program: program.to_owned(),
        source,
    })?;
    let mut group = Group(Some(child));
    let wait = |source| Error::Wait {
        program: program.to_owned(),
        source,
    };
    let (out, errors) = group.outputs(most).await.map_err(wait)?;
    if out.len() as u64 > most {
        return Err(Error::TooMuch {
            program: program.to_owned(),
            most,
        });
    }
    let status = group.end().await.map_err(wait)?;
    let errors = String::from_utf8_lossy(&errors);
    Ok(Ended {
        success: status.success(),
        status: status.to_string(),
        out,
        complaint: errors.trim().lines().last().unwrap_or_default().to_owned(),
    })
}

/// A child that leads its own process group, until it has been waited for.
struct Group(Option<Child>);

impl Group {
    /// Both outputs to their end, one byte more than allowed of each at most. The process is not waited for before,
    /// so its number, which is also the group's, stays taken.
    async fn outputs(&mut self, most: u64) -> io::Result<(Vec<u8>, Vec<u8>)> {
        let child = self.0.as_mut().ok_or(io::ErrorKind::NotFound)?;
        let (out, errors) = (child.stdout.take(), child.stderr.take());
        futures_util::future::try_join(read(out, most + 1), read(errors, most + 1)).await
    }

    async fn end(&mut self) -> io::Result<std::process::ExitStatus> {
        let child = self.0.as_mut().ok_or(io::ErrorKind::NotFound)?;
        let status = child.wait().await?;
        self.0 = None;
        Ok(status)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let id = self.0.as_ref().and_then(Child::id);
        if let Some(leader) = id.and_then(|id| i32::try_from(id).ok())
            && let Err(error) = killpg(Pid::from_raw(leader), Signal::SIGKILL)
        {
            tracing::debug!(leader, %error, "a process group had ended");
        }
    }
}

async fn read(from: Option<impl AsyncRead + Unpin>, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(from) = from {
        from.take(most).read_to_end(&mut bytes).await?;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::{sleep, timeout};

    use super::*;

    async fn shell(script: &str, most: u64) -> Result<Ended, Error> {
        run("sh", &["-c".to_owned(), script.to_owned()], most).await
    }

    #[tokio::test]
    async fn status_output_and_the_last_complaint_are_told() {
        let ended = shell("echo out; echo one >&2; echo two >&2; exit 3", 100).await;
        let expected = Ended {
            success: false,
            status: "exit status: 3".into(),
            out: b"out\n".to_vec(),
            complaint: "two".into(),
        };
        assert_eq!(ended.unwrap(), expected);
        assert!(
            shell("kill -9 $$", 100)
                .await
                .unwrap()
                .status
                .contains("signal: 9")
        );
    }

    #[tokio::test]
    async fn it_sees_path_and_nothing_else_of_our_environment() {
        let ended = shell(
            "env | cut -d= -f1 | grep -v '^PWD$\\|^_$\\|^SHLVL$\\|^OLDPWD$'",
            1000,
        )
        .await;
        assert_eq!(ended.unwrap().out, b"PATH\n");
    }

    #[tokio::test]
    async fn what_writes_without_end_is_ended() {
        let ended = shell("yes", 1000).await;
        assert!(
            matches!(ended, Err(Error::TooMuch { most: 1000, .. })),
            "{ended:?}"
        );
    }

    #[tokio::test]
    async fn a_program_given_up_is_killed_with_all_it_started() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("pids");
        // A grandchild that ignores its parent's end and keeps the pipe open.
        let script = format!("sleep 600 & echo $! $$ > {}; wait", file.display());
        let given_up = timeout(Duration::from_millis(500), shell(&script, 100)).await;
        assert!(given_up.is_err());
        let pids = std::fs::read_to_string(&file).unwrap();
        assert_eq!(pids.split_whitespace().count(), 2);
        for _ in 0..200 {
            let alive = |pid: &str| {
                let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
                !stat.is_empty() && !stat.contains(") Z ")
            };
            if !pids.split_whitespace().any(alive) {
                return;
            }
            sleep(Duration::from_millis(10)).await;
        }
        panic!("still there: {pids}");
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_named() {
        let error = run("/no/such/program", &[], 10).await.unwrap_err();
        assert!(error.to_string().contains("/no/such/program"), "{error}");
    }
}
