//! One question to the DNS: to the name servers in turn, over UDP, and over TCP when the answer does not fit. The C library is
//! unfit for this: it hides the response code, succeeds with one family when the other's question failed, and cannot be
//! cancelled.
//!
//! It never treats half an answer as a whole one: each address family is a separate question.

use std::{
    fmt::Write as _,
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use hickory_proto::{
    op::{Edns, Message, MessageType, Query, ResponseCode},
    rr::{Name, RData, Record, RecordType},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, UdpSocket},
    time::{sleep, timeout},
};

use crate::names::notation::{self, Miss};

/// Fits into every path without fragments (RFC 9715). Bytes.
const PAYLOAD: u16 = 1232;
/// After this time without an answer the question is sent again and to the next server too: a datagram may be lost.
const PATIENCE: Duration = Duration::from_secs(1);
/// Datagrams sent to one server.
const ATTEMPTS: u32 = 2;
/// How long to wait for one server: its own search may take some seconds.
const LONGEST: Duration = Duration::from_secs(5);

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("there is no name server in /etc/resolv.conf; write `nameserver`")]
    NoServer,
    #[error("ask {server} for {question}: {source}")]
    Talk {
        server: SocketAddr,
        question: String,
        source: io::Error,
    },
    #[error("ask {server} for {question}: no answer within {patience:?}")]
    Silent {
        server: SocketAddr,
        question: String,
        patience: Duration,
    },
    #[error("ask {server} for {question}: {code}")]
    Code {
        server: SocketAddr,
        question: String,
        code: ResponseCode,
    },
    #[error("`{name}` is no name that can be asked for: {source}")]
    Name { name: String, source: Miss },
    #[error("make a question: {0}")]
    Encode(#[from] hickory_proto::ProtoError),
}

impl Error {
    /// The error without the name, so that it is the same for all names that fail for the same reason.
    pub fn brief(&self) -> String {
        match self {
            Self::Talk { server, source, .. } => format!("{server}: {source}"),
            Self::Silent { server, .. } => format!("{server}: no answer"),
            Self::Code { server, code, .. } => format!("{server}: {code}"),
            Self::NoServer | Self::Name { .. } | Self::Encode(_) => self.to_string(),
        }
    }

    /// Does the error say that there is no such name?
    pub(crate) fn no_such_name(&self) -> bool {
        matches!(self, Self::Code { code, .. } if *code == ResponseCode::NXDomain)
    }
}

/// Reads a name, which is absolute even without its final dot.
pub fn read_name(text: &str) -> Result<Name, Error> {
    let refused = |source| Error::Name {
        name: text.to_owned(),
        source,
    };
    notation::name(text).map_err(refused)?;
    let mut name = Name::from_ascii(text)?;
    name.set_fqdn(true);
    Ok(name)
}

pub fn question(name: &Name, kind: RecordType) -> Message {
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(name.clone(), kind));
    let mut edns = Edns::new();
    edns.set_max_payload(PAYLOAD);
    message.set_edns(edns);
    message
}

/// Returns a datagram that answers this question; any host may send one.
pub(crate) fn answer_to(question: &Message, bytes: &[u8]) -> Option<Message> {
    let answer = Message::from_vec(bytes).ok()?;
    let ours = answer.metadata.id == question.metadata.id
        && answer.metadata.message_type == MessageType::Response
        && (answer.queries == question.queries || answer.queries.is_empty());
    ours.then_some(answer)
}

fn shown(message: &Message) -> String {
    let mut text = String::new();
    for query in &message.queries {
        // Writing to a String cannot fail.
        write!(text, "{} {}", query.name(), query.query_type()).unwrap_or_default();
    }
    text
}

/// The addresses in these records, of `owner` alone if given: answers hold aliases, additional records other hosts.
pub fn addresses(records: &[Record], owner: Option<&Name>) -> Vec<IpAddr> {
    let wanted = |record: &&Record| owner.is_none_or(|owner| record.name == *owner);
    let address = |record: &Record| match &record.data {
        RData::A(address) => Some(IpAddr::V4(address.0)),
        RData::AAAA(address) => Some(IpAddr::V6(address.0)),
        _ => None,
    };
    let mut found: Vec<_> = records.iter().filter(wanted).filter_map(address).collect();
    found.sort();
    found.dedup();
    found
}

