//! HTTP on a loopback address: metrics, health, a page to look at, and the workers' own statistics.
//!
//! `listener` accepts the clients' connections, `shared` what their questions cost, `page` writes HTML, `upstream` asks a worker for
//! its statistics.
//!
//! It never changes anything: every request is a question.

pub mod listener;
pub(crate) mod page;
pub(crate) mod shared;
pub(crate) mod upstream;

use std::{future::Future, io, net::SocketAddr, path::Path, sync::Arc};

use axum::{
    Router,
    extract::{Path as Segment, RawQuery, State},
    http::{StatusCode, header},
    response::{Html, IntoResponse, Json, Redirect, Response},
    routing::get,
};
use bytes::Bytes;
use tokio::{net::TcpListener, sync::Semaphore};

use self::{shared::Shared, upstream::Page};
use super::metrics;
use crate::{
    api::status::{Counters, Status, gate::Served},
    config::paths::Files,
};

/// Questions to workers at once.
const UPSTREAM: usize = 2;

/// The source of the facts.
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

/// Takes the address; an error says what to do about it.
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
    Ok(listener::serve(listener, router(source)).await?)
}

/// What every connection shares.
struct Shown<S> {
    source: Arc<S>,
    status: Shared<Arc<Status>>,
    front: Shared<Bytes>,
    metrics: Shared<Result<Bytes, String>>,
    /// Questions to workers at once, each of which costs a worker and may have a long answer.
    upstream: Semaphore,
}

impl<S: Source> Shown<S> {
    async fn status(&self) -> Arc<Status> {
        let source = Arc::clone(&self.source);
        let find = async move { Arc::new(source.status().await) };
        self.status.get(find).await
    }
}

fn router<S: Source>(source: Arc<S>) -> Router {
    let shown = Shown {
        source,
        status: Shared::default(),
        front: Shared::default(),
        metrics: Shared::default(),
        upstream: Semaphore::new(UPSTREAM),
    };
    Router::new()
        .route("/", get(front::<S>))
        .route("/metrics", get(scrape::<S>))
        .route("/health", get(health::<S>))
        .route("/stats", get(stats::<S>))
        .route("/workers/{number}/{what}", get(worker::<S>))
        .with_state(Arc::new(shown))
}

async fn front<S: Source>(State(shown): State<Arc<Shown<S>>>) -> Html<Bytes> {
    let source = Arc::clone(&shown.source);
    let find = async move {
        let (status, counters) = (source.status().await, source.counters().await);
        page::front(&status, &counters).into()
    };
    Html(shown.front.get(find).await)
}

async fn scrape<S: Source>(State(shown): State<Arc<Shown<S>>>) -> Response {
    let source = Arc::clone(&shown.source);
    let find = async move {
        let (status, counters) = (source.status().await, source.counters().await);
        let text = metrics::render(&status, &counters);
        text.map(Bytes::from).map_err(|error| error.to_string())
    };
    match shown.metrics.get(find).await {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error).into_response(),
    }
}

