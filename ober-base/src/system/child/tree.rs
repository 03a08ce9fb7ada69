//! Ends the processes that programs left behind. A program that is given up is killed with its session. A process that left the
//! session before (`setsid`) becomes a child of the daemon when its parent ends, since the daemon is a subreaper; it is killed
//! once the program that started it must have ended.
//!
//! ```text
//! daemon -- program -- setsid -- helper        the program ends:
//! daemon -- helper                             unknown, in a session of its own: killed
//! ```
//! The daemon does not know which program started such a process, only which ones may have: those that already ran when it
//! began.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{Mutex, MutexGuard, Once, PoisonError},
    time::Duration,
};

use nix::{
    sys::{
        signal::{Signal, kill},
        wait::{Id, WaitPidFlag, waitid},
    },
    time::{ClockId, clock_gettime},
    unistd::{Pid as Number, getpid, getsid},
};

use super::process::{Pid, Process, Stat};
use crate::system::file;

/// Killed processes may leave children of their own, and need a moment to end.
const ROUNDS: usize = 200;
const PAUSE: Duration = Duration::from_millis(2);

/// A child that the daemon started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    started: u64,
    /// Is it ended with everything it started?
    whole: bool,
}

/// The children that the daemon started, and those being made. Locked for a moment only, never while a child is made: how long
/// that takes depends on a file system.
struct Table {
    known: BTreeMap<Pid, Known>,
    /// When each child being made was begun, in clock ticks since boot: a younger stranger may be one of them.
    making: Vec<u64>,
}

static TABLE: Mutex<Table> = Mutex::new(Table {
    known: BTreeMap::new(),
    making: Vec::new(),
});

fn table() -> MutexGuard<'static, Table> {
    TABLE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A child is being made.
struct Making(u64);

impl Making {
    fn begin() -> io::Result<Self> {
        let now = ticks()?;
        table().making.push(now);
        Ok(Self(now))
    }
}

impl Drop for Making {
    fn drop(&mut self) {
        let making = &mut table().making;
        if let Some(at) = making.iter().position(|began| *began == self.0) {
            making.swap_remove(at);
        }
    }
}

/// Now, in the unit of the start time in `proc_pid_stat(5)`.
fn ticks() -> io::Result<u64> {
    let now = Duration::from(clock_gettime(ClockId::CLOCK_BOOTTIME)?);
    // SAFETY: takes and returns plain numbers.
    let each_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    let each_second = u128::try_from(each_second).map_err(io::Error::other)?;
    let ticks = now.as_nanos() * each_second / Duration::from_secs(1).as_nanos();
    u64::try_from(ticks).map_err(io::Error::other)
}

/// Makes a child and records it.
pub(super) fn start<T>(
    whole: bool,
    make: impl FnOnce() -> io::Result<(T, Process)>,
) -> io::Result<(T, Process)> {
    static SUBREAPER: Once = Once::new();
    if whole {
        SUBREAPER.call_once(|| {
            if let Err(error) = nix::sys::prctl::set_child_subreaper(true) {
                tracing::warn!(%error, "what a program leaves behind in a session of its own cannot be ended");
            }
        });
    }
    let making = Making::begin()?;
    let (made, process) = make()?;
    let started = process.started;
    table().known.insert(process.pid, Known { started, whole });
    drop(making);
    Ok((made, process))
}

/// Does not wait for the lock: the caller that sees a worker end must not be delayed, and the next sweep forgets the child too.
pub(super) fn forget(pid: Pid) {
    if let Ok(mut table) = TABLE.try_lock() {
        table.known.remove(&pid);
    }
}

/// Kills and reaps the processes left behind, and their children in turn.
pub(super) async fn sweep() {
    for _ in 0..ROUNDS {
        let left = left_now();
        if left.is_empty() {
            return;
        }
        for pid in left {
            end(Number::from_raw(pid.0));
        }
        tokio::time::sleep(PAUSE).await;
    }
    tracing::warn!("processes that a program left behind do not end");
}

fn left_now() -> Vec<Pid> {
    let mut table = table();
    let mut listed = children();
    if table.forget_all_but(&listed) == Listing::Gaps {
        listed = all_children();
    }
    table.left(&listed)
}

/// Does the kernel's list name every child? It skips some children of a thread while others end, and all of a thread that ends
/// while the list is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Listing {
    Whole,
    Gaps,
}

