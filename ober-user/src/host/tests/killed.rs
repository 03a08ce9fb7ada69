//! Runs and undos that are killed at every step.

use super::{Bench, failures};
use crate::host::{
    Host, bootstrap,
    platform::Platform,
    record::{Author, Record},
    undo,
};

#[tokio::test]
async fn a_run_that_is_killed_at_any_step_can_be_run_again_and_undone() {
    let all = Bench::new().changes().await.len();
    assert!(all > 10);
    // `steps` changes are made, and the next one is recorded only, or made and not read back.
    for steps in 0..all {
        for (made, again) in [(false, false), (false, true), (true, false), (true, true)] {
            let bench = Bench::new();
            let before = bench.whole();
            let changes = bench.changes().await;
            let (mut record, lock) = Record::open(&bench.host.root, Author::Bootstrap).unwrap();
            for (part, change) in &changes[..steps] {
                let done = bootstrap::make(&bench.host, &mut record, *part, change).await;
                done.unwrap();
            }
            let (part, change) = &changes[steps];
            record.note(*part, change).unwrap();
            if made {
                bench.host.put(&change.object, &change.after).await.unwrap();
            }
            // As a killed process leaves it.
            drop((record, lock));
            if again {
                let done = bench.apply().await;
                assert_eq!(failures(&done), [""; 0], "{steps} {made}");
                assert_eq!(bench.changes().await, [], "{steps} {made}");
                assert_eq!(bench.value("kernel.panic"), "10");
            }
            let undone = bench.undo().await;
            assert!(
                undone.iter().all(|it| it.failed.is_none()),
                "{steps} {made} {again}: {undone:#?}"
            );
            assert_eq!(bench.whole(), before, "{steps} {made} {again}");
        }
    }
}

/// An undo that is killed after so many steps, and after the next one was `made` and not yet forgotten. Returns whether there is a
/// step of that number.
pub(in crate::host) async fn killed_undo<M: Platform>(
    host: &Host<M>,
    author: Author,
    steps: usize,
    made: bool,
) -> bool {
    let (mut record, _lock) = Record::open(&host.root, author).unwrap();
    let mut all = undo::plan(host, &record, author.parts()).await.unwrap();
    let Some(next) = all.get(steps).cloned() else {
        return false;
    };
    undo::run(host, &mut record, &mut all[..steps]).await;
    if made {
        host.put(&next.object, &next.before).await.unwrap();
    }
    true
}

#[tokio::test]
async fn an_undo_that_is_killed_at_any_step_is_finished_by_the_next_one() {
    for made in [false, true] {
        for steps in 0.. {
            let bench = Bench::new();
            let before = bench.whole();
            bench.apply().await;
            if !killed_undo(&bench.host, Author::Bootstrap, steps, made).await {
                assert!(steps > 10);
                break;
            }
            let undone = bench.undo().await;
            assert!(
                undone.iter().all(|it| it.failed.is_none()),
                "{steps} {made}: {undone:#?}"
            );
            assert_eq!(bench.whole(), before, "{steps} {made}");
        }
    }
}
