//! What the daemon's child processes get from it, and what other accounts of the machine can open.

use std::{
    collections::BTreeSet,
    fs,
    io::{Read as _, Write as _},
    os::{
        linux::fs::MetadataExt as _,
        unix::{fs::FileExt as _, net::UnixStream},
    },
    path::Path,
    time::Duration,
};

use nix::unistd::User;
use ober_programs::{CP, Command, SETPRIV, SH, SLEEP};
use ober_tests::{
    lab::{VIP4, until},
    nodes::one::{Settings, Stage},
};

use crate::{CONTENT, PATH, store};

/// Variables as the example recommends them, with values that only the daemon may know.
const SECRETS: [(&str, &str); 4] = [
    ("AWS_SECRET_ACCESS_KEY", "aws-secret-77"),
    ("CONSUL_TOKEN", "consul-secret-9"),
    ("OBER_BGP_PASSWORD", "bgp-secret-42"),
    ("OBER_CLUSTER_KEY", "00112233445566778899aabbccddeeff"),
];

fn stage(name: &str) -> Stage {
    let mut stage = Stage::new(name, &Settings::default()).expect("build the stage");
    let secrets = SECRETS.map(|(name, value)| (name.to_owned(), value.to_owned()));
    stage.ober.environment = secrets.to_vec();
    let config = fs::read_to_string(&stage.ober.config).expect("read the configuration");
    let key = "sample = 1\ncluster_key = \"${OBER_CLUSTER_KEY}\"";
    fs::write(&stage.ober.config, config.replace("sample = 1", key)).expect("write it");
    stage.start().expect("start");
    store(&stage);
    stage
}

fn of(pid: i32, name: &str) -> String {
    fs::read_to_string(format!("/proc/{pid}/{name}")).expect(name)
}

fn field(pid: i32, name: &str) -> String {
    let status = of(pid, "status");
    let mut lines = status.lines();
    let line = lines.find_map(|line| line.strip_prefix(&format!("{name}:")));
    line.expect(name)
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

/// All memory of a process that can be read.
fn memory(pid: i32) -> Vec<u8> {
    let file = fs::File::open(format!("/proc/{pid}/mem")).expect("open its memory");
    let mut whole = Vec::new();
    for line in of(pid, "maps").lines() {
        let mut words = line.split_whitespace();
        let (range, mode) = (words.next().expect("range"), words.next().expect("mode"));
        if !mode.starts_with('r') {
            continue;
        }
        let (from, to) = range.split_once('-').expect("range");
        let [from, to] = [from, to].map(|it| u64::from_str_radix(it, 16).expect("address"));
        let mut piece = vec![0; usize::try_from(to - from).expect("size")];
        // The kernel's own pages cannot be read.
        if file.read_exact_at(&mut piece, from).is_ok() {
            whole.extend(piece);
        }
    }
    whole
}

fn contains(memory: &[u8], secret: &str) -> bool {
    let secret = secret.as_bytes();
    memory.windows(secret.len()).any(|piece| piece == secret)
}

#[test]
fn a_worker_runs_unprivileged_in_an_empty_root_and_holds_no_secret_of_the_daemon() {
    let stage = stage("secrets");
    let run = stage.cluster.lab.directory().join("run");
    let account = User::from_name("haproxy")
        .expect("ask")
        .expect("HAProxy's package makes it");
    let number = |text: &str| text.split(' ').all(|it| it == account.uid.to_string());
    let workers = stage.ober.workers(&stage.cluster.node).expect("workers");
    assert_eq!(workers.len(), 2);
    for pid in workers {
        assert!(number(&field(pid, "Uid")), "{}", field(pid, "Uid"));
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            assert_eq!(u64::from_str_radix(&field(pid, set), 16), Ok(0), "{set}");
        }
        assert_eq!(field(pid, "NoNewPrivs"), "1");
        assert_eq!(field(pid, "Groups"), "");
        let root = fs::metadata(format!("/proc/{pid}/root")).expect("its root");
        let empty = fs::metadata(run.join("empty")).expect("the empty directory");
        assert_eq!(
            (root.st_dev(), root.st_ino()),
            (empty.st_dev(), empty.st_ino())
        );
        assert_eq!((empty.st_mode() & 0o7777, empty.st_uid()), (0o755, 0));
        assert_eq!(fs::read_dir(run.join("empty")).expect("read it").count(), 0);
        let environment = of(pid, "environ");
        let names: BTreeSet<&str> = environment
            .split_terminator('\0')
            .map(|it| it.split('=').next().expect("name"))
            .collect();
        let sockets = ["OBER_FD_0", "OBER_FD_1", "OBER_FD_2", "OBER_FD_3"];
        assert_eq!(names, BTreeSet::from(sockets));
        let memory = memory(pid);
        assert!(
            contains(&memory, "OBER_FD_0"),
            "this is how it would be found"
        );
        for (name, secret) in SECRETS {
            assert!(
                !contains(&memory, secret),
                "{name} is in the memory of {pid}"
            );
        }
        assert_eq!(of(pid, "coredump_filter").trim(), "00000000");
        assert!(of(pid, "limits").contains("Max core file size        0                    0 "));
    }
    let mut socket = UnixStream::connect(run.join("worker-0.sock")).expect("connect");
    socket.write_all(b"show env\n").expect("ask");
    let mut said = String::new();
    socket.read_to_string(&mut said).expect("read");
    assert!(said.contains("OBER_FD_0="), "{said}");
    for (_, secret) in SECRETS {
        assert!(!said.contains(secret), "{said}");
    }
    let client = stage.open(VIP4);
    let get = stage.cluster.clients[0].tokio(async || client.get(PATH, CONTENT).await);
    assert_eq!(get.expect("enter the client"), Ok(()));
    assert!(
        stage
            .status()
            .expect("status")
            .workers
            .iter()
            .all(|it| it.as_root.is_empty())
    );
}

