//! Each kind of check against real listeners on loopback, healthy ones and ones with every fault that can be made there.

use std::{
    convert::Infallible,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use http_body_util::Full;
use hyper::{Request, Response, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use rcgen::{CertificateParams, KeyPair};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket, UdpSocket},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

use crate::{
    backends::check::{
        State,
        engine::{CheckState, Engine, Target, Verdict},
    },
    config::{
        Check, ProxyVersion,
        sections::{
            check::{self, Expect, Http, Kind, Over, Pattern, Probe, Statuses},
            program::shell,
        },
    },
    system::tls::{Tls, Verify},
};

use super::*;

mod engine;

const MOMENT: Duration = Duration::from_millis(20);

fn check(kind: Kind) -> Check {
    Check {
        kind,
        port: None,
        interval: MOMENT,
        fast: MOMENT,
        timeout: Duration::from_millis(400),
        rise: 2,
        fall: 3,
    }
}

fn target(server: SocketAddr, check: Check) -> Target {
    Target {
        backend: "b".into(),
        server,
        name: None,
        check,
        proxy_protocol: None,
    }
}

/// The verdict of the first check, with its reason.
async fn first(server: SocketAddr, kind: Kind) -> (State, String) {
    let mut engine = Engine::default();
    let mut verdicts = engine.verdicts();
    engine.set(vec![target(server, check(kind))]);
    let verdict = timeout(Duration::from_secs(10), verdicts.recv()).await;
    let Verdict { up, reason, .. } = verdict.unwrap().unwrap();
    (if up { State::Up } else { State::Down }, reason)
}

async fn is(server: SocketAddr, kind: Kind, state: State, words: &str) {
    let (found, reason) = first(server, kind.clone()).await;
    assert!(
        found == state && reason.contains(words),
        "{state:?} with {words:?} wanted, found {found:?} with {reason:?} by {kind:?}"
    );
}

/// A port on which no server listens. Its socket stays bound, or another test would get the port and listen there.
fn closed() -> SocketAddr {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    std::mem::forget(socket);
    address
}

async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

/// A server that accepts connections and never sends a byte.
async fn silent() -> SocketAddr {
    let listener = listener().await;
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut held = Vec::new();
        loop {
            held.push(listener.accept().await.unwrap());
        }
    });
    address
}

/// Answers request number n (from 0) with `answer(n)`.
async fn web(
    answer: impl Fn(usize) -> (u16, String) + Clone + Send + Sync + 'static,
) -> SocketAddr {
    let listener = listener().await;
    let address = listener.local_addr().unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (count, answer) = (Arc::clone(&count), answer.clone());
            let service = service_fn(move |request: Request<Incoming>| {
                let (status, body) = answer(count.fetch_add(1, Ordering::Relaxed));
                let host = request.headers()["host"].to_str().unwrap();
                let body = body.replace("HOST", host);
                let response = Response::builder()
                    .status(status)
                    .body(Full::<bytes::Bytes>::from(body));
                async move { Ok::<_, Infallible>(response.unwrap()) }
            });
            let serving = hyper::server::conn::http1::Builder::new();
            tokio::spawn(serving.serve_connection(TokioIo::new(stream), service));
        }
    });
    address
}

fn http() -> Http {
    Http {
        method: "GET".into(),
        path: "/".into(),
        host: None,
        status: Statuses::read("200-499,503").unwrap(),
        body: None,
        tls: None,
    }
}

fn tls(verify: Verify, name: &str) -> Tls {
    Tls {
        verify,
        name: Some(name.into()),
        identity: None,
    }
}

/// A TLS server with a self-signed certificate for `good.test`, whose file is the authority too; answers PONG to PING.
async fn secure(directory: &Path) -> (SocketAddr, PathBuf) {
    let key = KeyPair::generate().unwrap();
    let made = CertificateParams::new(vec!["good.test".into()])
        .unwrap()
        .self_signed(&key)
        .unwrap();
    let path = directory.join("ca.pem");
    std::fs::write(&path, made.pem()).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![CertificateDer::from(made)], key)
        .unwrap();
    let (listener, acceptor) = (listener().await, TlsAcceptor::from(Arc::new(config)));
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut stream = acceptor.accept(stream).await?;
                let mut question = [0; 4];
                stream.read_exact(&mut question).await?;
                stream.write_all(b"PONG").await
            });
        }
    });
    (address, path)
}

