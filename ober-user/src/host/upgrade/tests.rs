//! What apt and dnf say, read; and whole upgrades on a machine whose commands were recorded.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::Path,
    time::Duration,
};

use super::{
    Became, Manager, Offer, Package, Patience, apt, dnf, make,
    make::{Seen, seen},
};
use crate::host::{
    Host,
    platform::{Platform, Said},
    root::Root,
};

/// Debian 12 with `ober` from a repository of its own. The second block is an answer of this kind as it came from apt 2.6.
const POLICY: &str = "\
haproxy:
  Installed: 2.6.12-1+deb12u3
  Candidate: 2.6.12-1+deb12u4
  Version table:
     2.6.12-1+deb12u4 500
        500 http://deb.debian.org/debian-security bookworm-security/main amd64 Packages
 *** 2.6.12-1+deb12u3 500
        500 http://deb.debian.org/debian bookworm/main amd64 Packages
        100 /var/lib/dpkg/status
ober:
  Installed: 0.1.0-1
  Candidate: 0.2.0-1
  Version table:
     0.2.0-1 500
        500 file:/srv/ober ./ Packages
 *** 0.1.0-1 100
        100 /var/lib/dpkg/status
";

/// As apt 2.6.1 of Debian 12 answers: up to date, not installed, and a version that was rebuilt.
const REAL: &str = "\
haproxy:
  Installed: 2.6.12-1+deb12u4
  Candidate: 2.6.12-1+deb12u4
  Version table:
 *** 2.6.12-1+deb12u4 500
        500 http://deb.debian.org/debian-security bookworm-security/main amd64 Packages
        100 /var/lib/dpkg/status
     2.6.12-1+deb12u3 500
        500 http://deb.debian.org/debian bookworm/main amd64 Packages
nginx:
  Installed: (none)
  Candidate: 1.22.1-9+deb12u11
  Version table:
     1.22.1-9+deb12u11 500
        500 http://deb.debian.org/debian-security bookworm-security/main amd64 Packages
appstream:
  Installed: 0.16.1-2
  Candidate: 0.16.1-2+b1
  Version table:
     0.16.1-2+b1 500
        500 http://deb.debian.org/debian bookworm/main amd64 Packages
 *** 0.16.1-2 100
        100 /var/lib/dpkg/status
";

fn offer(package: Package, installed: &str, candidate: &str) -> Offer {
    Offer {
        package,
        installed: installed.to_owned(),
        candidate: candidate.to_owned(),
    }
}

fn both() -> [Offer; 2] {
    [
        offer(Package::Haproxy, "2.6.12-1+deb12u3", "2.6.12-1+deb12u4"),
        offer(Package::Ober, "0.1.0-1", "0.2.0-1"),
    ]
}

#[test]
fn apt_offers_what_is_installed_in_another_version_than_its_candidate() {
    assert_eq!(apt::offers(POLICY), both());
    assert_eq!(apt::offers(REAL), []);
    // Real answers with the names that are asked for: rebuilt, and not installed.
    let rebuilt = REAL.replace("\nappstream:", "\nober:");
    let expected = offer(Package::Ober, "0.16.1-2", "0.16.1-2+b1");
    assert_eq!(apt::offers(&rebuilt), [expected]);
    assert_eq!(apt::offers(&REAL.replace("\nnginx:", "\nober:")), []);
    for said in [
        "",
        "haproxy:",
        "haproxy:\n  Installed: 1\n",
        "haproxy:\nCandidate: 2\n",
    ] {
        assert_eq!(apt::offers(said), [], "{said}");
    }
    assert_eq!(apt::in_file_name("1:2.8.3-1"), "1%3a2.8.3-1");
}

#[test]
fn dnf_offers_what_is_newer_than_rpm_says_is_installed() {
    let installed = "haproxy 2.8.14-1.el10\nober 0.1.0-1\n";
    let upgrades = "haproxy 0:2.8.14-2.el10\n\nhaproxy 0:2.8.15-1.el10\n";
    let expected = offer(Package::Haproxy, "2.8.14-1.el10", "2.8.15-1.el10");
    assert_eq!(dnf::offers(installed, upgrades), [expected]);
    assert_eq!(dnf::offers(installed, ""), []);
    assert_eq!(dnf::offers("package ober is not installed", "ober 1-1"), []);
}

