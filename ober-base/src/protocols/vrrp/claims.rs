//! Paces the claims of addresses: on one interface, two gratuitous ARPs or two unsolicited neighbour advertisements are at
//! least their interval apart, whichever virtual routers they belong to. Switches and routers that limit such frames drop those
//! that come too fast.

use std::{
    collections::{BTreeMap, VecDeque},
    net::IpAddr,
    time::{Duration, Instant},
};

use super::event::Mac;
use crate::machine::Machine;

/// The least time between two claims on one interface; zero: none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    /// Between gratuitous ARPs.
    pub arp: Duration,
    /// Between unsolicited neighbour advertisements.
    pub advertisement: Duration,
}

impl Pace {
    fn interval(self, six: bool) -> Duration {
        if six { self.advertisement } else { self.arp }
    }
}

/// A claim to send on an interface: this address has this MAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) interface: u32,
    pub(super) address: IpAddr,
    pub(super) mac: Mac,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// Send each claim this many times.
    Burst(Vec<Claim>, u8),
    /// The node no longer has the address: its pending claims are dropped.
    Cease(IpAddr),
    /// The claim could not be sent, and trying again soon is useless.
    Failed(Claim),
    Pace(Pace),
}

/// The pending claims of one interface and family.
#[derive(Debug, Default)]
struct Lane {
    /// Each claim with the number of times it is still to be sent; no claim twice, so there are no more than addresses.
    waiting: VecDeque<(Claim, u8)>,
    sent: Option<Instant>,
}

/// All pending claims. The actions are the claims to send now.
#[derive(Debug, Default)]
pub(super) struct Claims {
    pace: Pace,
    /// By interface and family (true: IPv6).
    lanes: BTreeMap<(u32, bool), Lane>,
}

impl Lane {
    /// A claim that is already pending is sent as often as the longer burst asks for.
    fn wait(&mut self, claim: Claim, times: u8) {
        let same = |(waiting, _): &&mut (Claim, u8)| *waiting == claim;
        match self.waiting.iter_mut().find(same) {
            Some((_, left)) => *left = times.max(*left),
            None => self.waiting.push_back((claim, times)),
        }
    }

    fn deadline(&self, interval: Duration) -> Option<Instant> {
        let sent = self.sent.filter(|_| !self.waiting.is_empty())?;
        Some(sent + interval)
    }

    /// Addresses take turns.
    fn due(&mut self, now: Instant, interval: Duration) -> Vec<Claim> {
        let mut due = Vec::new();
        while self.deadline(interval).is_none_or(|at| at <= now)
            && let Some((claim, times)) = self.waiting.pop_front()
        {
            if times > 1 {
                self.waiting.push_back((claim, times - 1));
            }
            self.sent = Some(now);
            due.push(claim);
        }
        due
    }
}

impl Claims {
    fn drop_if(&mut self, what: impl Fn(&Claim) -> bool) {
        for lane in self.lanes.values_mut() {
            lane.waiting.retain(|(claim, _)| !what(claim));
        }
    }
}

impl Machine for Claims {
    type Event = Event;
    type Action = Claim;

    fn on(&mut self, now: Instant, event: Event) -> Vec<Claim> {
        match event {
            Event::Burst(claims, times) => {
                for claim in claims {
                    let lane = (claim.interface, claim.address.is_ipv6());
                    self.lanes.entry(lane).or_default().wait(claim, times);
                }
            }
            Event::Cease(address) => self.drop_if(|claim| claim.address == address),
            Event::Failed(failed) => self.drop_if(|claim| *claim == failed),
            Event::Pace(pace) => self.pace = pace,
        }
        self.tick(now)
    }

    fn tick(&mut self, now: Instant) -> Vec<Claim> {
        let pace = self.pace;
        let lanes = self.lanes.iter_mut();
        lanes
            .flat_map(|((_, six), lane)| lane.due(now, pace.interval(*six)))
            .collect()
    }

