use std::net::Ipv4Addr;

use super::{
    packet::{Interval, Version, Vrid},
    *,
};

mod clauses;
mod simulation;
mod table;

const VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 9, 1));
const OWN: IpAddr = address(5);
/// Loses a tie against this node, and wins one.
const LOW: IpAddr = address(4);
const HIGH: IpAddr = address(6);

const fn address(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 77, 0, last))
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn interval(millis: u64) -> Interval {
    Interval::new(Version::V3, ms(millis)).unwrap()
}

/// Version 3, priority 128: a skew of half an interval of 100 ms.
fn settings() -> Settings {
    Settings {
        vrid: Vrid(51.try_into().unwrap()),
        version: Version::V3,
        priority: 128,
        interval: interval(100),
        own: OWN,
        addresses: vec![VIP],
        preempt: Preempt::After(Duration::ZERO),
        answers: Answers {
            lower: true,
            higher: false,
        },
        garp: Garp {
            repeat: 5,
            delay: Duration::ZERO,
            refresh: Duration::ZERO,
        },
    }
}

fn advertisement(priority: u8) -> Advertisement {
    Advertisement {
        version: Version::V3,
        vrid: settings().vrid,
        priority,
        interval: interval(100),
        addresses: vec![VIP],
    }
}

fn sent(priority: u8) -> Action {
    Action::Send(advertisement(priority))
}

/// A virtual router with its own clock.
struct Bench {
    router: Router,
    now: Instant,
}

impl Bench {
    fn new(settings: Settings) -> Self {
        let now = Instant::now();
        let router = Router::new(now, settings);
        Self { router, now }
    }

    fn on(&mut self, event: Event) -> Vec<Action> {
        self.router.on(self.now, event)
    }

    fn hears(&mut self, from: IpAddr, priority: u8) -> Vec<Action> {
        let advertisement = advertisement(priority);
        self.on(Event::Received {
            from,
            advertisement,
        })
    }

    fn later(&mut self, millis: u64) -> &mut Self {
        self.now += ms(millis);
        self
    }

    /// Advances to the next deadline: the time until then, and the actions.
    fn due(&mut self) -> (Duration, Vec<Action>) {
        let at = self.router.deadline().expect("something falls due");
        let passed = at.saturating_duration_since(self.now);
        self.now += passed;
        (passed, self.router.tick(self.now))
    }

    /// Advances to `millis` after the next deadline.
    fn overdue(&mut self, millis: u64) -> Vec<Action> {
        self.now = self.router.deadline().expect("something falls due") + ms(millis);
        self.router.tick(self.now)
    }

    fn left(&self) -> Option<Duration> {
        let deadline = self.router.deadline();
        deadline.map(|at| at.saturating_duration_since(self.now))
    }

    fn name(&self) -> &'static str {
        self.router.state().name()
    }

    fn why(&self) -> Why {
        self.router.history().next_back().unwrap().why
    }

    fn backup(settings: Settings) -> Self {
        let mut bench = Self::new(settings);
        assert_eq!(bench.on(Event::Link(true)), []);
        assert_eq!(bench.on(Event::Gate(true)), []);
        assert_eq!(bench.name(), "backup");
        bench
    }

    /// A master that has no addresses yet.
    fn new_master(settings: Settings) -> Self {
        let mut bench = Self::backup(settings);
        bench.due();
        assert_eq!(bench.name(), "master");
        bench
    }

    fn master(settings: Settings) -> Self {
        let mut bench = Self::new_master(settings);
        bench.on(Event::Held);
        bench
    }
}
