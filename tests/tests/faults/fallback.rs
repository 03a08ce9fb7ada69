//! A start whose configuration is of no use: the one that was in force before is put in force again, and every command says so.

use std::{fs, time::Duration};

use anyhow::Context as _;
use ober_tests::{
    client::Client,
    lab::{VIP4, until},
    load::Plan,
    nodes::one::{Settings, Stage},
};
use ober_user::{
    api::{
        Question, Reply,
        status::{Configuration, Status},
    },
    cli::client,
    config::paths,
};

use crate::{CONTENT, Fault, PATH, Refusal, everywhere, fault, pins, store, with, workers};

fn configuration(status: Status) -> Configuration {
    status.configuration.expect("a daemon has one")
}

/// Starts with another configuration on disk; the good one is back when the daemon serves.
pub(crate) fn start_with(stage: &mut Stage, fault: &Fault) -> Configuration {
    let daemon = with(stage, fault, || {
        let mut command = stage.ober.ober(&["run"]).expect("ober-user");
        let mut daemon = stage
            .cluster
            .node
            .spawn(command.env("RUST_LOG", "info"))
            .expect("spawn");
        until("a daemon that serves", crate::PATIENCE, || {
            let ended = daemon.ended()?;
            anyhow::ensure!(ended.is_none(), "it ended: {}", daemon.tail());
            Ok(daemon.log().contains("serving").then_some(()))
        })
        .expect("it starts by what was in force before");
        daemon
    });
    let log = daemon.log();
    for word in &fault.words {
        assert!(log.contains(word), "{word:?} is not in the log: {log}");
    }
    stage.ober.daemon = Some(daemon);
    configuration(stage.status().expect("status"))
}

/// The status, asked for without a look at the configuration.
fn ask(stage: &Stage) -> anyhow::Result<Status> {
    let socket = paths::control_socket(&stage.cluster.lab.directory().join("run"));
    let reply = stage.cluster.node.tokio(async || {
        let mut line = client::connect(&socket).await?.context("no daemon")?;
        Ok::<_, anyhow::Error>(line.exchange(&Question::Status).await??)
    })??;
    let Reply::Status(status) = reply else {
        anyhow::bail!("another answer");
    };
    Ok(*status)
}

fn metric(stage: &Stage, line: &str) -> bool {
    let client = Client::plain("127.0.0.1:8404".parse().expect("an address"));
    let text = stage
        .cluster
        .node
        .tokio(async || client.connect().await?.text("/metrics").await)
        .expect("enter the node")
        .expect("scrape");
    text.lines().any(|it| it == line)
}

fn get(stage: &Stage) -> bool {
    let client = stage.open(VIP4);
    let get = stage.cluster.clients[0].tokio(async || client.get(PATH, CONTENT).await);
    get.expect("enter the client").is_ok()
}

#[test]
fn a_start_with_any_broken_file_uses_the_last_good_configuration_while_traffic_flows() {
    let settings = Settings {
        xdp: "native",
        ..Settings::default()
    };
    let mut stage = Stage::new("fallback", &settings).expect("build the stage");
    let bridge = ["link add br9 type bridge", "link set br9 up"];
    stage.cluster.node.ip(&bridge).expect("make a bridge");
    stage.start().expect("start");
    store(&stage);
    let before = workers(&stage);
    let load = Plan {
        connections: 2,
        pause: Duration::from_millis(20),
        ..Plan::get(stage.open(VIP4), PATH, CONTENT)
    }
    .start(&stage.cluster.clients[0])
    .expect("start the load");
    let mut faults = everywhere(&stage);
    faults.push(crate::first::refused_by_the_driver());
    faults.push(fault("[node]", "[node]\nnonsense", 1, &["ober.toml"]));
    let nowhere = "run = \"/proc/ober\" # ";
    faults.push(fault(
        "run = ",
        nowhere,
        1,
        &["lock the instance at /proc/ober"],
    ));
    for fault in &faults {
        stage.kill().expect("kill the daemon");
        let configuration = start_with(&mut stage, fault);
        let fallback = configuration.fallback.expect("it is not the file's");
        assert_eq!((fallback.snapshot, configuration.snapshot), (1, Some(1)));
        assert_eq!(workers(&stage), before, "{fault}");
        assert!(pins(&stage).is_dir(), "{fault}");
    }
    let report = load.finish().expect("finish");
    assert_eq!(report.tally().failed(), 0, "{:?}", report.failures(3));
}

#[test]
fn a_strict_start_refuses_what_a_plain_one_replaces_and_leaves_what_serves() {
    let mut stage = Stage::new("strict", &Settings::default()).expect("build the stage");
    stage.start().expect("start");
    store(&stage);
    let before = workers(&stage);
    stage.kill().expect("kill the daemon");
    let broken = fault("sample = 1", "sampel = 1", 2, &["sampel"]);
    with(&stage, &broken, || {
        let refusal = Refusal::from(stage.try_cli(&["run", "--strict"]).expect("run"));
        refusal.says(2, &["ober.toml:10:", "did you mean `sample`"]);
        assert!(!refusal.words.contains("snapshot"), "{}", refusal.words);
    });
    assert!(get(&stage), "the workers serve on");
    let mut command = stage.ober.ober(&["run", "--strict"]).expect("ober-user");
    stage
        .ober
        .start_by(&stage.cluster.node, &mut command)
        .expect("a good file is taken");
    assert_eq!(workers(&stage), before);
}

