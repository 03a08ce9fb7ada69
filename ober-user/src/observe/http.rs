//! HTTP on a loopback address: metrics, health, a page to look at, and the workers' own statistics.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use axum::{
    Router,
    extract::{Path as Segment, RawQuery, State},
    http::{StatusCode, header},
    response::{Html, IntoResponse, Json, Redirect, Response},
    routing::get,
};
use tokio::net::TcpListener;

use super::{metrics, page, upstream};
use crate::status::{Counters, Status};

/// Who knows the facts.
pub trait Source: Send + Sync + 'static {
    fn status(&self) -> impl Future<Output = Status> + Send;
    fn counters(&self) -> impl Future<Output = Counters> + Send;
    /// The run directory, where the workers' sockets are.
    fn run(&self) -> &Path;
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "serve metrics on {address}: another program has this port; see `ss -ltnp`, or set node.metrics to a free one"
    )]
    InUse { address: SocketAddr },
    #[error("serve metrics on {address}: {source}; set node.metrics to an address of this machine")]
    Bind {
        address: SocketAddr,
        source: io::Error,
    },
    #[error("serve metrics: {0}")]
    Serve(#[from] io::Error),
}

/// Takes the address, or says who is to give way.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address)
        .await
        .map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => Error::InUse { address },
            _ => Error::Bind { address, source },
        })
}

/// Answers until the future is dropped.
pub async fn serve<S: Source>(listener: TcpListener, source: Arc<S>) -> Result<(), Error> {
    Ok(axum::serve(listener, router(source)).await?)
}

fn router<S: Source>(source: Arc<S>) -> Router {
    Router::new()
        .route("/", get(front::<S>))
        .route("/metrics", get(scrape::<S>))
        .route("/health", get(health::<S>))
        .route("/stats", get(stats::<S>))
        .route("/workers/{number}/{what}", get(worker::<S>))
        .with_state(source)
}

async fn front<S: Source>(State(source): State<Arc<S>>) -> Html<String> {
    let (status, counters) = (source.status().await, source.counters().await);
    Html(page::front(&status, &counters))
}

async fn scrape<S: Source>(State(source): State<Arc<S>>) -> Response {
    let (status, counters) = (source.status().await, source.counters().await);
    match metrics::render(&status, &counters) {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn health<S: Source>(State(source): State<Arc<S>>) -> Response {
    let healthy = source.status().await.healthy;
    let code = if healthy {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (code, Json(serde_json::json!({ "healthy": healthy }))).into_response()
}

/// One worker has one page; of several the front page has the links.
async fn stats<S: Source>(State(source): State<Arc<S>>) -> Response {
    match source.status().await.workers.as_slice() {
        [only] => Redirect::temporary(&format!("/workers/{}/stats", only.number)).into_response(),
        workers => Html(page::workers(workers)).into_response(),
    }
}

/// HAProxy's own pages, fetched from the worker's UNIX socket: `stats` (and `stats;csv`) and `metrics`.
async fn worker<S: Source>(
    State(source): State<Arc<S>>,
    Segment((number, what)): Segment<(usize, String)>,
    RawQuery(query): RawQuery,
) -> Response {
    if what != "metrics" && what.split(';').next() != Some("stats") {
        return StatusCode::NOT_FOUND.into_response();
    }
    let uri = match query {
        Some(query) => format!("/{what}?{query}"),
        None => format!("/{what}"),
    };
    let socket = stats_socket(source.run(), number);
    match upstream::fetch(&socket, &uri).await {
        Ok(answer) => answer.into_response(),
        Err(error) => (
            StatusCode::BAD_GATEWAY,
            format!("worker {number}: {error}\n"),
        )
            .into_response(),
    }
}

fn stats_socket(run: &Path, number: usize) -> PathBuf {
    run.join(format!("worker-{number}-stats.sock"))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::observe::sample;

    struct Node {
        healthy: bool,
        run: tempfile::TempDir,
    }

    impl Source for Node {
        async fn status(&self) -> Status {
            Status {
                healthy: self.healthy,
                ..sample::status()
            }
        }

        async fn counters(&self) -> Counters {
            sample::counters()
        }

        fn run(&self) -> &Path {
            self.run.path()
        }
    }

    /// A served node; ends with the runtime of the test.
    async fn node(healthy: bool) -> (SocketAddr, Arc<Node>) {
        let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let address = listener.local_addr().unwrap();
        let run = tempfile::tempdir().unwrap();
        let source = Arc::new(Node { healthy, run });
        tokio::spawn(serve(listener, Arc::clone(&source)));
        (address, source)
    }

    async fn ask(address: SocketAddr, uri: &str) -> String {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = format!("GET {uri} HTTP/1.0\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn health_is_200_or_503_and_says_so_in_json() {
        for (healthy, code) in [(true, "200"), (false, "503")] {
            let (address, _node) = node(healthy).await;
            let answer = ask(address, "/health").await;
            assert!(answer.starts_with(&format!("HTTP/1.0 {code}")), "{answer}");
            assert!(
                answer.ends_with(&format!("{{\"healthy\":{healthy}}}")),
                "{answer}"
            );
        }
    }

    #[tokio::test]
    async fn a_scrape_gets_openmetrics_and_the_front_page_names_every_verdict_counted() {
        let (address, _node) = node(true).await;
        let scrape = ask(address, "/metrics").await;
        assert!(scrape.contains("application/openmetrics-text"), "{scrape}");
        assert!(scrape.ends_with("# EOF\n"), "{scrape}");
        let front = ask(address, "/").await;
        for word in [
            "not_ours",
            "denied",
            "passed",
            "/workers/1/stats",
            "192.0.2.10",
        ] {
            assert!(front.contains(word), "{word} is not in {front}");
        }
        assert!(
            ask(address, "/workers/0/other")
                .await
                .starts_with("HTTP/1.0 404")
        );
    }

    #[tokio::test]
    async fn the_workers_own_pages_come_from_its_socket_with_the_query() {
        let (address, node) = node(true).await;
        let listener = tokio::net::UnixListener::bind(stats_socket(node.run(), 1)).unwrap();
        let worker = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 1024];
            let length = stream.read(&mut request).await.unwrap();
            let answer = b"HTTP/1.0 200 OK\r\ncontent-type: text/x-proof\r\n\r\nits words";
            stream.write_all(answer).await.unwrap();
            String::from_utf8(request[..length].to_vec()).unwrap()
        });
        let answer = ask(address, "/workers/1/stats;csv?up").await;
        assert!(
            worker
                .await
                .unwrap()
                .starts_with("GET /stats;csv?up HTTP/1.0\r\n")
        );
        assert!(
            answer.contains("text/x-proof") && answer.ends_with("its words"),
            "{answer}"
        );
        let gone = ask(address, "/workers/0/stats").await;
        assert!(
            gone.starts_with("HTTP/1.0 502") && gone.contains("worker 0"),
            "{gone}"
        );
    }

    #[tokio::test]
    async fn a_port_in_use_is_named_with_the_key_to_change() {
        let (address, _node) = node(true).await;
        let error = bind(address).await.unwrap_err().to_string();
        assert!(
            error.contains(&address.to_string()) && error.contains("node.metrics"),
            "{error}"
        );
    }
}
