//! The thread of BFD and VRRP: a runtime of its own with a real-time priority and timers accurate to microseconds. The timers
//! of the daemon's runtime are accurate to a millisecond or two, and to many more when the machine is busy.

use std::{
    future::Future,
    io,
    os::fd::{AsFd as _, OwnedFd},
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::{
        time::TimeSpec,
        timerfd::{self, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags},
    },
    time::{ClockId, clock_gettime},
};
use tokio::{io::unix::AsyncFd, runtime, sync::oneshot};

use crate::machine::drive::{self, Clock};

/// Above ordinary work and below the kernel's own threads (migration, watchdog: 99).
const PRIORITY: i32 = 50;
const NICE: i32 = -20;
/// How long the kernel may delay a timer of this thread to save a wake-up; the default is 50 microseconds.
const SLACK: Duration = Duration::from_nanos(1);

/// How the kernel treats the thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// `SCHED_FIFO`: runs whenever it is ready. Advertisements of 10 ms hold even on a busy machine.
    Realtime,
    /// Nice -20, without `CAP_SYS_NICE` or real-time budget in the cgroup: some milliseconds late when the machine is busy.
    Nice,
    /// The priority of every other thread.
    Ordinary,
}

/// CPU time that the thread may spend in one [`ROUND`] before it stops reading packets: under a flood, others keep 30 % of its
/// CPU. Two hundred BFD sessions and as many virtual routers at 10 ms, 200 packets in a round, need a fourth of it.
const MOST: Duration = Duration::from_micros(3500);
const ROUND: Duration = Duration::from_millis(5);

/// Limits the CPU time that received packets may cost: the thread runs ahead of everything else on the machine, and a stranger
/// that floods it must not starve the rest. CPU time is counted, since the cost of a packet depends on the machine.
#[derive(Clone, Debug, Default)]
pub struct Budget(Arc<Mutex<Round>>);

#[derive(Debug, Default)]
struct Round {
    ends: Option<Instant>,
    /// CPU time of the thread when the round began.
    began: Duration,
    /// CPU time of the thread when this round's budget was spent. The next round counts from there: each packet that then waits
    /// wakes the thread.
    spent: Option<Duration>,
}

impl Budget {
    /// Called on the thread after packets were read: sleeps until the next round when the budget of this one is spent.
    pub async fn spend(&self) {
        // Every kernel that can run Ober has this clock, so an error cannot happen.
        let clock = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from);
        let wait = self.count(drive::now(), clock.unwrap_or_default());
        if let Some(until) = wait {
            tokio::time::sleep_until(until.into()).await;
        }
    }

    /// Takes the CPU time of the thread since it began. Returns when packets may be read again; `None`: at once.
    fn count(&self, now: Instant, cpu: Duration) -> Option<Instant> {
        // A panic elsewhere cannot leave the counts half written, so a poisoned lock is used.
        let mut round = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if round.ends.is_none_or(|ends| ends <= now) {
            let recent = round.ends.is_some_and(|ends| now < ends + ROUND);
            round.ends = Some(now + ROUND);
            round.began = round.spent.take().filter(|_| recent).unwrap_or(cpu);
        }
        let spent = cpu.saturating_sub(round.began) >= MOST;
        round.spent = spent.then_some(cpu);
        round.ends.filter(|_| spent)
    }
}

/// The thread. Dropping it ends the thread and every task on it.
#[derive(Debug)]
pub struct Thread {
    runtime: runtime::Handle,
    priority: Priority,
    budget: Budget,
    _stop: oneshot::Sender<()>,
}

impl Thread {
    /// Starts the thread in the network namespace of the caller.
    pub fn start() -> io::Result<Self> {
        let (stop, stopped) = oneshot::channel::<()>();
        let (sender, receiver) = mpsc::channel();
        thread::Builder::new()
            .name("realtime".into())
            .spawn(move || {
                let priority = raise();
                let runtime = runtime::Builder::new_current_thread().enable_all().build();
                match runtime {
                    Ok(runtime) => {
                        if sender
                            .send(Ok((runtime.handle().clone(), priority)))
                            .is_ok()
                        {
                            // An error means the sender was dropped, which is the signal to stop.
                            runtime.block_on(stopped).unwrap_or_default();
                        }
                    }
                    // A send error means the caller no longer waits.
                    Err(error) => sender.send(Err(error)).unwrap_or_default(),
                }
            })?;
        let (runtime, priority) = receiver.recv().map_err(io::Error::other)??;
        Ok(Self {
            runtime,
            priority,
            budget: Budget::default(),
            _stop: stop,
        })
    }

    pub fn priority(&self) -> Priority {
        self.priority
    }

    /// Shared by all receivers on the thread.
    pub fn budget(&self) -> Budget {
        self.budget.clone()
    }

