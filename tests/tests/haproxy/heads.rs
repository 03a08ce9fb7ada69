//! Every head that S3 allows passes both ways: the storage returns metadata as it came.

use std::net::SocketAddr;

use ober_tests::client::Raw;

use super::{
    early::scene,
    front::{field, vip},
};

/// Metadata of an object, as lines of a head.
fn entries(count: usize, name: usize, value: usize) -> String {
    let entry = |number: usize| {
        let (name, value) = (format!("{number:0name$}"), "v".repeat(value));
        format!("x-amz-meta-k{name}: {value}\r\n")
    };
    (0..count).map(entry).collect()
}

#[test]
fn metadata_by_the_hundred_and_long_headers_and_long_uris_pass_both_ways() {
    let scene = scene();
    let long = |bytes: usize| format!("/whole/200/{}?X-Amz-Signature=end", "k".repeat(bytes));
    let cases = [
        ("93 entries, 641 bytes", entries(93, 3, 3), long(20)),
        ("100 entries", entries(100, 3, 3), long(20)),
        ("200 entries", entries(200, 3, 3), long(20)),
        ("2 KB in the shortest entries", entries(900, 3, 0), long(20)),
        ("2 KB in one entry", entries(1, 1, 2048), long(20)),
        ("8 KB in one line", entries(1, 1, 8000), long(20)),
        ("a URI of 15 KB", entries(10, 3, 3), long(15_000)),
        (
            "a URI of 15 KB and 200 entries",
            entries(200, 3, 3),
            long(15_000),
        ),
    ];
    for (what, metadata, path) in &cases {
        for port in [80, 443] {
            let raw = Raw::new(SocketAddr::new(vip(1), port));
            let raw = if port == 443 {
                raw.tls(&scene.front.trust, "s3.test")
            } else {
                raw
            };
            let question = format!(
                "PUT {path} HTTP/1.1\r\nHost: s3.test\r\nContent-Length: 0\r\nConnection: close\r\n{metadata}\r\n"
            );
            let answer = scene.front.ask(|| raw.say(&question)).unwrap();
            assert!(
                answer.starts_with("HTTP/1.1 200 "),
                "{what} {port}: {}",
                &answer[..answer.len().min(200)]
            );
            assert_eq!(
                field(&answer, "asked"),
                format!("PUT {path}"),
                "{what} {port}"
            );
            let returned: Vec<&str> = answer
                .lines()
                .filter(|line| line.starts_with("x-amz-meta-"))
                .collect();
            let sent: Vec<&str> = metadata.lines().collect();
            let trimmed = |lines: Vec<&str>| -> Vec<String> {
                lines
                    .iter()
                    .map(|line| line.trim_end().to_owned())
                    .collect()
            };
            assert_eq!(trimmed(returned), trimmed(sent), "{what} {port}");
        }
    }
}

#[test]
fn a_redirect_to_https_keeps_the_whole_uri() {
    let scene = scene();
    let raw = Raw::new(SocketAddr::new(vip(1), 81));
    for bytes in [100, 1000, 1025, 1045, 2000, 15_000] {
        let path = format!("/b/{}?X-Amz-Signature=end", "k".repeat(bytes));
        for uri in [path.clone(), format!("http://s3.test{path}")] {
            let answer = scene.front.ask(|| raw.get("s3.test", &uri)).unwrap();
            let expected = format!("location: https://s3.test{path}");
            let location = answer.lines().find(|line| line.starts_with("location: "));
            assert_eq!(location, Some(expected.as_str()), "{bytes}");
        }
    }
}