#[test]
fn a_node_that_runs_from_its_history_reports_it_everywhere_until_a_good_file_is_reloaded() {
    let mut stage = Stage::new("told", &Settings::default()).expect("build the stage");
    stage.start().expect("start");
    store(&stage);
    assert!(metric(&stage, "ober_configuration_fallback 0"));
    stage.kill().expect("kill the daemon");
    let broken = fault(
        "sample = 1",
        "sampel = 1",
        2,
        &["ERROR", "sampel", "snapshot 1 of the history"],
    );
    let fallback = start_with(&mut stage, &broken)
        .fallback
        .expect("it is not the file's");
    assert!(fallback.error.contains("sampel"), "{}", fallback.error);
    assert!(get(&stage));
    let status = stage.cli(&["status"]).expect("status");
    assert!(status.contains("snapshot 1 of the history"), "{status}");
    assert!(status.contains("sampel"), "{status}");
    let doctor = Refusal::from(stage.try_cli(&["doctor"]).expect("doctor"));
    doctor.says(
        1,
        &["snapshot 1 of the history is in force", "ober-user reload"],
    );
    assert!(metric(&stage, "ober_configuration_fallback 1"));
    with(&stage, &broken, || {
        let refusal = Refusal::from(stage.try_cli(&["validate"]).expect("validate"));
        refusal.says(2, &["sampel", "the daemon uses snapshot 1"]);
        let refusal = Refusal::from(stage.try_cli(&["reload"]).expect("reload"));
        refusal.says(2, &["sampel"]);
    });
    let still = configuration(stage.status().expect("status"));
    assert!(still.fallback.is_some(), "a refused reload mends nothing");
    // The file is mended, and differs from the one before.
    let text = fs::read_to_string(&stage.ober.config).expect("read");
    fs::write(&stage.ober.config, text.replace("sample = 1", "sample = 4")).expect("write");
    stage.cli(&["reload"]).expect("reload the mended file");
    let after = configuration(stage.status().expect("status"));
    assert_eq!((after.fallback, after.snapshot), (None, Some(2)));
    assert!(metric(&stage, "ober_configuration_fallback 0"));
    assert!(get(&stage));
    // The same text as the snapshot's mends it as well.
    stage.kill().expect("kill the daemon");
    let broken = fault("sample = 4", "sampel = 4", 2, &["sampel"]);
    assert_eq!(
        start_with(&mut stage, &broken)
            .fallback
            .map(|it| it.snapshot),
        Some(2)
    );
    stage.cli(&["reload"]).expect("reload the file as it was");
    assert_eq!(
        configuration(stage.status().expect("status")).fallback,
        None
    );
}

/// Names files that are taken away.
const LACKING: &str = "
[backends.other]
servers = [\"10.88.0.9:443\"]
[backends.other.tls]
ca = \"authority.pem\"
[bgp]
as = 65001
router_id = \"10.77.0.1\"
[[bgp.neighbours]]
address = \"10.77.0.200\"
as = 65002
password_file = \"password\"
[[bgp.neighbours]]
address = \"10.77.0.201\"
as = 65002
";

#[test]
fn a_text_in_force_before_starts_without_its_missing_files_and_uses_them_when_they_appear() {
    let settings = Settings {
        extra: LACKING.to_owned(),
        ..Settings::default()
    };
    let mut stage = Stage::new("lacking", &settings).expect("build the stage");
    let lab = stage.cluster.lab.directory().to_owned();
    fs::write(lab.join("password"), "secret").expect("write");
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(lab.join("password"), private).expect("hide it");
    stage.start().expect("start");
    store(&stage);
    stage.kill().expect("kill the daemon");
    // After a reboot there are no pins, no workers and nothing in the run directory.
    stage.cli(&["detach"]).expect("detach");
    let files = ["s3.pem", "authority.pem", "password"];
    for file in files {
        fs::rename(lab.join(file), lab.join(format!("{file}.away"))).expect("take it away");
    }
    let mut command = stage.ober.ober(&["run"]).expect("ober-user");
    let daemon = stage.cluster.node.spawn(command.env("RUST_LOG", "info"));
    stage.ober.daemon = Some(daemon.expect("spawn"));
    let status = until("a start all the same", crate::PATIENCE, || {
        Ok(Some(ask(&stage)?).filter(|status| status.healthy))
    });
    let configuration = configuration(status.expect("it starts"));
    assert_eq!(
        configuration.fallback, None,
        "the text is that which was in force"
    );
    for file in files {
        let reported = configuration.missing.iter().any(|it| it.contains(file));
        assert!(reported, "{file} is not in {:?}", configuration.missing);
    }
    assert!(get(&stage), "what needs none of them is served");
    let tls = || {
        let client = stage
            .secure(VIP4)
            .limits(Duration::from_secs(2), Duration::from_secs(5));
        let get = stage.cluster.clients[0].tokio(async || client.get(PATH, CONTENT).await);
        get.expect("enter the client")
    };
    assert!(
        tls().is_err(),
        "nobody trusts what stands in for a certificate"
    );
    let neighbours: Vec<_> = ask(&stage)
        .expect("status")
        .bgp
        .iter()
        .map(|it| it.address.to_string())
        .collect();
    assert_eq!(
        neighbours,
        ["10.77.0.201"],
        "without its password nobody is spoken to"
    );
    for file in files {
        fs::rename(lab.join(format!("{file}.away")), lab.join(file)).expect("put it back");
    }
    until("a whole configuration", crate::PATIENCE, || {
        let status = ask(&stage)?;
        let whole = status.configuration.is_some_and(|it| it.missing.is_empty());
        Ok((whole && tls().is_ok() && status.bgp.len() == 2).then_some(()))
    })
    .expect("the files are taken when they are there");
}
