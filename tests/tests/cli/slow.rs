//! Files on a disk that does not answer: every command that needs them says so, and ends.

use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use nix::{
    fcntl::AT_FDCWD,
    sys::fanotify::{EventFFlags, Fanotify, InitFlags, MarkFlags, MaskFlags},
};

use super::{Node, Ran, ober};

/// Twice the time that a command gives its files, and what starting it takes on a busy machine.
const LIMIT: Duration = Duration::from_secs(20);

/// A process that opens the file waits until this is dropped: the kernel asks here for permission and gets no answer.
fn hung(file: &Path) -> Fanotify {
    let class = InitFlags::FAN_CLASS_CONTENT | InitFlags::FAN_CLOEXEC;
    let group = Fanotify::init(class, EventFFlags::O_RDONLY).unwrap();
    let marked = group.mark(
        MarkFlags::FAN_MARK_ADD,
        MaskFlags::FAN_OPEN_PERM,
        AT_FDCWD,
        Some(file),
    );
    marked.unwrap();
    group
}

/// Runs them all at once; each ends in time, and says that the file at `path` did not answer.
fn all_say_so(commands: &[&[&str]], config: &Path, path: &Path) {
    let run = |words: &[&str]| {
        let since = Instant::now();
        let ran: Ran = ober(words)
            .arg("--config")
            .arg(config)
            .output()
            .unwrap()
            .into();
        let took = since.elapsed();
        let changed_live = format!("{}{}", ran.out, ran.err);
        assert!(took < LIMIT, "{words:?} took {took:?}: {changed_live}");
        assert_ne!(ran.code, 0, "{words:?}: {changed_live}");
        assert!(
            changed_live.contains("did not answer within 2s"),
            "{words:?}: {changed_live}"
        );
        assert!(
            changed_live.contains(&path.display().to_string()),
            "{words:?}: {changed_live}"
        );
    };
    thread::scope(|all| {
        let running: Vec<_> = commands
            .iter()
            .map(|words| all.spawn(|| run(words)))
            .collect();
        for command in running {
            command.join().unwrap();
        }
    });
}

#[test]
fn a_configuration_on_an_unanswering_disk_ends_every_command_with_an_error() {
    let node = Node::new("hung");
    let config = node.directory.path().join("ober.toml");
    let _hung = hung(&config);
    let commands: [&[&str]; 9] = [
        &["status"],
        &["validate"],
        &["plan"],
        &["reload"],
        &["rollback"],
        &["doctor"],
        &["history"],
        &["acl", "show"],
        &["drain"],
    ];
    all_say_so(&commands, &config, &config);
}

#[test]
fn a_file_to_apply_on_an_unanswering_disk_ends_plan_and_apply_with_an_error() {
    let node = Node::new("hung-next");
    let config = node.directory.path().join("ober.toml");
    let next = node.directory.path().join("next.toml");
    std::fs::copy(&config, &next).unwrap();
    let _hung = hung(&next);
    let name = next.display().to_string();
    all_say_so(&[&["plan", &name], &["apply", &name]], &config, &next);
}

#[test]
fn a_history_on_an_unanswering_disk_is_reported_together_with_the_fault_in_the_files() {
    let node = Node::new("hung-history");
    let config = node.directory.path().join("ober.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("[limits]", "[limist]")).unwrap();
    let history = node.directory.path().join("state/history");
    std::fs::create_dir_all(&history).unwrap();
    let snapshot = history.join("1.json");
    std::fs::write(&snapshot, "{}").unwrap();
    let _hung = hung(&snapshot);
    let state = node.directory.path().join("state");
    all_say_so(
        &[&["acl", "show"], &["history"], &["history", "1"]],
        &config,
        &state,
    );
    let ran: Ran = ober(&["acl", "show", "--config"])
        .arg(&config)
        .output()
        .unwrap()
        .into();
    assert!(ran.err.contains("limist"), "{ran:?}");
}
