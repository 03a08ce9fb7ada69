//! The servers of the S3 backend, changed under load.

use std::net::SocketAddr;

use ober_programs::Command;
use ober_tests::{
    lab::{Process, program, storage4, storage6, until},
    nodes::one::Stage,
};

use crate::{CONTENT, PATH, SOON, acl, load, serving};

/// Another S3 server for the same objects.
fn another(stage: &Stage, address: SocketAddr) -> Process {
    let mut command = Command::own(program("s3-server").expect("s3-server"));
    command
        .arg(address.to_string())
        .arg(stage.cluster.lab.directory().join("objects"))
        .arg("--journal");
    let server = stage.cluster.storage.spawn(&mut command).expect("start it");
    until("a listening S3 server", SOON, || {
        Ok(server.log().contains("listening on").then_some(()))
    })
    .expect("it listens");
    server
}

#[test]
fn backend_http_moves_the_traffic_to_other_servers_without_a_failed_request() {
    let mut stage = serving("servers", "");
    let asked = |server: &Process| server.log().matches("GET /lists").count();
    let servers = [
        SocketAddr::new(storage4(), 9001),
        SocketAddr::new(storage6(), 9002),
    ];
    let others = servers.map(|address| another(&stage, address));
    let load = load(&stage)
        .start(&stage.cluster.clients[0])
        .expect("start the load");
    until("requests at the first server", SOON, || {
        Ok((asked(&stage.storage) > 5).then_some(()))
    })
    .expect("it serves");
    let expression = servers.map(|server| server.to_string()).join(",");
    let dry = ["sync", "--backend-http", &expression, "--dry-run"];
    acl(&stage, &dry).says(
        0,
        &[
            "2 added",
            "1 removed",
            "+ 10.77.1.2:9001",
            "- 10.77.1.2:9000",
        ],
    );
    assert_eq!(
        stage.status().expect("status").backends["rgw"]
            .servers
            .len(),
        1
    );
    acl(&stage, &["sync", "--backend-http", &expression]).says(0, &["2 added, 1 removed, 2 on it"]);
    until("requests at both new servers", SOON, || {
        Ok(others.iter().all(|server| asked(server) > 5).then_some(()))
    })
    .expect("they serve");
    until("an end of requests at the old server", SOON, || {
        let before = asked(&stage.storage);
        std::thread::sleep(std::time::Duration::from_millis(300));
        Ok((asked(&stage.storage) == before).then_some(()))
    })
    .expect("the old server is left alone");
    acl(&stage, &["sync", "--backend-http", "10.77.1.[2-"]).says(2, &["10.77.1.[2-"]);
    let report = load.finish().expect("finish");
    assert_eq!(report.tally().failed(), 0, "{:?}", report.failures(3));
    // The choice outlives the daemon; only a running daemon can make it.
    stage.kill().expect("kill the daemon");
    acl(&stage, &["sync", "--backend-http", &expression])
        .says(1, &["no daemon runs", "ober-user run"]);
    let status = stage.start().expect("start again");
    assert_eq!(status.backends["rgw"].servers.len(), 2);
    let client = stage.open(ober_tests::lab::VIP4);
    let get = stage.cluster.clients[0].tokio(async || client.get(PATH, CONTENT).await);
    assert_eq!(get.expect("enter the client"), Ok(()));
}
