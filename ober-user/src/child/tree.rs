//! What the children of this process left behind. A program that is given up is killed with its session; what has left the
//! session before (`setsid`) becomes a child of ours when its parent ends, since this process is a subreaper, and is killed
//! once the program that it must be from has ended.
//!
//! ```text
//! daemon -- program -- setsid -- helper        the program ends:
//! daemon -- helper                             unknown, in a session of its own: killed
//! ```
//! Which program it is from is not known, only which ones it may be from: those that ran when it began.

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
    unistd::{Pid as Number, getpid, getsid},
};

use super::process::{Pid, Process, Stat};
use crate::file;

/// What is killed may leave children of its own, and needs a moment to end.
const ROUNDS: usize = 200;
const PAUSE: Duration = Duration::from_millis(2);

/// A child that was started here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    started: u64,
    /// Is it ended with everything it started?
    whole: bool,
}

/// Locked while a child is made, so that none is taken for left behind before it is known.
static KNOWN: Mutex<BTreeMap<Pid, Known>> = Mutex::new(BTreeMap::new());

fn known() -> MutexGuard<'static, BTreeMap<Pid, Known>> {
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes a child and knows it.
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
    let mut known = known();
    let (made, process) = make()?;
    let started = process.started;
    known.insert(process.pid, Known { started, whole });
    Ok((made, process))
}

/// Does not wait: who sees the end of a worker has something more urgent to do than this, and the next sweep forgets too.
pub(super) fn forget(pid: Pid) {
    if let Ok(mut known) = KNOWN.try_lock() {
        known.remove(&pid);
    }
}

/// Kills and reaps what is left behind, and what that leaves behind.
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

/// Hundreds of programs may run and end each second: more than their numbers is asked only when there is a stranger.
fn left_now() -> Vec<Pid> {
    let mut known = known();
    let children = children();
    known.retain(|pid, _| children.contains(pid));
    if known.len() == children.len() {
        return Vec::new();
    }
    let stat = |pid: &Pid| Some((*pid, Stat::of(*pid).ok()?));
    let children: Vec<_> = children.iter().filter_map(stat).collect();
    left(&children, &known, own_session())
}

/// Its number is its own until it is reaped.
fn end(pid: Number) {
    if let Err(error) = kill(pid, Signal::SIGKILL) {
        tracing::debug!(%pid, %error, "end what a program left behind");
    }
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG;
    if let Err(error) = waitid(Id::Pid(pid), flags) {
        tracing::debug!(%pid, %error, "reap what a program left behind");
    }
}

/// Which of these children nobody here started, and no program that still runs can have.
fn left(children: &[(Pid, Stat)], known: &BTreeMap<Pid, Known>, own_session: i32) -> Vec<Pid> {
    let known = |pid: &Pid, stat: &Stat| known.get(pid).filter(|it| it.started == stat.started);
    let programs = children
        .iter()
        .filter(|(pid, stat)| !stat.over && known(pid, stat).is_some_and(|it| it.whole));
    let oldest = programs.map(|(_, stat)| stat.started).min();
    let left = children.iter().filter(|(pid, stat)| {
        let may_be_of_one = oldest.is_some_and(|started| started <= stat.started);
        // A child in our own session was made by this process: whatever a program leaves has its session, or its own.
        known(pid, stat).is_none() && stat.session != own_session && !may_be_of_one
    });
    left.map(|(pid, _)| *pid).collect()
}

fn own_session() -> i32 {
    getsid(None).map_or(0, Number::as_raw)
}

/// Every child of this process, also those that have ended and are not reaped.
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

    /// Number, start, whether it is ended with all it started, and whether it is over.
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

    fn left_beside(stranger: (Pid, Stat), ours: &[Ours]) -> Vec<Pid> {
        let children = ours
            .iter()
            .map(|&(pid, started, _, over)| child(pid, pid, started, over));
        let children: Vec<_> = children.chain([stranger]).collect();
        let known = ours
            .iter()
            .map(|&(pid, started, whole, _)| (Pid(pid), Known { started, whole }));
        left(&children, &known.collect(), OURS)
    }

    #[test]
    fn a_stranger_is_left_behind_once_no_program_runs_that_was_there_when_it_began() {
        let running = false;
        for (ours, left_behind) in [
            (&[][..], true),
            // A worker starts nothing.
            (&[(10, 100, false, running)], true),
            (&[(10, 100, true, running)], false),
            (&[(10, 100, true, !running)], true),
            // In the same tick.
            (&[(10, 200, true, running)], false),
            (&[(10, 201, true, running)], true),
            (&[(10, 201, true, running), (11, 150, true, running)], false),
        ] {
            let found = left_beside(child(40, 40, 200, false), ours);
            assert_eq!(found == [Pid(40)], left_behind, "{ours:?}");
        }
    }

    #[test]
    fn who_is_in_our_own_session_is_not_left_behind_and_who_has_the_number_of_one_that_ended_is() {
        assert_eq!(left_beside(child(11, OURS, 100, false), &[]), []);
        let children = [child(10, 10, 101, false)];
        let known = [(
            Pid(10),
            Known {
                started: 100,
                whole: false,
            },
        )]
        .into();
        assert_eq!(left(&children, &known, OURS), [Pid(10)]);
    }

    #[test]
    fn both_ways_to_find_children_find_the_same() {
        let mut child = SLEEP.args(["60"]).spawn().unwrap();
        let pid = Pid(i32::try_from(child.id()).unwrap());
        for found in [children(), all_children()] {
            assert!(found.contains(&pid), "{found:?}");
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
