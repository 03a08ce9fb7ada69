//! Laws that hold in every order of events.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// A world that reports events at random, and keeps track of the processes.
#[derive(Default)]
struct Fake {
    next: i32,
    spawning: Vec<Generation>,
    probing: Vec<Pid>,
    /// The processes that are alive, each with whether it was ever ready.
    alive: BTreeMap<Pid, bool>,
    changed_live: Vec<Pid>,
    in_ring: bool,
}

impl Fake {
    fn take(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Spawn { generation } => self.spawning.push(generation),
                Action::Probe { pid } => self.probing.push(pid),
                Action::SetInRing(inside) => {
                    assert_ne!(self.in_ring, inside, "said twice");
                    self.in_ring = inside;
                }
                Action::Retire { pid } | Action::Kill { pid, .. } => self.changed_live.push(pid),
                Action::Settled { .. } => {}
            }
        }
    }

    fn nth_alive(&self, pick: usize) -> Option<Pid> {
        self.alive
            .keys()
            .nth(pick % self.alive.len().max(1))
            .copied()
    }

    /// An event that the world might report next.
    fn event(&mut self, choice: u8, pick: usize) -> Option<Event> {
        Some(match choice {
            0 => Event::Want {
                generation: Generation(pick as u64 % 3),
            },
            1 => Event::Stop { drain: ms(20) },
            2 => {
                let pid = self.nth_alive(pick)?;
                self.alive.remove(&pid);
                Event::Exited { pid, exit: CRASH }
            }
            3 => Event::SpawnFailed {
                generation: self.spawning.pop()?,
            },
            4..=6 => {
                let generation = (!self.spawning.is_empty()).then(|| self.spawning.remove(0))?;
                self.next += 1;
                self.alive.insert(Pid(self.next), false);
                Event::Spawned {
                    generation,
                    pid: Pid(self.next),
                }
            }
            12 => Event::ChangedLive {
                generation: Generation(pick as u64 % 3),
                pid: self.nth_alive(pick)?,
            },
            13 => Event::Renew,
            7 => Event::NotReady {
                pid: self.probing.pop()?,
            },
            _ => {
                let pid = self.probing.pop()?;
                // A process may have ended before its answer is reported, so the event is possible.
                if let Some(ready) = self.alive.get_mut(&pid) {
                    *ready = true;
                }
                Event::Ready { pid }
            }
        })
    }

    fn check(&self, worker: &Worker) {
        assert_eq!(self.in_ring, worker.in_ring());
        let serving = match worker.state() {
            State::Running(current) | State::Replacing(current, _) => Some(current.pid),
            State::Stopped | State::Starting(_) | State::Backoff { .. } => None,
        };
        assert_eq!(
            self.in_ring,
            serving.is_some(),
            "in the ring if and only if a process serves"
        );
        if let Some(pid) = serving {
            assert_eq!(
                self.alive.get(&pid),
                Some(&true),
                "who serves is alive and has answered"
            );
            assert!(
                !self.changed_live.contains(&pid),
                "who serves was not told to go"
            );
        }
        let newcomer = match worker.state() {
            State::Starting(new) | State::Replacing(_, new) => new.pid,
            State::Stopped | State::Running(_) | State::Backoff { .. } => None,
        };
        let leaving = worker.finishing();
        for pid in self.alive.keys() {
            let roles = [
                serving == Some(*pid),
                newcomer == Some(*pid),
                leaving.contains(pid),
            ];
            assert_eq!(
                roles.iter().filter(|role| **role).count(),
                1,
                "{pid:?} has exactly one role"
            );
        }
    }
}

proptest! {
    #[test]
    fn after_any_events_at_most_one_process_serves_and_a_wanted_worker_is_restarted(
        steps in prop::collection::vec((0_u8..14, any::<usize>(), 0_u64..400), 1..200),
    ) {
        let mut bench = Bench::new();
        let mut fake = Fake::default();
        for (choice, pick, pause) in steps {
            bench.now += ms(pause);
            if bench.worker.deadline().is_some_and(|at| at <= bench.now) {
                let actions = bench.worker.tick(bench.now);
                prop_assert!(bench.worker.deadline().is_none_or(|at| at > bench.now), "tick makes progress");
                fake.take(actions);
            }
            if let Some(event) = fake.event(choice, pick) {
                let actions = bench.on(event);
                fake.take(actions);
            }
            fake.check(&bench.worker);
        }
        // From here on everything works, and the worker is wanted.
        let actions = bench.want(A);
        fake.take(actions);
        for _ in 0..20 {
            for choice in [4, 8] {
                while let Some(event) = fake.event(choice, 0) {
                    let actions = bench.on(event);
                    fake.take(actions);
                    fake.check(&bench.worker);
                }
            }
            if matches!(bench.worker.state(), State::Running(_)) {
                break;
            }
            let (_, actions) = bench.due();
            fake.take(actions);
        }
        prop_assert!(fake.in_ring);
    }
}
