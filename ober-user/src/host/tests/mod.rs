//! Whole runs on a machine that was recorded beside a real one: files are real, below a directory of the test; settings and
//! queueing disciplines answer as Linux 6.1 and iproute2 6.1 do.

mod killed;

use std::{
    cell::RefCell,
    collections::BTreeMap,
    fs, io,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};

use super::{
    Host,
    bootstrap::{self, Done},
    object::{Object, State},
    part::Part,
    parts::sysctl,
    plan::PartPlan,
    platform::{Platform, Said},
    record::{Author, Record},
    root::Root,
    undo::How,
    wants::{Configured, Wants},
};

/// A machine that remembers each change that was made to it.
#[derive(Debug, Default)]
struct Recorded {
    settings: RefCell<BTreeMap<String, String>>,
    /// The root queueing discipline of each interface with one queue, and whether the kernel chose it.
    queueing: RefCell<BTreeMap<String, (String, bool)>>,
    /// Commands that changed something.
    orders: RefCell<Vec<String>>,
    /// Settings that cannot be written.
    stuck: RefCell<Vec<String>>,
}

impl Recorded {
    fn tc(&self, words: &[&str]) -> Option<Said> {
        let mut all = self.queueing.borrow_mut();
        let (what, name) = (*words.get(1)?, *words.get(3)?);
        let now = all.get_mut(name)?;
        match what {
            "show" => {}
            "del" if now.1 => return None,
            "del" => *now = (self.setting(sysctl::DEFAULT_QDISC).ok()??, true),
            "replace" => *now = ((*words.last()?).to_owned(), false),
            _ => return None,
        }
        if what != "show" {
            self.orders.borrow_mut().push(words.join(" "));
        }
        let (kind, default) = &*now;
        let handle = if *default { "0:" } else { "8001:" };
        Some(said(&format!(
            r#"[{{"kind":"{kind}","handle":"{handle}","root":true,"refcnt":2,"options":{{}}}}]"#
        )))
    }
}

fn said(out: &str) -> Said {
    Said {
        success: true,
        out: out.to_owned(),
        complaint: String::new(),
    }
}

impl Platform for Recorded {
    fn is_running(&self) -> bool {
        true
    }

    fn setting(&self, key: &str) -> io::Result<Option<String>> {
        Ok(self.settings.borrow().get(key).cloned())
    }

    fn is_settable(&self, _key: &str) -> bool {
        true
    }

    fn set(&self, key: &str, value: &str) -> io::Result<()> {
        if self.stuck.borrow().iter().any(|it| it == key) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let mut settings = self.settings.borrow_mut();
        settings.insert(key.to_owned(), value.to_owned());
        Ok(())
    }

    fn exists(&self, path: &str) -> bool {
        path == "/run/systemd/system" || path == "/sys/kernel/btf/vmlinux"
    }

    async fn run(&self, words: &[&str]) -> Result<Said, String> {
        match words {
            ["tc", "-json", rest @ ..] => self.tc(rest).ok_or_else(|| "no device".to_owned()),
            ["tc", rest @ ..] => self.tc(rest).ok_or_else(|| "no device".to_owned()),
            _ => Err("No such file or directory".to_owned()),
        }
    }
}

const PARTS: [Part; 3] = [Part::Os, Part::Sysctl, Part::Qdisc];

/// A fresh Debian 12 in a directory.
struct Bench {
    directory: tempfile::TempDir,
    host: Host<Recorded>,
    wants: Wants,
}

