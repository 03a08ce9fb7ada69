//! Connections to the HTTP server, which any user of this machine may open, as many as he likes: `api::connections` bounds their
//! number, and each has a limited time.

use std::{io, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};

use crate::api::connections::Open;

/// How long the head of a request may take, also that of a later one on the same connection.
pub const HEAD: Duration = Duration::from_secs(5);
/// How long a whole connection may last, also with a client that reads slowly.
const WHOLE: Duration = Duration::from_secs(30);
/// The pause after a connection could not be accepted, as when descriptors are short.
const PAUSE: Duration = Duration::from_millis(100);

/// Answers until the future is dropped. Here the oldest connection may always be closed: no answer takes long.
pub async fn serve(listener: TcpListener, router: Router) -> io::Result<()> {
    let mut open = Open::default();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => open.add(|_| answer(stream, router.clone())).await,
            Err(error) => {
                tracing::warn!(%error, "accept a connection to node.metrics");
                sleep(PAUSE).await;
            }
        }
    }
}

async fn answer(stream: TcpStream, router: Router) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    match timeout(WHOLE, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a connection to node.metrics"),
        Err(_) => tracing::debug!("a connection to node.metrics took longer than {WHOLE:?}"),
    }
}
