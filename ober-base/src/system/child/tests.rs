use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::fd::FromRawFd as _,
    time::Duration,
};

use nix::sys::signal::Signal;
use ober_programs::SLEEP;

use super::*;
use crate::system::account::Accounts;

/// What the kernel reports about a process.
#[derive(Debug)]
struct Seen {
    environment: BTreeSet<String>,
    descriptors: BTreeSet<i32>,
    status: BTreeMap<String, String>,
    limits: BTreeMap<String, String>,
    session: i32,
    terminal: String,
    directory: PathBuf,
    oom: String,
}

impl Seen {
    fn of(pid: i32) -> Self {
        let text = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap();
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        let status_text = text("status");
        let status = status_text.lines().filter_map(|line| line.split_once(':'));
        let limits_text = text("limits");
        // The column of names is 26 letters wide.
        let limits = limits_text.lines().skip(1).map(|line| line.split_at(26));
        let stat_text = text("stat");
        let stat: Vec<&str> = stat_text.rsplit_once(')').unwrap().1.split(' ').collect();
        let numbers = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
        Self {
            environment: text("environ")
                .split_terminator('\0')
                .map(ToOwned::to_owned)
                .collect(),
            descriptors: numbers
                .map(|it| it.unwrap().file_name().to_str().unwrap().parse().unwrap())
                .collect(),
            status: status
                .map(|(name, value)| (name.to_owned(), words(value)))
                .collect(),
            limits: limits
                .map(|(name, value)| (name.trim().to_owned(), words(value)))
                .collect(),
            session: stat[4].parse().unwrap(),
            terminal: stat[5].to_owned(),
            directory: fs::read_link(format!("/proc/{pid}/cwd")).unwrap(),
            oom: text("oom_score_adj").trim().to_owned(),
        }
    }

    fn capabilities(&self) -> [u64; 5] {
        let of = |name| u64::from_str_radix(&self.status[name], 16).unwrap();
        ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"].map(of)
    }

    fn limit(&self, name: &str) -> (&str, &str) {
        let mut words = self.limits[name].split(' ');
        (words.next().unwrap(), words.next().unwrap())
    }
}