impl Table {
    /// Forgets the children that have ended. A child that is not listed is looked up in `/proc`: if it were forgotten while it
    /// runs, it would be killed as a stranger.
    fn forget_all_but(&mut self, listed: &BTreeSet<Pid>) -> Listing {
        let mut listing = Listing::Whole;
        self.known.retain(|pid, known| {
            let is_listed = listed.contains(pid);
            let stays = is_listed || !known.is_gone(*pid);
            if stays && !is_listed {
                listing = Listing::Gaps;
            }
            stays
        });
        listing
    }

    /// Hundreds of programs may run and end each second, so more than the numbers is read only when there is a stranger.
    fn left(&self, children: &BTreeSet<Pid>) -> Vec<Pid> {
        if children.iter().all(|pid| self.known.contains_key(pid)) {
            return Vec::new();
        }
        let stat = |pid: &Pid| Some((*pid, Stat::of(*pid).ok()?));
        let children: Vec<_> = children.iter().filter_map(stat).collect();
        left(&children, &self.known, &self.making, own_session())
    }
}

impl Known {
    /// Is its number free, or another process's? An answer that cannot be had counts as no.
    fn is_gone(&self, pid: Pid) -> bool {
        match Stat::of(pid) {
            Ok(stat) => stat.started != self.started,
            Err(error) => {
                error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH)
            }
        }
    }
}

/// Kills and reaps it. The number cannot be reused before the reaping.
fn end(pid: Number) {
    if let Err(error) = kill(pid, Signal::SIGKILL) {
        tracing::debug!(%pid, %error, "end what a program left behind");
    }
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG;
    if let Err(error) = waitid(Id::Pid(pid), flags) {
        tracing::debug!(%pid, %error, "reap what a program left behind");
    }
}

/// Which of these children were not started by the daemon, cannot come from a program that still runs, and are not just being
/// made.
fn left(
    children: &[(Pid, Stat)],
    known: &BTreeMap<Pid, Known>,
    making: &[u64],
    own_session: i32,
) -> Vec<Pid> {
    let known = |pid: &Pid, stat: &Stat| known.get(pid).filter(|it| it.started == stat.started);
    let programs = children
        .iter()
        .filter(|(pid, stat)| !stat.over && known(pid, stat).is_some_and(|it| it.whole));
    let programs = programs.map(|(_, stat)| stat.started);
    let oldest = programs.chain(making.iter().copied()).min();
    let left = children.iter().filter(|(pid, stat)| {
        let may_be_of_one = oldest.is_some_and(|started| started <= stat.started);
        // A child in the daemon's own session was made by this process: a program and its descendants always have another
        // session.
        known(pid, stat).is_none() && stat.session != own_session && !may_be_of_one
    });
    left.map(|(pid, _)| *pid).collect()
}

fn own_session() -> i32 {
    getsid(None).map_or(0, Number::as_raw)
}

/// Every child of this process, including those that have ended and are not reaped.
fn children() -> BTreeSet<Pid> {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten();
    let mut found = BTreeSet::new();
    for task in tasks.flatten() {
        match file::kernel_text(task.path().join("children")) {
            Ok(text) => {
                let numbers = text.split_ascii_whitespace();
                found.extend(numbers.filter_map(|it| it.parse().ok().map(Pid)));
            }
            // The task has ended, or the kernel is built without this file.
            Err(_) if !task.path().exists() => {}
            Err(_) => return all_children(),
        }
    }
    found
}

fn all_children() -> BTreeSet<Pid> {
    let own = getpid().as_raw();
    let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let child = |entry: std::fs::DirEntry| {
        let pid = Pid(entry.file_name().to_str()?.parse().ok()?);
        let parent = Stat::of(pid).ok()?.parent;
        (parent == own).then_some(pid)
    };
    all.filter_map(child).collect()
}

#[cfg(test)]
mod tests {
    use ober_programs::SLEEP;

    use super::*;

    const OURS: i32 = 5;

    /// Number, start, is it ended with all it started, has it ended.
    type Ours = (i32, u64, bool, bool);

    fn child(pid: i32, session: i32, started: u64, over: bool) -> (Pid, Stat) {
        let stat = Stat {
            over,
            parent: 1,
            session,
            started,
        };
        (Pid(pid), stat)
    }

    fn left_beside(stranger: (Pid, Stat), ours: &[Ours], making: &[u64]) -> Vec<Pid> {
        let children: Vec<_> = ours
            .iter()
            .map(|&(pid, started, _, over)| child(pid, pid, started, over))
            .chain([stranger])
            .collect();
        let known = ours
            .iter()
            .map(|&(pid, started, whole, _)| (Pid(pid), Known { started, whole }));
        left(&children, &known.collect(), making, OURS)
    }

