//! A process that may exchange the pins decides what is filtered, so they must be root's alone.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink},
    path::{Path, PathBuf},
};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};
use ober_tests::{
    mounts,
    nodes::one::{Settings, Stage},
};

use crate::{change, refused};

/// A stage with a place for a BPF file system of its own.
fn stage(name: &str) -> (Stage, PathBuf) {
    let stage = Stage::new(name, &Settings::default()).expect("build the stage");
    let bpffs = stage.cluster.lab.directory().join("bpf");
    fs::create_dir(&bpffs).expect("make a place for it");
    let line = format!("[node]\nbpffs = \"{}\"\n", bpffs.display());
    change(&stage, "[node]\n", &line);
    (stage, bpffs)
}

/// Calls a function in a mount namespace of its own; the programs that it starts share it.
fn apart<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNS).expect("mounts of its own");
            let (none, all) = (None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE);
            mount(none, "/", none, all, none).expect("no longer shared");
            work()
        });
        thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[test]
fn the_bpf_file_system_and_the_directories_of_pins_are_accessible_to_root_only() {
    let (mut stage, bpffs) = stage("bpffs");
    mounts::start(&mut stage, &[]).expect("start");
    let ober = bpffs.join("ober");
    let home = ober.join(stage.cluster.lab.instance());
    for path in [&bpffs, &ober, &home] {
        let data = mounts::seen(&stage, path)
            .map(fs::metadata)
            .expect("a path")
            .expect("it is there");
        let allowed = (data.uid(), data.mode() & 0o777);
        assert_eq!(allowed, (0, 0o700), "{}", path.display());
    }
    let pins = mounts::seen(&stage, &home)
        .map(fs::read_dir)
        .expect("a path")
        .expect("it is read");
    let objects = pins.filter_map(|pin| {
        let pin = pin.expect("a pin");
        // A note beside a pin is a symbolic link, and has no permissions of its own.
        let kind = pin.file_type().expect("its kind");
        kind.is_file().then(|| (pin.path(), pin.metadata()))
    });
    let objects: Vec<_> = objects.collect();
    assert!(objects.len() > 10, "{objects:?}");
    for (path, data) in objects {
        let data = data.expect("it is there");
        let allowed = (data.uid(), data.mode() & 0o777);
        assert_eq!(allowed, (0, 0o600), "{}", path.display());
    }
    stage.ober.stop().expect("it ends");
}

type Spoil = fn(&Path);

fn own(path: &Path) {
    chown(path, Some(65534), Some(65534)).expect("give it away");
}

fn open(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("open it");
}

fn made(path: &Path) -> &Path {
    fs::create_dir_all(path).expect("make it");
    path
}

#[test]
fn pins_that_other_accounts_may_replace_are_refused_and_never_used() {
    let (stage, bpffs) = stage("pins");
    let ober = bpffs.join("ober");
    let home = ober.join(stage.cluster.lab.instance());
    let cases: [(&Path, &str, Spoil); 7] = [
        (&ober, "belongs to user 65534", |path| own(made(path))),
        (&ober, "mode is 0777", |path| open(made(path), 0o777)),
        (&ober, "mode is 0770", |path| open(made(path), 0o770)),
        (&ober, "no directory", |path| {
            symlink("/tmp", path).expect("lead elsewhere");
        }),
        (&home, "belongs to user 65534", |path| own(made(path))),
        (&bpffs, "mode is 0777", |path| open(path, 0o777)),
        (&bpffs, "belongs to user 65534", own),
    ];
    for (path, words, spoil) in cases {
        let said = apart(|| {
            let (kind, none) = (Some("bpf"), None::<&str>);
            mount(kind, &bpffs, kind, MsFlags::empty(), none).expect("mount it");
            spoil(path);
            refused(&stage)
        });
        let place = format!("use {} for pins", path.display());
        assert!(
            said.contains(words) && said.contains(&place),
            "{words}: {said}"
        );
    }
}
