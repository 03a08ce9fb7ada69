//! This kernel, in namespaces of the test's own: the settings of a network namespace and its interfaces are real; a setting of the
//! whole machine is a file mounted over it, and `/etc` is below an overlay.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    os::unix::fs::{MetadataExt as _, PermissionsExt},
    path::PathBuf,
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use nix::sched::{CloneFlags, setns};
use ober_programs::{Command, IP, MOUNT, NSENTER, SLEEP, TC, UNSHARE};
use ober_user::host::{
    parts::sysctl::{TABLE, Want},
    wants::Wants,
};

use crate::{Image, Ran, bootstrap};

/// Settings of the whole machine, whatever the namespace.
const GLOBAL: [&str; 2] = ["kernel.panic", "vm.panic_on_oom"];

/// Newer kernels show them in a namespace, where no process can set them.
const SHOWN: [&str; 2] = ["net.core.rmem_max", "net.core.wmem_max"];

/// Its value outside of the test's namespaces.
fn own(key: &str) -> String {
    fs::read_to_string(format!("/proc/sys/{}", key.replace('.', "/"))).unwrap()
}

/// A machine that lives as long as a process in its namespaces.
pub(crate) struct Machine {
    process: Child,
    directory: tempfile::TempDir,
}

impl Machine {
    pub(crate) fn new() -> Self {
        let mut sleep = UNSHARE.before(["--mount", "--net"], &SLEEP.args(["600"]));
        let process = sleep.stdin(Stdio::null()).spawn().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let machine = Self { process, directory };
        machine.until_apart();
        for part in ["upper", "work", "var"] {
            fs::create_dir(machine.at(part)).unwrap();
        }
        let overlay = format!(
            "lowerdir=/etc,upperdir={},workdir={}",
            machine.at("upper").display(),
            machine.at("work").display()
        );
        machine.run(&MOUNT.args(["-t", "overlay", "-o", &overlay, "overlay", "/etc"]));
        machine.run(&ober_tests::mounts::bind(
            &machine.at("var"),
            "/var/lib".as_ref(),
        ));
        for key in GLOBAL {
            let file = machine.at(key);
            fs::write(&file, "0\n").unwrap();
            let place = format!("/proc/sys/{}", key.replace('.', "/"));
            machine.run(&ober_tests::mounts::bind(&file, place.as_ref()));
        }
        machine.run(&IP.args(["link", "set", "lo", "up"]));
        machine
    }

    /// Waits until the process has left the namespaces of the test.
    fn until_apart(&self) {
        let of = |pid: &str| {
            ["mnt", "net"].map(|kind| fs::read_link(format!("/proc/{pid}/ns/{kind}")).ok())
        };
        let own = of("self");
        for _ in 0..1000 {
            let there = of(&self.process.id().to_string());
            if there.iter().zip(&own).all(|(it, own)| it != own) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("unshare did nothing");
    }

    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    fn enter(&self, command: &Command) -> Command {
        let target = self.process.id().to_string();
        NSENTER.before(["--mount", "--net", "--target", &target], command)
    }

    pub(crate) fn output(&self, command: &Command) -> Ran {
        self.enter(command).output().unwrap().into()
    }

    #[track_caller]
    pub(crate) fn run(&self, command: &Command) -> String {
        let ran = self.output(command);
        assert_eq!(ran.code, 0, "{command:?}: {ran:?}");
        ran.out
    }

    fn bootstrap(&self, arguments: &[&str]) -> Ran {
        self.output(&bootstrap(arguments))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// A path as the machine sees it.
    pub(crate) fn seen(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.process.id()))
    }

    /// Does this on a thread in its network.
    pub(crate) fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let namespace = format!("/proc/{}/ns/net", self.process.id());
        let namespace = File::open(namespace).unwrap();
        let inside = || {
            setns(&namespace, CloneFlags::CLONE_NEWNET).unwrap();
            work()
        };
        std::thread::scope(|scope| scope.spawn(inside).join().unwrap())
    }

    /// The settings of the table that this namespace has.
    fn settings(&self) -> BTreeMap<&'static str, String> {
        let read = |key: &str| {
            let mounted = self.at(key);
            let place = format!("/proc/sys/{}", key.replace('.', "/"));
            let path = if mounted.exists() {
                mounted
            } else {
                place.into()
            };
            let text = fs::read_to_string(path).ok()?;
            Some(text.split_whitespace().collect::<Vec<_>>().join(" "))
        };
        let rows = TABLE.iter().filter(|it| !SHOWN.contains(&it.key));
        self.within(|| {
            rows.filter_map(|row| Some((row.key, read(row.key)?)))
                .collect()
        })
    }

    /// The files that bootstrap left in `/etc` and `/var/lib`.
    pub(crate) fn left(&self) -> Vec<PathBuf> {
        let mut found = BTreeMap::new();
        for part in ["upper", "var"] {
            crate::walk(&self.at(part), &mut found);
        }
        found.into_keys().filter(|it| !it.is_dir()).collect()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // A failure means that it has ended already.
        self.process.kill().unwrap_or_default();
        self.process.wait().map(drop).unwrap_or_default();
    }
}