    fn deadline(&self) -> Option<Instant> {
        let lanes = self.lanes.iter();
        lanes
            .filter_map(|((_, six), lane)| lane.deadline(self.pace.interval(*six)))
            .min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 77, 9, 1));
    const TWO: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 77, 9, 2));
    const SIX: IpAddr = IpAddr::V6(std::net::Ipv6Addr::new(0xfd77, 9, 0, 0, 0, 0, 0, 1));

    fn claim(interface: u32, address: IpAddr) -> Claim {
        Claim {
            interface,
            address,
            mac: Mac([2, 0, 0, 0, 0, 9]),
        }
    }

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn paced(arp: u64, advertisement: u64) -> (Claims, Instant) {
        let (mut claims, now) = (Claims::default(), Instant::now());
        let pace = Pace {
            arp: ms(arp),
            advertisement: ms(advertisement),
        };
        assert_eq!(claims.on(now, Event::Pace(pace)), []);
        (claims, now)
    }

    /// All claims that become due, each with its time.
    fn rest(claims: &mut Claims, began: Instant) -> Vec<(u128, u32, IpAddr)> {
        let mut all = Vec::new();
        while let Some(at) = claims.deadline() {
            let due = claims.tick(at).into_iter();
            all.extend(due.map(|it| ((at - began).as_millis(), it.interface, it.address)));
        }
        all
    }

    #[test]
    fn without_an_interval_a_burst_is_sent_at_once_with_addresses_in_turn() {
        let (mut claims, now) = paced(0, 0);
        let burst = || Event::Burst(vec![claim(1, ONE), claim(1, TWO), claim(1, SIX)], 2);
        let turn = [claim(1, ONE), claim(1, TWO)];
        let wanted = [&turn[..], &turn, &[claim(1, SIX), claim(1, SIX)]].concat();
        assert_eq!(claims.on(now, burst()), wanted);
        assert_eq!(claims.deadline(), None);
        assert_eq!(claims.on(now, burst()), wanted, "the next one too");
    }

    #[test]
    fn claims_of_each_family_on_each_interface_keep_their_interval() {
        let (mut claims, now) = paced(10, 25);
        let all = [claim(1, ONE), claim(1, TWO), claim(1, SIX), claim(2, ONE)];
        let first = claims.on(now, Event::Burst(all.to_vec(), 2));
        assert_eq!(first, [claim(1, ONE), claim(1, SIX), claim(2, ONE)]);
        let wanted = [
            (10, 1, TWO),
            (10, 2, ONE),
            (20, 1, ONE),
            (25, 1, SIX),
            (30, 1, TWO),
        ];
        assert_eq!(rest(&mut claims, now), wanted);
        // The claim of another virtual router, right after.
        let later = Event::Burst(vec![claim(1, ONE)], 1);
        assert_eq!(claims.on(now + ms(35), later), []);
        assert_eq!(rest(&mut claims, now), [(40, 1, ONE)]);
    }

    #[test]
    fn a_late_timer_causes_no_burst_of_claims() {
        let (mut claims, now) = paced(10, 0);
        claims.on(now, Event::Burst(vec![claim(1, ONE)], 3));
        assert_eq!(claims.tick(now + ms(500)), [claim(1, ONE)]);
        assert_eq!(claims.deadline(), Some(now + ms(510)));
    }

    #[test]
    fn a_burst_during_another_does_not_lengthen_the_queue_of_claims() {
        let (mut claims, now) = paced(1000, 0);
        claims.on(now, Event::Burst(vec![claim(1, ONE)], 2));
        for _ in 0..100 {
            let burst = Event::Burst(vec![claim(1, ONE), claim(1, TWO)], 2);
            assert_eq!(claims.on(now, burst), []);
        }
        let wanted = [
            (1000, 1, ONE),
            (2000, 1, TWO),
            (3000, 1, ONE),
            (4000, 1, TWO),
        ];
        assert_eq!(rest(&mut claims, now), wanted);
    }

    #[test]
    fn no_claim_is_sent_for_a_removed_address_or_on_a_down_interface() {
        let (mut claims, now) = paced(10, 0);
        claims.on(now, Event::Burst(vec![claim(3, ONE), claim(4, ONE)], 2));
        assert_eq!(claims.on(now, Event::Failed(claim(3, ONE))), []);
        assert_eq!(rest(&mut claims, now), [(10, 4, ONE)]);
        claims.on(now, Event::Burst(vec![claim(1, ONE), claim(2, TWO)], 5));
        assert_eq!(claims.on(now, Event::Cease(ONE)), []);
        assert_eq!(claims.on(now, Event::Cease(TWO)), []);
        assert_eq!(claims.deadline(), None);
    }

    #[test]
    fn a_new_claim_interval_applies_at_once() {
        let (mut claims, now) = paced(1000, 0);
        claims.on(now, Event::Burst(vec![claim(1, ONE)], 3));
        let shorter = Pace {
            arp: ms(20),
            ..Pace::default()
        };
        assert_eq!(claims.on(now + ms(5), Event::Pace(shorter)), []);
        assert_eq!(rest(&mut claims, now), [(20, 1, ONE), (40, 1, ONE)]);
        claims.on(now + ms(60), Event::Burst(vec![claim(1, ONE)], 3));
        let none = claims.on(now + ms(61), Event::Pace(Pace::default()));
        assert_eq!(none, [claim(1, ONE), claim(1, ONE)]);
    }
}
