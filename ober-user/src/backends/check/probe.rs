//! Check by sending bytes and comparing the answer.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UdpSocket,
};

use super::{Answer, tcp::Connector, tls::Speaker};
use crate::{
    config::sections::check::{Expect, Over, Probe},
    system::fetch::Stream,
};

/// The most bytes of an answer that are read; no datagram is longer.
const MOST: usize = 64 << 10;

pub(super) async fn check(
    probe: &Probe,
    speaker: Option<&Speaker>,
    way: Connector,
) -> Result<String, Answer> {
    let stream: Box<dyn Stream> = match (&probe.over, speaker) {
        (Over::Udp, _) => return datagram(probe, way.server).await,
        (Over::Tls(_), Some(speaker)) => Box::new(speaker.connect(way).await?),
        (Over::Tcp | Over::Tls(_), _) => Box::new(way.connect().await?),
    };
    Ok(converse(probe, stream).await?)
}

async fn converse(probe: &Probe, mut stream: impl Stream) -> Result<String, String> {
    let failed = |error: io::Error| format!("talk: {error}");
    let mut taken = stream.write_all(&probe.send).await;
    if taken.is_ok() {
        taken = stream.flush().await;
    }
    let Some(expect) = &probe.expect else {
        taken.map_err(failed)?;
        return Ok("it took what was sent".to_owned());
    };
    let mut answer = Vec::new();
    loop {
        let read = (&mut stream)
            .take((MOST - answer.len()) as u64)
            .read_buf(&mut answer)
            .await;
        // The server's answer counts, even if sending to it failed.
        let ended = match (read, &mut taken) {
            (Ok(0) | Err(_), Err(_)) => true,
            (read, _) => read.map_err(failed)? == 0,
        };
        if ended && answer.is_empty() {
            std::mem::replace(&mut taken, Ok(())).map_err(failed)?;
        }
        match compare(expect, &answer) {
            Compared::Same => return Ok(quoted(&answer)),
            Compared::TooShort if !ended => {}
            Compared::TooShort | Compared::Other => {
                return Err(format!("unexpected answer: {}", quoted(&answer)));
            }
        }
    }
}

async fn datagram(probe: &Probe, server: SocketAddr) -> Result<String, Answer> {
    let failed = |error: io::Error| Answer::of(&error, format!("ask {server} over UDP: {error}"));
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await.map_err(failed)?;
    // A connected socket receives only from that server, and reports its "port unreachable" as an error.
    socket.connect(server).await.map_err(failed)?;
    socket.send(&probe.send).await.map_err(failed)?;
    let mut answer = vec![0; MOST];
    let length = socket.recv(&mut answer).await.map_err(failed)?;
    answer.truncate(length);
    let compared = probe.expect.as_ref().map(|expect| compare(expect, &answer));
    match compared {
        None | Some(Compared::Same) => Ok(quoted(&answer)),
        Some(Compared::TooShort | Compared::Other) => {
            Err(format!("unexpected answer: {}", quoted(&answer)).into())
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compared {
    Same,
    /// More bytes could make it match.
    TooShort,
    Other,
}

fn compare(expect: &Expect, answer: &[u8]) -> Compared {
    match expect {
        Expect::Prefix(prefix) if answer.starts_with(prefix) => Compared::Same,
        Expect::Prefix(prefix) if prefix.starts_with(answer) => Compared::TooShort,
        Expect::Pattern(pattern) if pattern.0.is_match(answer) => Compared::Same,
        Expect::Pattern(_) => Compared::TooShort,
        Expect::Prefix(_) => Compared::Other,
    }
}

/// The beginning of an answer, for messages.
fn quoted(answer: &[u8]) -> String {
    let start = answer.get(..40).unwrap_or(answer);
    format!("`{}`", start.escape_ascii())
}

#[cfg(test)]
mod tests {
    use super::{
        Compared::{Other, Same, TooShort},
        *,
    };
    use crate::config::sections::check::Pattern;

    #[test]
    fn a_probe_waits_for_the_rest_of_a_partial_answer_and_rejects_a_wrong_one_at_once() {
        let prefix = Expect::Prefix(b"+PONG".to_vec());
        let found =
            [&b""[..], b"+PO", b"+PONG\r\n", b"-ERR"].map(|answer| compare(&prefix, answer));
        assert_eq!(found, [TooShort, TooShort, Same, Other]);
        let pattern = Expect::Pattern(Pattern("O[NK]".parse().unwrap()));
        let found = [&b""[..], b"-ERR", b"xOK"].map(|answer| compare(&pattern, answer));
        assert_eq!(found, [TooShort, TooShort, Same]);
    }
}