#[test]
fn the_daemon_leaves_no_core_dump_and_other_accounts_have_no_access_to_an_instance() {
    let mut stage = stage("private");
    let pid = i32::try_from(stage.ober.daemon.as_ref().expect("it runs").pid()).expect("number");
    assert_eq!(of(pid, "coredump_filter").trim(), "00000000");
    assert!(of(pid, "limits").contains("Max core file size        0                    0 "));
    assert_eq!(field(pid, "Umask"), "0077");
    let lab = stage.cluster.lab.directory().to_owned();
    for directory in ["run", "state"] {
        let mut open = Vec::new();
        private(&lab.join(directory), &mut open);
        // The root directory of the workers is empty.
        open.retain(|path| !path.ends_with("run/empty"));
        assert!(open.is_empty(), "others get at {open:?}");
    }
    let lock = lab.join("run/lock");
    let open = CP.args([lock.as_os_str(), "/dev/null".as_ref()]);
    let stranger = ["--reuid=65534", "--regid=65534", "--clear-groups"];
    let tried = SETPRIV.before(stranger, &open).output().expect("run cp");
    assert!(!tried.status.success(), "another account may hold the lock");
    // Modes as an older daemon left them: they are set right, and the instance starts.
    stage.kill().expect("kill the daemon");
    for (path, mode) in [("run", 0o755), ("state", 0o755), ("run/lock", 0o644)] {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
        fs::set_permissions(lab.join(path), mode).expect("open it");
    }
    stage.start().expect("start again");
    let mode = |path: &str| fs::metadata(lab.join(path)).expect(path).st_mode() & 0o777;
    assert_eq!(
        [mode("run"), mode("state"), mode("run/lock")],
        [0o700, 0o700, 0o600]
    );
}

/// Without the capability to look into any process. Root may then look into a process that has no other capabilities than it
/// has itself, unless that process forbids it.
fn without_ptrace(command: &Command) -> Command {
    let lesser = ["--bounding-set=-sys_ptrace", "--inh-caps=-sys_ptrace"];
    SETPRIV.before(lesser, command)
}

/// May such a process look into this one? To follow this link takes the same permission as to trace the process and to read its
/// memory.
fn is_open(pid: u32) -> bool {
    let program = format!("/proc/{pid}/exe");
    let read = CP.args([program.as_str(), "/dev/null"]);
    let tried = without_ptrace(&read).output().expect("run cp");
    tried.status.success()
}

#[test]
fn a_process_with_the_capabilities_of_the_daemon_cannot_look_into_it() {
    let mut stage = Stage::new("closed", &Settings::default()).expect("build the stage");
    let node = &stage.cluster.node;
    let plain = node.spawn(&mut without_ptrace(&SLEEP.args(["60"])));
    let plain = plain.expect("start a program");
    until(
        "a program that forbids nothing",
        Duration::from_secs(10),
        || Ok(is_open(plain.pid()).then_some(())),
    )
    .expect("it is open");
    let run = stage.ober.ober(&["run"]).expect("ober-user");
    let daemon = node.spawn(&mut without_ptrace(&run)).expect("start it");
    let pid = daemon.pid();
    stage.ober.daemon = Some(daemon);
    until("a daemon that serves", Duration::from_secs(30), || {
        let status = stage.status()?;
        Ok((status.healthy && status.pid == Some(pid)).then_some(()))
    })
    .expect("it serves");
    let capabilities = |pid: u32| field(i32::try_from(pid).expect("a number"), "CapPrm");
    assert_eq!(capabilities(pid), capabilities(plain.pid()));
    assert!(!is_open(pid), "its secrets can be read");
    assert!(is_open(plain.pid()));
}

