//! Limits of a service, a client and a server, and how long a connection may be silent.

use std::{
    io,
    net::SocketAddr,
    sync::LazyLock,
    time::{Duration, Instant},
};

use ober_tests::{
    client::{Open, Raw},
    lab::{Host, until},
    origin::Manner,
};

use super::front::{Front, backend, field, service, vip, who};

const SOON: Duration = Duration::from_secs(10);
const SERVER: &str = "[\"10.77.1.70:80\"]";

/// One worker, so that its share is the whole.
static FRONT: LazyLock<Front> = LazyLock::new(|| {
    let open = "access = \"open\"";
    let two = "access = \"open\"\n[[services.listeners]]\nport = 81\naccess = \"open\"";
    let tcp = "protocol = \"tcp\"\naccess = \"open\"";
    let through = "protocol = \"tls-passthrough\"\n[services.timeouts]\nhttp_request = \"400ms\"";
    let impatient =
        "access = \"open\"\n[services.timeouts]\nhttp_request = \"400ms\"\nkeep_alive = \"400ms\"";
    let text = [
        service("total", 1, "plain", "max_connections = 3", 80, two),
        service("client", 2, "plain", "client_connections = 2", 80, open),
        service(
            "rate",
            3,
            "plain",
            "client_connection_rate = \"3/m\"",
            80,
            open,
        ),
        service(
            "requests",
            4,
            "plain",
            "client_request_rate = \"3/m\"",
            80,
            open,
        ),
        service("reject", 5, "reject", "", 80, open),
        service("queue", 6, "queue", "", 80, open),
        service("raw-reject", 7, "raw-reject", "", 80, tcp),
        service("dead", 8, "dead", "", 80, open),
        service("retried", 9, "retried", "", 80, open),
        service("slow", 10, "slow", "", 80, open),
        service("silent", 11, "silent", "", 80, tcp),
        service("endless", 12, "endless", "", 80, tcp),
        service("impatient", 13, "plain", "", 80, impatient),
        service("through", 14, "raw", "", 443, through),
        service("slowdown", 15, "slowdown", "", 80, open),
        backend("plain", SERVER, ""),
        backend("raw", SERVER, ""),
        backend(
            "reject",
            SERVER,
            "max_connections = 1\nwhen_full = \"reject\"",
        ),
        backend(
            "queue",
            "[\"10.77.1.70:80 max_connections=1\"]",
            "when_full = \"queue\"\ntimeouts.queue = \"1s\"",
        ),
        backend(
            "raw-reject",
            SERVER,
            "max_connections = 1\nwhen_full = \"reject\"",
        ),
        // No host has this address, so no host refuses.
        backend(
            "dead",
            "[\"10.77.1.250:80\"]",
            "retries = 0\ntimeouts.connect = \"300ms\"",
        ),
        backend(
            "retried",
            "[\"10.77.1.250:80\", \"10.77.1.70:80\"]",
            "retries = 1\nbalance = \"roundrobin\"\ntimeouts.connect = \"300ms\"",
        ),
        backend("slow", SERVER, "timeouts.server = \"300ms\""),
        backend(
            "silent",
            SERVER,
            "timeouts.client = \"400ms\"\ntimeouts.server = \"0\"",
        ),
        backend(
            "endless",
            SERVER,
            "timeouts.client = \"0\"\ntimeouts.server = \"0\"",
        ),
        backend("slowdown", SERVER, "").replace(
            "enabled = false",
            "path = \"/status/503\"\ninterval = \"300ms\"\nfall = 1",
        ),
    ];
    let front = Front::new("limits", 1, &text.concat());
    front.origin("origin", 70, 80, Manner::default());
    front.start()
});

fn raw(last: u8, port: u16) -> Raw {
    Raw::new(SocketAddr::new(vip(last), port))
}

/// A connection that has been answered once, so it counts.
fn held(host: &Host, raw: &Raw) -> io::Result<Open> {
    host.run(|| {
        let mut open = raw.open()?;
        open.write("GET / HTTP/1.1\r\nHost: h\r\n\r\n")?;
        let answer = open.some()?;
        answer
            .starts_with("HTTP/1.1 200 ")
            .then_some(open)
            .ok_or_else(|| io::Error::other(answer))
    })
    .unwrap()
}

fn client(number: usize) -> &'static Host {
    &FRONT.cluster.clients[number]
}

