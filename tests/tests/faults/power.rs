//! The power fails right after a command has answered. The state directory is a small ext4 in a file; a copy of that file is
//! what the disk has at that moment: what was not synced is in the kernel's memory alone, and in no copy.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use ober_programs::{Command, MKE2FS, MOUNT, SH, SLEEP, UNSHARE};
use ober_tests::{
    lab::{client4, until},
    mounts,
    nodes::one::{S3_PORT, Settings, Stage},
};

use crate::store;

/// Keeps the kernel from writing by itself meanwhile, and from guessing that a rename wants its data written.
const OPTIONS: &str = "loop,commit=300,noauto_da_alloc";

type Tree = BTreeMap<PathBuf, Vec<u8>>;

fn tree(home: &Path) -> Tree {
    let mut all = Tree::new();
    let mut open = vec![home.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory)
            .expect("read a directory")
            .flatten()
        {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension() != Some("new".as_ref()) {
                let bytes = fs::read(&path).expect("read a file");
                all.insert(path.strip_prefix(home).expect("below").to_owned(), bytes);
            }
        }
    }
    all
}

fn mount(options: &str, image: &Path, at: &Path) -> Command {
    let mut command = MOUNT.args(["-o", options]);
    command.arg(image).arg(at);
    command
}

struct Disk {
    stage: Stage,
    image: PathBuf,
    state: PathBuf,
}

impl Disk {
    fn new(name: &str) -> Self {
        let settings = Settings {
            extra: "[lists.other]\nsources = [\"10.9.9.9\"]\n".to_owned(),
            ..Settings::default()
        };
        let stage = Stage::new(name, &settings).expect("build the stage");
        let home = stage.cluster.lab.directory();
        let (image, state) = (home.join("disk"), home.join("state"));
        fs::create_dir(&state).expect("make the directory");
        let file = fs::File::create(&image).expect("create a file");
        file.set_len(16 << 20).expect("give it a size");
        let mut make = MKE2FS.args(["-q", "-F", "-t", "ext4", "-m", "0"]);
        make.arg(&image);
        stage
            .cluster
            .node
            .output(&mut make)
            .expect("make a file system");
        Self {
            stage,
            image,
            state,
        }
    }

    fn start(&mut self, image: &Path) {
        let mount = mount(OPTIONS, image, &self.state);
        mounts::start(&mut self.stage, &[mount]).expect("start on a disk of its own");
    }

    /// The state directory as the daemon sees it.
    fn now(&self) -> Tree {
        tree(&mounts::seen(&self.stage, &self.state).expect("path"))
    }

    /// The disk as a machine finds it that was switched off now.
    fn without_power(&self, number: usize) -> (PathBuf, Tree) {
        let home = self.stage.cluster.lab.directory();
        let [image, played] = ["disk", "played"].map(|name| home.join(format!("{name}{number}")));
        fs::copy(&self.image, &image).expect("copy the disk");
        // Mounting it, the journal is played, as after a loss of power. The copy stays as it was.
        fs::copy(&image, &played).expect("copy the copy");
        let look = home.join("look");
        fs::create_dir_all(&look).expect("make a directory");
        let mount = mount("loop", &played, &look);
        let stay = SLEEP.args(["600"]);
        let mut command = UNSHARE.before(["--mount"], &SH.in_turn(&[&mount, &stay]));
        let there = self
            .stage
            .cluster
            .node
            .spawn(&mut command)
            .expect("mount the copy");
        let seen = Path::new("/proc")
            .join(there.pid().to_string())
            .join("root")
            .join(look.strip_prefix("/").expect("absolute"));
        until("the copy of the disk", crate::PATIENCE, || {
            Ok(seen.join("lists").exists().then_some(()))
        })
        .expect("it is mounted");
        let found = tree(&seen);
        drop(there);
        fs::remove_file(played).expect("remove it");
        (image, found)
    }

    /// Writes something there and does not sync it.
    fn write_carelessly(&self, number: usize) -> PathBuf {
        let name = PathBuf::from(format!("careless{number}"));
        let state = mounts::seen(&self.stage, &self.state).expect("path");
        fs::write(state.join(&name), vec![1; 10_000]).expect("write");
        name
    }

    fn cli(&self, arguments: &[&str]) {
        let done = self.stage.cli(arguments);
        assert!(done.is_ok(), "{arguments:?}: {done:?}");
    }
}

#[test]
fn an_acknowledged_change_survives_a_power_loss() {
    let mut disk = Disk::new("power");
    let image = disk.image.clone();
    disk.start(&image);
    store(&disk.stage);
    // The same server in another notation.
    let servers = format!("10.77.1.[2-2]:{S3_PORT}");
    let one = client4(0).to_string();
    let both = format!("{one},{}", client4(1));
    let text = fs::read_to_string(&disk.stage.ober.config).expect("read");
    let more = text.replace("sample = 1", "sample = 2");
    let more = disk.stage.cluster.lab.write("more.toml", more);
    let more = more.expect("write").display().to_string();
    let vip = ober_tests::lab::VIP6.to_string();
    let commands: [&[&str]; 8] = [
        &["acl", "sync", "--frontend-http", &one],
        &["acl", "add", "frontend-http", "10.2.0.0/16"],
        &["acl", "add", "other", "10.9.9.10", "fd00::7"],
        &["acl", "remove", "frontend-http", "10.2.0.9"],
        &[
            "acl",
            "sync",
            "--frontend-http",
            &both,
            "--list",
            "other",
            "10.4.0.1",
        ],
        &["acl", "sync", "--backend-http", &servers],
        &["drain", &vip],
        &["apply", &more],
    ];
    let (mut last, mut lost) = (None, 0);
    for (number, command) in commands.iter().enumerate() {
        let careless = disk.write_carelessly(number);
        disk.cli(command);
        let (image, found) = disk.without_power(number);
        let there = found.get(&careless);
        lost += usize::from(there.is_none_or(|bytes| bytes.len() < 10_000));
        let mut now = disk.now();
        now.retain(|path, _| !path.to_string_lossy().starts_with("careless"));
        let differ: Vec<_> = now
            .iter()
            .filter(|(path, bytes)| found.get(*path) != Some(bytes))
            .map(|(path, bytes)| (path, bytes.len(), found.get(path).map(Vec::len)))
            .collect();
        assert!(
            differ.is_empty(),
            "after {command:?} the disk lacks {differ:?}"
        );
        last = Some(image);
    }
    assert!(
        lost > 0,
        "a copy of the disk would have told, had something not been synced"
    );
    starts_by_what_is_on(&mut disk, &last.expect("a copy"), &vip);
}

/// The machine is switched on again: no pins, no workers, and this copy of the disk.
fn starts_by_what_is_on(disk: &mut Disk, image: &Path, vip: &str) {
    disk.stage.kill().expect("kill the daemon");
    disk.cli(&["detach"]);
    disk.start(image);
    let status = disk.stage.status().expect("status");
    assert_eq!(status.disk, ober_user::system::store::Disk::default());
    let listed = |address: &str| {
        disk.stage
            .try_cli(&["acl", "check", address])
            .expect("check")
            .status
            .success()
    };
    for (address, wanted) in [
        (client4(1).to_string(), true),
        ("10.4.0.1".to_owned(), true),
        ("10.2.0.8".to_owned(), false),
        ("10.9.9.9".to_owned(), false),
    ] {
        assert_eq!(listed(&address), wanted, "{address}");
    }
    let drained = status
        .gate
        .iter()
        .find(|gate| gate.vip.to_string() == vip)
        .map(|gate| gate.state);
    assert_eq!(drained, Some(ober_user::announce::gate::State::Draining));
}
