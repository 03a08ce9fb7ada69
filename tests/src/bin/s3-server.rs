//! `s3-server ADDRESS DIRECTORY [--journal]`: serves a directory over the S3 API, without authentication.

use std::{net::SocketAddr, path::PathBuf};

use anyhow::{Context, Result};
use clap::Parser;
use hyper::{Request, body::Incoming};
use tokio::net::TcpListener;

#[derive(Parser)]
struct Arguments {
    /// Where to listen.
    address: SocketAddr,
    /// Holds the buckets.
    root: PathBuf,
    /// Print one line per request: method, path, X-Forwarded-For.
    #[arg(long)]
    journal: bool,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let service = ober_tests::s3::service(&arguments.root)?;
    let listener = TcpListener::bind(arguments.address)
        .await
        .with_context(|| format!("listen on {}", arguments.address))?;
    println!("listening on {}", listener.local_addr()?);
    ober_tests::s3::serve(listener, service, arguments.journal.then_some(note)).await
}

fn note(request: &Request<Incoming>) {
    let client = request
        .headers()
        .get("x-forwarded-for")
        .map_or("-", |value| value.to_str().unwrap_or("?"));
    println!("{} {} {client}", request.method(), request.uri().path());
}
