//! Authorities that ask for names that were not ordered.

use std::{fs::Permissions, os::unix::fs::PermissionsExt as _};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::*;
use crate::{
    config::sections::{acme::Provider, program::shell},
    system::tls::{Tls, Verify},
};

#[test]
fn challenges_are_answered_only_for_names_of_the_order() {
    let names = ["s3.test".to_owned(), "*.files.test".to_owned()];
    let said = |name: &str| of_order(&Identifier::Dns(name.to_owned()), &names);
    assert_eq!(said("S3.test").unwrap(), "s3.test");
    assert_eq!(said("files.test").unwrap(), "files.test");
    for strange in [
        "",
        "test",
        "other.test",
        "*.files.test",
        "s3.test.",
        "s3.test\n",
        "x</Name><Type>TXT</Type></ResourceRecordSet></Change><Change><Action>UPSERT</Action>",
    ] {
        let error = said(strange).unwrap_err().to_string();
        assert!(error.contains("not about"), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }
    assert!(of_order(&Identifier::Ip([192, 0, 2, 1].into()), &names).is_err());
}

/// An authority without TLS that accepts every signature and wants this name proven.
async fn authority(name: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let here = url.clone();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                stream.read_buf(&mut request).await.unwrap();
            }
            let request = String::from_utf8_lossy(&request).into_owned();
            let path = request.split(' ').nth(1).unwrap_or_default();
            let (status, body) = said(&here, path, name);
            let length = body.len();
            let answer = format!(
                "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nreplay-nonce: n\r\nlocation: {here}{path}/1\r\n\
                 connection: close\r\n\r\n{}",
                if request.starts_with("HEAD") {
                    ""
                } else {
                    &body
                }
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    url
}

fn said(here: &str, path: &str, name: &str) -> (&'static str, String) {
    let body = match path {
        "/dir" => serde_json::json!({
            "newNonce": format!("{here}/nonce"),
            "newAccount": format!("{here}/account"),
            "newOrder": format!("{here}/order"),
            "revokeCert": format!("{here}/revoke"),
            "keyChange": format!("{here}/change"),
        }),
        "/nonce" => serde_json::json!({}),
        "/account" => serde_json::json!({ "status": "valid" }),
        "/order" => serde_json::json!({
            "status": "pending",
            "identifiers": [{ "type": "dns", "value": "s3.test" }],
            "authorizations": [format!("{here}/authorization")],
            "finalize": format!("{here}/finalize"),
        }),
        "/authorization" => {
            let challenge = |kind: &str| {
                serde_json::json!({
                    "type": kind,
                    "url": format!("{here}/challenge"),
                    "token": "token",
                    "status": "pending",
                })
            };
            serde_json::json!({
                "identifier": { "type": "dns", "value": name },
                "status": "pending",
                "challenges": [challenge("dns-01"), challenge("http-01")],
            })
        }
        _ => return ("404 Not Found", "{}".to_owned()),
    };
    let status = if matches!(path, "/account" | "/order") {
        "201 Created"
    } else {
        "200 OK"
    };
    (status, body.to_string())
}

#[tokio::test]
async fn a_dns_program_is_never_called_for_a_name_that_was_not_ordered() {
    // The program runs as the account `nobody`.
    let home = tempfile::tempdir().unwrap();
    std::fs::set_permissions(home.path(), Permissions::from_mode(0o777)).unwrap();
    let called = home.path().join("called");
    let script = format!("echo \"$0\" \"$@\" >> {}; exit 1", called.display());
    let names = ["s3.test".to_owned()];
    for (name, runs) in [
        ("x</Name><Type>TXT</Type></ResourceRecordSet>", false),
        ("other.test", false),
        ("S3.TEST", true),
    ] {
        let dns = Dns {
            provider: Provider::Exec(shell(&script)),
            wait: Duration::ZERO,
        };
        let acme = Acme {
            directory: format!("{}/dir", authority(name).await),
            tls: Tls {
                verify: Verify::None,
                name: None,
                identity: None,
            },
            contact: Vec::new(),
            account_key: None,
            challenge: Challenge::Dns(dns),
        };
        let file = home.path().join("s3.pem");
        let failure = place(&acme, home.path(), &names, &file).await.unwrap_err();
        let asked = std::fs::read_to_string(&called).ok();
        assert_eq!(asked.is_some(), runs, "{name}: {}", failure.error);
        if let Some(asked) = asked {
            // The record has the name as it was ordered, and is set and removed.
            assert!(asked.starts_with("set _acme-challenge.s3.test "), "{asked}");
        } else {
            let strange = matches!(&failure.error, Error::Strange { name: refused_name } if refused_name == name);
            assert!(strange, "{}", failure.error);
        }
    }
}
