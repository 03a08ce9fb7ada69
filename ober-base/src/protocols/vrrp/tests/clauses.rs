use super::*;

fn changed(change: impl FnOnce(&mut Settings)) -> Settings {
    let mut settings = settings();
    change(&mut settings);
    settings
}

#[test]
fn a_virtual_router_takes_part_only_while_its_gate_is_open_and_its_link_up() {
    let mut bench = Bench::new(settings());
    assert_eq!(bench.on(Event::Gate(true)), []);
    assert_eq!((bench.name(), bench.left()), ("initialize", None));
    assert_eq!(bench.on(Event::Link(true)), []);
    assert_eq!((bench.name(), bench.why()), ("backup", Why::LinkUp));
    bench.due();
    assert_eq!(bench.on(Event::Link(false)), [sent(0), Action::Release]);
    assert_eq!((bench.name(), bench.why()), ("initialize", Why::LinkDown));
    assert_eq!(bench.on(Event::Gate(false)), []);
    assert_eq!(bench.on(Event::Link(true)), []);
    assert_eq!(bench.name(), "initialize");
}

#[test]
fn a_master_whose_gate_closes_resigns_at_once_and_stays_out_until_it_opens() {
    let mut bench = Bench::master(settings());
    assert_eq!(bench.on(Event::Gate(false)), [sent(0), Action::Release]);
    assert_eq!(bench.left(), None);
    assert_eq!(bench.later(100_000).hears(HIGH, 0), []);
    assert_eq!(bench.name(), "initialize");
    assert_eq!(bench.on(Event::Gate(true)), []);
    assert_eq!((bench.name(), bench.left()), ("backup", Some(ms(350))));
}

#[test]
fn a_new_master_advertises_before_it_adds_addresses_and_claims_them_once_present() {
    let mut bench = Bench::backup(changed(|it| {
        it.garp.delay = ms(250);
        it.garp.refresh = ms(10_000);
    }));
    assert_eq!(bench.due(), (ms(350), vec![sent(128), Action::Hold]));
    assert_eq!(bench.later(10).on(Event::Held), [Action::Garp(5)]);
    assert_eq!(bench.due(), (ms(90), vec![sent(128)]));
    assert_eq!(bench.due(), (ms(100), vec![sent(128)]));
    assert_eq!(bench.due(), (ms(60), vec![Action::Garp(5)]));
    assert_eq!(bench.due(), (ms(40), vec![sent(128)]));
    let mut claims = Vec::new();
    let began = bench.now;
    while bench.now < began + ms(25_000) {
        let (_, actions) = bench.due();
        let claim = actions.contains(&Action::Garp(1));
        claims.extend(claim.then(|| (bench.now - began).as_secs()));
        assert!(!actions.contains(&Action::Garp(5)));
    }
    assert_eq!(claims, [9, 19]);
}

#[test]
fn a_master_renews_its_addresses_every_second_and_restores_removed_ones() {
    let mut bench = Bench::master(settings());
    let began = bench.now;
    let mut renewed = Vec::new();
    while bench.now < began + ms(3500) {
        let (_, actions) = bench.due();
        renewed.extend(
            actions
                .contains(&Action::Hold)
                .then(|| (bench.now - began).as_millis()),
        );
    }
    assert_eq!(renewed, [1000, 2000, 3000]);
    assert_eq!(bench.on(Event::Held), [], "renewed, nothing new");
    assert_eq!(bench.on(Event::Lost), [Action::Hold]);
    assert_eq!(bench.on(Event::Lost), [], "asked for already");
    assert_eq!(bench.on(Event::Held), [Action::Garp(5)]);
}

#[test]
fn addresses_added_after_a_master_resigned_are_removed() {
    let mut bench = Bench::new_master(settings());
    assert_eq!(bench.on(Event::Gate(false)), [sent(0), Action::Release]);
    assert_eq!(bench.on(Event::Held), [Action::Release]);
}

