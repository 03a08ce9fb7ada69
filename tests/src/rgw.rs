//! A storage that treats requests in the ways of Ceph's RGW that a proxy must get along with. The first word of the path
//! chooses the way, the second the status of the answer: `/early/403/key`.
//!
//! - With `Expect: 100-continue` it answers before it asks for the body, and then takes whatever comes next on the
//!   connection for a request: it neither closes nor reads on.
//! - Without it, it answers early too, and reads and drops the body before the next request.
//! - With `Connection: close` it closes behind its answer.

use std::{
    collections::BTreeMap,
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context, Result, bail};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    runtime::Runtime,
};

use crate::lab::Host;

/// Bytes of the longest line of a head; RGW allows the whole head as many.
const LONGEST: usize = 65_536;
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// How a request is treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// Read to its end, and answered with 200 and what it was.
    Whole,
    /// Answered at once.
    Early,
    /// Answered with 100 first, then finally without a look at the body.
    Asked,
    /// Answered at once, and the connection closed, though more may come.
    Closed,
    /// Answered at once, and this half of the connection closed; the other is read to its end.
    Half,
    /// Read, and the connection closed without an answer.
    Silent,
    /// Read, and answered with one chunk of 5000 bytes whose end never comes.
    Cut,
}

impl Manner {
    fn of(path: &str) -> Self {
        match path.split('/').nth(1).unwrap_or_default() {
            "early" => Self::Early,
            "asked" => Self::Asked,
            "closed" => Self::Closed,
            "half" => Self::Half,
            "silent" => Self::Silent,
            "cut" => Self::Cut,
            _ => Self::Whole,
        }
    }
}

/// A gateway, until it is dropped.
#[derive(Debug)]
pub struct Gateway {
    journal: Journal,
    /// Keeps its tasks.
    _runtime: Runtime,
}

/// Method and path of every request, in the order they came.
type Journal = Arc<Mutex<Vec<String>>>;

impl Gateway {
    pub fn serve(host: &Host, address: SocketAddr) -> Result<Self> {
        let listener = host
            .run(|| TcpListener::bind(address))?
            .with_context(|| format!("listen on {address}"))?;
        listener.set_nonblocking(true)?;
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build()?;
        let inside = runtime.enter();
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let journal = Journal::default();
        let seen = Arc::clone(&journal);
        runtime.spawn(async move {
            while let Ok((stream, _peer)) = listener.accept().await {
                let seen = Arc::clone(&seen);
                tokio::spawn(async move {
                    // The proxy may end a connection in the middle; what it sent is in the journal.
                    Connection::new(stream, seen).serve().await.ok();
                });
            }
        });
        drop(inside);
        Ok(Self {
            journal,
            _runtime: runtime,
        })
    }

    /// The requests since the last call.
    pub fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.journal.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A head: its first line, and its headers by their names in small letters.
struct Head {
    method: String,
    path: String,
    headers: BTreeMap<String, String>,
    /// All lines of metadata, as they came.
    metadata: Vec<String>,
}

impl Head {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    fn expects(&self) -> bool {
        self.header("expect") == "100-continue"
    }

    fn closes(&self) -> bool {
        self.header("connection").eq_ignore_ascii_case("close")
    }
}

struct Connection {
    stream: BufReader<TcpStream>,
    journal: Journal,
}

impl Connection {
    fn new(stream: TcpStream, journal: Journal) -> Self {
        Self {
            stream: BufReader::new(stream),
            journal,
        }
    }

    async fn serve(mut self) -> Result<()> {
        self.stream.get_ref().set_nodelay(true)?;
        while let Some(head) = self.head().await? {
            self.note(&head);
            let manner = Manner::of(&head.path);
            self.treat(&head, manner).await?;
            if head.closes() || manner == Manner::Closed {
                break;
            }
        }
        Ok(())
    }

    fn note(&self, head: &Head) {
        let mut journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        journal.push(format!("{} {}", head.method, head.path));
    }