    #[test]
    fn an_unknown_child_is_a_leftover_once_no_program_older_than_it_runs() {
        let running = false;
        for (ours, left_behind) in [
            (&[][..], true),
            // A worker starts no processes.
            (&[(10, 100, false, running)], true),
            (&[(10, 100, true, running)], false),
            (&[(10, 100, true, !running)], true),
            // Started in the same tick.
            (&[(10, 200, true, running)], false),
            (&[(10, 201, true, running)], true),
            (&[(10, 201, true, running), (11, 150, true, running)], false),
        ] {
            let found = left_beside(child(40, 40, 200, false), ours, &[]);
            assert_eq!(found == [Pid(40)], left_behind, "{ours:?}");
        }
    }

    #[test]
    fn a_child_in_the_daemons_session_is_no_leftover_and_one_with_a_reused_pid_is() {
        assert_eq!(left_beside(child(11, OURS, 100, false), &[], &[]), []);
        let children = [child(10, 10, 101, false)];
        let known = [(
            Pid(10),
            Known {
                started: 100,
                whole: false,
            },
        )]
        .into();
        assert_eq!(left(&children, &known, &[], OURS), [Pid(10)]);
    }

    #[test]
    fn a_process_begun_while_a_child_is_being_started_may_be_it_and_is_left_alone() {
        for (making, left_behind) in [
            (&[][..], true),
            (&[201], true),
            (&[200], false),
            (&[300, 199], false),
        ] {
            let found = left_beside(child(40, 40, 200, false), &[], making);
            assert_eq!(found == [Pid(40)], left_behind, "{making:?}");
        }
    }

    #[tokio::test]
    async fn children_start_and_leftovers_are_swept_while_another_start_waits_for_its_file_system()
    {
        let (answer, waits) = std::sync::mpsc::channel::<()>();
        let (begun, began) = tokio::sync::oneshot::channel();
        let stuck = std::thread::spawn(move || {
            let made = start(true, || {
                begun.send(()).unwrap();
                waits.recv().unwrap();
                Err::<((), Process), _>(io::ErrorKind::TimedOut.into())
            });
            made.map(|((), process)| process.pid)
        });
        began.await.unwrap();
        let made = start(true, || {
            let child = SLEEP.args(["60"]).spawn()?;
            let pid = Pid(i32::try_from(child.id()).map_err(io::Error::other)?);
            Ok((child, Process::open(pid)?))
        });
        let (mut child, process) = made.unwrap();
        sweep().await;
        assert_eq!(table().known[&process.pid].started, process.started);
        assert!(!table().making.is_empty());
        answer.send(()).unwrap();
        assert!(stuck.join().unwrap().is_err());
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[tokio::test]
    async fn a_child_missing_from_the_kernels_list_stays_known_until_it_has_ended() {
        let mut child = SLEEP.args(["60"]).spawn().unwrap();
        let pid = Pid(i32::try_from(child.id()).unwrap());
        let whole = true;
        let known = |started| [(pid, Known { started, whole })].into();
        let started = Stat::of(pid).unwrap().started;
        let mut table = Table {
            known: known(started),
            making: Vec::new(),
        };
        assert_eq!(table.forget_all_but(&BTreeSet::new()), Listing::Gaps);
        assert_eq!(table.forget_all_but(&[pid].into()), Listing::Whole);
        assert_eq!(table.known.len(), 1);
        assert_eq!(table.left(&[pid].into()), []);
        table.known = known(started - 1);
        assert_eq!(table.forget_all_but(&BTreeSet::new()), Listing::Whole);
        assert_eq!(table.known.len(), 0, "its number is another's");
        table.known = known(started);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(table.forget_all_but(&BTreeSet::new()), Listing::Whole);
        assert_eq!(table.known.len(), 0);
    }

    #[tokio::test]
    async fn by_the_kernels_clock_a_child_starts_no_earlier_than_its_creation() {
        let before = ticks().unwrap();
        let mut child = SLEEP.args(["60"]).spawn().unwrap();
        let started = Stat::of(Pid(i32::try_from(child.id()).unwrap())).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        let after = ticks().unwrap();
        assert!(
            (before..=after).contains(&started.started),
            "{before} {started:?} {after}"
        );
    }

    #[test]
    fn both_ways_to_list_children_give_the_same_children() {
        let mut child = SLEEP.args(["60"]).spawn().unwrap();
        let pid = Pid(i32::try_from(child.id()).unwrap());
        for found in [children(), all_children()] {
            assert!(found.contains(&pid), "{found:?}");
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