#[test]
fn on_a_running_kernel_each_setting_is_put_in_force_read_back_and_put_back() {
    let outside = GLOBAL.map(own);
    let machine = Machine::new();
    let before = machine.settings();
    assert!(before.len() > 8, "{before:?}");
    let only = ["--only", "os,sysctl", "-y"];
    machine.bootstrap(&only).says(0, &["sysctl: "]);
    let after = machine.settings();
    let wants = Wants::default();
    for (key, value) in &after {
        let row = TABLE.iter().find(|row| row.key == *key).unwrap();
        // Not asked for, and a queueing discipline that a kernel may lack.
        let left = *key == "vm.panic_on_oom" || row.want == Want::Exactly("fq");
        assert!(left || row.is_met(value, &wants), "{key} is {value}");
    }
    machine.bootstrap(&only).says(0, &["nothing to do"]);
    machine
        .bootstrap(&["--undo", "-y"])
        .says(0, &["net.core.somaxconn: 65535 -> "]);
    assert_eq!(machine.settings(), before);
    assert!(machine.left().is_empty(), "{:?}", machine.left());
    assert_eq!(GLOBAL.map(own), outside, "this machine's own settings");
}

#[test]
fn a_bootstrap_that_is_killed_at_any_time_can_be_run_again_and_undone() {
    let machine = Machine::new();
    let before = machine.settings();
    let only = ["--only", "sysctl", "-y"];
    let since = Instant::now();
    machine.bootstrap(&only).says(0, &[]);
    let whole = since.elapsed();
    machine.bootstrap(&["--undo", "-y"]).says(0, &[]);
    let mut cut = 0;
    for round in 0..12_u32 {
        let command = bootstrap(&only);
        let mut run = machine.enter(&command);
        let mut child = run
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(whole * round / 12);
        child.kill().unwrap();
        cut += usize::from(!child.wait().unwrap().success());
        if round % 2 == 0 {
            machine.bootstrap(&only).says(0, &[]);
            machine.bootstrap(&only).says(0, &["nothing to do"]);
        }
        machine.bootstrap(&["--undo", "-y"]).says(0, &[]);
        assert_eq!(machine.settings(), before, "round {round}");
        assert!(
            machine.left().is_empty(),
            "round {round}: {:?}",
            machine.left()
        );
    }
    assert!(cut > 0, "no run was cut");
}

#[test]
fn an_administrators_queueing_discipline_stays_and_the_kernels_own_is_put_back() {
    let machine = Machine::new();
    machine.run(&IP.args(["tuntap", "add", "t0", "mode", "tap"]));
    machine.run(&IP.args(["link", "set", "t0", "up"]));
    let image = Image::new();
    let config = image.at("ober.toml");
    let text = "[node]\ninterfaces = ['t0']\n[[services]]\nname = 's3'\nvips = ['192.0.2.10']\nbackend = 'rgw'\n\
                [[services.listeners]]\nport = 80\naccess = 'open'\n[backends.rgw]\nservers = ['127.0.0.1:9000']\n";
    fs::write(&config, text).unwrap();
    let config = config.display().to_string();
    let ran = machine.bootstrap(&["--config", &config, "--only", "qdisc", "--dry-run"]);
    // This kernel may have `fq` or not; in both cases it says what becomes of the interface.
    let has = ran
        .out
        .contains("queueing discipline of t0: pfifo_fast -> fq");
    assert!(has || ran.out.contains("this kernel has no fq"), "{ran:?}");
    machine.run(&TC.args(["qdisc", "replace", "dev", "t0", "root", "pfifo"]));
    let ran = machine.bootstrap(&["--config", &config, "--only", "qdisc", "-y"]);
    ran.says(0, &["pfifo was chosen for it", "nothing to do"]);
}

#[test]
fn without_systemd_the_account_and_its_directory_are_made_and_taken_away_again() {
    let machine = Machine::new();
    machine.run(&ober_tests::mounts::memory("size=1m", "/run".as_ref()));
    let seen = |path: &str| machine.seen(path);
    let accounts = || {
        ["passwd", "group", "shadow", "gshadow"]
            .map(|name| fs::read_to_string(seen(&format!("/etc/{name}"))).unwrap())
    };
    let (before, had) = (accounts(), seen("/etc/ober").exists());
    let only = ["--only", "users", "-y"];
    machine
        .bootstrap(&only)
        .says(0, &["account ober: absent -> there"]);
    let group = |text: &str| {
        let line = text.lines().find(|it| it.starts_with("ober:")).unwrap();
        line.split(':').nth(2).unwrap().parse::<u32>().unwrap()
    };
    let [users, groups, ..] = accounts();
    assert!(users.contains("\nober:x:") && users.contains(":/nonexistent:/usr/sbin/nologin"));
    let facts = fs::metadata(seen("/etc/ober")).unwrap();
    let found = (facts.mode() & 0o7777, facts.uid(), facts.gid());
    assert_eq!(found, (0o750, 0, group(&groups)));
    machine.bootstrap(&only).says(0, &["nothing to do"]);
    // A key that every account may read is named, and left to the administrator.
    fs::write(seen("/etc/ober/s3.pem"), "x").unwrap();
    let mode = PermissionsExt::from_mode(0o644);
    fs::set_permissions(seen("/etc/ober/s3.pem"), mode).unwrap();
    machine
        .bootstrap(&only)
        .says(0, &["/etc/ober/s3.pem", "chmod 640", "nothing to do"]);
    if !had {
        let undone = machine.bootstrap(&["--undo", "-y"]);
        undone.says(1, &["/etc/ober stays", "account ober stays"]);
    }
    fs::remove_file(seen("/etc/ober/s3.pem")).unwrap();
    machine.bootstrap(&["--undo", "-y"]).says(0, &[]);
    assert_eq!(accounts(), before);
    assert_eq!(seen("/etc/ober").exists(), had);
}
