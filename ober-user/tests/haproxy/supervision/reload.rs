//! A reload while clients are served.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_under_load_refuses_and_resets_no_connection() {
    let mut lab = Lab::new(2);
    let (mut pool, _events) = lab.start().await;
    let before = pids(&pool);
    let sockets = addresses(&pool, 80);
    let load = Load::on(&sockets);
    for round in 0..5 {
        lab.config.workers.max_connections = 500 + round;
        let report = pool.reload(&lab.config, &lab.servers).await.unwrap();
        assert_eq!(report.replaced, [0, 1]);
        assert_eq!(report.failed, []);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let answered = load.all_answered();
    println!("{answered} requests over 5 reloads");
    assert!(answered > 100);
    assert_eq!(addresses(&pool, 80), sockets, "the same sockets");
    assert!(pids(&pool).iter().all(|pid| !before.contains(pid)));
    let report = pool.reload(&lab.config, &lab.servers).await.unwrap();
    assert_eq!(
        (report.unchanged, report.replaced),
        (vec![0, 1], vec![]),
        "nothing changed, nothing replaced"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_worker_answers_its_pending_requests_before_it_ends() {
    let mut lab = Lab::new(1);
    let (mut pool, _events) = lab.start().await;
    let at = addresses(&pool, 80)[0];
    let old = pids(&pool)[0];
    // Takes longer than a reload does on a busy machine.
    let slow = thread::spawn(move || get(at, "/slow/longer"));
    tokio::time::sleep(Duration::from_millis(200)).await;
    lab.config.workers.max_connections = 500;
    pool.reload(&lab.config, &lab.servers).await.unwrap();
    assert_eq!(pool.snapshot()[0].draining(), [old]);
    assert!(slow.join().unwrap().unwrap().contains("/slow"));
    let gone = async {
        while !pool.snapshot()[0].draining().is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), gone)
        .await
        .unwrap();
    assert_eq!(lab.processes(), pids(&pool));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_of_a_replaced_worker_gets_one_more_answer() {
    let mut lab = Lab::new(1);
    let (mut pool, _events) = lab.start().await;
    let mut client = BufReader::new(connect(addresses(&pool, 80)[0]).unwrap());
    let mut ask = || {
        let request = b"GET /again HTTP/1.1\r\nHost: s3.test\r\n\r\n";
        client.get_mut().write_all(request).unwrap();
        Message::read(&mut client).unwrap().unwrap()
    };
    assert_eq!(ask().all("connection"), Vec::<&str>::new());
    lab.config.workers.max_connections = 500;
    assert_eq!(
        pool.reload(&lab.config, &lab.servers)
            .await
            .unwrap()
            .replaced,
        [0]
    );
    tokio::time::sleep(Duration::from_millis(300)).await;
    let answer = ask();
    assert_eq!(
        (answer.first.as_str(), answer.all("connection")),
        ("HTTP/1.1 200 OK", vec!["close"])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_replaces_no_worker_and_a_broken_one_does_not_stop_a_reload() {
    let mut lab = Lab::new(1);
    let (mut pool, _events) = lab.start().await;
    let made = rcgen::generate_simple_self_signed(["s3.test".to_owned()]).unwrap();
    fs::write(
        lab.dir.path().join("s3.pem"),
        made.cert.pem() + &made.signing_key.serialize_pem(),
    )
    .unwrap();
    let report = pool.reload(&lab.config, &lab.servers).await.unwrap();
    assert_eq!((report.unchanged, report.replaced), (vec![0], vec![]));
    fs::write(lab.dir.path().join("s3.pem"), "not a certificate").unwrap();
    lab.config.workers.max_connections = 500;
    let report = pool.reload(&lab.config, &lab.servers).await.unwrap();
    assert_eq!(report.replaced, [0], "with the certificate before that");
}

#[tokio::test(flavor = "multi_thread")]
async fn listeners_and_workers_come_and_go_with_a_reload() {
    let mut lab = Lab::new(1);
    let (mut pool, _events) = lab.start().await;
    let kept = addresses(&pool, 80);
    let more = vec![listener(80, PLAIN), listener(8080, PLAIN)];
    lab.config.services = vec![service("s3", &["192.0.2.1"], more)];
    lab.config.workers.cpus = vec![0, 0];
    assert_eq!(
        pool.reload(&lab.config, &lab.servers)
            .await
            .unwrap()
            .replaced,
        [0, 1]
    );
    assert_eq!(pool.sockets().len(), 4);
    assert_eq!(addresses(&pool, 80)[0], kept[0]);
    for at in addresses(&pool, 8080) {
        get(at, "/").unwrap();
    }
    lab.config.workers.cpus = vec![0];
    let report = pool.reload(&lab.config, &lab.servers).await.unwrap();
    assert_eq!((report.unchanged, report.stopped), (vec![0], vec![1]));
    assert_eq!(pool.sockets().len(), 2);
    assert_eq!(pool.ready(Duration::from_secs(1)).await, 1);
    lab.config.workers.cpus = vec![0, 0];
    assert_eq!(
        pool.reload(&lab.config, &lab.servers)
            .await
            .unwrap()
            .replaced,
        [1]
    );
    get(addresses(&pool, 80)[1], "/").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_that_run_as_root_are_named_until_the_last_of_them_has_finished() {
    // As an older daemon started workers: without an account of their own.
    let mut lab = Lab::new(1);
    let (first, _events) = lab.start().await;
    let old = pids(&first)[0];
    assert_eq!(first.snapshot()[0].as_root(), [old]);
    let at = addresses(&first, 80)[0];
    first.leave().await;
    // The worker cannot finish before this request is whole.
    let mut client = connect(at).unwrap();
    client
        .write_all(b"GET / HTTP/1.1\r\nHost: s3\r\nConnection: close\r\n")
        .unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    lab.config.workers.user = Some("nobody".to_owned());
    lab.config.workers.group = Some("nogroup".to_owned());
    let (second, _events) = lab.start().await;
    let replaced = async {
        while second.snapshot()[0].draining() != [old] {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), replaced)
        .await
        .unwrap();
    assert_eq!(second.snapshot()[0].as_root(), [old]);
    client.write_all(b"\r\n").unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let gone = async {
        while !second.snapshot()[0].as_root().is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), gone)
        .await
        .unwrap();
    assert_ne!(pids(&second), [old]);
    get(addresses(&second, 80)[0], "/").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_configuration_shows_haproxys_message_and_changes_nothing() {
    let mut lab = Lab::new(2);
    let (mut pool, _events) = lab.start().await;
    let before = pool.snapshot();
    let good = lab.config.clone();
    let files = || fs::read_dir(&good.node.run).unwrap().count();
    let had = files();
    lab.config.workers.user = Some("nobody-of-that-name".to_owned());
    let error = pool.reload(&lab.config, &lab.servers).await.unwrap_err();
    lab.config.clone_from(&good);
    assert!(matches!(error, Error::Refused { .. }), "{error}");
    let Error::Refused { file, words } = error else {
        return;
    };
    assert!(
        words.contains("nobody-of-that-name") && words.contains("[ALERT]"),
        "{words}"
    );
    assert!(
        fs::read_to_string(&file)
            .unwrap()
            .contains("frontend s3:443"),
        "kept for reading"
    );
    assert_eq!(files(), had + 1);
    assert_eq!(pool.snapshot(), before);
    get(addresses(&pool, 80)[0], "/").unwrap();
    lab.config.workers.haproxy = PathBuf::from("/nowhere/haproxy");
    let error = pool.reload(&lab.config, &lab.servers).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("/nowhere/haproxy; `apt-get install haproxy`"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_passes_the_check_but_does_not_run_is_dropped_and_the_old_process_stays()
 {
    let mut lab = Lab::new(2);
    let (mut pool, _events) = lab.start().await;
    let before = pids(&pool);
    // No machine has CPU 1000, and HAProxy's check does not look.
    lab.config.workers.cpus = vec![1000, 0];
    let error = pool.reload(&lab.config, &lab.servers).await.unwrap_err();
    assert!(
        matches!(error, Error::NotServing { worker: 0, .. }),
        "{error}"
    );
    assert!(error.to_string().contains("on CPU 1000"), "{error}");
    assert_eq!(pids(&pool), before);
    get(addresses(&pool, 80)[0], "/").unwrap();
    lab.config.workers.cpus = vec![0, 0];
    pool.reload(&lab.config, &lab.servers).await.unwrap();
}