fn prefix(over: Over) -> Kind {
    Kind::Probe(Probe {
        over,
        send: b"PING\r\n\r\n".into(),
        expect: Some(Expect::Prefix(b"PONG".into())),
    })
}

#[tokio::test]
async fn a_tcp_check_is_up_if_the_server_accepts_the_connection() {
    is(silent().await, Kind::Tcp, State::Up, "accepts").await;
    is(closed(), Kind::Tcp, State::Down, "refused").await;
}

#[tokio::test]
async fn a_check_may_use_another_port_than_the_servers() {
    let (serving, health) = (closed(), silent().await);
    let mut engine = Engine::default();
    let mut verdicts = engine.verdicts();
    let port = std::num::NonZeroU16::new(health.port());
    engine.set(vec![target(
        serving,
        Check {
            port,
            ..check(Kind::Tcp)
        },
    )]);
    let verdict = verdicts.recv().await.unwrap();
    assert!(verdict.up && verdict.server == serving, "{verdict:?}");
}

#[tokio::test]
async fn an_http_check_judges_status_and_body_and_sends_the_host() {
    let body = |pattern: &str| {
        Kind::Http(Http {
            body: Some(Pattern(pattern.parse().unwrap())),
            host: Some("s3.test".into()),
            ..http()
        })
    };
    let server = web(|_| (200, "ready for HOST".into())).await;
    is(server, Kind::Http(http()), State::Up, "200").await;
    is(server, body("^ready for s3.test$"), State::Up, "200").await;
    is(server, body("draining"), State::Down, "does not match").await;
    for (status, state) in [
        (403, State::Up),
        (500, State::Down),
        (503, State::Up),
        (504, State::Down),
    ] {
        let server = web(move |_| (status, String::new())).await;
        is(server, Kind::Http(http()), state, &status.to_string()).await;
    }
}

#[tokio::test]
async fn an_http_check_is_down_on_refusal_silence_or_an_answer_that_is_not_http() {
    is(closed(), Kind::Http(http()), State::Down, "refused").await;
    is(
        silent().await,
        Kind::Http(http()),
        State::Down,
        "no answer within 400ms",
    )
    .await;
    let directory = tempfile::tempdir().unwrap();
    let (server, _) = secure(directory.path()).await;
    is(server, Kind::Http(http()), State::Down, "no HTTP answer").await;
}

#[tokio::test]
async fn an_endless_body_is_read_to_its_limit_and_no_further() {
    let server = web(|_| (200, "x".repeat(10 << 20))).await;
    let body = Some(Pattern("^x+$".parse().unwrap()));
    is(
        server,
        Kind::Http(Http { body, ..http() }),
        State::Up,
        "200",
    )
    .await;
}

#[tokio::test]
async fn a_server_that_answers_slow_down_stays_up() {
    // Every second answer is SlowDown, and from the eleventh on all are.
    let server = web(|request| {
        if request % 2 == 1 || request > 10 {
            (503, "SlowDown".into())
        } else {
            (200, String::new())
        }
    })
    .await;
    let mut engine = Engine::default();
    let mut verdicts = engine.verdicts();
    engine.set(vec![target(server, check(Kind::Http(http())))]);
    assert!(verdicts.recv().await.unwrap().up);
    let more = timeout(MOMENT * 40, verdicts.recv()).await;
    assert!(more.is_err(), "{more:?}");
    let check_state = engine.states().into_values().next().unwrap();
    assert_eq!(check_state.reason, "status 503 Service Unavailable");
}

#[tokio::test]
async fn tls_is_up_where_the_certificate_is_good_for_the_name() {
    let directory = tempfile::tempdir().unwrap();
    let (server, ca) = secure(directory.path()).await;
    let trusted = || Verify::Authority(ca.clone());
    is(
        server,
        Kind::Tls(tls(trusted(), "good.test")),
        State::Up,
        "TLSv1_3",
    )
    .await;
    is(
        server,
        Kind::Tls(tls(trusted(), "other.test")),
        State::Down,
        "other.test",
    )
    .await;
    is(
        server,
        Kind::Tls(tls(Verify::System, "good.test")),
        State::Down,
        "UnknownIssuer",
    )
    .await;
    is(
        server,
        Kind::Tls(tls(Verify::None, "other.test")),
        State::Up,
        "TLSv1_3",
    )
    .await;
    let plain = web(|_| (200, String::new())).await;
    is(
        plain,
        Kind::Tls(tls(Verify::None, "good.test")),
        State::Down,
        "TLS",
    )
    .await;
    is(
        silent().await,
        Kind::Tls(tls(Verify::None, "good.test")),
        State::Down,
        "no answer",
    )
    .await;
}

