//! Answers that come before the body: a storage sees exactly the requests that clients made, whatever a client sends after an
//! answer, and an honest client's next request is served.

use std::{
    net::SocketAddr,
    sync::{LazyLock, Mutex, PoisonError},
    time::Duration,
};

use ober_tests::{
    client::{Open, Raw},
    lab::until,
    rgw::Gateway,
    sockets::connections,
};

use super::front::{Front, backend, field, service, storage, vip};

const STATUSES: [u16; 10] = [200, 204, 301, 307, 401, 403, 404, 411, 417, 503];
const EXPECT: &str = "Expect: 100-continue\r\n";

/// One worker, so that all clients could get the same connection to the storage. Tests take turns: they share the journal.
static SCENE: LazyLock<Mutex<Scene>> = LazyLock::new(|| {
    let listeners = "certificate = \"@/all.pem\"\n[[services.listeners]]\nport = 80\naccess = \"open\"\n\
         [[services.listeners]]\nport = 81\nredirect_https = true\naccess = \"open\"\n\
         [[services.listeners]]\nport = 82\nrules = [\"deny all path=/denied\", \"allow all\"]\naccess = \"open\"";
    let dead = "[[services.routes]]\npaths = [\"/dead\"]\nbackend = \"dead\"";
    let text = service("s3", 1, "rgw", "", 443, &format!("{listeners}\n{dead}"))
        + &backend("rgw", "[\"10.77.1.20:80\"]", "")
        + &backend(
            "dead",
            "[\"10.77.1.21:80\"]",
            "retries = 0\ntimeouts.connect = \"300ms\"",
        );
    let front = Front::new("early", 1, &text);
    let gateway = Gateway::serve(&front.cluster.storage, SocketAddr::new(storage(20), 80)).unwrap();
    Mutex::new(Scene {
        front: front.start(),
        gateway,
    })
});

pub(super) struct Scene {
    pub(super) front: Front,
    pub(super) gateway: Gateway,
}

/// How the end of a body is marked.
#[derive(Clone, Copy, Debug)]
enum Framing {
    Length,
    Chunked,
    Trailers,
}

impl Framing {
    const ALL: [Self; 3] = [Self::Length, Self::Chunked, Self::Trailers];

    fn header(self, body: &str) -> String {
        match self {
            Self::Length => format!("Content-Length: {}\r\n", body.len()),
            Self::Chunked => "Transfer-Encoding: chunked\r\n".to_owned(),
            Self::Trailers => "Transfer-Encoding: chunked\r\nTrailer: x-amz-a\r\n".to_owned(),
        }
    }

    fn wire(self, body: &str) -> String {
        let chunks = format!("{:x}\r\n{body}\r\n0\r\n", body.len());
        match self {
            Self::Length => body.to_owned(),
            Self::Chunked => chunks + "\r\n",
            Self::Trailers => chunks + "x-amz-a: b\r\n\r\n",
        }
    }
}

/// What a client does with its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Habit {
    /// Sends it when asked to, and never after a final answer: boto3.
    Waits,
    /// Sends `Expect`, and the body at once.
    Hurries,
    /// The same, and the next request with it.
    Pipelines,
    /// Without `Expect`.
    Plain,
    /// Sends the body after the final answer, in the hope that the storage runs it as a request.
    Attacks,
}

impl Habit {
    const ALL: [Self; 5] = [
        Self::Waits,
        Self::Hurries,
        Self::Pipelines,
        Self::Plain,
        Self::Attacks,
    ];
}

struct Answer {
    status: u16,
    closes: bool,
    text: String,
}

/// A client that keeps its connection, and makes a new one when it must.
struct Client<'a> {
    front: &'a Front,
    raw: Raw,
    open: Option<Open>,
    /// Bytes read that are not yet part of an answer.
    rest: String,
}

impl<'a> Client<'a> {
    fn new(front: &'a Front, port: u16) -> Self {
        let raw = Raw::new(SocketAddr::new(vip(1), port));
        let raw = if port == 443 {
            raw.tls(&front.trust, "s3.test")
        } else {
            raw
        };
        Self {
            front,
            raw,
            open: None,
            rest: String::new(),
        }
    }