#[test]
fn a_master_without_its_addresses_resigns_and_tries_again_later() {
    let mut bench = Bench::new_master(settings());
    assert_eq!(bench.on(Event::Refused), [sent(0), Action::Release]);
    assert_eq!((bench.name(), bench.why()), ("initialize", Why::Refused));
    assert_eq!(bench.due(), (ms(5000), vec![]));
    assert_eq!((bench.name(), bench.why()), ("backup", Why::Retried));
}

#[test]
fn a_backup_learns_the_masters_interval_and_forgets_it_with_the_master() {
    let mut bench = Bench::backup(settings());
    let slow = Advertisement {
        interval: interval(2000),
        ..advertisement(200)
    };
    let from = HIGH;
    bench.on(Event::Received {
        from,
        advertisement: slow,
    });
    assert_eq!(
        bench.left(),
        Some(ms(7000)),
        "3 of its intervals and half of one"
    );
    assert_eq!(bench.router.master(), Some((HIGH, 200)));
    bench.hears(HIGH, 0);
    assert_eq!(
        bench.left(),
        Some(ms(1000)),
        "skew is of the master's interval"
    );
    bench.due();
    assert_eq!(bench.why(), Why::Resigned);
    assert_eq!(bench.left(), Some(ms(100)), "advertisements are of ours");
    bench.on(Event::Gate(false));
    bench.on(Event::Gate(true));
    assert_eq!(bench.left(), Some(ms(350)));
}

#[test]
fn a_preempt_delay_tolerates_a_lower_master_exactly_for_its_length() {
    let mut bench = Bench::backup(changed(|it| it.preempt = Preempt::After(ms(1000))));
    for _ in 0..10 {
        bench.later(100).hears(LOW, 100);
        assert_eq!(bench.left(), Some(ms(350)));
    }
    bench.later(100).hears(LOW, 100);
    assert_eq!(bench.left(), Some(ms(250)), "not obeyed any more");
    // A better advertisement in between restarts the delay.
    bench.later(100).hears(HIGH, 200);
    bench.later(100).hears(LOW, 100);
    assert_eq!(bench.left(), Some(ms(350)));
}

#[test]
fn a_preempt_delay_ends_if_the_lower_master_falls_silent() {
    let mut bench = Bench::backup(changed(|it| it.preempt = Preempt::After(ms(60_000))));
    bench.later(100).hears(LOW, 100);
    assert_eq!(bench.due(), (ms(350), vec![sent(128), Action::Hold]));
}

#[test]
fn a_backup_with_a_late_timer_reads_waiting_packets_before_it_becomes_master() {
    let mut bench = Bench::backup(settings());
    bench.hears(HIGH, 200);
    assert_eq!(bench.overdue(5000), [], "it may have been heard meanwhile");
    assert_eq!((bench.name(), bench.router.late()), ("backup", 1));
    bench.hears(HIGH, 200);
    assert_eq!(bench.left(), Some(ms(350)));
    // A small delay raises no doubt, and a timer is extended once only.
    let mut bench = Bench::backup(settings());
    bench.hears(HIGH, 200);
    assert_eq!(bench.overdue(90), [sent(128), Action::Hold]);
    let mut bench = Bench::backup(settings());
    assert_eq!(bench.overdue(5000), []);
    assert_eq!(bench.overdue(5000), [sent(128), Action::Hold]);
}

#[test]
fn a_master_with_a_very_late_timer_becomes_backup_before_it_advertises_again() {
    let mut bench = Bench::master(settings());
    assert_eq!(
        bench.overdue(150),
        [sent(128)],
        "no backup has given up on it"
    );
    assert_eq!(bench.overdue(250), [Action::Release]);
    assert_eq!((bench.name(), bench.router.late()), ("backup", 1));
    assert_eq!(bench.why(), Why::Late(ms(250)));
    // No other node took over: this one becomes master again, after an interval and the skew.
    assert_eq!(bench.due(), (ms(150), vec![sent(128), Action::Hold]));
    // Another node took over, and keeps it without preemption.
    let mut bench = Bench::master(changed(|it| it.preempt = Preempt::Never));
    bench.overdue(10_000);
    bench.hears(LOW, 1);
    assert_eq!((bench.name(), bench.left()), ("backup", Some(ms(350))));
}

