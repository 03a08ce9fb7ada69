//! The one driver: waits for an event of the world or for the machine's deadline, and performs the actions the machine returns.
//! The only place that reads the clock for a machine.

use std::{future::Future, time::Instant};

use crate::machine::Machine;

/// Everything a machine must not touch: the source of its events and the performer of its actions.
pub trait World<M: Machine> {
    /// The next event; `None` ends the machine. Must lose no event when the future is dropped before it is ready.
    fn next(&mut self) -> impl Future<Output = Option<M::Event>> + Send;

    /// Performs one action. Its result comes back as an event.
    fn act(&mut self, action: M::Action) -> impl Future<Output = ()> + Send;

    /// Called after each step and all its actions, so that the world can publish the machine's state.
    fn publish(&mut self, machine: &M) {
        let _ = machine;
    }
}

/// Waits for a point in time. The future may be dropped before it is ready and must lose nothing by that.
pub trait Clock {
    fn until(&mut self, deadline: Instant) -> impl Future<Output = ()> + Send;
}

/// The timers of the runtime, accurate to a millisecond or two. [`crate::machine::realtime::Timer`] is more accurate.
#[derive(Clone, Copy, Debug)]
pub struct Coarse;

impl Clock for Coarse {
    async fn until(&mut self, deadline: Instant) {
        // A tokio sleep may be pending at its first poll although its deadline has passed.
        if deadline > now() {
            tokio::time::sleep_until(deadline.into()).await;
        }
    }
}

/// Runs `machine` in `world` until the world has no next event.
pub async fn drive<M, W>(machine: &mut M, world: &mut W)
where
    M: Machine,
    W: World<M>,
{
    drive_by(&mut Coarse, machine, world).await;
}

/// Runs `machine` in `world` until the world has no next event, with this clock.
pub async fn drive_by<M, W>(clock: &mut impl Clock, machine: &mut M, world: &mut W)
where
    M: Machine,
    W: World<M>,
{
    loop {
        let deadline = machine.deadline();
        let actions = tokio::select! {
            // A due timer goes first, so that a flood of events cannot starve it.
            biased;
            () = due(clock, deadline) => machine.tick(now()),
            event = world.next() => match event {
                Some(event) => machine.on(now(), event),
                None => return,
            },
        };
        for action in actions {
            world.act(action).await;
        }
        world.publish(machine);
    }
}

/// The driver's clock, also for callers that tell a machine how long ago something happened.
pub fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Completes at the deadline; without a deadline it never does.
pub(crate) async fn due(clock: &mut impl Clock, deadline: Option<Instant>) {
    match deadline {
        Some(at) => clock.until(at).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Ticks once a millisecond until `left` is zero.
    struct Countdown {
        left: u32,
        next: Instant,
    }

    impl Machine for Countdown {
        type Event = u32;
        type Action = u32;

        fn on(&mut self, _: Instant, event: u32) -> Vec<u32> {
            vec![event, event]
        }

        fn tick(&mut self, now: Instant) -> Vec<u32> {
            self.left -= 1;
            self.next = now + Duration::from_millis(1);
            vec![self.left]
        }

        fn deadline(&self) -> Option<Instant> {
            (self.left > 0).then_some(self.next)
        }
    }

    #[derive(Default)]
    struct Script {
        events: Vec<u32>,
        done: Vec<u32>,
        seen: usize,
        last: u32,
    }

    impl World<Countdown> for Script {
        async fn next(&mut self) -> Option<u32> {
            if self.last > 0 {
                std::future::pending::<()>().await;
            }
            self.events.pop()
        }

        async fn act(&mut self, action: u32) {
            self.done.push(action);
        }

        fn publish(&mut self, machine: &Countdown) {
            self.seen += 1;
            self.last = machine.left;
        }
    }

    #[tokio::test]
    async fn timers_run_before_events_and_the_end_of_the_world_ends_the_machine() {
        let mut machine = Countdown {
            left: 3,
            next: now(),
        };
        let mut world = Script {
            events: vec![8, 9],
            ..Script::default()
        };
        drive(&mut machine, &mut world).await;
        assert_eq!(world.done, [2, 1, 0, 9, 9, 8, 8]);
        assert_eq!(world.seen, 5);
    }
}