    fn write(&mut self, text: &str) {
        if self.open.is_none() {
            self.rest.clear();
            self.open = Some(self.front.ask(|| self.raw.open()).unwrap());
        }
        // A client whose connection was closed meanwhile notices when it reads.
        self.open.as_mut().unwrap().write(text).ok();
    }

    /// The next answer, a final one or not; `None`: the connection has ended.
    fn answer(&mut self) -> Option<Answer> {
        let answer = self.read();
        if answer.as_ref().is_none_or(|answer| answer.closes) {
            self.open = None;
        }
        answer
    }

    fn read(&mut self) -> Option<Answer> {
        let end = self.read_until(|rest| rest.find("\r\n\r\n").map(|at| at + 4))?;
        let head = self.rest.drain(..end).collect::<String>().to_lowercase();
        let header = |name: &str| {
            let mut lines = head.lines().filter_map(|line| line.split_once(": "));
            lines
                .find(|line| line.0 == name)
                .map(|line| line.1.to_owned())
        };
        let status = head.split(' ').nth(1)?.parse().ok()?;
        let length: usize = header("content-length").map_or(0, |it| it.parse().unwrap());
        let end = self.read_until(|rest| (rest.len() >= length).then_some(length))?;
        Some(Answer {
            status,
            closes: header("connection").is_some_and(|it| it == "close"),
            text: self.rest.drain(..end).collect(),
        })
    }

    fn read_until(&mut self, found: impl Fn(&str) -> Option<usize>) -> Option<usize> {
        loop {
            if let Some(at) = found(&self.rest) {
                return Some(at);
            }
            let piece = self
                .open
                .as_mut()?
                .some()
                .ok()
                .filter(|it| !it.is_empty())?;
            self.rest += &piece;
        }
    }

    /// A request of an honest client, which tries again when a connection ends before an answer. `sent`: the request went out
    /// already.
    fn get(&mut self, path: &str, sent: bool) -> Option<Answer> {
        if sent && let Some(answer) = self.answer() {
            return Some(answer);
        }
        for _ in 0..2 {
            self.write(&format!("GET {path} HTTP/1.1\r\nHost: s3.test\r\n\r\n"));
            if let Some(answer) = self.answer() {
                return Some(answer);
            }
        }
        None
    }

    /// The status of the final answer. `next` is a whole request.
    fn put(&mut self, head: &str, wire: &str, habit: Habit, next: &str) -> Option<u16> {
        match habit {
            Habit::Waits | Habit::Attacks => self.write(head),
            Habit::Hurries | Habit::Plain => self.write(&format!("{head}{wire}")),
            Habit::Pipelines => self.write(&format!("{head}{wire}{next}")),
        }
        let mut answer = self.answer()?;
        let mut asked = false;
        while answer.status < 200 {
            if !asked && matches!(habit, Habit::Waits | Habit::Attacks) {
                self.write(wire);
            }
            asked = true;
            answer = self.answer()?;
        }
        if habit == Habit::Attacks
            && !asked
            && let Some(open) = &mut self.open
        {
            open.write(wire).ok();
        }
        Some(answer.status)
    }
}

impl Scene {
    /// The requests of clients to the storage; the gate's probes ask for `/`.
    fn asked(&self) -> Vec<String> {
        let mut asked = self.gateway.asked();
        asked.retain(|it| it != "GET /");
        asked
    }