#[test]
fn a_slightly_late_timer_does_not_shift_the_advertisement_interval() {
    let mut bench = Bench::master(settings());
    assert_eq!(bench.overdue(30), [sent(128)]);
    assert_eq!(bench.left(), Some(ms(70)));
    assert_eq!(bench.overdue(110), [sent(128)], "lost: it starts over");
    assert_eq!(bench.left(), Some(ms(100)));
}

#[test]
fn a_master_answers_a_lower_priority_and_claims_its_addresses_again_at_a_limited_rate() {
    let mut bench = Bench::master(settings());
    bench.later(1050).on(Event::Held);
    let conflict = Conflict::TwoMasters {
        from: LOW,
        priority: 100,
    };
    let first = bench.hears(LOW, 100);
    assert_eq!(
        first,
        [Action::Report(conflict), sent(128), Action::Garp(5)]
    );
    assert_eq!(
        bench.later(10).hears(LOW, 100),
        [],
        "an answer is on its way"
    );
    assert_eq!(bench.later(20).hears(LOW, 100), [sent(128)]);
    assert_eq!(bench.router.conflicts(), 3);
    let mut silent = Bench::master(changed(|it| it.answers.lower = false));
    assert_eq!(silent.later(50).hears(LOW, 100), []);
}

#[test]
fn a_master_that_yields_advertises_once_more_if_configured() {
    let mut bench = Bench::master(changed(|it| it.answers.higher = true));
    assert_eq!(bench.hears(HIGH, 200), [sent(128), Action::Release]);
    let why = Why::Outranked {
        from: HIGH,
        priority: 200,
    };
    assert_eq!((bench.name(), bench.why()), ("backup", why));
}

#[test]
fn each_conflict_on_the_link_is_reported_once_a_minute() {
    let mut bench = Bench::backup(settings());
    let other = Advertisement {
        addresses: vec![HIGH],
        ..advertisement(200)
    };
    let event = || Event::Received {
        from: HIGH,
        advertisement: other.clone(),
    };
    let report = Action::Report(Conflict::Addresses { from: HIGH });
    assert_eq!(bench.on(event()), std::slice::from_ref(&report));
    assert_eq!(
        bench.left(),
        Some(ms(350)),
        "it counts all the same in version 3"
    );
    assert_eq!(bench.later(100).on(event()), []);
    assert_eq!(bench.later(60_000).on(event()), [report]);
    assert_eq!(bench.router.conflicts(), 3);
    let own = Action::Report(Conflict::OwnAddress { from: OWN });
    assert_eq!(bench.hears(OWN, 255), [own]);
}

#[test]
fn another_host_that_claims_a_masters_address_is_reported_and_answered() {
    let claimed = Event::Claimed {
        address: VIP,
        by: Mac([2, 0, 0, 0, 0, 9]),
    };
    let conflict = Conflict::Claimed {
        address: VIP,
        by: Mac([2, 0, 0, 0, 0, 9]),
    };
    assert_eq!(Bench::backup(settings()).on(claimed.clone()), []);
    assert_eq!(Bench::new_master(settings()).on(claimed.clone()), []);
    let mut bench = Bench::master(settings());
    bench.later(1000);
    assert_eq!(
        bench.on(claimed),
        [Action::Report(conflict), Action::Garp(5)]
    );
}

