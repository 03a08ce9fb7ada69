//! Check by a TCP connection.

use std::net::SocketAddr;

use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use super::Answer;
use crate::config::ProxyVersion;

/// The address of a server, and the header with which every connection to it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Connector {
    pub(super) server: SocketAddr,
    preface: &'static [u8],
}

/// The header for a connection of the proxy itself, without a client (PROXY protocol, sections 2.1 and 2.2, command LOCAL).
const UNKNOWN: &[u8] = b"PROXY UNKNOWN\r\n";
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

impl Connector {
    pub(super) fn new(server: SocketAddr, proxy_protocol: Option<ProxyVersion>) -> Self {
        let preface = match proxy_protocol {
            None => &b""[..],
            Some(ProxyVersion::V1) => UNKNOWN,
            Some(ProxyVersion::V2) => LOCAL,
        };
        Self { server, preface }
    }

    pub(super) async fn connect(self) -> Result<TcpStream, Answer> {
        let connect = async {
            let mut stream = TcpStream::connect(self.server).await?;
            stream.write_all(self.preface).await?;
            Ok::<_, std::io::Error>(stream)
        };
        let connected = connect.await;
        connected
            .map_err(|error| Answer::of(&error, format!("connect to {}: {error}", self.server)))
    }
}

pub(super) async fn check(way: Connector) -> Result<String, Answer> {
    way.connect().await?;
    Ok("it accepts connections".to_owned())
}
