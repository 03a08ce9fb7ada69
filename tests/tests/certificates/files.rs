//! Files and directories of certificates.

use std::{fs, path::Path, time::Duration};

use ober_programs::CURL;
use ober_tests::{lab::until, load::Plan};

use super::scene::{CONTENT, PATH, SOON, Scene, VIPS, leaf, link, parts};

/// Kills a worker and waits until it serves again.
fn restart(scene: &Scene, number: usize) {
    let before = scene.workers();
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(before[number]),
        nix::sys::signal::Signal::SIGKILL,
    )
    .expect("kill a worker");
    until("a new worker", SOON, || {
        let workers = scene.stage.status()?.workers;
        let another = |pid: Option<i32>| pid.is_some_and(|pid| pid != before[number]);
        let serves = workers
            .iter()
            .all(|worker| worker.in_ring && another(worker.pid));
        Ok((workers.len() == before.len() && serves).then_some(()))
    })
    .expect("it is started again");
}

#[test]
fn twenty_certificate_changes_refuse_no_handshake_and_replace_no_worker() {
    let mut scene = Scene::new("change", "certificate = \"tls/current/s3.pem\"");
    fs::create_dir_all(scene.path("tls/0")).expect("make a directory");
    scene.write(
        "tls/0/s3.pem",
        &scene.authority.server(&VIPS).expect("issue"),
    );
    link(Path::new("0"), &scene.path("tls/current"));
    scene.start();
    let client = scene.store_object();
    let plan = Plan {
        connections: 4,
        ..Plan::get(client, PATH, CONTENT)
    };
    let before = scene.workers();
    let load = plan
        .start(&scene.stage.cluster.clients[1])
        .expect("start the load");
    let mut longest = Duration::ZERO;
    for round in 1..=20 {
        let text = scene.authority.server(&VIPS).expect("issue");
        match round % 3 {
            0 => scene.write("tls/current/s3.pem", &text),
            1 => scene.rename("tls/current/s3.pem", &text),
            _ => {
                let directory = scene.path("tls").join(round.to_string());
                fs::create_dir(&directory).expect("make a directory");
                fs::write(directory.join("s3.pem"), &text).expect("write a certificate");
                link(Path::new(&round.to_string()), &scene.path("tls/current"));
            }
        }
        longest = longest.max(scene.comes(None, &text));
    }
    let report = load.finish().expect("finish");
    let tally = report.none_failed().expect("requests");
    assert_eq!(scene.workers(), before);
    println!("{tally}; the longest took {longest:?}");
    assert!(longest < Duration::from_secs(5), "{longest:?}");
    // A reload that changes nothing else finds nothing to replace.
    scene.stage.cli(&["reload"]).expect("reload");
    assert_eq!(scene.workers(), before);
    assert_eq!(scene.held("tls/current/s3.pem").problem, None);
}

#[test]
fn the_server_name_chooses_the_certificate_and_broken_files_do_not_affect_the_others() {
    let list = "certificate = \"s3.pem\"\ncertificates = [\"more\", \"live\"]";
    let mut scene = Scene::new("names", list);
    let [a, b, c] = ["a.test", "*.b.test", "c.test"].map(|name| scene.named(name));
    for directory in ["more", "live/c.test"] {
        fs::create_dir_all(scene.path(directory)).expect("make a directory");
    }
    scene.write("more/a.pem", &a);
    scene.write("more/b.crt", parts(&b).0);
    scene.write("more/b.key", parts(&b).1);
    scene.write("more/broken.pem", "-----BEGIN CERTIFICATE-----\n");
    scene.write("more/other.pem", &(parts(&a).0.to_owned() + parts(&b).1));
    scene.write("more/ca.crt", &scene.authority.pem());
    scene.write("live/c.test/fullchain.pem", parts(&c).0);
    scene.write("live/c.test/privkey.pem", parts(&c).1);
    scene.start();
    let default = fs::read_to_string(scene.path("s3.pem")).expect("read it");
    for (name, text) in [
        (Some("a.test"), &a),
        (Some("x.b.test"), &b),
        (Some("c.test"), &c),
        (Some("else.test"), &default),
        (None, &default),
    ] {
        assert!(scene.shown(name) == leaf(text), "{name:?}");
    }
    let refused = until("files that are refused", SOON, || {
        let refused = scene.stage.status()?.certificates.refused;
        Ok((!refused.is_empty()).then_some(refused))
    })
    .expect("they are told");
    let files: Vec<_> = refused.iter().map(|refused| &refused.file).collect();
    assert_eq!(
        files,
        [
            &scene.path("more/broken.pem"),
            &scene.path("more/other.pem")
        ]
    );
    assert!(
        refused[1]
            .problem
            .contains("private key is that of another")
    );
    let workers = scene.workers();
    let d = scene.named("d.test");
    scene.write("more/d.pem", &d);
    scene.comes(Some("d.test"), &d);
    fs::remove_file(scene.path("more/a.pem")).expect("remove a certificate");
    scene.comes(Some("a.test"), &default);
    // The default of a listener can go too, as long as there is another.
    scene.write("s3.pem", &d);
    scene.comes(Some("else.test"), &d);
    assert_eq!(scene.workers(), workers);
}