/// `GET /wait/1500`, sent and not yet answered.
fn busy(last: u8) -> Open {
    let mut open = client(0).run(|| raw(last, 80).open()).unwrap().unwrap();
    open.write("GET /wait/1500 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        .unwrap();
    std::thread::sleep(Duration::from_millis(400));
    open
}

#[test]
fn a_client_beyond_a_services_connection_limit_over_all_listeners_is_closed() {
    let mut open = Vec::new();
    for port in [80, 80, 81] {
        open.push(held(client(0), &raw(1, port)).unwrap());
    }
    for port in [80, 81] {
        assert_eq!(
            who(client(1).run(|| raw(1, port).get("h", "/")).unwrap()),
            "closed"
        );
    }
    open.pop();
    until("room again", SOON, || Ok(held(client(1), &raw(1, 80)).ok())).unwrap();
}

#[test]
fn a_client_beyond_its_own_connection_limit_is_closed_and_others_are_not() {
    let mut open = vec![
        held(client(0), &raw(2, 80)).unwrap(),
        held(client(0), &raw(2, 80)).unwrap(),
    ];
    assert!(held(client(0), &raw(2, 80)).is_err());
    held(client(1), &raw(2, 80)).unwrap();
    open.pop();
    until("room again", SOON, || Ok(held(client(0), &raw(2, 80)).ok())).unwrap();
}

#[test]
fn a_client_beyond_its_rate_has_connections_closed_and_requests_answered_with_429() {
    for (last, refused) in [(3, "closed"), (4, "429")] {
        let got: Vec<String> = (0..5).map(|_| FRONT.who(last, 80, "h", "/")).collect();
        assert_eq!(
            got,
            ["origin", "origin", "origin", refused, refused],
            "{last}"
        );
        assert_eq!(
            who(client(1).run(|| raw(last, 80).get("h", "/")).unwrap()),
            "origin"
        );
    }
}

#[test]
fn a_full_backend_answers_503_or_closes_the_connection_at_once() {
    for (last, expected) in [(5, "503"), (7, "closed")] {
        let first = busy(last);
        let began = Instant::now();
        assert_eq!(FRONT.who(last, 80, "h", "/"), expected, "{last}");
        assert!(began.elapsed() < Duration::from_secs(1), "at once");
        assert_eq!(
            field(&first.end().unwrap(), "name"),
            "origin",
            "the first is not disturbed"
        );
        until("room again", SOON, || {
            Ok((FRONT.who(last, 80, "h", "/") == "origin").then_some(()))
        })
        .unwrap();
    }
}

#[test]
fn a_queued_request_is_served_in_time_or_ends_after_the_queue_timeout() {
    let first = busy(6);
    let began = Instant::now();
    // The first takes 1.1 s more, and the queue's limit is 1 s.
    assert_eq!(FRONT.who(6, 80, "h", "/"), "503");
    assert!(began.elapsed() > Duration::from_millis(700));
    drop(first.end().unwrap());
    let first = busy(6);
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(FRONT.who(6, 80, "h", "/"), "origin");
    drop(first);
}

#[test]
fn for_a_server_that_does_not_accept_haproxy_answers_503_or_tries_another() {
    let began = Instant::now();
    assert_eq!(FRONT.who(8, 80, "h", "/"), "503");
    assert!((Duration::from_millis(250)..Duration::from_secs(5)).contains(&began.elapsed()));
    for _ in 0..2 {
        assert_eq!(FRONT.who(9, 80, "h", "/"), "origin");
    }
}

#[test]
fn silent_servers_and_clients_are_timed_out_unless_the_timeout_is_disabled() {
    assert_eq!(FRONT.who(10, 80, "h", "/wait/3000"), "504");
    for (last, closed) in [(11, true), (12, false)] {
        let mut open = held(client(0), &raw(last, 80)).unwrap();
        std::thread::sleep(Duration::from_millis(1200));
        let sent = open.write("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
        let answer = sent.and_then(|()| open.end());
        assert_eq!(who(answer) == "closed", closed, "{last}");
    }
}

#[test]
fn an_incomplete_request_and_an_idle_connection_are_closed() {
    let mut open = client(0).run(|| raw(13, 80).open()).unwrap().unwrap();
    open.write("GET / HTTP/1.1\r\nHo").unwrap();
    let answer = open.end().unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    let began = Instant::now();
    let idle = held(client(0), &raw(13, 80)).unwrap();
    assert_eq!(idle.end().unwrap(), "");
    assert!(began.elapsed() < Duration::from_secs(6));
    // The client sends no `ClientHello` at all.
    let silent = client(0).run(|| raw(14, 443).open()).unwrap().unwrap();
    assert_eq!(silent.end().unwrap_or_default(), "");
    assert_eq!(
        who(client(0).run(|| raw(14, 443).get("h", "/")).unwrap()),
        "closed"
    );
}

#[test]
fn an_answer_of_slow_down_does_not_take_a_server_out_of_service() {
    for _ in 0..6 {
        assert_eq!(FRONT.who(15, 80, "h", "/status/503"), "503");
        assert_eq!(FRONT.who(15, 80, "h", "/"), "origin");
        std::thread::sleep(Duration::from_millis(250));
    }
}
