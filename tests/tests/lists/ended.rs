//! The connections of a client that is taken off a list.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpStream},
    time::Duration,
};

use ober_tests::{
    lab::{VIP4, VIP6, client4, client6, storage4},
    nodes::one::{OPEN, S3_PORT, SECURE, Stage},
};

use crate::{SOON, acl, serving};

fn connect(stage: &Stage, client: usize, vip: impl Into<IpAddr>, port: u16) -> TcpStream {
    let at = SocketAddr::new(vip.into(), port);
    let stream = stage.cluster.clients[client]
        .run(|| TcpStream::connect_timeout(&at, SOON))
        .expect("enter the client")
        .expect("connect");
    stream.set_read_timeout(Some(SOON)).expect("a limit");
    stream
}

/// One request on it, and the first bytes of the answer.
fn asks(stream: &mut TcpStream) -> String {
    let request = b"GET /nothing HTTP/1.1\r\nHost: s3.test\r\n\r\n";
    stream.write_all(request).expect("send a request");
    let mut answer = vec![0; 4096];
    let length = stream.read(&mut answer).expect("an answer");
    String::from_utf8_lossy(&answer[..length]).into_owned()
}

fn is_reset(stream: &mut TcpStream) {
    // What was left of the answer may come first.
    let mut rest = [0; 4096];
    let end = loop {
        match stream.read(&mut rest) {
            Ok(1..) => {}
            end => break end,
        }
    };
    let kind = end.expect_err("it is no planned end").kind();
    assert_eq!(kind, ErrorKind::ConnectionReset);
}

#[test]
fn removing_a_client_from_a_list_ends_only_its_connections() {
    let stage = serving("ended", "");
    let both = |number| [client4(number).to_string(), client6(number).to_string()];
    let ([a4, a6], [b4, b6]) = (both(0), both(1));
    acl(
        &stage,
        &["sync", "--frontend-http", &format!("{a4},{a6},{b4},{b6}")],
    )
    .says(0, &["4 on it"]);
    let mut goes = [
        connect(&stage, 0, VIP4, OPEN),
        connect(&stage, 0, VIP6, OPEN),
    ];
    let mut stays = [
        connect(&stage, 1, VIP4, OPEN),
        connect(&stage, 1, VIP6, OPEN),
    ];
    let mut open = connect(&stage, 0, VIP4, SECURE);
    for stream in goes.iter_mut().chain(&mut stays) {
        assert!(asks(stream).starts_with("HTTP/1.1 "));
    }
    acl(&stage, &["remove", "frontend-http", &a4, &a6]).says(0, &["2 removed"]);
    goes.iter_mut().for_each(is_reset);
    for stream in &mut stays {
        assert!(asks(stream).starts_with("HTTP/1.1 "));
    }
    open.set_read_timeout(Some(Duration::from_millis(200)))
        .expect("a limit");
    let waits = open.read(&mut [0]).expect_err("nothing was said").kind();
    assert_eq!(waits, ErrorKind::WouldBlock, "the port that has no list");
    // Together with the servers, which stay.
    let storage = SocketAddr::new(storage4(), S3_PORT).to_string();
    let both = [
        "sync",
        "--frontend-http",
        "10.9.9.9",
        "--backend-http",
        &storage,
    ];
    acl(&stage, &both).says(0, &["1 added, 2 removed"]);
    stays.iter_mut().for_each(is_reset);
}
