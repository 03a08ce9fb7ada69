//! HAProxy's command socket: one question, one answer.

use std::{io, path::Path, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    time::timeout,
};

use super::worker::Pid;

const PATIENCE: Duration = Duration::from_secs(2);

/// Sends one command and returns all that HAProxy says.
pub async fn ask(socket: &Path, command: &str) -> io::Result<String> {
    let talk = async {
        let mut stream = UnixStream::connect(socket).await?;
        stream.write_all(format!("{command}\n").as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    };
    timeout(PATIENCE, talk).await.map_err(io::Error::from)?
}

/// Which process answers on this socket.
pub async fn who(socket: &Path) -> io::Result<Pid> {
    let answer = ask(socket, "show info").await?;
    parse_pid(&answer).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
}

fn parse_pid(info: &str) -> Option<Pid> {
    let number = info.lines().find_map(|line| line.strip_prefix("Pid:"))?;
    number.trim().parse().ok().map(Pid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_number_is_read_from_show_info() {
        assert_eq!(
            parse_pid("Name: HAProxy\nProcess_num: 1\nPid: 4711\nUptime: 0\n"),
            Some(Pid(4711))
        );
        assert_eq!(parse_pid("Unknown command\n"), None);
    }
}