const FRESH: [(&str, &str); 19] = [
    ("kernel.osrelease", "6.1.0-26-amd64"),
    ("net.core.somaxconn", "4096"),
    ("net.ipv4.tcp_max_syn_backlog", "1024"),
    ("net.core.netdev_max_backlog", "1000"),
    ("net.core.rmem_max", "212992"),
    ("net.core.wmem_max", "212992"),
    ("net.ipv4.tcp_rmem", "4096 131072 6291456"),
    ("net.ipv4.tcp_wmem", "4096 16384 4194304"),
    ("net.ipv4.tcp_congestion_control", "cubic"),
    ("net.ipv4.tcp_available_congestion_control", "reno cubic"),
    ("net.core.default_qdisc", "pfifo_fast"),
    ("net.ipv4.tcp_slow_start_after_idle", "1"),
    ("net.ipv4.tcp_mtu_probing", "0"),
    ("net.ipv4.ip_local_port_range", "32768 60999"),
    ("net.ipv4.ip_local_reserved_ports", ""),
    ("net.core.bpf_jit_enable", "1"),
    ("net.ipv4.ip_unprivileged_port_start", "1024"),
    ("kernel.panic", "0"),
    ("vm.panic_on_oom", "0"),
];

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let at = |path: &str| directory.path().join(path);
        for path in [
            "etc",
            "var/lib",
            "usr/lib/sysctl.d",
            "lib/modules/6.1.0-26-amd64",
        ] {
            fs::create_dir_all(at(path)).unwrap();
        }
        fs::write(
            at("etc/os-release"),
            "ID=debian\nVERSION_ID=\"12\"\nNAME=\"Debian GNU/Linux\"\n",
        )
        .unwrap();
        fs::write(
            at("lib/modules/6.1.0-26-amd64/modules.dep"),
            "kernel/net/ipv4/tcp_bbr.ko:\nkernel/net/sched/sch_fq.ko.xz:\n",
        )
        .unwrap();
        let machine = Recorded::default();
        let fresh = FRESH.map(|(key, value)| (key.to_owned(), value.to_owned()));
        *machine.settings.borrow_mut() = fresh.into();
        let queueing = ("pfifo_fast".to_owned(), true);
        machine
            .queueing
            .borrow_mut()
            .insert("eth1".into(), queueing);
        let configured = Configured {
            interfaces: vec!["eth1".to_owned()],
            ports: [80, 443, 8404].into(),
            ..Configured::default()
        };
        Self {
            host: Host {
                root: Root::below(directory.path().to_owned()),
                machine,
            },
            directory,
            wants: Wants {
                configured: Some(configured),
                ..Wants::default()
            },
        }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    fn write(&self, path: &str, text: &str) {
        fs::create_dir_all(self.at(path).parent().unwrap()).unwrap();
        fs::write(self.at(path), text).unwrap();
    }

    fn value(&self, key: &str) -> String {
        self.host.machine.settings.borrow()[key].clone()
    }

    fn tell(&self, key: &str, value: &str) {
        let mut settings = self.host.machine.settings.borrow_mut();
        settings.insert(key.to_owned(), value.to_owned());
    }
}

impl Subject for Bench {
    type Machine = Recorded;
    type Whole = (BTreeMap<PathBuf, String>, BTreeMap<String, String>, String);
    const AUTHOR: Author = Author::Bootstrap;

    fn fresh() -> Self {
        Self::new()
    }

    fn host(&self) -> &Host<Recorded> {
        &self.host
    }

    async fn plans(&self) -> Vec<PartPlan> {
        let record = Record::read(&self.host.root, Author::Bootstrap).unwrap();
        bootstrap::plan(&self.host, &record, &self.wants, &PARTS).await
    }

    /// Files with mode and text, settings, queueing disciplines.
    fn whole(&self) -> Self::Whole {
        let mut files = BTreeMap::new();
        tree(self.directory.path(), &mut files);
        (
            files,
            self.host.machine.settings.borrow().clone(),
            format!("{:?}", self.host.machine.queueing.borrow()),
        )
    }
}

pub(super) use killed::{Subject, survives_a_kill_at_every_step};

pub(super) fn tree(directory: &Path, found: &mut BTreeMap<PathBuf, String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let facts = fs::symlink_metadata(&path).unwrap();
        let text = if facts.is_file() {
            fs::read_to_string(&path).unwrap()
        } else {
            String::new()
        };
        found.insert(
            path.clone(),
            format!("{:o} {text}", facts.permissions().mode()),
        );
        if facts.is_dir() {
            tree(&path, found);
        }
    }
}

fn failures(done: &[Done]) -> Vec<&str> {
    done.iter().filter_map(|it| it.failed.as_deref()).collect()
}

