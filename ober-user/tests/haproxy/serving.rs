//! What clients get through a worker.

use std::{sync::Arc, time::Duration};

use ober_user::announce::gate::loopback;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use crate::lab::{Lab, addresses, get, request};

#[tokio::test(flavor = "multi_thread")]
async fn every_socket_of_every_worker_serves_and_the_client_cannot_forge_its_address() {
    let lab = Lab::new(2);
    let (pool, _events) = lab.start().await;
    // Two workers, two ports, two families.
    assert_eq!(pool.sockets().len(), 8);
    let plain = pool
        .sockets()
        .into_iter()
        .filter(|socket| socket.port.get() == 80);
    for at in plain.map(|socket| socket.address().unwrap()) {
        let head = "GET /object HTTP/1.1\r\nX-Forwarded-For: 10.9.8.7\r\nForwarded: for=10.9.8.7\r\n\
                    X-Forwarded-Proto: https";
        let (status, body) = request(at, head, b"").unwrap();
        assert_eq!(status, "HTTP/1.1 200 OK");
        let ip = at.ip();
        assert_eq!(
            body,
            format!("GET /object HTTP/1.1\nfor={ip}\nproto=http\nforwarded=\nbytes=0\n")
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_larger_than_any_buffer_and_slower_than_the_header_timeout_arrives_whole() {
    let mut lab = Lab::new(1);
    lab.config
        .backends
        .get_mut("storage")
        .unwrap()
        .timeouts
        .http_request = Duration::from_millis(300);
    let (pool, _events) = lab.start().await;
    let mut stream = loopback::connect(addresses(&pool, 80)[0]).await.unwrap();
    let (chunk, chunks) = (vec![7_u8; 1 << 20], 8);
    let length = chunk.len() * chunks;
    let head = format!(
        "PUT /big HTTP/1.1\r\nHost: s3.test\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    for _ in 0..chunks {
        stream.write_all(&chunk).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with(&format!("bytes={length}\n")), "{answer}");
}

async fn over_tls(lab: &Lab, at: std::net::SocketAddr, alpn: &[u8]) -> (Option<Vec<u8>>, String) {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from(lab.certificate.clone()))
        .unwrap();
    let mut config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    let name = ServerName::try_from("s3.test").unwrap();
    let tcp = loopback::connect(at).await.unwrap();
    let mut tls = TlsConnector::from(Arc::new(config))
        .connect(name, tcp)
        .await
        .unwrap();
    let chosen = tls.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
    let mut answer = String::new();
    if alpn == b"http/1.1" {
        tls.write_all(b"GET /secret HTTP/1.1\r\nHost: s3.test\r\nConnection: close\r\n\r\n")
            .await
            .unwrap();
        tls.read_to_string(&mut answer).await.unwrap();
    }
    (chosen, answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_ends_at_the_worker_and_http_1_alone_is_offered() {
    let lab = Lab::new(1);
    let (pool, _events) = lab.start().await;
    let at = addresses(&pool, 443)[0];
    let (chosen, answer) = over_tls(&lab, at, b"http/1.1").await;
    assert_eq!(chosen.as_deref(), Some(b"http/1.1".as_slice()));
    assert!(
        answer.ends_with("GET /secret HTTP/1.1\nfor=127.0.0.1\nproto=https\nforwarded=\nbytes=0\n"),
        "{answer}"
    );
    let (chosen, _) = over_tls(&lab, at, b"h2").await;
    assert_eq!(chosen, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn statistics_and_metrics_are_on_a_unix_socket_and_not_on_the_service() {
    let lab = Lab::new(1);
    let (pool, _events) = lab.start().await;
    let at = addresses(&pool, 80)[0];
    assert!(
        get(at, "/metrics").unwrap().contains("GET /metrics"),
        "an object of that name is the storage's"
    );
    for (path, word) in [
        ("/metrics", "haproxy_process_start_time_seconds"),
        ("/stats", "<title>Statistics"),
    ] {
        let socket = lab.config.node.run.join("worker-0-stats.sock");
        let mut stream = tokio::net::UnixStream::connect(socket).await.unwrap();
        stream
            .write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes())
            .await
            .unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        assert!(String::from_utf8_lossy(&answer).contains(word));
    }
    let info = ober_user::haproxy::ask(&lab.config.node.run.join("worker-0.sock"), "show info")
        .await
        .unwrap();
    assert!(info.contains("Maxconn: 1000\n"), "{info}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workers_own_socket_is_for_root_on_this_node_alone() {
    let lab = Lab::new(1);
    let (pool, _events) = lab.start().await;
    let sockets = pool.sockets();
    assert_eq!(sockets.len(), 4);
    for at in sockets.iter().map(|socket| socket.address().unwrap()) {
        let question = b"GET /secret HTTP/1.1\r\nHost: s3.test\r\nConnection: close\r\n\r\n";
        let mut answer = Vec::new();
        // The worker may reset the connection before or after `connect` returns.
        if let Ok(mut anybody) = TcpStream::connect(at).await {
            anybody.write_all(question).await.ok();
            anybody.read_to_end(&mut answer).await.ok();
        }
        assert_eq!(answer, b"", "{at}");
    }
    let mut probe = loopback::connect(addresses(&pool, 80)[0]).await.unwrap();
    probe
        .write_all(b"GET /secret HTTP/1.0\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    probe.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains("GET /secret"), "{answer}");
}