#[tokio::test]
async fn without_a_name_for_the_server_a_tls_check_verifies_the_authority_alone() {
    let directory = tempfile::tempdir().unwrap();
    let (server, ca) = secure(directory.path()).await;
    let unnamed = |verify| {
        Kind::Tls(Tls {
            verify,
            name: None,
            identity: None,
        })
    };
    is(server, unnamed(Verify::Authority(ca)), State::Up, "TLSv1_3").await;
    is(
        server,
        unnamed(Verify::System),
        State::Down,
        "UnknownIssuer",
    )
    .await;
}

#[tokio::test]
async fn a_check_sends_the_proxy_protocol_to_the_servers_own_port_and_to_no_check_port() {
    let signature = b"\r\n\r\n\0\r\nQUIT\n";
    for (proxy_protocol, begin) in [
        (None, &b"GET / HTTP/1.1\r\n"[..]),
        (
            Some(ProxyVersion::V1),
            b"PROXY UNKNOWN\r\nGET / HTTP/1.1\r\n",
        ),
        (
            Some(ProxyVersion::V2),
            &[&signature[..], b"\x20\0\0\0GET /"].concat(),
        ),
    ] {
        let listener = listener().await;
        let server = listener.local_addr().unwrap();
        let port = std::num::NonZeroU16::new(server.port());
        for (port, begin) in [(None, begin), (port, b"GET / HTTP/1.1\r\n")] {
            let mut engine = Engine::default();
            let check = Check {
                port,
                ..check(Kind::Http(http()))
            };
            engine.set(vec![Target {
                proxy_protocol,
                ..target(server, check)
            }]);
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut bytes = vec![0; begin.len()];
            stream.read_exact(&mut bytes).await.unwrap();
            assert_eq!(bytes, begin, "{proxy_protocol:?}");
        }
    }
}

#[tokio::test]
async fn a_probe_compares_the_servers_answer_with_the_expected_bytes() {
    let directory = tempfile::tempdir().unwrap();
    let (server, ca) = secure(directory.path()).await;
    let over = |name| Over::Tls(tls(Verify::Authority(ca.clone()), name));
    is(server, prefix(over("good.test")), State::Up, "PONG").await;
    is(server, prefix(over("bad.test")), State::Down, "bad.test").await;
    let plain = web(|_| (200, String::new())).await;
    is(
        plain,
        prefix(Over::Tcp),
        State::Down,
        "unexpected answer: `HTTP/1.1 400",
    )
    .await;
    is(silent().await, prefix(Over::Tcp), State::Down, "no answer").await;
    is(closed(), prefix(Over::Tcp), State::Down, "refused").await;
}

/// A UDP server that gives the same answer to every datagram, or none.
async fn answers(answer: Option<&'static [u8]>) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut question = [0; 100];
        while let Ok((_, client)) = socket.recv_from(&mut question).await {
            let Some(answer) = answer else { continue };
            socket.send_to(answer, client).await.unwrap();
        }
    });
    address
}

#[tokio::test]
async fn a_probe_over_udp_hears_answers_refusals_and_silence() {
    is(
        answers(Some(b"PONG!")).await,
        prefix(Over::Udp),
        State::Up,
        "PONG!",
    )
    .await;
    is(
        answers(Some(b"PO")).await,
        prefix(Over::Udp),
        State::Down,
        "unexpected answer: `PO`",
    )
    .await;
    is(
        answers(None).await,
        prefix(Over::Udp),
        State::Down,
        "no answer",
    )
    .await;
    is(closed(), prefix(Over::Udp), State::Down, "refused").await;
}

#[tokio::test]
async fn an_exec_check_gets_address_and_port_and_is_ended_at_its_timeout() {
    let exec = |script: &str| {
        Kind::Exec(check::Exec {
            program: shell(script),
            verdict: check::Verdict::Status,
        })
    };
    let server = "192.0.2.7:7480".parse().unwrap();
    is(server, exec(r#"echo "$0 $1""#), State::Up, "192.0.2.7 7480").await;
    is(
        server,
        exec("echo sick >&2; exit 1"),
        State::Down,
        "exit status: 1: sick",
    )
    .await;
    is(
        server,
        exec("sleep 60"),
        State::Down,
        "no answer within 400ms",
    )
    .await;
}