#[test]
fn vips_are_served_whose_gates_are_open() {
    let said = r#"{"version":"9","gate":[{"vip":"192.0.2.10","state":"up","new":1},{"vip":"192.0.2.11","state":"down"},
        {"vip":"2001:db8::1","state":"falling"}]}"#;
    let expected = ["192.0.2.10", "2001:db8::1"].map(|it| it.parse().unwrap());
    assert_eq!(seen(said).served, BTreeSet::from(expected));
    assert_eq!(seen("no daemon runs"), Seen::default());
    assert!(!seen(said).runs, "what a daemon left in the kernel");
    assert!(seen(r#"{"pid":7}"#).runs);
}

/// A machine that has packages installed, by its files.
#[derive(Debug, Default)]
struct Recorded {
    installed: RefCell<BTreeMap<String, String>>,
    orders: RefCell<Vec<String>>,
    /// Beginnings of commands that fail.
    failing: Vec<&'static str>,
    /// With these files installed no VIP is served.
    blind: Vec<&'static str>,
    cache: std::path::PathBuf,
    /// Of the daemon.
    pid: Option<u32>,
}

impl Recorded {
    fn obey(&self, words: &[&str]) -> Option<String> {
        let line = words.join(" ");
        if self.failing.iter().any(|it| line.contains(it)) {
            return None;
        }
        match words {
            ["env", _, "apt-get", "--quiet", "download", exact] => {
                let (name, version) = exact.split_once('=')?;
                let file = format!("{name}_{version}_amd64.deb");
                fs::write(self.cache.join("arrivals").join(file), "").unwrap();
            }
            ["dnf", "download", "--destdir", place, exact] => {
                fs::write(Path::new(place).join(format!("{exact}.x86_64.rpm")), "").unwrap();
            }
            ["cp", from, to] => {
                let name = Path::new(from).file_name().unwrap();
                fs::copy(from, Path::new(to).join(name)).unwrap();
            }
            ["rm", "-rf", place] if place.starts_with(self.cache.to_str()?) => {
                _ = fs::remove_dir_all(place);
            }
            ["mkdir", _, place] => fs::create_dir(place).unwrap(),
            ["env", _, "apt-get", .., "install", file] => {
                let name = Path::new(file).file_name()?.to_str()?;
                let (package, _) = name.split_once('_')?;
                let mut installed = self.installed.borrow_mut();
                installed.insert(package.to_owned(), name.to_owned());
            }
            [.., "status", "--json"] => {
                let installed = self.installed.borrow();
                let blind = |it: &String| self.blind.iter().any(|blind| it.starts_with(blind));
                let state = if installed.values().any(blind) {
                    "down"
                } else {
                    "up"
                };
                let gate = format!(r#""gate":[{{"vip":"192.0.2.10","state":"{state}"}}]"#);
                return Some(match self.pid {
                    Some(pid) => format!(r#"{{"pid":{pid},{gate}}}"#),
                    None => format!("{{{gate}}}"),
                });
            }
            _ => {}
        }
        Some(String::new())
    }
}

impl Platform for Recorded {
    fn is_running(&self) -> bool {
        true
    }

    fn setting(&self, _key: &str) -> io::Result<Option<String>> {
        Ok(None)
    }

    fn is_settable(&self, _key: &str) -> bool {
        true
    }

    fn set(&self, _key: &str, _value: &str) -> io::Result<()> {
        Ok(())
    }

    fn exists(&self, _path: &str) -> bool {
        false
    }

    async fn run(&self, words: &[&str]) -> Result<Said, String> {
        self.orders.borrow_mut().push(words.join(" "));
        let done = self.obey(words);
        Ok(Said {
            success: done.is_some(),
            out: done.unwrap_or_default(),
            complaint: "it failed".to_owned(),
        })
    }
}

struct Bench {
    directory: tempfile::TempDir,
    host: Host<Recorded>,
}

impl Bench {
    fn new(failing: &[&'static str], blind: &[&'static str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for path in ["var/cache/apt/archives", "etc/ober", "usr/sbin"] {
            fs::create_dir_all(directory.path().join(path)).unwrap();
        }
        fs::write(directory.path().join("etc/ober/ober.toml"), "").unwrap();
        fs::write(directory.path().join("usr/sbin/haproxy"), "").unwrap();
        let old = "haproxy_2.6.12-1+deb12u3_amd64.deb";
        let kept = directory.path().join("var/cache/apt/archives").join(old);
        fs::write(kept, "").unwrap();
        let machine = Recorded {
            failing: failing.to_vec(),
            blind: blind.to_vec(),
            cache: directory.path().join("var/cache/ober"),
            pid: Some(7),
            ..Recorded::default()
        };
        Self {
            host: Host {
                root: Root::below(directory.path().to_owned()),
                machine,
            },
            directory,
        }
    }

    async fn make(&self) -> Vec<Became> {
        let patience = Patience {
            rounds: 3,
            pace: Duration::from_millis(1),
        };
        let main = Path::new("/etc/ober/ober.toml");
        make(&self.host, Manager::Apt, main, &both(), patience).await
    }

    /// Commands of this kind, in their order.
    fn orders(&self, word: &str) -> Vec<String> {
        let orders = self.host.machine.orders.borrow();
        orders
            .iter()
            .filter(|it| it.contains(word))
            .cloned()
            .collect()
    }

    fn installed(&self) -> Vec<String> {
        let installed = self.host.machine.installed.borrow();
        installed.values().cloned().collect()
    }

    fn kept(&self) -> Vec<String> {
        self.host.root.names("/var/cache/ober").unwrap()
    }
}

const NEW: [&str; 2] = [
    "haproxy_2.6.12-1+deb12u4_amd64.deb",
    "ober_0.2.0-1_amd64.deb",
];
const OLD: [&str; 2] = [
    "haproxy_2.6.12-1+deb12u3_amd64.deb",
    "ober_0.1.0-1_amd64.deb",
];

#[tokio::test]
async fn an_upgrade_keeps_the_old_files_tries_the_new_program_first_and_replaces_the_workers() {
    let bench = Bench::new(&[], &[]);
    assert_eq!(bench.make().await, [Became::Upgraded, Became::Upgraded]);
    assert_eq!(bench.installed(), NEW);
    assert_eq!(bench.kept(), [OLD[0], NEW[0], OLD[1], NEW[1]]);
    assert_eq!(bench.orders("restart --workers").len(), 1);
    let order = |word: &str| {
        let orders = bench.host.machine.orders.borrow();
        orders.iter().position(|it| it.contains(word)).unwrap()
    };
    let tried =
        order("/var/cache/ober/trial/usr/bin/ober-user --config /etc/ober/ober.toml validate");
    assert!(tried < order("--force-confold install /var/cache/ober/ober_0.2.0-1"));
    assert!(order("--force-confold install /var/cache/ober/haproxy") < order("restart --workers"));
    // The next one leaves the files of two versions.
    fs::write(
        bench
            .directory
            .path()
            .join("var/cache/ober/ober_0.0.9-1_amd64.deb"),
        "",
    )
    .unwrap();
    bench.make().await;
    assert_eq!(bench.kept().len(), 4);
}

#[tokio::test]
async fn without_a_way_back_or_with_a_configuration_that_the_new_program_refuses_nothing_is_installed()
 {
    let bench = Bench::new(&["download ober=0.1.0-1"], &[]);
    let became = bench.make().await;
    assert!(
        matches!(&became[1], Became::Refused(why) if why.contains("no way back")),
        "{became:?}"
    );
    assert_eq!(bench.installed(), NEW[..1]);
    let bench = Bench::new(&["trial/usr/bin/ober-user"], &[]);
    let became = bench.make().await;
    assert!(matches!(&became[1], Became::Refused(_)), "{became:?}");
    assert_eq!(bench.installed(), NEW[..1]);
    // What was unpacked of both is removed also then.
    assert_eq!(bench.orders("rm -rf /var/cache/ober/trial").len(), 4);
    // The new HAProxy refuses it.
    let bench = Bench::new(&["unshare --mount"], &[]);
    let became = bench.make().await;
    assert!(matches!(&became[0], Became::Refused(_)), "{became:?}");
    assert_eq!(bench.installed(), [""; 0]);
    // One that does not start before its libraries are there is asked once it is installed.
    let bench = Bench::new(&["unshare --mount", "trial/usr/sbin/haproxy -v"], &[]);
    assert_eq!(bench.make().await[0], Became::Upgraded);
}

#[tokio::test]
async fn what_is_installed_already_is_refused_and_without_a_daemon_no_worker_is_restarted() {
    let mut bench = Bench::new(&[], &[]);
    bench.host.machine.pid = None;
    assert_eq!(bench.make().await, [Became::Upgraded, Became::Upgraded]);
    assert_eq!(bench.orders("restart --workers"), [""; 0]);
    let same = [offer(Package::Ober, "0.2.0-1", "0.2.0-1")];
    let main = Path::new("/etc/ober/ober.toml");
    let became = make(&bench.host, Manager::Apt, main, &same, Patience::default()).await;
    assert!(
        matches!(&became[0], Became::Refused(why) if why.contains("already installed")),
        "{became:?}"
    );
}

#[tokio::test]
async fn a_file_that_was_copied_half_leads_nowhere() {
    // The copy ends half way, as on a full disk: the file is there, and the command fails.
    let bench = Bench::new(&["cp "], &[]);
    let half = bench.directory.path().join("var/cache/ober/arrivals");
    fs::create_dir_all(&half).unwrap();
    fs::write(half.join(OLD[0]), "half").unwrap();
    let became = bench.make().await;
    assert!(matches!(&became[0], Became::Refused(why) if why.contains("no way back")));
    assert!(!bench.kept().contains(&OLD[0].to_owned()));
    assert_eq!(bench.installed(), [""; 0]);
}

#[tokio::test]
async fn a_package_that_does_not_serve_goes_back_and_what_follows_is_not_tried() {
    let bench = Bench::new(&[], &["ober_0.2.0"]);
    let became = bench.make().await;
    assert!(
        matches!(&became[1], Became::Back(why) if why.contains("192.0.2.10 not served")),
        "{became:?}"
    );
    assert_eq!(bench.installed(), [NEW[0], OLD[1]]);
    let bench = Bench::new(&[], &["haproxy_2.6.12-1+deb12u4"]);
    let became = bench.make().await;
    assert!(matches!(became[0], Became::Back(_)), "{became:?}");
    assert_eq!(became[1], Became::NotTried);
    assert_eq!(bench.installed(), OLD[..1]);
    // There and back again.
    assert_eq!(bench.orders("restart --workers").len(), 2);
    let bench = Bench::new(
        &["confold install /var/cache/ober/ober_0.1.0"],
        &["ober_0.2.0"],
    );
    let became = bench.make().await;
    assert!(
        matches!(&became[1], Became::Stuck(why) if why.contains("to go back")),
        "{became:?}"
    );
}

#[tokio::test]
async fn a_package_file_whose_signature_is_not_good_is_not_installed() {
    let main = Path::new("/etc/ober/ober.toml");
    let offers = [offer(Package::Haproxy, "2.8.14-1.el10", "2.8.15-1.el10")];
    for (failing, refused) in [(&[][..], false), (&["rpm --checksig"][..], true)] {
        let bench = Bench::new(failing, &[]);
        let became = make(
            &bench.host,
            Manager::Dnf,
            main,
            &offers,
            Patience::default(),
        )
        .await;
        assert_eq!(
            matches!(&became[0], Became::Refused(_)),
            refused,
            "{became:?}"
        );
        assert_eq!(bench.orders("rpm --upgrade").is_empty(), refused);
        let leads_back = bench.kept().iter().any(|it| it.contains(".rpm"));
        assert_eq!(leads_back, !refused, "{:?}", bench.kept());
    }
}
