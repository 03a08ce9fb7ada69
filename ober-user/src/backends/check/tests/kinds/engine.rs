//! Many servers, which come, go, fail and recover.

use super::*;

#[tokio::test]
async fn the_check_engine_reports_a_server_that_goes_down_and_up_again() {
    let server = web(|request| {
        (
            if (3..9).contains(&request) { 500 } else { 200 },
            String::new(),
        )
    })
    .await;
    let mut engine = Engine::default();
    let mut verdicts = engine.verdicts();
    engine.set(vec![target(server, check(Kind::Http(http())))]);
    let mut changes = Vec::new();
    for _ in 0..3 {
        changes.push(verdicts.recv().await.unwrap().up);
    }
    assert_eq!(changes, [true, false, true]);
}

#[tokio::test]
async fn a_server_that_stays_keeps_its_state_and_a_removed_one_is_checked_no_more() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let server = web(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        (200, String::new())
    });
    let (server, other) = (server.await, closed());
    let mut engine = Engine::default();
    let mut verdicts = engine.verdicts();
    let web = target(server, check(Kind::Http(http())));
    engine.set(vec![web.clone()]);
    assert!(verdicts.recv().await.unwrap().up);
    let before = engine.states();
    engine.set(vec![web, target(other, check(Kind::Tcp))]);
    let since = |check_state: &CheckState| (check_state.state, check_state.since);
    let key = ("b".to_owned(), server);
    assert_eq!(since(&engine.states()[&key]), since(&before[&key]));
    engine.set(vec![]);
    tokio::time::sleep(MOMENT * 5).await;
    let then = asked.load(Ordering::Relaxed);
    tokio::time::sleep(MOMENT * 10).await;
    assert_eq!(
        (asked.load(Ordering::Relaxed), engine.states().len()),
        (then, 0)
    );
}

#[tokio::test]
async fn many_slow_servers_are_checked_in_turn_and_waiting_does_not_count_against_the_timeout() {
    // More checks than run at once: the time that a check waits for its turn does not count against its limit.
    let mut targets = Vec::new();
    for number in 1..=100 {
        let exec = check::Exec {
            program: shell("sleep 0.05"),
            verdict: check::Verdict::Status,
        };
        let slow = Check {
            timeout: Duration::from_secs(20),
            ..check(Kind::Exec(exec))
        };
        targets.push(target(SocketAddr::from(([192, 0, 2, 7], number)), slow));
    }
    let mut engine = Engine::default();
    let mut verdicts = engine.verdicts();
    engine.set(targets);
    for _ in 0..100 {
        assert!(verdicts.recv().await.unwrap().up);
    }
}
