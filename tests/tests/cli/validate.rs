//! `validate` handles private keys and leaves nothing of them anywhere, however it ends.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, thread::sleep, time::Duration};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use ober_programs::{HAPROXY, SLEEP};
use ober_tests::{certificate::Authority, lab::until};

use super::{Node, ober};

/// HAProxy, but it writes a file once it has read its own files, and then waits.
fn slow_haproxy(home: &Path) -> String {
    let path = home.join("slow-haproxy");
    let text = format!(
        "#!/bin/sh\ncase $1 in -c) {HAPROXY} \"$@\"; echo $? $$ > {0}/read; exec {SLEEP} 600;; esac\nexec {HAPROXY} \"$@\"\n",
        home.display()
    );
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path.display().to_string()
}

fn files_below(path: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        found.push(entry.path().display().to_string());
        if entry.file_type().unwrap().is_dir() {
            found.extend(files_below(&entry.path()));
        }
    }
    found.sort();
    found
}

#[test]
fn validate_leaves_no_key_and_no_file_behind_however_it_ends() {
    let node = Node::new("leftover");
    let home = node.path();
    let temporary = home.join("tmp");
    fs::create_dir(&temporary).unwrap();
    let chain = Authority::new()
        .unwrap()
        .server(&[[192, 0, 2, 1].into()])
        .unwrap();
    fs::write(home.join("s3.pem"), chain).unwrap();
    let text = format!(
        "[node]\ninterfaces = ['lo']\nrun = '{0}/run'\nstate = '{0}/state'\n[workers]\nhaproxy = '{1}'\n\
         [[services]]\nname = 's3'\nvips = ['192.0.2.1']\nbackend = 'rgw'\n\
         [[services.listeners]]\nport = 443\ncertificate = 's3.pem'\n[backends.rgw]\nservers = ['192.0.2.9:80']\n",
        home.display(),
        slow_haproxy(home)
    );
    let config = home.join("ober.toml");
    fs::write(&config, text).unwrap();
    let before = files_below(home);
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGKILL] {
        let mut command = ober(&["validate", "--config", config.to_str().unwrap()]);
        let mut child = command.env("TMPDIR", &temporary).spawn().unwrap();
        let read = home.join("read");
        while fs::read_to_string(&read).unwrap_or_default().is_empty() {
            assert!(child.try_wait().unwrap().is_none(), "it was to wait");
            sleep(Duration::from_millis(5));
        }
        let said = fs::read_to_string(&read).unwrap();
        let (status, slow) = said.trim().split_once(' ').unwrap();
        assert_eq!(status, "0", "HAProxy takes it");
        fs::remove_file(&read).unwrap();
        assert_eq!(files_below(home), before, "while HAProxy reads its files");
        kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
        child.wait().unwrap();
        // A zombie has ended too, whichever process is to reap it.
        let stat = Path::new("/proc").join(slow).join("stat");
        until("the end of HAProxy", Duration::from_secs(10), || {
            let runs = fs::read_to_string(&stat).is_ok_and(|it| !it.contains(") Z "));
            Ok((!runs).then_some(()))
        })
        .unwrap();
        assert_eq!(files_below(home), before, "{signal}");
    }
}