#[test]
fn a_broken_or_expired_certificate_never_replaces_a_good_one_and_is_reported_everywhere() {
    let mut scene = Scene::new("broken", "certificate = \"s3.pem\"");
    let good = fs::read_to_string(scene.path("s3.pem")).expect("read it");
    scene.start();
    let expired = scene.authority.expired(&VIPS).expect("issue");
    let other = scene.authority.server(&VIPS).expect("issue");
    let mismatch = parts(&good).0.to_owned() + parts(&other).1;
    for (text, part) in [
        (expired.as_str(), "expired"),
        (mismatch.as_str(), "private key is that of another"),
        ("rubbish", "holds no certificate"),
        (parts(&other).0, "holds no private key"),
    ] {
        scene.rename("s3.pem", text);
        scene.problem("s3.pem", part);
        assert!(scene.shown(None) == leaf(&good), "{part}");
    }
    let metrics = scene
        .stage
        .cluster
        .node
        .output(CURL.command().args(["-s", "http://127.0.0.1:8404/metrics"]));
    let metrics = String::from_utf8(metrics.expect("ask").stdout).expect("text");
    let failed = metrics
        .lines()
        .find(|line| line.starts_with("ober_certificate_failed"));
    assert!(
        failed.is_some_and(|line| line.ends_with(" 1")),
        "{failed:?}"
    );
    let said = scene.stage.cli(&["status"]).expect("status");
    assert!(said.contains("the previous certificate is kept"), "{said}");
    // `validate` names it, and neither new workers nor a new daemon use it.
    let validated = scene.stage.try_cli(&["validate"]).expect("validate");
    assert!(!validated.status.success());
    let text = fs::read_to_string(&scene.stage.ober.config)
        .expect("read the configuration")
        .replace("max_connections = 2000", "max_connections = 1900");
    fs::write(&scene.stage.ober.config, text).expect("write the configuration");
    let before = scene.workers();
    scene.stage.cli(&["reload"]).expect("reload");
    assert!(scene.workers().iter().all(|pid| !before.contains(pid)));
    scene.stage.ober.stop().expect("stop the daemon");
    scene.start();
    assert!(scene.shown(None) == leaf(&good));
    scene.rename("s3.pem", &other);
    scene.comes(None, &other);
    assert_eq!(scene.held("s3.pem").problem, None);
}

#[test]
fn restarted_workers_and_ones_changed_by_hand_get_the_newest_certificate() {
    let mut scene = Scene::new("newest", "certificate = \"s3.pem\"");
    scene.start();
    let new = scene.authority.server(&VIPS).expect("issue");
    scene.rename("s3.pem", &new);
    scene.comes(None, &new);
    restart(&scene, 0);
    scene.comes(None, &new);
    // A transaction that another process left open does not stand in the way.
    let run = scene.path("run");
    let copies = fs::read_dir(run.join("certificates")).expect("copies");
    let copy = copies
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.to_string_lossy().contains(".default.pem"))
        .expect("a copy");
    let stray = format!("set ssl cert {} <<\n{new}", copy.display());
    for worker in 0..2 {
        let socket = ober_user::haproxy::command_socket(&run, worker);
        let said = scene
            .stage
            .cluster
            .node
            .tokio(async || ober_user::haproxy::ask(&socket, &stray).await)
            .expect("enter the node")
            .expect("ask");
        assert!(said.contains("Transaction created"), "{said}");
    }
    let newer = scene.authority.server(&VIPS).expect("issue");
    scene.rename("s3.pem", &newer);
    scene.comes(None, &newer);
    until("nobody behind", SOON, || {
        let behind = scene.stage.status()?.certificates.behind;
        Ok(behind.is_empty().then_some(()))
    })
    .expect("all have it");
}

#[test]
fn a_certificate_that_a_running_worker_refuses_is_reported_and_a_new_worker_serves_it() {
    let mut scene = Scene::new("refused", "certificate = \"s3.pem\"");
    scene.start();
    // More than HAProxy reads of a command at once.
    let mut names = vec!["s3.ober.test".to_owned(), VIPS[0].to_string()];
    names.extend((0..1000).map(|number| format!("bucket-{number}.s3.ober.test")));
    let large = scene.authority.server_named(&names).expect("issue");
    assert!(large.len() > 32 << 10, "{}", large.len());
    scene.rename("s3.pem", &large);
    let behind = until("workers that say no", SOON, || {
        let behind = scene.stage.status()?.certificates.behind;
        Ok((behind.len() == 2).then_some(behind))
    })
    .expect("it is told");
    assert!(behind[0].problem.contains("32 KiB"), "{behind:?}");
    for worker in 0..2 {
        restart(&scene, worker);
    }
    scene.comes(None, &large);
    until("nobody behind", SOON, || {
        let behind = scene.stage.status()?.certificates.behind;
        Ok(behind.is_empty().then_some(()))
    })
    .expect("they have it");
    let small = scene.authority.server(&VIPS).expect("issue");
    scene.rename("s3.pem", &small);
    scene.comes(None, &small);
}
