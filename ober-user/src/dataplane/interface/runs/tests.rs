use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn seen(received: u64) -> Seen {
    Seen {
        received,
        ..Seen::default()
    }
}

fn counts(received: u64, ran: u64) -> Seen {
    Seen {
        received,
        ran: Some(ran),
        every: true,
        ..Seen::default()
    }
}

/// What the programs counted before and after a sample was read.
type Counted = [u64; 2];

/// Learns one sample a second. Returns what is known of `in0` after the last.
fn said(samples: &[(&[(&str, Seen)], Counted)]) -> Option<bool> {
    let began = Instant::now();
    let mut watch = InterfaceRuns::default();
    for (second, (interfaces, [before, after])) in (0..).zip(samples) {
        let interfaces = interfaces
            .iter()
            .map(|(name, seen)| ((*name).to_owned(), *seen));
        let sample = Sample {
            before: *before,
            interfaces: interfaces.collect(),
            after: *after,
        };
        watch.learn(began + SECOND * second, &sample);
    }
    watch.of("in0").known()
}

/// One interface, with the packets it received and the packets that the programs counted.
fn alone(samples: &[(u64, u64)]) -> Option<bool> {
    let seen: Vec<_> = samples
        .iter()
        .map(|(received, _)| [("in0", seen(*received))])
        .collect();
    let counted = samples.iter().map(|(_, counted)| [*counted; 2]);
    let samples: Vec<_> = seen.iter().map(|all| &all[..]).zip(counted).collect();
    said(&samples)
}

/// `in0` and `in1`, second by second.
fn beside(seconds: u32, second: impl Fn(u64) -> ([Seen; 2], Counted)) -> Option<bool> {
    let all: Vec<_> = (0..u64::from(seconds))
        .map(|number| {
            let ([first, other], counted) = second(number);
            ([("in0", first), ("in1", other)], counted)
        })
        .collect();
    let all: Vec<_> = all
        .iter()
        .map(|(seen, counted)| (&seen[..], *counted))
        .collect();
    said(&all)
}

#[test]
fn received_packets_that_are_never_counted_prove_that_the_program_does_not_run() {
    let blind: Vec<_> = (0..7).map(|second| (second * 40, 0)).collect();
    assert_eq!(alone(&blind[..6]), None, "not proven yet");
    assert_eq!(alone(&blind), Some(false));
    let few: Vec<_> = (0..11).map(|second| (second * 10, 0)).collect();
    assert_eq!(alone(&few), None, "60 packets are no proof");
    assert_eq!(alone(&[(1000, 0); 60]), None, "no packets prove nothing");
}

#[test]
fn one_counted_packet_proves_that_the_program_runs() {
    assert_eq!(alone(&[(0, 5), (10, 6)]), Some(true));
    let mut later: Vec<_> = (0..20).map(|second| (second * 40, 0)).collect();
    later.push((800, 1));
    assert_eq!(alone(&later), Some(true), "a driver that runs it again");
    later.extend((1..8).map(|second| (800 + second * 40, 1)));
    assert_eq!(alone(&later), Some(false), "and then no longer");
}

#[test]
fn a_driver_that_reports_packets_late_is_not_judged_as_not_running_the_program() {
    // A burst of 1000 is counted at once, and the driver reports it three seconds later, when no packets arrive any more.
    let mut burst = vec![(0, 0), (0, 1000), (0, 1000), (0, 1000), (1000, 1000)];
    burst.extend([(1000, 1000); 20]);
    assert_eq!(alone(&burst), Some(true));
    // The same before the first sample.
    let mut first = vec![(0, 1000), (0, 1000), (0, 1000), (1000, 1000)];
    first.extend([(1000, 1000); 20]);
    assert_eq!(alone(&first), None);
}

#[test]
fn counters_that_restart_give_no_verdict() {
    assert_eq!(alone(&[(0, 100), (10, 0)]), None);
    let made_anew: Vec<_> = [(5000, 0); 6].into_iter().chain([(0, 0); 6]).collect();
    assert_eq!(alone(&made_anew), None);
}

