//! A TLS handshake succeeds.

use std::{net::SocketAddr, sync::Arc};

use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::tcp;
use crate::{config, tls};

/// How TLS is spoken to one server; the files are read once.
#[derive(Clone, Debug)]
pub(super) struct Speaker {
    config: Arc<ClientConfig>,
    name: String,
}

impl Speaker {
    /// Without a name of its own, the check asks for that of the server, else for its address.
    pub(super) fn new(
        how: &config::tls::Tls,
        name: Option<&str>,
        server: SocketAddr,
    ) -> Result<Self, tls::Error> {
        let name = how.name.as_deref().or(name).map(ToOwned::to_owned);
        Ok(Self {
            config: tls::client(how)?,
            name: name.unwrap_or_else(|| server.ip().to_string()),
        })
    }

    pub(super) async fn connect(&self, server: SocketAddr) -> Result<TlsStream<TcpStream>, String> {
        let stream = tcp::connect(server).await?;
        let greeted = tls::connect(Arc::clone(&self.config), &self.name, stream).await;
        greeted.map_err(|error| format!("greet {server} as {}: {error}", self.name))
    }

    pub(super) async fn check(&self, server: SocketAddr) -> Result<String, String> {
        let stream = self.connect(server).await?;
        let version = stream.get_ref().1.protocol_version();
        Ok(version.map_or_else(|| "TLS".to_owned(), |version| format!("{version:?}")))
    }
}
