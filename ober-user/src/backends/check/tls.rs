//! Check by a TLS handshake.

use std::sync::Arc;

use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::{Answer, tcp::Connector};
use crate::system::tls;

/// The TLS settings for one server; its files are read once.
#[derive(Clone, Debug)]
pub(super) struct Speaker {
    config: Arc<ClientConfig>,
    /// `None`: no name of the server is known.
    name: Option<String>,
}

impl Speaker {
    /// `name`: the server's, used when the check has none of its own.
    pub(super) fn new(how: &tls::Tls, name: Option<&str>) -> Result<Self, tls::Error> {
        let name = how.name.as_deref().or(name).map(ToOwned::to_owned);
        Ok(Self {
            config: tls::client(how, name.is_some())?,
            name,
        })
    }

    pub(super) async fn connect(&self, way: Connector) -> Result<TlsStream<TcpStream>, Answer> {
        let stream = way.connect().await?;
        let address = || way.server.ip().to_string();
        let name = self.name.clone().unwrap_or_else(address);
        let greeted = tls::connect(Arc::clone(&self.config), &name, stream)
            .await
            .map_err(|error| format!("greet {} as {name}: {error}", way.server));
        Ok(greeted?)
    }

    pub(super) async fn check(&self, way: Connector) -> Result<String, Answer> {
        let stream = self.connect(way).await?;
        let version = stream.get_ref().1.protocol_version();
        Ok(version.map_or_else(|| "TLS".to_owned(), |version| format!("{version:?}")))
    }
}
