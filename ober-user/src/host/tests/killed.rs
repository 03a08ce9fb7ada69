//! Runs that are killed at each of their steps, of every command that changes a machine by a record.

use std::fmt::Debug;

use crate::host::{
    Host,
    bootstrap::{self, Done},
    part::Part,
    plan::{Change, PartPlan},
    platform::Platform,
    record::{Author, Record},
    undo::{self, Back, How},
};

/// A machine and a command that changes it.
pub(in crate::host) trait Subject {
    type Machine: Platform;
    type Whole: PartialEq + Debug;
    const AUTHOR: Author;

    /// Before the command.
    fn fresh() -> Self;
    fn host(&self) -> &Host<Self::Machine>;
    /// Everything that the command may change.
    fn whole(&self) -> Self::Whole;
    /// What the command comes to on the machine as it is.
    async fn plans(&self) -> Vec<PartPlan>;

    async fn changes(&self) -> Vec<(Part, Change)> {
        let plans = self.plans().await.into_iter();
        let each = |it: PartPlan| it.changes.into_iter().map(move |change| (it.part, change));
        plans.flat_map(each).collect()
    }

    async fn apply(&self) -> Vec<Done> {
        let plans = self.plans().await;
        let (mut record, _lock) = Record::open(&self.host().root, Self::AUTHOR).unwrap();
        let done = bootstrap::apply(self.host(), &mut record, &plans).await;
        record.close(&self.host().root).unwrap();
        done
    }

    async fn undo(&self) -> Vec<Back> {
        let (mut record, _lock) = Record::open(&self.host().root, Self::AUTHOR).unwrap();
        let all = undo::plan(self.host(), &record, Self::AUTHOR.parts()).await;
        let mut all = all.unwrap();
        undo::run(self.host(), &mut record, &mut all).await;
        record.close(&self.host().root).unwrap();
        all
    }
}

/// A second run ends what the first began, and an undo leaves what was there before, wherever either was killed.
pub(in crate::host) async fn survives_a_kill_at_every_step<S: Subject>() {
    let both = [false, true];
    let changes = S::fresh().changes().await.len();
    assert!(changes > 8, "{changes} changes");
    for (made, again) in both
        .into_iter()
        .flat_map(|made| both.map(|again| (made, again)))
    {
        for steps in 0..changes {
            let subject = S::fresh();
            let before = subject.whole();
            forth(&subject, steps, made).await;
            let at = format!("forth: {steps} made {made} again {again}");
            ended(&subject, &before, again, &at).await;
        }
        // Each of these takes a whole run before it: two of the four must do.
        if made != again {
            continue;
        }
        let mut steps = 0;
        loop {
            let subject = S::fresh();
            let before = subject.whole();
            subject.apply().await;
            if !back(&subject, steps, made).await {
                break;
            }
            let at = format!("back: {steps} made {made} again {again}");
            ended(&subject, &before, again, &at).await;
            steps += 1;
        }
        assert!(steps > 8, "{steps} steps of an undo");
    }
}

/// `steps` changes are made, and the next one is recorded only, or made and not read back.
async fn forth<S: Subject>(subject: &S, steps: usize, made: bool) {
    let (host, changes) = (subject.host(), subject.changes().await);
    let (mut record, _lock) = Record::open(&host.root, S::AUTHOR).unwrap();
    for (part, change) in &changes[..steps] {
        let done = bootstrap::make(host, &mut record, *part, change).await;
        done.unwrap();
    }
    let (part, change) = &changes[steps];
    record.note(*part, change).unwrap();
    if made {
        host.put(&change.object, &change.after).await.unwrap();
    }
}

/// `steps` objects are put back, and the next one is left, or put back and still recorded. `false`: there are not so many.
async fn back<S: Subject>(subject: &S, steps: usize, made: bool) -> bool {
    let host = subject.host();
    let (mut record, _lock) = Record::open(&host.root, S::AUTHOR).unwrap();
    let mut all = undo::plan(host, &record, S::AUTHOR.parts()).await.unwrap();
    if steps >= all.len() {
        return false;
    }
    undo::run(host, &mut record, &mut all[..steps]).await;
    let next = &all[steps];
    let found = host.look(&next.object).await.unwrap();
    if made && next.how == How::Restore && found != next.before && !next.object.is_gone(&found) {
        host.put(&next.object, &next.before).await.unwrap();
    }
    true
}

/// After a kill: the command, if it is run again, has nothing left to do after it, and the undo leaves what was there.
async fn ended<S: Subject>(subject: &S, before: &S::Whole, again: bool, at: &str) {
    if again {
        let done = subject.apply().await;
        assert!(done.iter().all(|it| it.failed.is_none()), "{at}: {done:#?}");
        assert_eq!(subject.changes().await, [], "{at}");
    }
    let undone = subject.undo().await;
    let whole = |it: &Back| it.failed.is_none() && it.how != How::Keep;
    assert!(undone.iter().all(whole), "{at}: {undone:#?}");
    assert_eq!(&subject.whole(), before, "{at}");
}
