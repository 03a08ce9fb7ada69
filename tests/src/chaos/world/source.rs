//! The list of servers that nodes ask for over HTTP, from a server that a fault can spoil.

use std::{
    net::{SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    runtime::Runtime,
};

use super::texts;
use crate::lab::Host;

/// Bytes after which a flood ends, unless the node hangs up before.
const FLOOD: usize = 64 << 20;

/// How it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(in crate::chaos) enum Mood {
    Good,
    /// Hangs up at once.
    Dead,
    /// Names an address without a server beside the true one.
    Liar,
    /// Sends bytes that are no HTTP answer.
    Nonsense,
    /// An answer without a server.
    Empty,
    /// Takes the question and does not answer.
    Stalled,
    /// An answer without end.
    Flood,
}

impl Mood {
    const ALL: [Self; 7] = [
        Self::Good,
        Self::Dead,
        Self::Liar,
        Self::Nonsense,
        Self::Empty,
        Self::Stalled,
        Self::Flood,
    ];
}

/// It serves until it is dropped.
pub(in crate::chaos) struct Source {
    mood: Arc<AtomicU8>,
    _runtime: Runtime,
}

impl Source {
    pub(super) fn start(host: &Host, address: SocketAddr) -> Result<Self> {
        let listener = host
            .run(|| TcpListener::bind(address))?
            .with_context(|| format!("listen on {address}"))?;
        listener.set_nonblocking(true)?;
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build()?;
        let mood = Arc::new(AtomicU8::new(Mood::Good as u8));
        let listener = {
            let _inside = runtime.enter();
            tokio::net::TcpListener::from_std(listener)?
        };
        let mood_now = Arc::clone(&mood);
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let mood = Mood::ALL[usize::from(mood_now.load(Ordering::Relaxed))];
                // A failed write means that the node hung up, which is its right.
                tokio::spawn(async move { Box::pin(answer(stream, mood)).await.ok() });
            }
        });
        Ok(Self {
            mood,
            _runtime: runtime,
        })
    }

    pub(in crate::chaos) fn become_of(&self, mood: Mood) {
        self.mood.store(mood as u8, Ordering::Relaxed);
    }
}

async fn answer(mut stream: TcpStream, mood: Mood) -> std::io::Result<()> {
    let mut question = [0; 4096];
    if mood == Mood::Dead || stream.read(&mut question).await? == 0 {
        return Ok(());
    }
    let good = texts::servers();
    let text = match mood {
        Mood::Good | Mood::Dead => good,
        Mood::Liar => format!("{good}10.78.100.2:9009\n"),
        Mood::Empty => "no server today\n".to_owned(),
        Mood::Nonsense => return stream.write_all(&[0xff; 64]).await,
        Mood::Stalled => {
            tokio::time::sleep(Duration::from_secs(30)).await;
            return Ok(());
        }
        Mood::Flood => return flood(stream).await,
    };
    let length = text.len();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    stream.write_all(format!("{head}{text}").as_bytes()).await
}

async fn flood(mut stream: TcpStream) -> std::io::Result<()> {
    let head = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n";
    stream.write_all(head).await?;
    let piece = vec![b'1'; 64 << 10];
    for _ in 0..FLOOD / piece.len() {
        stream.write_all(&piece).await?;
    }
    Ok(())
}