/// Writes down its own status, environment and descriptors, once. The shell itself does all but the copies; it reads this by
/// descriptor 10.
const SEE: &str = "test -e $1/done && exit 0
for number in 3 4 5 6 7 8 9 11 12 13 14 15 16 17 18 19 20 30 40 50 60; do
    test -e /proc/$$/fd/$number && open=\"$open $number\"
done
echo $open >$1/open
CP /proc/$$/environ /proc/$$/status $1
test -z \"$OBER_SECRET_FD\" || CP /proc/self/fd/$OBER_SECRET_FD $1/secret
echo >$1/done
";

/// The report of a program that the daemon ran.
struct Said {
    status: String,
    environment: BTreeSet<String>,
    open: String,
}

impl Said {
    fn of(seen: &Path) -> Self {
        let read = |name: &str| fs::read_to_string(seen.join(name)).expect(name);
        let environment = read("environ");
        let words = environment.split_terminator('\0');
        Self {
            status: read("status"),
            environment: words.map(ToOwned::to_owned).collect(),
            open: read("open").trim().to_owned(),
        }
    }

    fn is_nobody_with(&self, names: &[&str]) {
        for line in [
            "Uid:\t65534\t65534\t65534\t65534\n",
            "Groups:\t65534 \n",
            "CapInh:\t0000000000000000\n",
            "CapPrm:\t0000000000000000\n",
            "CapEff:\t0000000000000000\n",
            "CapBnd:\t0000000000000000\n",
            "CapAmb:\t0000000000000000\n",
            "NoNewPrivs:\t1\n",
            "Umask:\t0077\n",
        ] {
            assert!(self.status.contains(line), "{line} {}", self.status);
        }
        let words = self.environment.iter();
        let has = words.map(|word| word.split('=').next().expect("name"));
        assert_eq!(has.collect::<Vec<_>>(), names);
    }
}

#[test]
fn check_and_source_programs_run_as_nobody_with_only_path_and_their_own_secret() {
    let mut stage = Stage::new("programs", &Settings::default()).expect("build the stage");
    stage.ober.environment = SECRETS
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec();
    let lab = stage.cluster.lab.directory().to_owned();
    let seen = ["check", "source"].map(|name| lab.join(name));
    let [check, source] = &seen;
    for directory in &seen {
        fs::create_dir(directory).expect("make a directory");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        fs::set_permissions(directory, mode).expect("open it");
    }
    let text = SEE.replace("CP", &CP.to_string());
    let see = stage.cluster.lab.write("see", text).expect("write");
    let see = see.display();
    let secret = stage
        .cluster
        .lab
        .write("secret", "for-the-source\n")
        .expect("write");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(&secret, mode).expect("close it");
    let text = fs::read_to_string(&stage.ober.config).expect("read the configuration");
    let program = |seen: &Path| {
        let seen = seen.display();
        format!("kind = 'exec'\ncommand = ['{SH}', '{see}', '{seen}']\n")
    };
    let text = text.replace("path = \"/\"\n", &program(check));
    let text = format!(
        "{text}\n[[backends.rgw.discover]]\n{}secret_file = '{}'\n",
        program(source),
        secret.display()
    );
    fs::write(&stage.ober.config, text).expect("write the configuration");
    stage.start().expect("start");
    until("both programs", Duration::from_secs(20), || {
        Ok(seen.iter().all(|it| it.join("done").exists()).then_some(()))
    })
    .expect("they run");
    let said = Said::of(check);
    said.is_nobody_with(&["PATH"]);
    assert_eq!(said.open, "");
    let said = Said::of(source);
    said.is_nobody_with(&["OBER_SECRET_FD", "PATH"]);
    let number = format!("OBER_SECRET_FD={}", said.open);
    assert!(
        said.environment.contains(&number),
        "{number} {:?}",
        said.environment
    );
    let secret = fs::read_to_string(source.join("secret")).expect("read the secret");
    assert_eq!(secret, "for-the-source\n");
}

/// Files and directories that others may open.
fn private(path: &Path, open: &mut Vec<std::path::PathBuf>) {
    let facts = fs::symlink_metadata(path).expect("look");
    if facts.st_mode() & 0o077 != 0 {
        open.push(path.to_owned());
    }
    if facts.is_dir() {
        for entry in fs::read_dir(path).expect("read").flatten() {
            private(&entry.path(), open);
        }
    }
}
