//! HAProxy's command socket: one connection for each command and its answer.

use std::{io, path::Path, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
    time::timeout,
};

use super::worker::Pid;

const PATIENCE: Duration = Duration::from_secs(2);
/// Bytes of the buffer into which HAProxy reads a command with its payload.
pub const BUFFER: usize = 32 << 10;
/// The longest answer that is read, in bytes. The statistics of a hundred thousand servers are shorter.
const MOST: usize = 64 << 20;

/// Sends one command and returns HAProxy's whole answer.
pub async fn ask(socket: &Path, command: &str) -> io::Result<String> {
    let talk = async {
        let mut stream = UnixStream::connect(socket).await?;
        stream.write_all(format!("{command}\n").as_bytes()).await?;
        read(stream, MOST).await
    };
    timeout(PATIENCE, talk).await.map_err(io::Error::from)?
}

/// Reads an answer up to a limit: a worker that was taken over could send without end.
async fn read(from: impl AsyncRead + Unpin, most: usize) -> io::Result<String> {
    let mut answer = Vec::new();
    from.take(most as u64 + 1).read_to_end(&mut answer).await?;
    if answer.len() > most {
        return Err(io::Error::other(format!(
            "HAProxy's answer is longer than {most} bytes"
        )));
    }
    String::from_utf8(answer).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// The process that answers on this socket.
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

    #[tokio::test]
    async fn an_endless_answer_is_abandoned_and_one_at_the_limit_is_accepted() {
        let answer = read(tokio::io::repeat(b'a'), 1000).await;
        assert!(
            answer
                .unwrap_err()
                .to_string()
                .contains("longer than 1000 bytes")
        );
        let fits = read(tokio::io::repeat(b'a').take(1000), 1000).await;
        assert_eq!(fits.unwrap().len(), 1000);
    }

    #[test]
    fn the_process_number_is_read_from_show_info() {
        assert_eq!(
            parse_pid("Name: HAProxy\nProcess_num: 1\nPid: 4711\nUptime: 0\n"),
            Some(Pid(4711))
        );
        assert_eq!(parse_pid("Unknown command\n"), None);
    }
}
