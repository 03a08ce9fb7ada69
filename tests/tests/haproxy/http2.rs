//! HTTP/2 is offered only where HAProxy handles it rightly.

use std::{
    net::SocketAddr,
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use h2::{Reason, client::SendRequest};
use http::{Method, Request};
use ober_tests::{client::Raw, rgw::Gateway};
use ober_user::{config::Config, haproxy::version::probe};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::front::{Front, backend, service, storage, vip};

/// A node that is not yet started.
static SCENE: LazyLock<Mutex<(Front, Gateway)>> = LazyLock::new(|| {
    let tls =
        "certificate = \"@/all.pem\"\n[services.listeners.tls]\nalpn = [\"h2\", \"http/1.1\"]";
    let text = service("s3", 1, "rgw", "", 443, tls) + &backend("rgw", "[\"10.77.1.20:80\"]", "");
    let front = Front::new("http2", 1, &text);
    let gateway = Gateway::serve(&front.cluster.storage, SocketAddr::new(storage(20), 80)).unwrap();
    Mutex::new((front, gateway))
});

fn scene() -> MutexGuard<'static, (Front, Gateway)> {
    SCENE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Is the installed HAProxy one of those that were tried and found right?
fn offered(front: &Front) -> bool {
    let program = Config::load(&front.ober.config).unwrap().workers.haproxy;
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let version = runtime.block_on(probe(&program)).unwrap().version;
    let numbers: Vec<u16> = version
        .split(|letter: char| !letter.is_ascii_digit())
        .take(3)
        .map(|number| number.parse().unwrap())
        .collect();
    numbers >= vec![3, 2] || (numbers >= vec![3, 0, 11] && numbers < vec![3, 1])
}

#[test]
fn http_2_is_accepted_only_with_haproxy_versions_that_handle_it() {
    let mut scene = scene();
    let (front, gateway) = &mut *scene;
    if !offered(front) {
        let answer = front
            .ober
            .try_cli(&front.cluster.node, &["validate"])
            .unwrap();
        let words = String::from_utf8_lossy(&answer.stderr).into_owned();
        assert!(!answer.status.success(), "{words}");
        for part in ["h2", "service s3", "3.0.11"] {
            assert!(words.contains(part), "{part}: {words}");
        }
        return;
    }
    front.ober.start(&front.cluster.node).unwrap();
    what_was_executed_is_never_called_unprocessed(front, gateway);
    what_was_cut_is_never_called_whole(front);
    behind_an_early_answer_the_storage_sees_no_request_more(front, gateway);
}

fn asked(gateway: &Gateway) -> Vec<String> {
    let mut asked = gateway.asked();
    asked.retain(|it| it != "GET /");
    asked
}

/// Puts connections to the storage into HAProxy's pool.
fn warm(front: &Front) {
    for _ in 0..3 {
        let raw = Raw::new(SocketAddr::new(vip(1), 443)).tls(&front.trust, "s3.test");
        front.ask(|| raw.get("s3.test", "/whole/200/warm")).unwrap();
    }
}

fn what_was_executed_is_never_called_unprocessed(front: &Front, gateway: &Gateway) {
    for method in [Method::POST, Method::DELETE] {
        for before in [0, 2] {
            warm(front);
            let talk = async |mut client: Client| {
                for _ in 0..before {
                    assert_eq!(client.ask(Method::GET, "/whole/200/a").await, Ok(200));
                }
                asked(gateway);
                client.ask(method.clone(), "/silent/200/key").await
            };
            assert_eq!(speak(front, talk), Ok(502), "{method} behind {before}");
            assert_eq!(asked(gateway), [format!("{method} /silent/200/key")]);
        }
    }
}

fn what_was_cut_is_never_called_whole(front: &Front) {
    let end = speak(front, async |mut client: Client| {
        client.ask(Method::GET, "/cut/200/key").await
    });
    assert!(end.is_err(), "{end:?}");
}

fn behind_an_early_answer_the_storage_sees_no_request_more(front: &Front, gateway: &Gateway) {
    let body = Bytes::from_static(b"GET /whole/200/smuggled HTTP/1.1\r\nHost: s3.test\r\n\r\n");
    for manner in ["early", "asked", "closed", "half"] {
        for (expect, length, late) in [
            (true, true, true),
            (true, false, true),
            (true, true, false),
            (false, true, false),
        ] {
            asked(gateway);
            let path = format!("/{manner}/403/key");
            let talk = async |mut client: Client| {
                let status = client
                    .upload(&path, body.clone(), expect, length, late)
                    .await;
                (status, client.ask(Method::GET, "/whole/200/next").await)
            };
            let what = format!("{manner} {expect} {length} {late}");
            assert_eq!(speak(front, talk), (Ok(403), Ok(200)), "{what}");
            warm(front);
            let mut seen = vec![format!("PUT {path}"), "GET /whole/200/next".to_owned()];
            seen.extend(std::iter::repeat_n("GET /whole/200/warm".to_owned(), 3));
            assert_eq!(asked(gateway), seen, "{what}");
        }
    }
}

/// One connection.
struct Client(SendRequest<Bytes>);

/// Runs on the first client.
fn speak<T: Send>(front: &Front, talk: impl AsyncFnOnce(Client) -> T + Send) -> T {
    let mut config = (*front.trust).clone();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let host = &front.cluster.clients[0];
    host.tokio(async move || {
        let stream = TcpStream::connect(SocketAddr::new(vip(1), 443))
            .await
            .unwrap();
        let name = ServerName::try_from("s3.test").unwrap();
        let tls = TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
            .unwrap();
        assert_eq!(tls.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
        let (sender, connection) = h2::client::handshake(tls).await.unwrap();
        let driving = tokio::spawn(async move { connection.await.ok() });
        let said = talk(Client(sender)).await;
        driving.abort();
        said
    })
    .unwrap()
}

/// The status of a whole answer, or the reason why there is none.
type Answer = Result<u16, Option<Reason>>;

impl Client {
    async fn ask(&mut self, method: Method, path: &str) -> Answer {
        let request = head(method, path).body(()).unwrap();
        self.0 = self.0.clone().ready().await.map_err(why)?;
        let (answer, _) = self.0.send_request(request, true).map_err(why)?;
        whole(answer.await.map_err(why)?).await
    }

    /// `late`: the body is sent after the answer.
    async fn upload(
        &mut self,
        path: &str,
        body: Bytes,
        expect: bool,
        length: bool,
        late: bool,
    ) -> Answer {
        let mut request = head(Method::PUT, path);
        if expect {
            request = request.header("expect", "100-continue");
        }
        if length {
            request = request.header("content-length", body.len());
        }
        self.0 = self.0.clone().ready().await.map_err(why)?;
        let (answer, mut stream) = self
            .0
            .send_request(request.body(()).unwrap(), false)
            .map_err(why)?;
        if late {
            let status = whole(answer.await.map_err(why)?).await;
            // A client that got a reset cannot send it.
            stream.send_data(body, true).ok();
            return status;
        }
        stream.send_data(body, true).map_err(why)?;
        whole(answer.await.map_err(why)?).await
    }
}

fn head(method: Method, path: &str) -> http::request::Builder {
    Request::builder()
        .method(method)
        .uri(format!("https://s3.test{path}"))
}

#[expect(clippy::needless_pass_by_value, reason = "it maps errors")]
fn why(error: h2::Error) -> Option<Reason> {
    error.reason()
}

async fn whole(answer: http::Response<h2::RecvStream>) -> Answer {
    let status = answer.status().as_u16();
    let mut body = answer.into_body();
    while let Some(piece) = body.data().await {
        let piece = piece.map_err(why)?;
        body.flow_control().release_capacity(piece.len()).ok();
    }
    Ok(status)
}