    /// One upload, then the next request of this client, then one of another client, each served once and with its own answer.
    /// Returns what was wrong.
    fn upload(
        &self,
        port: u16,
        path: &str,
        framing: Framing,
        habit: Habit,
        expect: &str,
    ) -> String {
        self.gateway.asked();
        let body = "GET /whole/200/smuggled HTTP/1.1\r\nHost: s3.test\r\n\r\n";
        let said = if habit == Habit::Plain { "" } else { expect };
        let framed = framing.header(body);
        let head = format!("PUT {path} HTTP/1.1\r\nHost: s3.test\r\n{said}{framed}\r\n");
        let next = "/whole/200/next";
        let pipelined = format!("GET {next} HTTP/1.1\r\nHost: s3.test\r\n\r\n");
        let mut client = Client::new(&self.front, port);
        let status = client.put(&head, &framing.wire(body), habit, &pipelined);
        let sent = habit == Habit::Pipelines && client.open.is_some();
        let mut got = Vec::new();
        if habit == Habit::Attacks {
            client.open = None;
        } else {
            got.push((next, client.get(next, sent)));
        }
        let other = "/whole/200/other";
        got.push((other, Client::new(&self.front, 80).get(other, false)));
        let mut wrong: Vec<String> = got
            .iter()
            .filter(|(path, answer)| {
                let right = |it: &Answer| {
                    it.status == 200 && field(&it.text, "asked") == format!("GET {path}")
                };
                !answer.as_ref().is_some_and(right)
            })
            .map(|(path, answer)| format!("{path}: {:?}", answer.as_ref().map(|it| &it.text)))
            .collect();
        let mut expected: Vec<String> = got.iter().map(|it| format!("GET {}", it.0)).collect();
        if status.is_some_and(|status| path.contains(&format!("/{status}/"))) {
            expected.insert(0, format!("PUT {path}"));
        } else {
            wrong.push(format!("the answer was {status:?}"));
        }
        let asked = self.asked();
        if asked != expected {
            wrong.push(format!("the storage saw {asked:?}"));
        }
        wrong.join("; ")
    }
}

/// Every way to send a body.
fn uploads() -> impl Iterator<Item = (u16, Framing, Habit)> {
    let ways = |port| {
        let framings = Framing::ALL.into_iter();
        framings.flat_map(move |framing| Habit::ALL.map(|habit| (port, framing, habit)))
    };
    [80, 443].into_iter().flat_map(ways)
}

