//! An administrator's program, run to its end: by checks, by sources of kind `exec` and to set records. When the caller drops
//! it, it is killed with everything it started; when it has ended, the processes it left are killed.

use std::{
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use crate::system::{
    account::Account,
    child::{Child, output},
    fact,
    file::{self, memory},
};

/// How long reading a secret from its file system may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The variable that gives the program the descriptor of its secret.
const SECRET: &str = "OBER_SECRET_FD";

/// A program, its account, its arguments and its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    pub path: PathBuf,
    pub arguments: Vec<String>,
    pub account: Account,
    /// The file whose content is handed over; the program itself may not be able to read the file.
    pub secret: Option<PathBuf>,
}

impl Program {
    /// The program, and the files among its arguments, such as the script of a shell.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let arguments = self.arguments.iter().filter(|word| is_file(word));
        std::iter::once(self.path.as_path()).chain(arguments.map(Path::new))
    }
}

pub fn is_file(word: &str) -> bool {
    word.starts_with('/') && Path::new(word).is_file()
}

/// How a program ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Exit status 0?
    pub success: bool,
    /// For an operator to read: `exit status: 1`, `signal: 9 (SIGKILL)`.
    pub status: String,
    pub out: Vec<u8>,
    /// The last line it wrote to standard error.
    pub complaint: String,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("run {program}: {source}; is it there, and may {account} execute it?")]
    Start {
        program: String,
        account: String,
        source: io::Error,
    },
    #[error("run {program}: {why}")]
    Secret { program: String, why: String },
    #[error("run {program}: {source}")]
    Run {
        program: String,
        source: output::Error,
    },
}

impl Error {
    /// Did this process lack a resource that starting a program needs?
    pub fn is_shortage(&self) -> bool {
        match self {
            Self::Start { source, .. }
            | Self::Run {
                source: output::Error::Start(source) | output::Error::Read(source),
                ..
            } => fact::is_shortage(source),
            Self::Secret { .. } | Self::Run { .. } => false,
        }
    }
}

/// Runs `program` with its arguments and then `words`. Dropping the future kills it. `most`: bytes of output it may write.
pub async fn run(program: &Program, words: &[String], most: usize) -> Result<Ended, Error> {
    let name = || program.path.display().to_string();
    let mut child = Child::of_administrator(&program.path, &program.account);
    if let Some(file) = &program.secret {
        let file = file.clone();
        let read = file::away(PATIENCE, move || secret(&file)).await;
        let text = read.unwrap_or_else(|error| Err(error.to_string()));
        let handed = text
            .and_then(|text| {
                memory::file(text.as_bytes())
                    .map_err(|error| format!("pass the secret to the program: {error}"))
            })
            .map_err(|why| Error::Secret {
                program: name(),
                why,
            })?;
        child = child.hand_over(SECRET, Arc::new(handed));
    }
    let arguments = program.arguments.iter().chain(words);
    let ended = child
        .arguments(arguments)
        .output(most)
        .await
        .map_err(|error| match error {
            output::Error::Start(source) => Error::Start {
                program: name(),
                account: program.account.name.clone(),
                source,
            },
            source => Error::Run {
                program: name(),
                source,
            },
        })?;
    let errors = String::from_utf8_lossy(&ended.errors);
    Ok(Ended {
        success: ended.exit.success(),
        status: ended.exit.to_string(),
        out: ended.out,
        complaint: errors.trim().lines().last().unwrap_or_default().to_owned(),
    })
}

/// The text of a secret to hand over, or why it cannot be had.
pub fn secret(path: &Path) -> Result<String, String> {
    let read = file::text_with(path, file::Kind::Secret);
    let (text, facts) =
        read.map_err(|error| format!("read the secret in {}: {error}", path.display()))?;
    if file::exposed(facts.mode()) {
        let path = path.display();
        return Err(format!(
            "{path} holds a secret and every account may read it: chmod 600 {path}"
        ));
    }
    Ok(text)
}

