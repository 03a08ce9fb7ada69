//! The questions of `config`, at a terminal.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpListener,
    path::Path,
    thread,
};

use ober_tests::{certificate::Authority, terminal::Session};

use crate::{Node, ober, run};

/// A server of HTTP on loopback that answers everything with 200; its port.
fn server() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let read = stream.read(&mut [0; 1024]).unwrap_or(0);
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            if read > 0 && stream.write_all(answer).is_err() {
                return;
            }
        }
    });
    port
}

fn begin(config: &Path, more: &[&str]) -> Session {
    let config = config.display().to_string();
    let mut command = ober(&[&["--config", &config, "config"], more].concat());
    Session::begin(&mut command, ober_programs::Command::spawn).unwrap()
}

/// In the place of an answer: the words are no question.
const WAIT: &str = "(wait)";

fn type_or_wait(session: &mut Session, question: &str, answer: &str) {
    match answer {
        WAIT => session.wait_for(question).unwrap(),
        _ => session.answer(question, answer).unwrap(),
    }
}

/// Types the answers of a first configuration.
fn answer(session: &mut Session, port: u16) {
    for (question, answer) in [
        ("Interfaces that clients come in by", "lo"),
        ("How the VIPs become known", ""),
        ("AS number of this node", "650x1\r65010"),
        ("BGP neighbours", "192.0.2.254"),
        ("AS of 192.0.2.254", ""),
        ("VIPs of service s3", "192.0.2.10, 2001:db8::10"),
        ("Servers of backend rgw", &format!("127.0.0.1:{port}")),
        ("status 200", WAIT),
        ("Certificate of service s3", ""),
        ("File with chain and key", "s3.pem"),
        ("Clients of service s3", "10.0.0.0/8, 127.0.0.1"),
        ("Routers and nodes", ""),
    ] {
        type_or_wait(session, question, answer);
    }
}

#[test]
fn a_person_makes_a_whole_configuration_from_nothing_and_keeps_it_by_pressing_enter() {
    let home = tempfile::tempdir().unwrap();
    let config = home.path().join("ober.toml");
    let chain = Authority::new().unwrap().server(&[[192, 0, 2, 10].into()]);
    fs::write(home.path().join("s3.pem"), chain.unwrap()).unwrap();
    let port = server();
    let mut session = begin(&config, &["--dry-run"]);
    answer(&mut session, port);
    session.wait_for("in this order").unwrap();
    let (code, said) = session.end().unwrap();
    assert_eq!(code, Some(4), "{said}");
    assert!(!config.exists(), "a dry run writes nothing");

    let mut session = begin(&config, &[]);
    answer(&mut session, port);
    session.answer("Put this in force?", "y").unwrap();
    let (code, said) = session.end().unwrap();
    assert_eq!(code, Some(0), "{said}");
    let main = config.display().to_string();
    let valid = run(&["--config", &main, "validate"]);
    assert_eq!(valid.code, 0, "{valid:?}");
    let text = fs::read_to_string(&config).unwrap();
    assert_eq!(
        text,
        format!(
            "[node]\ninterfaces = [\"lo\"]\nrouters = \"routers\"\n\n[bgp]\nas = 65010\n\n[[bgp.neighbours]]\n\
             address = \"192.0.2.254\"\nas = \"external\"\n\n[[services]]\nname = \"s3\"\n\
             vips = [\"192.0.2.10\", \"2001:db8::10\"]\nbackend = \"rgw\"\n\n[[services.listeners]]\nport = 443\n\
             certificate = \"s3.pem\"\naccess = \"frontend-http\"\n\n[backends.rgw]\nservers = [\"127.0.0.1:{port}\"]\n\n\
             [lists.frontend-http]\nsources = [\"10.0.0.0/8\", \"127.0.0.1\"]\n\n[lists.routers]\nsources = [\"192.0.2.254\"]\n"
        )
    );

    // Once more, and Enter to every question.
    let mut session = begin(&config, &[]);
    for question in [
        "Interfaces",
        "How the VIPs",
        "AS number",
        "BGP neighbours",
        "AS of",
        "VIPs of",
        "Servers of",
        "Certificate of",
        "Clients of",
        "Routers and",
    ] {
        session.answer(question, "").unwrap();
    }
    session.wait_for("nothing to change").unwrap();
    assert_eq!(session.end().unwrap().0, Some(0));
    assert_eq!(fs::read_to_string(&config).unwrap(), text);
}

#[test]
fn a_server_that_does_not_answer_is_shown_at_once_and_may_be_answered_again() {
    let home = tempfile::tempdir().unwrap();
    let config = home.path().join("ober.toml");
    let port = server();
    let closed = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let mut session = begin(&config, &["--dry-run"]);
    for (question, answer) in [
        ("Interfaces that clients come in by", "lo"),
        // Up from the first to the last: neither.
        ("How the VIPs become known", "\u{1b}[A"),
        ("VIPs of service s3", "192.0.2.10"),
        ("Servers of backend rgw", &closed.to_string()),
        ("FAILED", WAIT),
        ("Go on with these servers?", WAIT),
    ] {
        type_or_wait(&mut session, question, answer);
    }
    session.keys("n").unwrap();
    session
        .answer("Servers of backend rgw", &format!("127.0.0.1:{port}"))
        .unwrap();
    session.wait_for("status 200").unwrap();
    session
        .answer("Certificate of service s3", "\u{1b}[A")
        .unwrap();
    session.answer("Clients of service s3", "").unwrap();
    session.wait_for("in this order").unwrap();
    let (code, said) = session.end().unwrap();
    assert_eq!(code, Some(4), "{said}");
    assert!(!config.exists());
}

#[test]
fn what_another_process_wrote_meanwhile_is_not_written_over() {
    let node = Node::new("config-meanwhile");
    let mut session = begin(&node.config(), &["--set", "gate.rise=7"]);
    session.wait_for("Put this in force?").unwrap();
    let theirs = format!("{}# theirs\n", fs::read_to_string(node.config()).unwrap());
    fs::write(node.config(), &theirs).unwrap();
    session.keys("y").unwrap();
    let (code, said) = session.end().unwrap();
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("it was changed since this command read it"),
        "{said}"
    );
    assert_eq!(fs::read_to_string(node.config()).unwrap(), theirs);
}

#[test]
fn no_at_the_end_changes_nothing() {
    let node = Node::new("config-no");
    let before = fs::read_to_string(node.config()).unwrap();
    let mut session = begin(&node.config(), &["--set", "gate.rise=7"]);
    session.wait_for("Put this in force?").unwrap();
    session.keys("n").unwrap();
    session.wait_for("nothing was changed").unwrap();
    assert_eq!(session.end().unwrap().0, Some(1));
    assert_eq!(fs::read_to_string(node.config()).unwrap(), before);
}
