use super::*;

const DAY: Duration = Duration::from_hours(24);

fn at(machine: &Renewal, now: Instant) -> Duration {
    machine.deadline().unwrap() - now
}

fn stands(age: Duration, left: Duration) -> Event {
    Event::Stands { age, left }
}

#[test]
fn a_missing_certificate_is_ordered_at_once() {
    let (mut machine, now) = (Renewal::new(0), Instant::now());
    assert_eq!(machine.deadline(), None);
    assert_eq!(machine.on(now, Event::Lacks), [Action::Order]);
    assert_eq!(machine.state(), State::Ordering);
    assert_eq!(machine.deadline(), None);
}

#[test]
fn a_certificate_is_renewed_with_a_third_of_its_life_left_or_by_jitter_a_tenth_earlier() {
    let now = Instant::now();
    for (jitter, due) in [(0, 60 * DAY), (255, 57 * DAY)] {
        let mut machine = Renewal::new(jitter);
        assert_eq!(machine.on(now, stands(Duration::ZERO, 90 * DAY)), []);
        assert_eq!(at(&machine, now), due);
        assert_eq!(machine.tick(now + due / 2), []);
        assert_eq!(machine.tick(now + due), [Action::Order]);
    }
    // Found with less than that left, or expired.
    for (age, left) in [(70 * DAY, 20 * DAY), (90 * DAY, Duration::ZERO)] {
        let mut machine = Renewal::new(0);
        assert_eq!(machine.on(now, stands(age, left)), [Action::Order]);
    }
}

#[test]
fn the_pause_after_failed_orders_grows_and_a_success_resets_it() {
    let (mut machine, now) = (Renewal::new(0), Instant::now());
    let failed = Event::Failed { retry_after: None };
    machine.on(now, Event::Lacks);
    for minutes in [1, 3, 9, 27, 81, 243, 720, 720] {
        assert_eq!(machine.on(now, failed), []);
        let pause = Duration::from_mins(minutes);
        assert_eq!(at(&machine, now), pause);
        assert_eq!(machine.tick(now + pause), [Action::Order]);
    }
    assert_eq!(machine.failures(), 8);
    machine.on(now, stands(Duration::ZERO, 90 * DAY));
    machine.on(now, failed);
    assert_eq!(at(&machine, now), PAUSE);
}

#[test]
fn a_renewal_waits_for_the_retry_after_of_the_authority() {
    let (mut machine, now) = (Renewal::new(0), Instant::now());
    machine.on(now, Event::Lacks);
    let retry_after = Some(Duration::from_hours(5));
    machine.on(now, Event::Failed { retry_after });
    assert_eq!(at(&machine, now), Duration::from_hours(5));
    let retry_after = Some(Duration::from_secs(1));
    machine.tick(now + Duration::from_hours(5));
    machine.on(now, Event::Failed { retry_after });
    assert_eq!(at(&machine, now), PAUSE * 3);
}

#[test]
fn after_a_nearly_expired_certificate_the_next_order_waits_for_a_pause() {
    let (mut machine, now) = (Renewal::new(0), Instant::now());
    machine.on(now, Event::Lacks);
    assert_eq!(machine.on(now, stands(80 * DAY, 10 * DAY)), []);
    assert_eq!(at(&machine, now), PAUSE);
}