/// Starts the child and reads `/proc` once the program that was asked for sleeps: until then it has the libraries open that it
/// loads.
async fn look(child: &Child) -> (Seen, i32) {
    let directory = tempfile::tempdir().unwrap();
    let log = fs::File::create(directory.path().join("log")).unwrap();
    let process = child.start(&log).unwrap();
    let pid = process.pid.0;
    let waits_in = || fs::read_to_string(format!("/proc/{pid}/wchan")).unwrap();
    while !waits_in().contains("nanosleep") {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let seen = Seen::of(pid);
    process.signal(Signal::SIGKILL).unwrap();
    process.ended().await;
    (seen, pid)
}

/// A descriptor that every child would inherit.
fn inheritable() -> OwnedFd {
    let null = fs::File::open("/dev/null").unwrap();
    // SAFETY: the copy is owned by this function alone; it is made without close-on-exec.
    let copy = unsafe { libc::dup(null.as_raw_fd()) };
    // SAFETY: as above.
    unsafe { OwnedFd::from_raw_fd(copy) }
}

fn sleep() -> PathBuf {
    SLEEP.path()
}

fn account(name: &str, user: u32, group: u32) -> Account {
    let name = name.to_owned();
    Account { name, user, group }
}

/// A kind of child: its name, its variables beside `PATH`, its user and group, and the capabilities it keeps.
type Kind = (&'static str, Child, Vec<&'static str>, [u32; 2], u64);

fn kinds(handed: &Arc<OwnedFd>) -> Vec<Kind> {
    let fd = || Arc::clone(handed);
    let drop = 1 << 6 | 1 << 7 | 1 << 18 | 1 << 24;
    let haproxy = || Child::haproxy(&sleep());
    let program = |account: &Account| Child::of_administrator(&sleep(), account);
    let nobody = Accounts::default().nobody();
    let checks = account("checks", 4711, 4712);
    let root = account("root", 0, 0);
    vec![
        (
            "worker",
            haproxy().hand_over("OBER_FD_0", fd()).on(0),
            vec!["OBER_FD_0"],
            [0, 0],
            drop,
        ),
        (
            "haproxy -c",
            haproxy().hand_over("OBER_FD_0", fd()),
            vec!["OBER_FD_0"],
            [0, 0],
            drop,
        ),
        ("haproxy -v", haproxy(), vec![], [0, 0], drop),
        (
            "check or source",
            program(&nobody),
            vec!["PATH"],
            [65_534; 2],
            0,
        ),
        (
            "hook with a secret",
            program(&checks).hand_over("OBER_SECRET_FD", fd()),
            vec!["OBER_SECRET_FD", "PATH"],
            [4711, 4712],
            0,
        ),
        (
            "program as root",
            program(&root),
            vec!["PATH"],
            [0, 0],
            u64::MAX,
        ),
        (
            "program of root",
            Child::of_root(&sleep()),
            vec!["LC_ALL", "PATH"],
            [0, 0],
            u64::MAX,
        ),
        ("tool", Child::tool(&sleep()), vec![], [0, 0], 0),
    ]
}

#[tokio::test]
async fn every_kind_of_child_has_exactly_its_specified_environment_descriptors_and_rights() {
    let inherited = inheritable();
    let handed = Arc::new(inheritable());
    let number = handed.as_raw_fd();
    let [_, own, _, bounding, _] = Seen::of(std::process::id().try_into().unwrap()).capabilities();
    for (what, child, variables, [user, group], keeps) in kinds(&handed) {
        let (seen, pid) = look(&child.arguments(["60"])).await;
        let names: Vec<(&str, &str)> = seen
            .environment
            .iter()
            .map(|it| it.split_once('=').unwrap())
            .collect();
        let set: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
        assert_eq!(set, variables, "{what}");
        let mut descriptors = BTreeSet::from([0, 1, 2]);
        for (_, value) in names.iter().filter(|(name, _)| name.starts_with("OBER_")) {
            assert_eq!(*value, number.to_string(), "{what}");
            descriptors.insert(number);
        }
        assert_eq!(seen.descriptors, descriptors, "{what}");
        assert_eq!(
            seen.status["Uid"],
            [user; 4].map(|it| it.to_string()).join(" "),
            "{what}"
        );
        assert_eq!(
            seen.status["Gid"],
            [group; 4].map(|it| it.to_string()).join(" "),
            "{what}"
        );
        if user != 0 {
            assert_eq!(seen.status["Groups"], group.to_string(), "{what}");
        }
        let has = own & bounding & keeps;
        assert_eq!(
            seen.capabilities(),
            [0, has, has, bounding & keeps, 0],
            "{what}"
        );
        assert_eq!(seen.status["NoNewPrivs"], "1", "{what}");
        assert_eq!(seen.status["Umask"], "0077", "{what}");
        assert_eq!(seen.limit("Max core file size"), ("0", "0"), "{what}");
        assert_eq!((seen.session, seen.terminal.as_str()), (pid, "0"), "{what}");
        assert_eq!(seen.directory, Path::new("/"), "{what}");
    }
    drop(inherited);
}

#[tokio::test]
async fn an_operators_program_has_its_own_limits_and_a_worker_has_the_daemons() {
    let nobody = Accounts::default().nobody();
    let (seen, _) = look(&Child::of_administrator(&sleep(), &nobody).arguments(["60"])).await;
    for (name, most) in [
        ("Max cpu time", 120),
        ("Max file size", 64 << 20),
        ("Max data size", 1 << 30),
        ("Max address space", 16_u64 << 30),
        ("Max processes", 4096),
        ("Max open files", 1024),
    ] {
        let (soft, hard) = seen.limit(name);
        assert_eq!(soft, hard, "{name}");
        assert!(soft.parse::<u64>().unwrap() <= most, "{name}: {soft}");
    }
    let (worker, _) = look(&Child::haproxy(&sleep()).arguments(["60"])).await;
    let own = Seen::of(std::process::id().try_into().unwrap());
    assert_eq!(
        worker.limits["Max open files"],
        own.limits["Max open files"]
    );
    assert_eq!(
        worker.limits["Max address space"],
        own.limits["Max address space"]
    );
}

#[tokio::test]
async fn a_child_does_not_inherit_what_its_parent_weighs_when_memory_runs_out() {
    let own = "/proc/self/oom_score_adj";
    let before = fs::read_to_string(own).unwrap();
    // The unit says -900, which only some containers allow a process to set.
    fs::write(own, "100").unwrap();
    let nobody = Accounts::default().nobody();
    let kinds = [
        Child::haproxy(&sleep()),
        Child::of_administrator(&sleep(), &nobody),
    ];
    for child in kinds {
        let (seen, _) = look(&child.arguments(["60"])).await;
        assert_eq!(seen.oom, "0");
    }
    fs::write(own, before).unwrap();
}

#[test]
fn a_program_outlives_the_runtime_thread_that_started_it() {
    // A blocking thread of the runtime ends when it was idle for a while: ten seconds unless configured, as here.
    let idle = Duration::from_millis(20);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_keep_alive(idle)
        .enable_all()
        .build()
        .unwrap();
    let nobody = Accounts::default().nobody();
    let program = Child::of_administrator(&sleep(), &nobody).arguments(["1.5"]);
    let ended = runtime.block_on(async {
        let asked = tokio::task::spawn_blocking(move || {
            let mut output = Box::pin(async move { program.output(100).await });
            let begun =
                tokio::time::timeout(Duration::from_millis(300), async { (&mut output).await });
            let begun = tokio::runtime::Handle::current().block_on(begun);
            assert!(begun.is_err(), "it ended at once: {begun:?}");
            (output, nix::unistd::gettid())
        });
        let (output, thread) = asked.await.unwrap();
        let thread = format!("/proc/self/task/{thread}");
        while Path::new(&thread).exists() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        output.await
    });
    assert_eq!(ended.unwrap().exit, process::Exit::Code(0));
}

#[test]
fn a_program_never_runs_as_another_account_than_its_own() {
    let (own, other) = (account("own", 1000, 100), account("other", 1001, 100));
    let root = account("root", 0, 0);
    let runs = |account: &Account, user: u32, group: u32| {
        let becomes = confine::becomes(account, user, group);
        becomes.map(|it| it.map(|it| it.name.clone()))
    };
    for account in [&own, &other, &root] {
        assert_eq!(runs(account, 0, 0).unwrap(), Some(account.name.clone()));
    }
    assert_eq!(runs(&own, 1000, 100).unwrap(), None, "it is that already");
    for (account, group) in [(&other, 100), (&root, 100), (&own, 101)] {
        let refused = runs(account, 1000, group).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
        let said = refused.to_string();
        for word in [&*account.name, "user 1000", "run Herr Ober as root"] {
            assert!(said.contains(word), "{said}");
        }
    }
}