    async fn treat(&mut self, head: &Head, manner: Manner) -> Result<()> {
        match manner {
            Manner::Early | Manner::Closed | Manner::Half => {
                self.answer(head, "said=early\n").await?;
            }
            Manner::Asked => {
                self.stream.write_all(CONTINUE).await?;
                self.answer(head, "said=early\n").await?;
            }
            Manner::Whole | Manner::Silent | Manner::Cut => {
                if head.expects() {
                    self.stream.write_all(CONTINUE).await?;
                }
                let bytes = self.body(head).await?;
                if manner == Manner::Silent {
                    bail!("hang up");
                }
                if manner == Manner::Cut {
                    let start = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1388\r\n";
                    let text = format!("{start}{}\r\n", "x".repeat(5000));
                    self.stream.write_all(text.as_bytes()).await?;
                    bail!("hang up");
                }
                let names: Vec<&str> = head.headers.keys().map(String::as_str).collect();
                let text = format!(
                    "asked={} {}\nbytes={bytes}\nnames={}\n",
                    head.method,
                    head.path,
                    names.join(",")
                );
                return self.answer(head, &text).await;
            }
        }
        if manner == Manner::Half {
            self.stream.get_mut().shutdown().await?;
            self.stream.read_to_end(&mut Vec::new()).await?;
        }
        if manner != Manner::Closed && !head.closes() && !head.expects() {
            self.body(head).await?;
        }
        Ok(())
    }

    /// The status is the second word of the path. The metadata of the request comes back, as it does from an object.
    async fn answer(&mut self, head: &Head, text: &str) -> Result<()> {
        let mut words = head.path.split('/').skip(2);
        let status: u16 = words.next().and_then(|it| it.parse().ok()).unwrap_or(200);
        let bare = status == 204 || status == 304;
        let mut answer = format!("HTTP/1.1 {status} Said\r\n");
        if !bare {
            let length = format!("Content-Length: {}\r\n", text.len());
            answer += &length;
        }
        if head.closes() {
            answer += "Connection: close\r\n";
        }
        for line in &head.metadata {
            answer += line;
            answer += "\r\n";
        }
        answer += "\r\n";
        if !bare && head.method != "HEAD" {
            answer += text;
        }
        Ok(self.stream.write_all(answer.as_bytes()).await?)
    }

    /// `None` at the end of the connection.
    async fn head(&mut self) -> Result<Option<Head>> {
        let Some(first) = self.line().await? else {
            return Ok(None);
        };
        let mut words = first.split(' ');
        let mut word = || words.next().unwrap_or("-").to_owned();
        let mut head = Head {
            method: word(),
            path: word(),
            headers: BTreeMap::new(),
            metadata: Vec::new(),
        };
        while let Some(line) = self.line().await?.filter(|line| !line.is_empty()) {
            let (name, value) = line.split_once(':').unwrap_or((&line, ""));
            let name = name.to_ascii_lowercase();
            if name.starts_with("x-amz-meta-") {
                head.metadata.push(line.clone());
            }
            // Of several lines of one name, RGW reads the first.
            let value = value.trim().to_owned();
            head.headers.entry(name).or_insert(value);
        }
        Ok(Some(head))
    }

    /// Reads the body; how many bytes it has.
    async fn body(&mut self, head: &Head) -> Result<usize> {
        if !head.header("transfer-encoding").contains("chunked") {
            let length = head.header("content-length").parse().unwrap_or(0);
            self.stream.read_exact(&mut vec![0; length]).await?;
            return Ok(length);
        }
        let mut whole = 0;
        loop {
            let line = self.line().await?.context("the end of a chunked body")?;
            let size = line.split(';').next().unwrap_or_default();
            let size = usize::from_str_radix(size, 16).context("the size of a chunk")?;
            if size == 0 {
                while self.line().await?.is_some_and(|line| !line.is_empty()) {}
                return Ok(whole);
            }
            self.stream.read_exact(&mut vec![0; size + 2]).await?;
            whole += size;
        }
    }

    async fn line(&mut self) -> Result<Option<String>> {
        let mut line = Vec::new();
        let mut limited = (&mut self.stream).take(LONGEST as u64);
        if limited.read_until(b'\n', &mut line).await? == 0 {
            return Ok(None);
        }
        let line = String::from_utf8_lossy(&line);
        Ok(Some(line.trim_end_matches(['\r', '\n']).to_owned()))
    }
}
