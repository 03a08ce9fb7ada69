//! A connection is accepted.

use std::net::SocketAddr;

use tokio::net::TcpStream;

pub(super) async fn connect(server: SocketAddr) -> Result<TcpStream, String> {
    let connected = TcpStream::connect(server).await;
    connected.map_err(|error| format!("connect to {server}: {error}"))
}

pub(super) async fn check(server: SocketAddr) -> Result<String, String> {
    connect(server).await?;
    Ok("it accepts connections".to_owned())
}
