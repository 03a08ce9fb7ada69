//! Questions over UDP, and over TCP what does not fit.

use std::{io, net::SocketAddr, num::NonZeroU16, path::Path, time::Duration};

use hickory_proto::{
    op::{Message, ResponseCode},
    rr::{Name, RecordType},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, UdpSocket},
    time::timeout,
};

use super::{
    Error, addresses, answer_to, name_servers, one_family, question, read_name, services, shown,
};
use crate::{config::discover::Ask, discover::Found, file};

const RESOLV_CONF: &str = "/etc/resolv.conf";
/// For one attempt with one server: a datagram may be lost.
const PATIENCE: Duration = Duration::from_secs(1);
const ATTEMPTS: usize = 2;

/// The addresses of a name.
pub(in crate::discover) async fn hosts(
    name: &str,
    ask: &Ask,
    port: NonZeroU16,
) -> Result<Vec<Found>, Error> {
    let name = read_name(name).ok_or_else(|| Error::Name(name.to_owned()))?;
    let client = Client::new(ask)?;
    let addresses = client.addresses(&name).await?;
    let host = name.to_ascii();
    let found = one_family(&addresses).map(|address| Found {
        name: Some(host.trim_end_matches('.').to_owned()),
        ..Found::new(address.to_string(), port)
    });
    Ok(found.collect())
}

/// The servers of a service.
pub(in crate::discover) async fn service(name: &str, ask: &Ask) -> Result<Vec<Found>, Error> {
    let name = read_name(name).ok_or_else(|| Error::Name(name.to_owned()))?;
    let client = Client::new(ask)?;
    let answer = client.ask(&name, RecordType::SRV).await?;
    let mut found = Vec::new();
    for service in services(&answer) {
        let mut known = addresses(&answer.additionals, Some(&service.target));
        if known.is_empty() {
            known = client.addresses(&service.target).await?;
        }
        found.extend(service.at(&known));
    }
    Ok(found)
}

struct Client {
    servers: Vec<SocketAddr>,
    tcp: bool,
}

impl Client {
    fn new(ask: &Ask) -> Result<Self, Error> {
        let system = || {
            let path = Path::new(RESOLV_CONF);
            let text = file::text(path, file::Kind::Note).map_err(|source| Error::System {
                path: path.to_owned(),
                source,
            })?;
            Ok::<_, Error>(name_servers(&text))
        };
        let servers = match ask.server {
            Some(server) => vec![server],
            None => system()?,
        };
        Ok(Self {
            servers,
            tcp: ask.tcp,
        })
    }

    /// IPv4, and only without any IPv6.
    async fn addresses(&self, name: &Name) -> Result<Vec<std::net::IpAddr>, Error> {
        for kind in [RecordType::A, RecordType::AAAA] {
            let answer = self.ask(name, kind).await?;
            let found = addresses(&answer.answers, None);
            if !found.is_empty() {
                return Ok(found);
            }
        }
        Ok(Vec::new())
    }

    /// The answer of the first server that has one. Any response code but NOERROR is none.
    async fn ask(&self, name: &Name, kind: RecordType) -> Result<Message, Error> {
        let question = question(name, kind);
        let mut last = Error::NoServer;
        for server in self
            .servers
            .iter()
            .cycle()
            .take(self.servers.len() * ATTEMPTS)
        {
            match self.attempt(*server, &question).await {
                Ok(answer) if answer.metadata.response_code == ResponseCode::NoError => {
                    return Ok(answer);
                }
                Ok(answer) => {
                    let code = answer.metadata.response_code;
                    let refused = Error::Code {
                        server: *server,
                        question: shown(&question),
                        code,
                    };
                    // That there is no such name is an answer, and another server would say the same.
                    if code == ResponseCode::NXDomain {
                        return Err(refused);
                    }
                    last = refused;
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn attempt(&self, server: SocketAddr, question: &Message) -> Result<Message, Error> {
        let bytes = question.to_vec()?;
        let talk = async {
            if !self.tcp {
                let answer = datagram(server, question, &bytes).await?;
                if !answer.metadata.truncation {
                    return Ok(answer);
                }
            }
            stream(server, question, &bytes).await
        };
        match timeout(PATIENCE, talk).await {
            Ok(answer) => answer.map_err(|source| Error::Talk {
                server,
                question: shown(question),
                source,
            }),
            Err(_) => Err(Error::Silent {
                server,
                question: shown(question),
                patience: PATIENCE,
            }),
        }
    }
}

async fn datagram(server: SocketAddr, question: &Message, bytes: &[u8]) -> io::Result<Message> {
    let any: SocketAddr = if server.is_ipv4() {
        ([0; 4], 0).into()
    } else {
        ([0; 16], 0).into()
    };
    // A port of the kernel's choice for each question, and connected: nobody else is heard.
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    socket.send(bytes).await?;
    let mut buffer = vec![0; 65_536];
    loop {
        let length = socket.recv(&mut buffer).await?;
        if let Some(answer) = answer_to(question, buffer.get(..length).unwrap_or_default()) {
            return Ok(answer);
        }
    }
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