#[tokio::test]
async fn a_bootstrap_changes_what_it_planned_a_second_one_nothing_and_an_undo_leaves_what_was_there()
 {
    let bench = Bench::new();
    let before = bench.whole();
    let planned = bench.changes().await;
    assert_eq!(bench.whole(), before, "looking changes nothing");
    let done = bench.apply().await;
    assert_eq!(failures(&done), [""; 0]);
    let made: usize = done.iter().map(|it| it.changed.len()).sum();
    assert_eq!(made, planned.len());
    for (key, value) in [
        ("net.core.somaxconn", "65535"),
        ("net.ipv4.tcp_rmem", "4096 131072 134217728"),
        ("net.ipv4.tcp_congestion_control", "bbr"),
        ("net.ipv4.ip_local_reserved_ports", "80,443,8404-8405"),
        ("kernel.panic", "10"),
        // Not asked for.
        ("vm.panic_on_oom", "0"),
    ] {
        assert_eq!(bench.value(key), value, "{key}");
        let text = fs::read_to_string(bench.at("etc/sysctl.d/60-ober.conf")).unwrap();
        let line = format!("\n{key} = {value}\n");
        assert_eq!(text.contains(&line), key != "vm.panic_on_oom", "{text}");
    }
    let orders = bench.host.machine.orders.borrow().clone();
    assert_eq!(orders, ["qdisc replace dev eth1 root fq"]);
    assert_eq!(bench.changes().await, []);
    let undone = bench.undo().await;
    assert!(undone.iter().all(|it| it.failed.is_none()), "{undone:#?}");
    assert_eq!(bench.whole(), before);
    assert_eq!(bench.undo().await, []);
    assert_eq!(bench.whole(), before, "a second undo changes nothing");
}

#[tokio::test]
async fn a_run_or_an_undo_that_is_killed_at_any_step_can_be_run_again_and_undone() {
    survives_a_kill_at_every_step::<Bench>().await;
}

#[tokio::test]
async fn an_undo_leaves_and_names_what_the_administrator_changed_since() {
    let bench = Bench::new();
    bench.apply().await;
    let file = bench.at("etc/sysctl.d/60-ober.conf");
    let text = fs::read_to_string(&file).unwrap() + "net.core.somaxconn = 1000\n";
    fs::write(&file, &text).unwrap();
    bench.tell("kernel.panic", "99");
    let undone = bench.undo().await;
    let kept: Vec<String> = undone
        .iter()
        .filter(|it| it.how == How::Keep)
        .map(|it| it.object.to_string())
        .collect();
    assert_eq!(
        kept,
        [
            "/etc/sysctl.d/60-ober.conf",
            "kernel.panic",
            "/etc/sysctl.d"
        ]
    );
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
    assert_eq!(bench.value("kernel.panic"), "99");
    assert_eq!(bench.value("net.core.rmem_max"), "212992");
    // The directory was made for the file, which is still in it.
    let words: Vec<String> = undone
        .iter()
        .filter(|it| it.needed.is_some())
        .map(|it| it.stays(Author::Bootstrap))
        .collect();
    assert_eq!(
        words,
        ["/etc/sysctl.d stays: it has what this command did not put there"]
    );
    assert!(undone.iter().all(|it| it.failed.is_none()), "{undone:?}");
    // When the administrator has put both back, so does the next undo.
    fs::remove_file(&file).unwrap();
    bench.tell("kernel.panic", "0");
    bench.undo().await;
    assert!(!bench.at("var/lib/ober").exists() && !bench.at("etc/sysctl.d").exists());
}

#[tokio::test]
async fn a_file_of_the_administrator_is_left_as_it_is_and_named() {
    for make in [
        |place: &Path| fs::write(place, "kernel.panic = 3\n").unwrap(),
        |place: &Path| symlink("/dev/null", place).unwrap(),
        |place: &Path| fs::create_dir(place).unwrap(),
    ] {
        let bench = Bench::new();
        fs::create_dir_all(bench.at("etc/sysctl.d")).unwrap();
        let place = bench.at("etc/sysctl.d/60-ober.conf");
        make(&place);
        let before = bench.whole().0;
        let plans = bench.plans().await;
        let remarks: Vec<_> = plans[1].remarks.iter().map(|it| &it.object).collect();
        assert_eq!(remarks, ["/etc/sysctl.d/60-ober.conf"]);
        assert_eq!(failures(&bench.apply().await), [""; 0]);
        let mut after = bench.whole().0;
        after.retain(|path, _| before.contains_key(path));
        assert_eq!(after, before);
        bench.undo().await;
        assert_eq!(bench.whole().0, before);
    }
}