    /// Runs on the thread until it completes. Must never block nor compute for long: all work on the thread waits for it.
    pub fn spawn<F>(&self, work: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.runtime.spawn(work)
    }

    /// For a caller that only wants to know whether the thread goes on.
    pub fn runtime(&self) -> runtime::Handle {
        self.runtime.clone()
    }

    /// For objects that must be made inside the runtime, such as its sockets.
    pub fn enter(&self) -> runtime::EnterGuard<'_> {
        self.runtime.enter()
    }
}

fn raise() -> Priority {
    let wanted = libc::sched_param {
        sched_priority: PRIORITY,
    };
    // Child processes (there are none today) must get ordinary priority.
    let policy = libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK;
    // SAFETY: a valid parameter block for the calling thread.
    if unsafe { libc::sched_setscheduler(0, policy, &raw const wanted) } == 0 {
        return Priority::Realtime;
    }
    let slack = SLACK.subsec_nanos();
    // SAFETY: both calls take plain numbers; 0 is the calling thread.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, libc::c_ulong::from(slack)) };
    // SAFETY: as above.
    if unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) } == 0 {
        return Priority::Nice;
    }
    Priority::Ordinary
}

/// A clock accurate to microseconds.
#[derive(Debug)]
pub struct Timer {
    timer: TimerFd,
    /// The same timer, for the runtime.
    fired: AsyncFd<OwnedFd>,
}

impl Timer {
    /// Must be called inside a runtime.
    pub fn new() -> io::Result<Self> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let timer = TimerFd::new(timerfd::ClockId::CLOCK_MONOTONIC, flags)?;
        let same = timer.as_fd().try_clone_to_owned()?;
        // SAFETY: the timer owns its descriptor and keeps it open as long as it is registered.
        let fired = unsafe { AsyncFd::register(same) }?;
        Ok(Self { timer, fired })
    }
}

impl Clock for Timer {
    async fn until(&mut self, deadline: Instant) {
        let left = deadline.saturating_duration_since(drive::now());
        if left.is_zero() {
            return;
        }
        let once = Expiration::OneShot(TimeSpec::from_duration(left));
        let armed = self.timer.set(once, TimerSetTimeFlags::empty());
        let fired = async {
            armed?;
            // Setting the timer cancels an earlier expiry, but the runtime may still remember that one.
            while drive::now() < deadline {
                self.fired.readable().await?.clear_ready();
            }
            io::Result::Ok(())
        };
        if let Err(error) = fired.await {
            tracing::error!(%error, "wait for a timer");
            tokio::time::sleep_until(deadline.into()).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_fires_after_its_deadline_and_again_after_a_nearer_one_took_its_place() {
        let thread = Thread::start().unwrap();
        let (sender, receiver) = mpsc::channel();
        thread.spawn(async move {
            let mut timer = Timer::new().unwrap();
            let began = drive::now();
            let far = began + Duration::from_mins(1);
            // Dropped early, as the driver does when an event comes first.
            let first = tokio::time::timeout(Duration::from_millis(5), timer.until(far)).await;
            let near = drive::now() + Duration::from_millis(3);
            timer.until(near).await;
            let past = drive::now();
            timer.until(began).await;
            sender.send((first.is_err(), near <= past, began)).unwrap();
        });
        let (gave_up, after, began) = receiver.recv_timeout(Duration::from_secs(10)).unwrap();
        assert!(gave_up && after);
        assert!(began.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn a_flood_gets_its_share_of_the_cpu_time_and_no_more_for_any_cost_of_a_packet() {
        for cost in [1, 10, 100].map(Duration::from_micros) {
            let (budget, began) = (Budget::default(), drive::now());
            let (mut now, mut cpu) = (began, Duration::ZERO);
            while now < began + Duration::from_millis(100) {
                (now, cpu) = (now + cost, cpu + cost);
                now = budget.clone().count(now, cpu).unwrap_or(now);
            }
            // The last round may still be under way.
            assert!(cpu >= MOST * 19, "{cpu:?}");
            // One packet more may be under way when a round is spent.
            assert!(cpu <= (MOST + cost) * 20, "{cpu:?}");
            // In the next round there is budget again.
            assert_eq!(budget.count(now + ROUND, cpu), None);
            // CPU time spent in a pause is not charged to the next packet.
            now += ROUND * 2;
            while budget.count(now, cpu).is_none() {
                cpu += MOST;
            }
            assert_eq!(budget.count(now + ROUND * 10, cpu + MOST * 3), None);
        }
    }

    #[test]
    fn the_thread_ends_with_its_handle() {
        let thread = Thread::start().unwrap();
        let task = thread.spawn(std::future::pending::<()>());
        drop(thread);
        let runtime = runtime::Builder::new_current_thread().build().unwrap();
        assert!(runtime.block_on(task).unwrap_err().is_cancelled());
    }
}
