//! Disks that do not take what is written.

use std::path::Path;

use ober_programs::{Command, SH, UNSHARE};
use ober_tests::mounts;

use crate::{Image, Ran};

/// Runs bootstrap after these mounts, which no other process sees.
fn after(image: &Image, first: &[Command], arguments: &[&str]) -> Ran {
    let last = image.command(arguments);
    let all: Vec<&Command> = first.iter().chain([&last]).collect();
    let mut command = UNSHARE.before(["--mount"], &SH.in_turn(&all));
    command.output().unwrap().into()
}

fn read_only(place: &Path) -> [Command; 2] {
    [mounts::bind(place, place), mounts::become_mode("ro", place)]
}

#[test]
fn a_read_only_etc_is_named_and_when_it_is_writable_the_next_run_ends_the_work() {
    let image = Image::new();
    let before = image.whole();
    let ran = after(&image, &read_only(&image.at("etc")), &["-y"]);
    ran.says(
        1,
        &["sysctl failed", "60-ober.conf", "Read-only file system"],
    );
    image.run(&["-y"]).says(0, &["sysctl: 1 changed"]);
    image.run(&["--undo", "-y"]).says(0, &[]);
    assert_eq!(image.whole(), before);
}

#[test]
fn without_a_place_for_the_record_nothing_is_changed() {
    let image = Image::new();
    let before = image.whole();
    let ran = after(&image, &read_only(&image.at("var")), &["-y"]);
    ran.says(1, &["/var/lib/ober", "Read-only file system"]);
    assert_eq!(image.whole(), before);
}

#[test]
fn a_full_disk_below_etc_or_below_the_record_is_named_and_an_undo_leaves_what_was_there() {
    for (full, words) in [
        ("etc/sysctl.d", "60-ober.conf"),
        // Room for the directory of the record, and not for the record.
        ("var/lib", "bootstrap.json"),
    ] {
        let image = Image::new();
        let place = image.at(full);
        let before = image.whole();
        // The inode of the directory itself counts.
        let inodes = if full == "var/lib" { 2 } else { 1 };
        let disk = mounts::memory(&format!("nr_inodes={inodes}"), &place);
        let ran = after(&image, &[disk], &["-y", "--only", "sysctl"]);
        ran.says(1, &["sysctl failed", words, "No space left on device"]);
        image.run(&["--undo", "-y"]).says(0, &[]);
        assert_eq!(image.whole(), before, "{full}");
    }
}