#[tokio::test]
async fn a_file_that_bootstrap_wrote_follows_a_change_of_what_is_wanted_and_is_undone_whole() {
    let mut bench = Bench::new();
    let before = bench.whole();
    bench.apply().await;
    let ports = &mut bench.wants.configured.as_mut().unwrap().ports;
    ports.insert(7480);
    let changes = bench.changes().await;
    let objects: Vec<String> = changes.iter().map(|it| it.1.object.to_string()).collect();
    assert_eq!(
        objects,
        [
            "/etc/sysctl.d/60-ober.conf",
            "net.ipv4.ip_local_reserved_ports"
        ]
    );
    bench.apply().await;
    assert_eq!(
        bench.value("net.ipv4.ip_local_reserved_ports"),
        "80,443,7480,8404-8405"
    );
    bench.undo().await;
    assert_eq!(bench.whole(), before);
}

#[tokio::test]
async fn a_change_that_fails_ends_its_part_alone_is_named_and_can_be_undone() {
    let bench = Bench::new();
    let before = bench.whole();
    let key = "net.core.netdev_max_backlog";
    bench.host.machine.stuck.borrow_mut().push(key.to_owned());
    let done = bench.apply().await;
    let failed = failures(&done);
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert!(
        failed[0].contains(key) && failed[0].contains("250000"),
        "{failed:?}"
    );
    let orders = bench.host.machine.orders.borrow().len();
    assert_eq!(orders, 1, "the queueing disciplines are another part");
    bench.undo().await;
    assert_eq!(bench.whole(), before);
}

#[tokio::test]
async fn a_damaged_record_is_refused_and_left_and_two_bootstraps_at_once_are_one_too_many() {
    let bench = Bench::new();
    let held = Record::open(&bench.host.root, Author::Bootstrap).unwrap();
    let refused = Record::open(&bench.host.root, Author::Bootstrap)
        .unwrap_err()
        .to_string();
    assert!(refused.contains("another `bootstrap`"), "{refused}");
    drop(held);
    bench.write("var/lib/ober/bootstrap.json", "{\"entries\": [");
    let refused = Record::open(&bench.host.root, Author::Bootstrap)
        .unwrap_err()
        .to_string();
    assert!(refused.contains("move the file away"), "{refused}");
    assert!(bench.at("var/lib/ober/bootstrap.json").exists());
}

#[tokio::test]
async fn nothing_is_changed_before_it_is_recorded() {
    let bench = Bench::new();
    bench.apply().await;
    let record = Record::read(&bench.host.root, Author::Bootstrap).unwrap();
    let of = |key: &str| {
        record
            .of(&Object::Sysctl(key.to_owned()))
            .unwrap()
            .before
            .clone()
    };
    assert_eq!(of("kernel.panic"), State::value("0"));
    // A record that cannot be written keeps every change from being made.
    let bench = Bench::new();
    let plans = bench.plans().await;
    let before = bench.host.machine.settings.borrow().clone();
    let (mut record, _lock) = Record::open(&bench.host.root, Author::Bootstrap).unwrap();
    fs::remove_dir(bench.at("var/lib/ober")).unwrap();
    fs::write(bench.at("var/lib/ober"), "in the way").unwrap();
    let done = bootstrap::apply(&bench.host, &mut record, &plans).await;
    assert_eq!(failures(&done).len(), 2, "{done:?}");
    assert_eq!(*bench.host.machine.settings.borrow(), before);
    assert!(!bench.at("etc/sysctl.d").exists());
}

#[tokio::test]
async fn an_old_system_is_refused_and_no_other_part_is_looked_at() {
    let bench = Bench::new();
    bench.tell("kernel.osrelease", "5.15.0-91-generic");
    let plans = bench.plans().await;
    assert_eq!(plans.len(), 1);
    assert!(plans[0].is_refused() && plans[0].changes.is_empty());
}
