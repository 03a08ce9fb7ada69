//! Each kind of source against a server in the test, healthy and failing: no failure is ever an empty list.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    num::NonZeroU16,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use hickory_proto::{
    op::{Message, ResponseCode},
    rr::{Name, RData, Record, rdata},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, UdpSocket, UnixListener},
    sync::mpsc,
    time::{sleep, timeout},
};

use super::{
    ask::Asker,
    engine::{Engine, Learned},
};
use crate::{
    config::{Config, Env, sections::discover::Discover},
    names::server_line::Found,
};

mod names;

/// A configuration with only this source.
fn config(source: &str) -> Config {
    let text = format!(
        "[node]\ninterfaces=['a']\n[workers]\nhaproxy='/bin/sh'\n[[backends.b.discover]]\ntimeout='300ms'\n{source}\n"
    );
    Config::parse(
        &text,
        Path::new("/"),
        &Env {
            cpus: vec![0],
            ..Env::default()
        },
    )
    .unwrap()
}

fn asker(source: &str) -> Asker {
    let config = config(source);
    Asker::new(config.backends["b"].discover[0].clone(), &config)
}

async fn ask(source: &str) -> Result<Vec<String>, String> {
    let found = asker(source).ask().await;
    found
        .map(|found| described(&found))
        .map_err(|error| error.to_string())
}

fn described(found: &[Found]) -> Vec<String> {
    found
        .iter()
        .map(|found| format!("{}:{}", found.host(), found.port()))
        .collect()
}

async fn fails(source: &str, words: &str) {
    let answer = ask(source).await;
    assert!(
        matches!(&answer, Err(why) if why.contains(words)),
        "{words:?} wanted of\n{source}\nand it was {answer:?}"
    );
}

/// The next answers of a server in the test, and the requests it got.
#[derive(Clone, Default)]
struct Script {
    answers: Arc<Mutex<VecDeque<String>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Script {
    fn of(answers: &[String]) -> Self {
        let script = Self::default();
        script
            .answers
            .lock()
            .unwrap()
            .extend(answers.iter().cloned());
        script
    }

    /// Reads one request and sends the next answer; without one it stays silent.
    async fn talk(self, mut stream: impl AsyncRead + AsyncWrite + Unpin) {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(stream.read_u8().await.unwrap());
        }
        self.asked
            .lock()
            .unwrap()
            .push(String::from_utf8(request).unwrap());
        let answer = self.answers.lock().unwrap().pop_front();
        match answer {
            Some(answer) => stream.write_all(answer.as_bytes()).await.unwrap(),
            None => std::future::pending().await,
        }
    }

    async fn tcp(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, script) = (listener.local_addr().unwrap(), self.clone());
        tokio::spawn(async move {
            loop {
                tokio::spawn(script.clone().talk(listener.accept().await.unwrap().0));
            }
        });
        address
    }

    fn unix(&self, path: &Path) {
        let (listener, script) = (UnixListener::bind(path).unwrap(), self.clone());
        tokio::spawn(async move {
            loop {
                tokio::spawn(script.clone().talk(listener.accept().await.unwrap().0));
            }
        });
    }
}

fn response(status: &str, headers: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\n{headers}\r\n{body}",
        body.len()
    )
}

fn ok(body: &str) -> String {
    response("200 OK", "", body)
}

const CONTAINERS: &str = r#"[{"Ports":[{"IP":"192.0.2.5","PrivatePort":7480,"PublicPort":32768,"Type":"tcp"}],"Labels":{}}]"#;
const INSTANCES: &str =
    r#"[{"Node":{"Address":"10.1.10.12"},"Service":{"Address":"","Port":8000,"Tags":[]}}]"#;
const ITEMS: &str = r#"[{"host":"10.0.0.1","port":7480}]"#;

