use proptest::prelude::*;

use super::*;

mod kinds;

const SECOND: Duration = Duration::from_secs(1);
const POLICY: Policy = Policy {
    interval: Duration::from_secs(8),
    fast: SECOND,
    rise: 2,
    fall: 3,
};

fn good() -> Event {
    Event::Answered(Answer::Good("fine".into()))
}

fn bad() -> Event {
    Event::Answered(Answer::Bad("refused".into()))
}

fn unclear() -> Event {
    Event::Answered(Answer::Unclear("?".into()))
}

fn verdict(up: bool) -> Action {
    let reason = if up { "fine" } else { "refused" };
    Action::Verdict {
        up,
        reason: reason.into(),
    }
}

/// A server on a virtual clock.
struct Clocked {
    server: Server,
    now: Instant,
}

impl Clocked {
    fn new(policy: Policy) -> Self {
        let now = Instant::now();
        Self {
            server: Server::new(now, policy, 7),
            now,
        }
    }

    /// Begins the next check when it is due and ends it `took` later.
    fn check(&mut self, took: Duration, event: Event) -> (Duration, Vec<Action>) {
        let due = self.server.deadline().unwrap();
        let waited = due.saturating_duration_since(self.now);
        self.now = due;
        assert_eq!(self.server.tick(self.now), [Action::Ask]);
        assert_eq!(self.server.deadline(), None, "one check at a time");
        self.now += took;
        (waited, self.server.on(self.now, event))
    }

    fn says(&mut self, event: Event) -> Vec<Action> {
        self.check(Duration::ZERO, event).1
    }
}

#[test]
fn each_server_state_and_answer_leads_where_the_table_says() {
    use State::{Down, Unknown, Up};
    for (letters, state, row) in [
        //            good  bad     unclear
        ("", Unknown, [Up, Down, Unknown]),
        ("g", Up, [Up, Up, Up]),
        ("gbb", Up, [Up, Down, Up]),
        ("b", Down, [Down, Down, Down]),
        ("bg", Down, [Up, Down, Down]),
    ] {
        for (event, next) in [good(), bad(), unclear()].into_iter().zip(row) {
            let mut clocked = Clocked::new(POLICY);
            for letter in letters.chars() {
                clocked.says(if letter == 'g' { good() } else { bad() });
            }
            assert_eq!(clocked.server.state(), state, "{letters}");
            let changes = clocked.says(event.clone());
            assert_eq!(clocked.server.state(), next, "{letters} and {event:?}");
            assert_eq!(changes.is_empty(), next == state, "{letters} and {event:?}");
        }
    }
}

#[test]
fn the_first_check_is_due_at_once_and_its_answer_decides() {
    let mut clocked = Clocked::new(POLICY);
    assert_eq!(clocked.server.state(), State::Unknown);
    let (waited, changes) = clocked.check(Duration::ZERO, bad());
    assert_eq!((waited, changes), (Duration::ZERO, vec![verdict(false)]));
}

#[test]
fn a_good_answer_between_failures_resets_their_count() {
    // The sequence of unhealthy (U) and healthy (H) answers by which GoBetween marks a server dead: U H H H U H H U
    // after an H, with three fails.
    let mut clocked = Clocked::new(POLICY);
    assert_eq!(clocked.says(good()), [verdict(true)]);
    for event in [bad(), good(), good(), good(), bad(), good(), good(), bad()] {
        assert_eq!(clocked.says(event), []);
    }
    assert_eq!(clocked.says(bad()), []);
    assert_eq!(clocked.says(bad()), [verdict(false)]);
}

#[test]
fn an_unclear_answer_neither_counts_nor_interrupts_a_series() {
    let mut clocked = Clocked::new(POLICY);
    assert_eq!(clocked.says(good()), [verdict(true)]);
    for event in [bad(), unclear(), bad(), unclear()] {
        assert_eq!(clocked.says(event), []);
    }
    assert_eq!(clocked.server.reason(), "?");
    assert_eq!(clocked.says(bad()), [verdict(false)]);
}

#[test]
fn checks_run_at_the_fast_interval_while_the_state_is_about_to_change() {
    let eighth = |waited: Duration, pace: Duration| {
        assert!(
            waited >= pace * 7 / 8 && waited <= pace * 9 / 8,
            "{waited:?} for {pace:?}"
        );
    };
    let mut clocked = Clocked::new(POLICY);
    clocked.says(good());
    eighth(clocked.check(Duration::ZERO, bad()).0, POLICY.interval);
    eighth(clocked.check(Duration::ZERO, bad()).0, POLICY.fast);
    eighth(clocked.check(Duration::ZERO, good()).0, POLICY.fast);
    eighth(clocked.check(Duration::ZERO, good()).0, POLICY.interval);
}

#[test]
fn a_check_that_outlasts_its_interval_is_followed_at_once_by_the_next() {
    let mut clocked = Clocked::new(POLICY);
    clocked.check(SECOND * 20, good());
    assert_eq!(clocked.check(SECOND, good()).0, Duration::ZERO);
    let (waited, _) = clocked.check(SECOND, good());
    assert!(
        waited >= SECOND * 6,
        "counted from its beginning: {waited:?}"
    );
}

#[test]
fn an_answer_without_a_pending_check_is_ignored() {
    let mut clocked = Clocked::new(POLICY);
    assert_eq!(clocked.server.on(clocked.now, bad()), []);
    assert_eq!(clocked.server.state(), State::Unknown);
}

#[test]
fn a_shorter_interval_applies_to_the_pending_check() {
    let mut clocked = Clocked::new(POLICY);
    clocked.says(good());
    let fast = Policy {
        interval: SECOND,
        ..POLICY
    };
    assert_eq!(clocked.server.on(clocked.now, Event::Configure(fast)), []);
    assert_eq!(clocked.server.deadline(), Some(clocked.now + SECOND));
}

proptest! {
    /// In every sequence, a server goes down exactly after `fall` bad answers in a row, and up after `rise` good ones.
    #[test]
    fn a_server_goes_down_after_fall_bad_answers_and_up_after_rise_good_ones(
        answers in proptest::collection::vec(0..3_u8, 0..200), rise in 1..5_u32, fall in 1..5_u32
    ) {
        let mut clocked = Clocked::new(Policy { rise, fall, ..POLICY });
        let (mut up, mut row, mut last) = (None, 0, 2);
        for answer in answers {
            let event = [good(), bad(), unclear()][usize::from(answer)].clone();
            let changes = clocked.says(event);
            if answer == 2 {
                prop_assert_eq!(changes, []);
                continue;
            }
            row = if answer == last { row + 1 } else { 1 };
            last = answer;
            let now_up = answer == 0;
            let needed = match up { None => 1, Some(_) if now_up => rise, Some(_) => fall };
            if up != Some(now_up) && row >= needed {
                up = Some(now_up);
                prop_assert_eq!(changes, [verdict(now_up)]);
            } else {
                prop_assert_eq!(changes, []);
            }
        }
    }

    #[test]
    fn servers_with_different_seeds_are_checked_at_different_times(seed in any::<u64>()) {
        let now = Instant::now();
        let after = |seed| {
            let mut server = Server::new(now, POLICY, seed);
            server.tick(now);
            server.on(now, good());
            server.deadline().unwrap()
        };
        let times: std::collections::BTreeSet<_> = (0..32).map(|more| after(seed.wrapping_add(more * 7919))).collect();
        prop_assert!(times.len() > 16);
    }
}
