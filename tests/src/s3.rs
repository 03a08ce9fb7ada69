//! A real S3 server: s3s-fs over hyper, files in a directory, no authentication.

use std::path::Path;

use anyhow::{Context, Result, anyhow};
use hyper::{Request, body::Incoming, server::conn::http1, service::Service};
use hyper_util::rt::{TokioIo, TokioTimer};
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s_fs::FileSystem;
use tokio::net::{TcpListener, TcpStream};

/// Is called with each request.
pub type Journal = fn(&Request<Incoming>);

/// An S3 service over a directory; buckets are its directories.
pub fn service(root: &Path) -> Result<S3Service> {
    let files = FileSystem::new(root)
        .map_err(|error| anyhow!("use {} as the root of S3: {error:?}", root.display()))?;
    Ok(S3ServiceBuilder::new(files).build())
}

/// Serve until the task is dropped. A connection that fails ends alone.
pub async fn serve(
    listener: TcpListener,
    service: S3Service,
    journal: Option<Journal>,
) -> Result<()> {
    loop {
        let (stream, _peer) = listener.accept().await.context("accept an S3 connection")?;
        stream.set_nodelay(true)?;
        tokio::spawn(connection(stream, service.clone(), journal));
    }
}

async fn connection(stream: TcpStream, service: S3Service, journal: Option<Journal>) {
    let answer = hyper::service::service_fn(move |request: Request<Incoming>| {
        if let Some(journal) = journal {
            journal(&request);
        }
        Service::call(&service, request)
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), answer)
        .await;
    if let Err(error) = served {
        // The proxy may end idle connections at will; only other failures are worth a line.
        if !error.is_incomplete_message() {
            eprintln!("s3: {error}");
        }
    }
}