pub(super) fn scene() -> std::sync::MutexGuard<'static, Scene> {
    SCENE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn after_any_early_answer_the_storage_sees_exactly_the_requests_that_clients_made() {
    let scene = scene();
    let early = STATUSES.map(|status| ("early", status));
    let others = [
        ("asked", 200),
        ("asked", 403),
        ("asked", 500),
        ("closed", 200),
        ("closed", 403),
        ("half", 403),
    ];
    let mut wrong = Vec::new();
    for (manner, status) in early.into_iter().chain(others).chain([("whole", 200)]) {
        for (port, framing, habit) in uploads() {
            let path = format!("/{manner}/{status}/key");
            let said = scene.upload(port, &path, framing, habit, EXPECT);
            if !said.is_empty() {
                wrong.push(format!("{path} {port} {framing:?} {habit:?}: {said}"));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn for_any_spelling_of_expect_the_body_is_never_read_as_a_request() {
    let scene = scene();
    let spellings = [
        "expect: 100-Continue\r\n",
        "EXPECT:100-continue\r\n",
        "Expect: \t100-continue \r\n",
        "Expect: 100-continue, foo\r\n",
        "Expect: foo\r\nExpect: 100-continue\r\n",
        "Expect:\r\nExpect: 100-continue\r\n",
        "Expect: 100-continue\r\nExpect: foo\r\n",
        "Expect:\r\n 100-continue\r\n",
        "Connection: expect\r\nExpect: 100-continue\r\n",
        "Connection: keep-alive\r\nExpect: 100-continue\r\n",
        "Connection: Upgrade\r\nUpgrade: websocket\r\nExpect: 100-continue\r\n",
    ];
    let mut wrong = Vec::new();
    for (spelling, manner) in spellings
        .iter()
        .flat_map(|it| [(it, "early"), (it, "asked")])
    {
        for habit in [Habit::Waits, Habit::Hurries, Habit::Attacks] {
            let said = scene.upload(
                80,
                &format!("/{manner}/403/key"),
                Framing::Length,
                habit,
                spelling,
            );
            if !said.is_empty() {
                wrong.push(format!("{spelling:?} {manner} {habit:?}: {said}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn after_haproxys_own_answer_the_body_is_no_request_and_the_next_request_is_served() {
    let scene = scene();
    let body = "GET /whole/200/smuggled HTTP/1.1\r\nHost: s3.test\r\n\r\n";
    let long = "x".repeat(300_000);
    // Denied by a rule, redirected to https, no server, no tunnel.
    for (port, method, path, status) in [
        (82, "PUT", "/denied/key", 403),
        (81, "PUT", "/key", 308),
        (80, "PUT", "/dead/key", 503),
        (80, "CONNECT", "s3.test:80", 405),
    ] {
        for habit in Habit::ALL {
            for (body, framing) in [
                (body, Framing::Length),
                (body, Framing::Chunked),
                (&long, Framing::Length),
            ] {
                scene.asked();
                let said = if habit == Habit::Plain { "" } else { EXPECT };
                let head = format!(
                    "{method} {path} HTTP/1.1\r\nHost: s3.test\r\n{said}{}\r\n",
                    framing.header(body)
                );
                let mut client = Client::new(&scene.front, port);
                let got = client.put(&head, &framing.wire(body), habit, "");
                // HAProxy 2.6 hangs up on a client that still sends, which may lose the answer.
                let lost = got.is_none() && body.len() > 100_000;
                assert!(
                    lost || got == Some(status),
                    "{path} {habit:?} {framing:?}: {got:?}"
                );
                let next = "/whole/200/next";
                let mut other = Client::new(&scene.front, 80);
                let client = if port == 80 && habit != Habit::Attacks {
                    &mut client
                } else {
                    &mut other
                };
                let answer = client.get(next, false).unwrap();
                assert_eq!(field(&answer.text, "asked"), format!("GET {next}"));
                assert_eq!(
                    scene.asked(),
                    [format!("GET {next}")],
                    "{path} {habit:?} {framing:?}"
                );
            }
        }
    }
}

#[test]
fn a_client_keeps_its_connection_when_its_uploads_are_taken() {
    let scene = scene();
    for port in [80, 443] {
        let mut client = Client::new(&scene.front, port);
        for framing in Framing::ALL {
            for (habit, said) in [
                (Habit::Waits, EXPECT),
                (Habit::Hurries, EXPECT),
                (Habit::Plain, ""),
            ] {
                let head = format!(
                    "PUT /whole/200/key HTTP/1.1\r\nHost: s3.test\r\n{said}{}\r\n",
                    framing.header("body")
                );
                assert_eq!(
                    client.put(&head, &framing.wire("body"), habit, ""),
                    Some(200)
                );
                assert!(client.open.is_some(), "{framing:?} {habit:?}");
            }
        }
        assert_eq!(
            client.put(
                "GET /early/404/key HTTP/1.1\r\nHost: s3.test\r\n\r\n",
                "",
                Habit::Plain,
                ""
            ),
            Some(404)
        );
        assert!(client.open.is_some(), "without a body nothing is in doubt");
    }
}

#[test]
fn no_request_becomes_a_tunnel() {
    let scene = scene();
    let upgrade = "GET /whole/200/key HTTP/1.1\r\nHost: s3.test\r\nConnection: Upgrade, HTTP2-Settings\r\n\
         Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n";
    let mut client = Client::new(&scene.front, 80);
    client.write(upgrade);
    let answer = client.answer().unwrap();
    let names = field(&answer.text, "names");
    assert!(!names.split(',').any(|name| name == "upgrade"), "{names}");
}

#[test]
fn no_connection_of_a_client_that_is_gone_stays_in_the_worker() {
    let scene = scene();
    for port in [80, 443] {
        for (manner, framing) in Framing::ALL
            .iter()
            .flat_map(|it| [("early", it), ("asked", it), ("half", it)])
        {
            for said in ["", EXPECT] {
                let mut client = Client::new(&scene.front, port);
                let body = "z".repeat(50_000);
                client.write(&format!(
                    "PUT /{manner}/404/key HTTP/1.1\r\nHost: s3.test\r\n{said}{}\r\n",
                    framing.header(&body)
                ));
                client.read();
                // No chunk, and only a part of a body.
                client.write("GET / HTTP/1.1\r\n\r\n");
            }
        }
    }
    let status = scene.front.ober.status(&scene.front.cluster.node).unwrap();
    let worker = status.workers[0].pid.unwrap();
    until("an empty worker", Duration::from_secs(30), || {
        let mut clients = connections(worker)?;
        clients.retain(|it| it.peer.ip() == ober_tests::lab::client4(0));
        Ok(clients.is_empty().then_some(()))
    })
    .unwrap();
}