async fn health<S: Source>(State(shown): State<Arc<Shown<S>>>) -> Response {
    let status = shown.status().await;
    let vips = Served::of(&status.gate);
    let healthy = status.is_healthy();
    let code = if healthy {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (
        code,
        Json(serde_json::json!({ "healthy": healthy, "vips": vips })),
    )
        .into_response()
}

/// One worker: its own page. Several: a page with their links.
async fn stats<S: Source>(State(shown): State<Arc<Shown<S>>>) -> Response {
    match shown.status().await.workers.as_slice() {
        [only] => Redirect::temporary(&format!("/workers/{}/stats", only.number)).into_response(),
        workers => Html(page::workers(workers)).into_response(),
    }
}

/// HAProxy's own pages, fetched from the worker's UNIX socket: `stats` (and `stats;csv`) and `metrics`.
async fn worker<S: Source>(
    State(shown): State<Arc<Shown<S>>>,
    Segment((number, what)): Segment<(usize, String)>,
    RawQuery(query): RawQuery,
) -> Response {
    let Some(page) = Page::named(&what) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let Some(uri) = page.with(query.as_deref()) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let socket = Files::new(shown.source.run(), number).stats();
    let _turn = shown.upstream.acquire().await;
    match upstream::fetch(&socket, uri).await {
        Ok(answer) => answer.into_response(),
        Err(error) => (
            StatusCode::BAD_GATEWAY,
            format!("worker {number}: {error}\n"),
        )
            .into_response(),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use std::sync::Mutex;

    use super::*;
    use crate::{
        announce::gate::State,
        api::{connections, sample},
    };

    struct Node {
        healthy: bool,
        /// The state of all gates; `None`: as they are in the sample.
        gates: Mutex<Option<State>>,
        run: tempfile::TempDir,
    }

    impl Source for Node {
        async fn status(&self) -> Status {
            let mut status = Status {
                healthy: self.healthy,
                ..sample::status()
            };
            if let Some(state) = *self.gates.lock().unwrap() {
                status.gate.iter_mut().for_each(|gate| gate.state = state);
            }
            status
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
        let source = Arc::new(Node {
            healthy,
            gates: Mutex::new(None),
            run,
        });
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
    async fn health_answers_200_or_503_and_states_the_health_in_json() {
        for (healthy, code) in [(true, "200"), (false, "503")] {
            let (address, _node) = node(healthy).await;
            let answer = ask(address, "/health").await;
            assert!(answer.starts_with(&format!("HTTP/1.0 {code}")), "{answer}");
            let body = answer.split("\r\n\r\n").nth(1).unwrap();
            let body: serde_json::Value = serde_json::from_str(body).unwrap();
            assert_eq!(body["healthy"], healthy, "{answer}");
            assert!(body["vips"]["total"].as_u64() > Some(0), "{answer}");
        }
    }

    #[tokio::test]
    async fn a_node_that_serves_none_of_its_vips_is_not_healthy() {
        let (address, node) = node(true).await;
        for state in [State::Down, State::Disabled, State::Init, State::Rising] {
            *node.gates.lock().unwrap() = Some(state);
            // Beyond the first few questions they are answered once a second.
            tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
            let answer = ask(address, "/health").await;
            assert!(answer.starts_with("HTTP/1.0 503"), "{state:?}: {answer}");
            assert!(answer.contains("\"served\":0"), "{answer}");
            let front = ask(address, "/").await;
            assert!(front.contains("<span class=bad>0 of "), "{front}");
        }
    }

    #[tokio::test]
    async fn connections_without_a_request_end_and_do_not_keep_other_clients_from_an_answer() {
        let (address, _node) = node(true).await;
        let mut silent = Vec::new();
        for _ in 0..4 * connections::MOST {
            let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
            stream.write_all(b"GET /h").await.unwrap();
            silent.push(stream);
        }
        let answer = ask(address, "/health").await;
        assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
        let patience = listener::HEAD + std::time::Duration::from_secs(20);
        for mut stream in silent {
            let mut rest = Vec::new();
            let ended = tokio::time::timeout(patience, stream.read_to_end(&mut rest));
            ended.await.expect("it is closed").ok();
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
        let listener = tokio::net::UnixListener::bind(Files::new(node.run(), 1).stats()).unwrap();
        let worker = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 1024];
            let length = stream.read(&mut request).await.unwrap();
            let answer = b"HTTP/1.1 200 OK\r\ncontent-type: text/x-proof\r\ntransfer-encoding: chunked\r\n\r\n\
                9\r\nits words\r\n0\r\n\r\n";
            stream.write_all(answer).await.unwrap();
            String::from_utf8(request[..length].to_vec()).unwrap()
        });
        let answer = ask(address, "/workers/1/stats;csv?up").await;
        assert!(
            worker
                .await
                .unwrap()
                .starts_with("GET /stats;csv?up HTTP/1.1\r\n")
        );
        assert!(
            answer.contains("text/x-proof") && answer.ends_with("\r\n\r\nits words"),
            "{answer}"
        );
        let smuggled = "/workers/1/stats;%20HTTP%2F1.1%0d%0aHost:%20a%0d%0a%0d%0aGET%20%2Fmetrics";
        let refused = ask(address, smuggled).await;
        assert!(refused.starts_with("HTTP/1.0 404"), "{refused}");
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