/// Name servers, and the number of the one that answered last.
#[derive(Clone, Debug)]
pub struct Client {
    servers: Vec<SocketAddr>,
    tcp: bool,
    good: Arc<AtomicUsize>,
}

impl Client {
    pub fn new(servers: Vec<SocketAddr>, tcp: bool) -> Self {
        Self {
            servers,
            tcp,
            good: Arc::default(),
        }
    }

    /// The answer of the first server that has one, beginning with the server that answered last. Only NOERROR counts as an
    /// answer. A late server may still answer while the next one is asked.
    pub async fn ask(&self, name: &Name, kind: RecordType) -> Result<Message, Error> {
        let question = question(name, kind);
        let count = self.servers.len();
        let first = self.good.load(Ordering::Relaxed);
        let mut waiting = (0..count).map(|turn| (first + turn) % count);
        let mut running = FuturesUnordered::new();
        let mut last = Error::NoServer;
        loop {
            if let Some(next) = waiting.next() {
                running.push(self.one(next, &question));
            } else if running.is_empty() {
                return Err(last);
            }
            let answered = tokio::select! {
                answered = running.next() => answered,
                () = sleep(PATIENCE), if waiting.len() > 0 => None,
            };
            match answered {
                Some((at, Ok(answer))) => {
                    self.good.store(at, Ordering::Relaxed);
                    return Ok(answer);
                }
                // NXDOMAIN is final: another server would say the same.
                Some((_, Err(error))) if error.no_such_name() => return Err(error),
                Some((_, Err(error))) => last = error,
                None => {}
            }
        }
    }

    async fn one(&self, at: usize, question: &Message) -> (usize, Result<Message, Error>) {
        let Some(server) = self.servers.get(at).copied() else {
            return (at, Err(Error::NoServer));
        };
        let talk = async {
            let answer = self.exchange(server, question).await?;
            let code = answer.metadata.response_code;
            if !matches!(code, ResponseCode::FormErr | ResponseCode::NotImp) {
                return Ok(answer);
            }
            // The server may be older than EDNS (RFC 6891 section 7).
            let mut plain = question.clone();
            plain.edns = None;
            self.exchange(server, &plain).await
        };
        let question = shown(question);
        let answer = match timeout(LONGEST, talk).await {
            Ok(Ok(answer)) => match answer.metadata.response_code {
                ResponseCode::NoError => Ok(answer),
                code => Err(Error::Code {
                    server,
                    question,
                    code,
                }),
            },
            Ok(Err(source)) => Err(Error::Talk {
                server,
                question,
                source,
            }),
            Err(_) => Err(Error::Silent {
                server,
                question,
                patience: LONGEST,
            }),
        };
        (at, answer)
    }

    async fn exchange(&self, server: SocketAddr, question: &Message) -> io::Result<Message> {
        let bytes = question.to_vec().map_err(io::Error::other)?;
        if !self.tcp {
            let answer = datagram(server, question, &bytes).await?;
            if !answer.metadata.truncation {
                return Ok(answer);
            }
        }
        stream(server, question, &bytes).await
    }
}

async fn datagram(server: SocketAddr, question: &Message, bytes: &[u8]) -> io::Result<Message> {
    let any: SocketAddr = if server.is_ipv4() {
        ([0; 4], 0).into()
    } else {
        ([0; 16], 0).into()
    };
    // A new port, chosen by the kernel, for each question; the connected socket receives from this server alone.
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    let mut buffer = vec![0; 65_536];
    for attempt in 1.. {
        if attempt <= ATTEMPTS {
            socket.send(bytes).await?;
        }
        let heard = async {
            loop {
                let length = socket.recv(&mut buffer).await?;
                let answer = answer_to(question, buffer.get(..length).unwrap_or_default());
                if let Some(answer) = answer {
                    return io::Result::Ok(answer);
                }
            }
        };
        if let Ok(answer) = timeout(PATIENCE, heard).await {
            return answer;
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}

async fn stream(server: SocketAddr, question: &Message, bytes: &[u8]) -> io::Result<Message> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
    stream
        .write_all(&[&length.to_be_bytes(), bytes].concat())
        .await?;
    let mut answer = vec![0; stream.read_u16().await?.into()];
    stream.read_exact(&mut answer).await?;
    answer_to(question, &answer).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests;