#[test]
fn version_2_drops_advertisements_with_another_interval_or_other_addresses() {
    let two = |change: fn(&mut Advertisement)| {
        let mut advertisement = Advertisement {
            version: Version::V2,
            interval: Interval::new(Version::V2, ms(1000)).unwrap(),
            ..advertisement(200)
        };
        change(&mut advertisement);
        Event::Received {
            from: HIGH,
            advertisement,
        }
    };
    let fresh = || {
        Bench::backup(changed(|it| {
            it.version = Version::V2;
            it.interval = Interval::new(Version::V2, ms(1000)).unwrap();
        }))
    };
    let mut bench = fresh();
    bench.later(100).on(two(|_| ()));
    assert_eq!(
        bench.left(),
        Some(ms(3500)),
        "3 seconds and half a second of skew"
    );
    let mut bench = fresh();
    bench.later(100).on(two(|it| it.interval = interval(2000)));
    assert_eq!(
        (bench.left(), bench.router.conflicts()),
        (Some(ms(3400)), 1)
    );
    bench.later(100).on(two(|it| it.addresses = vec![HIGH]));
    assert_eq!(
        (bench.left(), bench.router.conflicts()),
        (Some(ms(3300)), 2)
    );
    bench.later(100).on(two(|it| {
        it.addresses = vec![HIGH];
        it.priority = 255;
    }));
    assert_eq!(bench.left(), Some(ms(3500)), "the owner's counts");
}

#[test]
fn a_master_of_this_vrid_with_other_addresses_only_is_reported_and_not_obeyed() {
    let stranger = |priority, addresses: &[IpAddr]| {
        let advertisement = Advertisement {
            addresses: addresses.to_vec(),
            ..advertisement(priority)
        };
        Event::Received {
            from: HIGH,
            advertisement,
        }
    };
    let ours = settings().addresses;
    let none = [HIGH];
    let some = [ours[0], HIGH];
    // A master stays master.
    let mut bench = Bench::master(settings());
    let actions = bench.later(100).on(stranger(254, &none));
    assert!(matches!(actions[..], [Action::Report(_)]), "{actions:?}");
    assert_eq!(bench.name(), "master");
    // A backup does not restart its timer for it.
    let mut bench = Bench::backup(settings());
    let before = bench.left();
    bench.on(stranger(254, &none));
    assert_eq!((bench.left(), bench.router.master()), (before, None));
    // A list with some of the addresses comes from nodes of the same group.
    let mut bench = Bench::master(settings());
    bench.later(100).on(stranger(254, &some));
    assert_eq!(bench.name(), "backup");
    assert_eq!(bench.router.conflicts(), 1);
    let mut bench = Bench::master(settings());
    bench.later(100).on(stranger(255, &none));
    assert_eq!(bench.name(), "backup", "the owner's counts");
}

#[test]
fn a_new_configuration_is_applied_without_a_change_of_state() {
    let mut bench = Bench::master(settings());
    let lower = changed(|it| it.priority = 50);
    assert_eq!(bench.on(Event::Configure(lower)), [sent(50), Action::Hold]);
    assert_eq!(
        bench.on(Event::Held),
        [Action::Garp(5)],
        "addresses may be new"
    );
    let mut bench = Bench::backup(settings());
    assert_eq!(
        bench.on(Event::Configure(changed(|it| it.priority = 50))),
        []
    );
    let owner = changed(|it| it.priority = 255);
    assert_eq!(bench.on(Event::Configure(owner)), [sent(255), Action::Hold]);
    assert_eq!(bench.why(), Why::Owner);
}

#[test]
fn the_last_twenty_states_are_remembered() {
    let mut bench = Bench::new(settings());
    bench.on(Event::Link(true));
    for _ in 0..30 {
        bench.on(Event::Gate(true));
        bench.on(Event::Gate(false));
    }
    assert_eq!(bench.router.history().count(), 20);
    assert_eq!(bench.router.history().next().unwrap().to.name(), "backup");
    assert_eq!(bench.router.won(), 0);
}
