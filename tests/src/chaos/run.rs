//! Plays the script: begins faults, undoes them, and waits where two at once would be more than the design covers.

use std::{
    fmt,
    time::{Duration, Instant},
};

use anyhow::{Result, bail, ensure};

use super::{
    REQUEST, RETURN,
    board::Board,
    fault::{FAULTS, Fault, Harm, Kind, Site},
    script::{Script, Step},
    watch::{Requests, Resources, Watchers},
    world::World,
};

/// Between two looks at what is due.
const TICK: Duration = Duration::from_millis(20);
/// After the last fault: reconciles, drained workers, caches.
const REST: Duration = Duration::from_secs(12);

/// After all faults the nodes must use no more than before, within this.
const SETTLED: Duration = Duration::from_secs(10);

#[derive(Clone, Debug, Default)]
pub struct Options {
    pub time: Duration,
    pub seed: u64,
    /// Only faults whose name contains one of these; none: all.
    pub only: Vec<String>,
    /// A breach does not end the run.
    pub go_on: bool,
    /// Events and breaches are printed as they happen.
    pub loud: bool,
}

impl Options {
    /// The command that begins the same faults.
    fn again(&self) -> String {
        let minutes = self.time.as_secs().div_ceil(60);
        let command = format!("cargo xtask chaos --minutes {minutes} --seed {}", self.seed);
        let only = self.only.iter().map(|word| format!(" --only {word:?}"));
        std::iter::once(command).chain(only).collect()
    }

    fn faults(&self) -> Result<Vec<&'static Fault>> {
        let wanted = |fault: &&Fault| {
            self.only.is_empty() || self.only.iter().any(|word| fault.name.contains(word))
        };
        let faults: Vec<_> = FAULTS.iter().filter(wanted).collect();
        ensure!(
            !faults.is_empty(),
            "no fault is called like {:?}",
            self.only
        );
        Ok(faults)
    }
}

/// The result of a run without a breach.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    pub faults: usize,
    pub requests: Requests,
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Requests {
            answered,
            again,
            strangers,
        } = self.requests;
        write!(
            out,
            "{} faults, {answered} requests answered rightly, {again} attempts cut by faults and asked again, \
             {strangers} strangers not admitted",
            self.faults
        )
    }
}

/// A run; its breaches are the error, with the seed and the last events.
pub fn run(options: &Options) -> Result<Report> {
    let script = Script::new(options.seed, options.faults()?);
    let world = World::new()?;
    let logs = || logs(&world);
    let board = Board::new(options.loud, &logs);
    let watch = Watchers::new(&world, &board);
    std::thread::scope(|scope| {
        watch.start(scope);
        let mut player = Player {
            watch: &watch,
            go_on: options.go_on,
            active: Vec::new(),
            over: [Instant::now(); 2],
        };
        if let Err(error) = player.play(script, options.time) {
            board.breach(format!("{error:#}"));
        }
        watch.stop();
    });
    if let Some(complaint) = board.complaint(&options.again()) {
        bail!(complaint);
    }
    Ok(Report {
        faults: board.begun(),
        requests: watch.requests(),
    })
}

/// No command and no program may keep an operator waiting for longer than [`REQUEST`].
fn in_time(began: Instant, fault: &Fault) -> Result<()> {
    let took = began.elapsed();
    ensure!(
        took < REQUEST,
        "it took {took:?} to begin or to undo: {}",
        fault.name
    );
    Ok(())
}

fn logs(world: &World) -> String {
    let nodes = world.nodes.iter().enumerate();
    let logs = nodes.map(|(number, node)| format!("-- node {number}:\n{}\n", node.tail()));
    logs.collect()
}

/// A fault under way.
struct Active {
    fault: &'static Fault,
    place: usize,
    until: Instant,
}

struct Player<'a> {
    watch: &'a Watchers<'a>,
    go_on: bool,
    active: Vec<Active>,
    /// When the last fault of each site that its clients may notice was over.
    over: [Instant; 2],
}

