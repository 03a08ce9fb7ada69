//! When a list of a request cannot be put in its place on disk, no list of the request changes in the kernel.

use std::{
    fs::File,
    os::fd::AsRawFd as _,
    path::{Path, PathBuf},
};

use ober_tests::{lab::client4, nodes::one::Stage};

use crate::{acl, listed, lists, serving};

/// `chattr +i`: no account may replace it, not even root.
struct Immutable(PathBuf);

impl Immutable {
    fn new(path: PathBuf) -> Self {
        set_immutable(&path, true);
        Self(path)
    }
}

impl Drop for Immutable {
    fn drop(&mut self) {
        set_immutable(&self.0, false);
    }
}

fn set_immutable(path: &Path, wanted: bool) {
    const IMMUTABLE: libc::c_long = 0x10;
    let file = File::open(path).expect("open it");
    let mut flags: libc::c_long = 0;
    // SAFETY: both requests read or write one long, which lives here.
    unsafe {
        let got = libc::ioctl(file.as_raw_fd(), libc::FS_IOC_GETFLAGS, &raw mut flags);
        assert_eq!(got, 0, "read the flags of {}", path.display());
        flags = if wanted {
            flags | IMMUTABLE
        } else {
            flags & !IMMUTABLE
        };
        let set = libc::ioctl(file.as_raw_fd(), libc::FS_IOC_SETFLAGS, &raw const flags);
        assert_eq!(set, 0, "set the flags of {}", path.display());
    }
}

fn kept(stage: &Stage, name: &str) -> PathBuf {
    stage.cluster.lab.directory().join("state/lists").join(name)
}

#[test]
fn a_change_whose_file_cannot_be_written_leaves_every_list_in_the_kernel_unchanged() {
    let stage = serving("immutable", "[lists.extra]\nsources = [\"10.9.9.9\"]\n");
    acl(&stage, &["add", "frontend-http", "10.1.1.1"]).says(0, &["1 added"]);
    let before = lists(&stage);
    for file in ["frontend-http.json", "extra.json"] {
        let immutable = Immutable::new(kept(&stage, file));
        for arguments in [
            &[
                "sync",
                "--frontend-http",
                "10.1.1.1,10.1.1.8",
                "--list",
                "extra",
                "10.3.9.9",
            ][..],
            &["add", "frontend-http", "10.1.1.7"],
            &["add", "extra", "10.3.9.8"],
        ] {
            let concerned = arguments.len() > 3 || file.starts_with(arguments[1]);
            if !concerned {
                continue;
            }
            acl(&stage, arguments).says(1, &["stays in force"]);
            assert_eq!(lists(&stage), before, "{file}: {arguments:?}");
        }
        drop(immutable);
        // The refused change left nothing that a later change would bring to light.
        acl(&stage, &["sync", "--refresh"]).says(0, &["0 added, 0 removed"]);
        assert_eq!(lists(&stage), before, "{file}");
    }
    let both = [
        "sync",
        "--frontend-http",
        "10.1.1.1,10.1.1.8",
        "--list",
        "extra",
        "10.3.9.9",
    ];
    acl(&stage, &both).says(0, &["list extra: 1 added, 1 removed"]);
    assert!(listed(&stage, "10.3.9.9".parse().expect("an address")));
}

#[test]
fn a_removal_takes_effect_with_a_warning_when_it_cannot_be_stored() {
    let stage = serving("kept-out", "");
    acl(&stage, &["add", "frontend-http", "10.1.1.1"]).says(0, &["1 added"]);
    let immutable = Immutable::new(kept(&stage, "frontend-http.json"));
    acl(&stage, &["remove", "frontend-http", "10.1.1.1"]).says(
        0,
        &["1 removed", "not kept over a restart", "frontend-http.json"],
    );
    assert!(!listed(&stage, "10.1.1.1".parse().expect("an address")));
    assert!(listed(&stage, client4(0)));
    // No client comes on the list meanwhile, and the one that was taken off stays off.
    acl(&stage, &["add", "frontend-http", "10.1.1.7"]).says(1, &["stays in force"]);
    acl(&stage, &["sync", "--refresh"]);
    assert!(!listed(&stage, "10.1.1.1".parse().expect("an address")));
    drop(immutable);
    acl(&stage, &["add", "frontend-http", "10.1.1.7"]).says(0, &["1 added"]);
    assert!(stage.status().expect("status").disk.unkept.is_empty());
    assert!(!listed(&stage, "10.1.1.1".parse().expect("an address")));
}
