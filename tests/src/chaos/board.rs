//! The record of a run: the faults with their times, and the breaches. The runner and all watchers write here.

use std::{
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{
    CUT, FROZEN,
    fault::{Fault, Harm, Site},
};

/// Events that a failing run shows.
const LAST: usize = 20;

/// A fault that was begun.
#[derive(Clone, Debug)]
pub struct Window {
    pub fault: &'static Fault,
    pub place: usize,
    pub begun: Instant,
    pub ended: Option<Instant>,
    /// When its site was next seen whole.
    pub whole: Option<Instant>,
}

impl Window {
    fn site(&self) -> Option<Site> {
        self.fault.kind.site(self.place)
    }

    /// Whether this fault excuses a failed attempt that lasted from `from` to `to`.
    fn excuses_attempt(&self, from: Instant, to: Instant) -> bool {
        let cut = match self.fault.harm {
            Harm::Nothing => return false,
            Harm::Freezes => FROZEN,
            Harm::Cuts | Harm::Outage => CUT,
        };
        let over = self.whole.is_some_and(|whole| from > whole + cut);
        let before = to < self.begun;
        let steady = self.fault.harm != Harm::Outage
            && from > self.begun + cut
            && self.ended.is_none_or(|ended| to < ended);
        !before && !over && !steady
    }
}

#[derive(Debug, Default)]
struct Written {
    windows: Vec<Window>,
    events: Vec<(Instant, String)>,
    breaches: Vec<(Instant, String)>,
    logs: String,
}

/// Returns the last lines of the nodes' logs.
type Logs<'a> = &'a (dyn Fn() -> String + Sync);

/// The record of a run.
pub struct Board<'a> {
    began: Instant,
    /// Prints each entry as it is made.
    loud: bool,
    logs: Logs<'a>,
    written: Mutex<Written>,
}

impl<'a> Board<'a> {
    /// `logs` is called at the first breach.
    pub fn new(loud: bool, logs: Logs<'a>) -> Self {
        Self {
            began: Instant::now(),
            loud,
            logs,
            written: Mutex::default(),
        }
    }

    fn say(&self, what: &str) {
        if self.loud {
            eprintln!("{}  {what}", self.at(Instant::now()));
        }
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn note(&self, what: impl Into<String>) {
        let what = what.into();
        self.say(&what);
        self.written().events.push((Instant::now(), what));
    }

    pub fn begin(&self, fault: &'static Fault, place: usize) {
        self.note(format!("{} ({:?} {place})", fault.name, fault.kind));
        self.written().windows.push(Window {
            fault,
            place,
            begun: Instant::now(),
            ended: None,
            whole: None,
        });
    }

    pub fn end(&self, fault: &'static Fault, place: usize) {
        self.note(format!("over: {} ({:?} {place})", fault.name, fault.kind));
        let now = Instant::now();
        for window in &mut self.written().windows {
            if window.fault == fault && window.place == place {
                window.ended.get_or_insert(now);
            }
        }
    }

    /// Notes that the site is whole: soon the faults that have ended excuse nothing any more.
    pub fn whole(&self, site: Site) {
        let now = Instant::now();
        for window in &mut self.written().windows {
            if window.site() == Some(site) && window.ended.is_some() {
                window.whole.get_or_insert(now);
            }
        }
    }

    /// Notes that an invariant is broken.
    pub fn breach(&self, what: impl Into<String>) {
        let what = what.into();
        self.say(&format!("BREACH {what}"));
        let first = {
            let mut written = self.written();
            written.breaches.push((Instant::now(), what));
            written.breaches.len() == 1
        };
        if first {
            let logs = (self.logs)();
            self.written().logs = logs;
        }
    }

    /// An attempt of a client of the site failed; a breach unless a fault excuses it.
    pub fn failed_attempt(&self, site: Site, from: Instant, what: &dyn fmt::Display) {
        let to = Instant::now();
        let excused = self.windows(site, |window| window.excuses_attempt(from, to));
        if !excused {
            let took = (to - from).as_millis();
            self.breach(format!(
                "an attempt failed that no fault excuses: {what} (began {took} ms ago)"
            ));
        }
    }

    /// A request had no answer in spite of all repetitions; a breach unless an outage excuses it.
    pub fn failed_request(&self, site: Site, from: Instant, what: &dyn fmt::Display) {
        let outage = |window: &Window| {
            window.fault.harm == Harm::Outage && window.excuses_attempt(from, Instant::now())
        };
        if !self.windows(site, outage) {
            self.breach(format!(
                "a request had no answer within {:?}: {what}",
                from.elapsed()
            ));
        }
    }

    fn windows(&self, site: Site, which: impl Fn(&Window) -> bool) -> bool {
        let written = self.written();
        let mut windows = written.windows.iter();
        windows.any(|window| window.site() == Some(site) && which(window))
    }

    /// How long ago the last fault that `which` selects has ended; `None` while one of them lasts.
    pub fn quiet(&self, which: impl Fn(&'static Fault, usize) -> bool) -> Option<Duration> {
        let written = self.written();
        let mut last = self.began;
        for window in &written.windows {
            if which(window.fault, window.place) {
                last = last.max(window.ended?);
            }
        }
        Some(last.elapsed())
    }

    pub fn is_breached(&self) -> bool {
        !self.written().breaches.is_empty()
    }

    fn at(&self, moment: Instant) -> String {
        format!("{:8.3} s", (moment - self.began).as_secs_f64())
    }

    /// The breaches, then the last events before the first of them and what came after.
    pub fn complaint(&self, again: &str) -> Option<String> {
        let written = self.written();
        let (first, _) = written.breaches.first()?;
        let mut lines = vec![format!("a law was broken; `{again}` plays it again:")];
        for (at, what) in written.breaches.iter().take(LAST) {
            lines.push(format!("{}  BREACH {what}", self.at(*at)));
        }
        lines.push(format!("the last {LAST} events:"));
        let before = written.events.partition_point(|(at, _)| at <= first);
        for (at, what) in &written.events[before.saturating_sub(LAST)..before] {
            lines.push(format!("{}  {what}", self.at(*at)));
        }
        lines.push("and since then:".to_owned());
        for (at, what) in written.events.iter().skip(before).take(LAST) {
            lines.push(format!("{}  {what}", self.at(*at)));
        }
        lines.push(written.logs.clone());
        Some(lines.join("\n"))
    }

    /// How many faults were begun.
    pub fn begun(&self) -> usize {
        self.written().windows.len()
    }
}