/// The kinds of source that are asked over HTTP, each with a good answer.
fn web() -> [(&'static str, &'static str, &'static str); 4] {
    [
        ("kind='docker'\nport=7480", CONTAINERS, "192.0.2.5:32768"),
        ("kind='json'", ITEMS, "10.0.0.1:7480"),
        (
            "kind='plaintext'\npattern='(?<host>\\S+) (?<port>\\d+)'",
            "10.0.0.2 7480\n",
            "10.0.0.2:7480",
        ),
        ("kind='consul'\nservice='s3'", INSTANCES, "10.1.10.12:8000"),
    ]
}

#[tokio::test]
async fn http_sources_are_queried_over_tcp_and_over_a_unix_socket() {
    let directory = tempfile::tempdir().unwrap();
    for (number, (source, body, server)) in web().into_iter().enumerate() {
        let script = Script::of(&[ok(body), ok(body)]);
        let address = script.tcp().await;
        assert_eq!(
            ask(&format!("{source}\nurl='http://{address}'")).await,
            Ok(vec![server.to_owned()])
        );
        let path = directory.path().join(format!("{number}.sock"));
        script.unix(&path);
        let expected = if source.contains("docker") {
            Ok(vec!["192.0.2.5:32768".to_owned()])
        } else {
            Ok(vec![server.to_owned()])
        };
        assert_eq!(
            ask(&format!("{source}\nurl='unix://{}'", path.display())).await,
            expected
        );
    }
}

#[tokio::test]
async fn an_http_source_that_fails_is_never_read_as_an_empty_list() {
    for (source, body, _) in web() {
        for (answer, words) in [
            (
                response("500 Internal Server Error", "", body),
                "status 500",
            ),
            (response("404 Not Found", "", body), "status 404"),
            (response("503 Service Unavailable", "", "[]"), "status 503"),
            (
                response("302 Found", "location: /a\r\n", body),
                "status 302",
            ),
            ("SSH-2.0-OpenSSH\r\n\r\n".to_owned(), "no HTTP answer"),
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n[".to_owned(),
                "",
            ),
        ] {
            let address = Script::of(&[answer]).tcp().await;
            fails(&format!("{source}\nurl='http://{address}'"), words).await;
        }
        let silent = Script::default().tcp().await;
        fails(
            &format!("{source}\nurl='http://{silent}'"),
            "no answer within 300ms",
        )
        .await;
        let closed = TcpListener::bind("127.0.0.1:0")
            .await
            .unwrap()
            .local_addr()
            .unwrap();
        fails(&format!("{source}\nurl='http://{closed}'"), "refused").await;
        fails(
            &format!("{source}\nurl='unix:///nobody/here'"),
            "No such file",
        )
        .await;
        fails(
            &format!("{source}\nurl='https://{silent}'\ntls={{verify=false}}"),
            "no answer",
        )
        .await;
        let plain = Script::of(&[]).tcp().await;
        fails(
            &format!("{source}\nurl='https://{plain}'\ntls={{verify=false}}"),
            "",
        )
        .await;
    }
    for body in ["<html>502 Bad Gateway</html>", "{}", ""] {
        for (source, ..) in web()
            .into_iter()
            .filter(|(source, ..)| !source.contains("plaintext"))
        {
            let address = Script::of(&[ok(body)]).tcp().await;
            fails(
                &format!("{source}\nurl='http://{address}'"),
                "read the answer",
            )
            .await;
        }
    }
}

#[tokio::test]
async fn an_empty_answer_is_an_empty_list() {
    for (source, ..) in web() {
        let body = if source.contains("plaintext") {
            ""
        } else {
            "[]"
        };
        let address = Script::of(&[ok(body)]).tcp().await;
        assert_eq!(
            ask(&format!("{source}\nurl='http://{address}'")).await,
            Ok(vec![])
        );
    }
    assert_eq!(ask("kind='exec'\ncommand=['/bin/true']").await, Ok(vec![]));
}

#[tokio::test]
async fn an_answer_without_end_is_a_failure() {
    let body = "x".repeat((1 << 20) + 1);
    let address = Script::of(&[ok(&body)]).tcp().await;
    let source =
        format!("kind='plaintext'\npattern='(?<host>a)'\ntimeout='20s'\nurl='http://{address}'");
    let source = source.replace("timeout='20s'\n", "");
    let mut asker = {
        let config = config(&source);
        let found = &config.backends["b"].discover[0];
        Asker::new(
            Discover {
                timeout: Duration::from_secs(20),
                ..found.clone()
            },
            &config,
        )
    };
    let error = asker.ask().await.unwrap_err().to_string();
    assert!(error.contains("longer than 1048576 bytes"), "{error}");
}

#[tokio::test]
async fn consul_queries_wait_for_a_newer_index_and_start_without_one_after_a_failure() {
    let indexed =
        |index: u32| response("200 OK", &format!("X-Consul-Index: {index}\r\n"), INSTANCES);
    let script = Script::of(&[
        indexed(7),
        indexed(9),
        response("500 Error", "", "No cluster leader"),
        indexed(3),
        indexed(2),
        ok(INSTANCES),
    ]);
    let address = script.tcp().await;
    let mut asker = asker(&format!(
        "kind='consul'\nservice='s3'\ntag='a'\nwait='30s'\nurl='http://{address}'"
    ));
    let mut answers = Vec::new();
    for _ in 0..6 {
        let good = asker.ask().await.is_ok();
        answers.push((good, asker.waits()));
    }
    let (waits, not) = ((true, true), (true, false));
    assert_eq!(answers, [waits, waits, (false, false), waits, not, not]);
    let asked = script.asked.lock().unwrap();
    let paths: Vec<_> = asked
        .iter()
        .map(|request| request.split(' ').nth(1).unwrap())
        .collect();
    let first = "/v1/health/service/s3?passing=1&tag=a";
    let waiting = |index| format!("{first}&index={index}&wait=30000ms");
    assert_eq!(
        paths,
        [first, &waiting(7), &waiting(9), first, &waiting(3), first]
    );
}

#[tokio::test]
async fn a_blocking_consul_query_may_last_longer_than_the_answer_timeout() {
    let script = Script::of(&[response("200 OK", "X-Consul-Index: 7\r\n", INSTANCES)]);
    let address = script.tcp().await;
    let mut asker = asker(&format!(
        "kind='consul'\nservice='s3'\nwait='2s'\nurl='http://{address}'"
    ));
    asker.ask().await.unwrap();
    let answers = Arc::clone(&script.answers);
    let early = timeout(Duration::from_millis(900), asker.ask()).await;
    assert!(early.is_err(), "it waits beyond its 300 ms: {early:?}");
    answers.lock().unwrap().push_back(ok("[]"));
    assert_eq!(asker.ask().await.unwrap(), []);
}

#[tokio::test]
async fn a_program_writes_lines_and_its_status_counts() {
    let exec = |script: &str| format!("kind='exec'\ncommand=['/bin/sh', '-c', '{script}']");
    assert_eq!(
        ask(&exec("echo a:1; echo b")).await,
        Ok(vec!["a:1".into(), "b:80".into()])
    );
    fails(
        &exec("echo a:1; echo broken >&2; exit 2"),
        "exit status: 2: broken",
    )
    .await;
    fails(&exec("echo a:1; kill -9 $$"), "signal: 9").await;
    fails(&exec("echo a:1; sleep 60"), "no answer within 300ms").await;
    fails(&exec("echo a:1; echo \"<html>\""), "read line 2").await;
}

#[tokio::test]
async fn static_and_hostlist_sources_need_no_query() {
    assert_eq!(
        ask("kind='static'\nservers=['a:1 weight=3', 'b']").await,
        Ok(vec!["a:1".into(), "b:80".into()])
    );
    assert_eq!(
        ask("kind='hostlist'\nservers=['n[1-2]:1,[fd00::1]']\nport=9").await,
        Ok(vec!["n1:1".into(), "n2:1".into(), "fd00::1:9".into()])
    );
}

/// The next `count` answers of the engine.
async fn hear(
    learned: &mut mpsc::Receiver<Learned>,
    count: usize,
) -> Vec<Result<Vec<String>, String>> {
    let mut heard = Vec::new();
    for _ in 0..count {
        let next = timeout(Duration::from_secs(10), learned.recv())
            .await
            .unwrap()
            .unwrap();
        heard.push(next.answer.map(|found| described(&found)));
    }
    heard
}

#[tokio::test]
async fn a_source_is_queried_repeatedly_despite_failures_and_once_if_the_interval_is_zero() {
    let script = Script::of(&[ok(ITEMS), response("500 Error", "", ""), ok("[]")]);
    let address = script.tcp().await;
    let (tell, mut learned) = mpsc::channel(1);
    let mut engine = Engine::new(tell);
    engine.set(&config(&format!(
        "kind='json'\nurl='http://{address}'\ninterval='100ms'"
    )));
    let heard = hear(&mut learned, 3).await;
    assert_eq!(heard[0], Ok(vec!["10.0.0.1:7480".into()]));
    assert!(heard[1].is_err());
    assert_eq!(heard[2], Ok(vec![]));
    engine.set(&config("kind='static'\nservers=['a:1']\ninterval='0'"));
    while learned.try_recv().is_ok() {}
    sleep(Duration::from_millis(300)).await;
    let mut more = 0;
    while let Ok(learned) = learned.try_recv() {
        assert_eq!(
            learned.source, "static a",
            "the source that went is asked no more"
        );
        more += 1;
    }
    assert!(more <= 1, "{more}");
}

#[tokio::test]
async fn a_source_that_stays_is_not_disturbed_by_a_new_configuration() {
    let script = Script::of(&[response("200 OK", "X-Consul-Index: 7\r\n", INSTANCES)]);
    let address = script.tcp().await;
    let consul = format!("kind='consul'\nservice='s3'\nurl='http://{address}'");
    let (tell, mut learned) = mpsc::channel(1);
    let mut engine = Engine::new(tell);
    engine.set(&config(&consul));
    hear(&mut learned, 1).await;
    sleep(Duration::from_millis(300)).await;
    engine.set(&config(&format!(
        "{consul}\n[[backends.c.discover]]\nkind='static'\nservers=['a']"
    )));
    assert_eq!(hear(&mut learned, 1).await, [Ok(vec!["a:80".into()])]);
    assert_eq!(
        script.asked.lock().unwrap().len(),
        2,
        "the held question is still the same one"
    );
}

#[test]
fn the_name_of_a_source_shows_its_query_and_no_secret() {
    let config = config("kind='consul'\nservice='s3'\ntoken='hush'");
    let source = &config.backends["b"].discover[0];
    assert_eq!(source.name(), "consul s3");
    assert!(!format!("{source:?}").contains("hush"));
    assert_eq!(source.port, NonZeroU16::new(80).unwrap());
}