#[test]
fn generic_xdp_is_never_judged_as_not_running_the_program() {
    let generic = |received| {
        [(
            "in0",
            Seen {
                generic: true,
                ..seen(received)
            },
        )]
    };
    let all: Vec<_> = (0..20).map(|second| generic(second * 100)).collect();
    let all: Vec<_> = all.iter().map(|it| (&it[..], [0, 0])).collect();
    assert_eq!(said(&all), None);
}

#[test]
fn a_drivers_constant_xdp_counter_gives_no_verdict_under_generic_xdp() {
    let generic = |received| Seen {
        generic: true,
        ..counts(received, 0)
    };
    let counted = [0, 100].map(|packets| ([("in0", generic(packets))], [packets; 2]));
    let samples = counted.each_ref().map(|(all, sums)| (&all[..], *sums));
    assert_eq!(said(&samples), Some(true));
    // Nor do packets counted beside it prove that the program of its neighbour gets packets.
    let beside_it = |second: u64| {
        let all = [seen(second * 100), generic(second * 100)];
        (all, [second * 100; 2])
    };
    assert_eq!(beside(20, beside_it), None);
}

#[test]
fn a_drivers_own_xdp_counter_proves_that_the_program_runs() {
    let runs = [
        (&[("in0", counts(0, 0))][..], [0, 0]),
        (&[("in0", counts(500, 500))], [0, 0]),
    ];
    assert_eq!(said(&runs), Some(true));
}

#[test]
fn a_busy_interface_does_not_hide_another_that_runs_no_program() {
    // One of two interfaces counts for itself, and packets of both arrive while the counters are read.
    let read = |n: u64| [n * 900, n * 900 + 30];
    let silent = |n: u64| ([seen(n * 100), counts(n * 900, n * 900 + 15)], read(n));
    assert_eq!(beside(10, silent), Some(false));
    let own = |n: u64| ([counts(n * 100, 0), seen(n * 900)], read(n));
    assert_eq!(beside(10, own), Some(false));
}

#[test]
fn a_busy_interface_does_not_make_a_running_program_on_another_look_absent() {
    let read = |n: u64| [n * 1000, n * 1000 + 30];
    for other in [counts, |received, _| seen(received)] {
        let runs = |n: u64| ([seen(n * 100), other(n * 900, n * 900 + 15)], read(n));
        assert_ne!(beside(60, runs), Some(false));
        // Few packets on it, all of them counted.
        let quiet = |n: u64| ([seen(n * 10), other(n * 990, n * 990 + 15)], read(n));
        assert_ne!(beside(60, quiet), Some(false));
    }
}

fn counters(all: &[(&str, u64)]) -> Vec<(String, u64)> {
    all.iter()
        .map(|(name, value)| ((*name).to_owned(), *value))
        .collect()
}

#[test]
fn xdp_counters_are_found_under_each_drivers_names() {
    let virtio = counters(&[
        ("rx_queue_0_packets", 100),
        ("rx_queue_0_xdp_packets", 60),
        ("rx_queue_0_xdp_tx", 3),
        ("rx_queue_0_xdp_drops", 7),
        ("rx_queue_1_xdp_packets", 40),
        ("rx_queue_1_xdp_drops", 2),
        ("tx_queue_0_xdp_tx_drops", 5),
    ]);
    assert_eq!(
        (ran(&virtio), dropped(&virtio)),
        ((Some(100), true), Some(9))
    );
    let mlx5 = counters(&[
        ("rx_xdp_drop", 9),
        ("rx_xdp_redirect", 4),
        ("rx0_xdp_drop", 5),
        ("rx1_xdp_drop", 4),
        ("tx_xdp_err", 8),
    ]);
    assert_eq!(dropped(&mlx5), Some(9));
    let (some, every) = ran(&mlx5);
    assert!(some.is_some() && !every);
    let total = counters(&[("rx_xdp_drop", 9)]);
    assert_eq!(dropped(&total), Some(9));
    let none = counters(&[("rx_packets", 9)]);
    assert_eq!((ran(&none), dropped(&none)), ((None, false), None));
}