impl Player<'_> {
    fn play(&mut self, script: Script, time: Duration) -> Result<()> {
        self.wait(&Site::ALL)?;
        let before = self.resources()?;
        let end = Instant::now() + time;
        for step in script {
            self.pass(Instant::now() + step.gap)?;
            if Instant::now() >= end || self.is_breached() {
                break;
            }
            let begun = self.begin(step);
            self.judge(begun)?;
        }
        // All faults are undone, also after a breach, so that nothing of them outlives the run.
        let mut undone = Ok(());
        while let Some(active) = self.active.pop() {
            undone = undone.and(self.finish(&active));
        }
        self.judge(undone)?;
        if self.is_breached() {
            return Ok(());
        }
        self.wait(&Site::ALL)?;
        self.pass(Instant::now() + REST)?;
        self.wait(&Site::ALL)?;
        self.compare(&before)
    }

    /// Whether a breach ends the run.
    fn is_breached(&self) -> bool {
        !self.go_on && self.watch.board.is_breached()
    }

    /// A step that failed ends the run, or is a breach when the run goes on after breaches.
    fn judge(&self, done: Result<()>) -> Result<()> {
        match done {
            Err(error) if self.go_on => {
                self.watch.board.breach(format!("{error:#}"));
                Ok(())
            }
            other => other,
        }
    }

    fn begin(&mut self, step: Step) -> Result<()> {
        let Step {
            fault,
            place,
            lasts,
            ..
        } = step;
        while self.is_taken(fault.kind, place) && !self.is_breached() {
            self.pass(Instant::now() + TICK)?;
        }
        if fault.harm != Harm::Nothing
            && let Some(site) = fault.kind.site(place)
        {
            while self.harmed(site) && !self.is_breached() {
                self.pass(Instant::now() + TICK)?;
            }
            self.wait(&[site])?;
        }
        if fault.kind == Kind::Node {
            self.wait_for_daemon(place)?;
        }
        if self.is_breached() {
            return Ok(());
        }
        self.watch.board.begin(fault, place);
        let until = Instant::now() + lasts;
        self.active.push(Active {
            fault,
            place,
            until,
        });
        let began = Instant::now();
        (fault.begin)(self.watch.world, place)
            .map_err(|error| error.context(format!("{} ({:?} {place})", fault.name, fault.kind)))?;
        in_time(began, fault)
    }

    fn is_taken(&self, kind: Kind, place: usize) -> bool {
        let mut active = self.active.iter();
        active.any(|it| it.fault.kind == kind && it.place == place)
    }

    /// Is there a fault under way that the site's clients may notice?
    fn harmed(&self, site: Site) -> bool {
        let mut active = self.active.iter();
        active
            .any(|it| it.fault.harm != Harm::Nothing && it.fault.kind.site(it.place) == Some(site))
    }

    /// Ends faults as they become due, until this moment.
    fn pass(&mut self, until: Instant) -> Result<()> {
        loop {
            let now = Instant::now();
            while let Some(due) = self.active.iter().position(|it| it.until <= now) {
                let active = self.active.remove(due);
                let done = self.finish(&active);
                self.judge(done)?;
            }
            for site in Site::ALL {
                if !self.harmed(site) && self.watch.is_whole(site, self.over[site as usize]) {
                    self.watch.board.whole(site);
                }
            }
            if now >= until || self.is_breached() {
                return Ok(());
            }
            std::thread::sleep(TICK.min(until - now));
        }
    }

    fn finish(&mut self, active: &Active) -> Result<()> {
        let (fault, place) = (active.fault, active.place);
        self.watch.board.end(fault, place);
        let began = Instant::now();
        let done = (fault.end)(self.watch.world, place);
        if let Some(site) = fault
            .kind
            .site(place)
            .filter(|_| fault.harm != Harm::Nothing)
        {
            self.over[site as usize] = Instant::now();
        }
        done.map_err(|error| {
            error.context(format!("undo {} ({:?} {place})", fault.name, fault.kind))
        })?;
        in_time(began, fault)
    }

    /// Waits until these sites are whole; that they become so in time is a law, too.
    fn wait(&mut self, sites: &[Site]) -> Result<()> {
        let began = Instant::now();
        for site in sites {
            while !self.watch.is_whole(*site, self.over[*site as usize]) && !self.is_breached() {
                if began.elapsed() > RETURN {
                    bail!("{site:?} is not whole {RETURN:?} after the last fault of its nodes");
                }
                self.pass(Instant::now() + TICK)?;
            }
        }
        Ok(())
    }

    /// Waits until the node's daemon answers; a daemon that starts refuses orders.
    fn wait_for_daemon(&mut self, node: usize) -> Result<()> {
        let began = Instant::now();
        let world = self.watch.world;
        while !world.nodes[node].answers(world.host(node)) && !self.is_breached() {
            if began.elapsed() > RETURN {
                bail!("the daemon of node {node} gives no status {RETURN:?} after its last fault");
            }
            self.pass(Instant::now() + TICK)?;
        }
        Ok(())
    }

    fn resources(&self) -> Result<Vec<Resources>> {
        let nodes = 0..self.watch.world.nodes.len();
        nodes
            .map(|node| Resources::of(self.watch.world, node))
            .collect()
    }

    /// A watcher's question is a process too, so only a difference that lasts is a breach.
    fn compare(&self, before: &[Resources]) -> Result<()> {
        let began = Instant::now();
        loop {
            let now = self.resources()?;
            let pairs = now.iter().zip(before).enumerate();
            let beyond: Vec<String> = pairs
                .flat_map(|(node, (now, before))| {
                    let beyond = now.beyond(before).into_iter();
                    beyond.map(move |it| format!("node {node} has {it}"))
                })
                .collect();
            if beyond.is_empty() {
                return Ok(());
            }
            if began.elapsed() > SETTLED {
                for it in beyond {
                    self.watch.board.breach(it);
                }
                return Ok(());
            }
            std::thread::sleep(SETTLED / 50);
        }
    }
}