/// A shell that runs this text with the account of an unprivileged program (`nobody`).
#[cfg(test)]
fn shell(script: &str) -> Program {
    Program {
        path: ober_programs::SH.program().path(),
        arguments: vec!["-c".to_owned(), script.to_owned()],
        account: crate::system::account::Accounts::default().nobody(),
        secret: None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::{sleep, timeout};

    use super::*;

    async fn sh(script: &str, most: usize) -> Result<Ended, Error> {
        run(&shell(script), &[], most).await
    }

    #[tokio::test]
    async fn a_finished_program_gives_its_status_its_output_and_its_last_line_of_stderr() {
        let ended = sh("echo out; echo one >&2; echo two >&2; exit 3", 100).await;
        let expected = Ended {
            success: false,
            status: "exit status: 3".into(),
            out: b"out\n".to_vec(),
            complaint: "two".into(),
        };
        assert_eq!(ended.unwrap(), expected);
        assert!(
            sh("kill -9 $$", 100)
                .await
                .unwrap()
                .status
                .contains("signal: 9")
        );
    }

    #[tokio::test]
    async fn a_program_gets_only_path_from_the_daemons_environment() {
        let ended = sh(
            "env | cut -d= -f1 | grep -v '^PWD$\\|^_$\\|^SHLVL$\\|^OLDPWD$'",
            1000,
        )
        .await;
        assert_eq!(ended.unwrap().out, b"PATH\n");
    }

    #[tokio::test]
    async fn a_program_that_writes_without_end_is_ended() {
        let ended = sh("yes", 1000).await;
        assert!(
            ended
                .as_ref()
                .is_err_and(|it| it.to_string().contains("more than 1000 bytes")),
            "{ended:?}"
        );
    }

    /// A directory in which every account may write.
    fn open_directory() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        std::fs::set_permissions(directory.path(), mode).unwrap();
        directory
    }

    /// Waits until none of the processes named in this file exists, and returns how many there were.
    async fn all_ended(file: &std::path::Path) -> usize {
        let pids = std::fs::read_to_string(file).unwrap();
        let alive = |pid: &&str| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
            stat.is_ok_and(|stat| !stat.contains(") Z "))
        };
        for _ in 0..1000 {
            if !pids.split_whitespace().any(|pid| alive(&pid)) {
                return pids.split_whitespace().count();
            }
            sleep(Duration::from_millis(10)).await;
        }
        let left: Vec<&str> = pids.split_whitespace().filter(alive).collect();
        panic!("still there: {left:?} of {pids}");
    }

    /// Starts a process in its own session, one in its parent's, and a child of one that has ended; the parent's number is
    /// last.
    fn family(file: &std::path::Path) -> String {
        let file = file.display();
        format!(
            "setsid sh -c 'echo $$ >> {file}; exec sleep 600' & sleep 600 & echo $! >> {file}; \
             (setsid sh -c 'echo $$ >> {file}; sleep 600; true' &) ; \
             until [ $(wc -l < {file}) = 3 ]; do sleep 0.01; done; echo $$ >> {file}"
        )
    }

    #[tokio::test]
    async fn an_abandoned_program_is_killed_with_all_its_descendants_even_in_other_sessions() {
        let directory = open_directory();
        let file = directory.path().join("pids");
        let script = format!("{}; wait", family(&file));
        let running = tokio::spawn(async move { sh(&script, 100).await });
        while std::fs::read_to_string(&file)
            .unwrap_or_default()
            .lines()
            .count()
            < 4
        {
            sleep(Duration::from_millis(10)).await;
        }
        running.abort();
        assert_eq!(all_ended(&file).await, 4);
    }

    #[tokio::test]
    async fn processes_left_by_a_program_are_ended_with_it_and_not_awaited() {
        let directory = open_directory();
        let file = directory.path().join("pids");
        // All of them keep the pipes open.
        let ended = timeout(Duration::from_mins(1), sh(&family(&file), 100)).await;
        assert!(ended.unwrap().unwrap().success);
        assert_eq!(all_ended(&file).await, 4);
    }

    #[tokio::test]
    async fn a_program_that_may_not_read_a_secrets_file_gets_it_by_descriptor() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("secret");
        std::fs::write(&file, "s3cret\n").unwrap();
        let set = |mode| {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
            std::fs::set_permissions(&file, mode).unwrap();
        };
        let read = "cat /proc/self/fd/$OBER_SECRET_FD; cat ";
        let program = Program {
            secret: Some(file.clone()),
            ..shell(&format!("{read} {}", file.display()))
        };
        set(0o600);
        let ended = run(&program, &[], 100).await.unwrap();
        assert_eq!(ended.out, b"s3cret\n");
        assert!(ended.complaint.ends_with("Permission denied"), "{ended:?}");
        set(0o604);
        let refused = run(&program, &[], 100).await.unwrap_err().to_string();
        assert!(
            refused.contains("every account may read it: chmod 600"),
            "{refused}"
        );
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_named() {
        let program = Program {
            path: "/no/such/program".into(),
            ..shell("")
        };
        let error = run(&program, &[], 10).await.unwrap_err().to_string();
        assert!(
            error.starts_with("run /no/such/program: No such file"),
            "{error}"
        );
        assert!(error.ends_with("may nobody execute it?"), "{error}");
    }
}
