//! `start` and `restart`.

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use ober_tests::lab::VIP4;

use crate::{Node, PATIENCE, Ran, UNIT};

#[test]
fn start_refuses_a_broken_file_waits_for_the_vips_and_says_why_one_is_not_announced() {
    let node = Node::new("start");
    node.write(&node.whole.replace("sample = 1", "sampel = 1"));
    let refused = node.ober(&["start"]);
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(refused.err.contains("sampel"), "{refused:?}");
    assert_eq!(node.calls(), [""; 0], "systemd was not asked");
    node.write(&node.whole);

    let started = node.ober(&["start"]);
    assert_eq!(started.code, 0, "{started:?}");
    let expected = format!("{UNIT}: 2 of 2 VIPs announced after ");
    assert!(started.out.starts_with(&expected), "{started:?}");
    // A router has it when the command ends.
    node.stage
        .until_paths(&[0], std::time::Duration::from_secs(2))
        .expect("the route");
    let orders = ["enable", "start --no-block", "start"];
    assert_eq!(node.calls(), orders.map(|it| format!("{it} {UNIT}")));
    let pid = node.pid();

    let again = node.ober(&["start", "--json"]);
    assert_eq!(again.code, 0, "{again:?}");
    let said = again.json();
    assert_eq!(said["announced"], true, "{said}");
    assert_eq!(said["vips"].as_array().map(Vec::len), Some(2), "{said}");
    assert_eq!(node.pid(), pid, "it runs already");

    // An order is no fault that time could mend.
    node.stage
        .cli(0, &["disable", &VIP4.to_string()])
        .expect("disable");
    let late = node.ober(&["start", "--wait", "5m"]);
    assert_eq!(late.code, 5, "{late:?}");
    assert!(late.out.contains("1 of 2 VIPs announced"), "{late:?}");
    assert!(late.out.contains("ober-user disable"), "{late:?}");
    // A closed pipe does not turn it into a success.
    let mut command = node.command(&["start"]).expect("the command");
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    command.stdout(writer);
    let late = node.host().try_output(&mut command).expect("run it");
    assert_eq!(late.status.code(), Some(5), "{late:?}");
    node.stage.cli(0, &["enable"]).expect("enable");

    // The daemon hangs: the time is over.
    let pid = i32::try_from(pid.expect("a daemon")).expect("its number");
    kill(Pid::from_raw(pid), Signal::SIGSTOP).expect("stop it");
    let late = node.ober(&["start", "--wait", "1s", "--json"]);
    kill(Pid::from_raw(pid), Signal::SIGCONT).expect("go on");
    assert_eq!(late.code, 5, "{late:?}");
    let said = late.json();
    assert_eq!(said["announced"], false, "{said}");
    let why = said["away"].as_str().expect("why").to_owned();
    assert!(why.contains("no answer within"), "{why}");
}

#[test]
fn restart_refuses_a_broken_file_and_puts_another_daemon_in_place_which_announces_again() {
    let node = Node::new("restart");
    assert_eq!(node.ober(&["start"]).code, 0);
    let pid = node.pid();
    node.write(&node.whole.replace("sample = 1", "sampel = 1"));
    let refused = node.ober(&["restart"]);
    assert_eq!(refused.code, 2, "{refused:?}");
    let way = format!("`systemctl restart {UNIT}` does it all the same");
    assert!(refused.err.contains(&way), "{refused:?}");
    assert_eq!(node.calls().len(), 3, "systemd was not asked");
    assert_eq!(node.pid(), pid);
    node.stage
        .until_paths(&[0], PATIENCE)
        .expect("the route stays");

    node.write(&node.whole.replace("= 2000", "= 1999"));
    let own = |words: &[&str]| -> Ran {
        let ran = node.stage.ober[0].try_cli(node.host(), words);
        ran.expect("run it").into()
    };
    let reloaded = own(&["restart", "--reload-only", "--json"]);
    assert_eq!(reloaded.code, 0, "{reloaded:?}");
    assert!(reloaded.json()["replaced"].is_array(), "{reloaded:?}");
    assert_eq!((node.pid(), node.calls().len()), (pid, 3));

    let workers = node.stage.ober[0].workers(node.host()).expect("workers");
    let restarted = node.ober(&["restart"]);
    assert_eq!(restarted.code, 0, "{restarted:?}");
    assert!(
        restarted.out.contains("2 of 2 VIPs announced"),
        "{restarted:?}"
    );
    assert_ne!(node.pid(), pid);
    let after = node.stage.ober[0].workers(node.host()).expect("workers");
    assert_eq!(workers, after, "transfers go on");
    let orders = ["restart --no-block", "start"];
    assert_eq!(node.calls()[3..], orders.map(|it| format!("{it} {UNIT}")));
    let both = own(&["restart", "--reload-only", "--workers"]);
    assert_eq!(both.code, 2, "{both:?}");
    let ignored = node.ober(&["restart", "--reload-only"]);
    assert_eq!(ignored.code, 2, "it asks no unit: {ignored:?}");
}

#[test]
fn a_daemon_whose_log_nobody_takes_announces_and_a_command_whose_words_nobody_takes_keeps_its_status()
 {
    let node = Node::new("full");
    std::fs::write(node.at("log-to"), "/dev/full").expect("choose the log");
    let started = node.ober(&["start", "--wait", "20s"]);
    assert_eq!(started.code, 0, "{started:?}");
    node.write(&node.whole.replace("sample = 1", "sampel = 1"));
    let mut command = node.command(&["restart"]).expect("the command");
    let full = std::fs::File::create("/dev/full").expect("open /dev/full");
    command.stderr(full);
    let refused = node.host().try_output(&mut command).expect("run it");
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
}

#[test]
fn a_unit_that_systemd_cannot_start_is_a_failure_with_its_words() {
    let node = Node::new("refused-unit");
    let script = "#!/bin/sh\necho 'Unit file ober-test.service does not exist.' >&2\nexit 5\n";
    std::fs::write(node.at("bin/systemctl"), script).expect("write the script");
    for words in ["start", "restart"] {
        let failed = node.ober(&[words]);
        assert_eq!(failed.code, 1, "{failed:?}");
        assert!(
            failed
                .err
                .contains("Unit file ober-test.service does not exist."),
            "{failed:?}"
        );
        assert!(
            failed.err.contains("`systemctl status ober-test.service`"),
            "{failed:?}"
        );
    }
}
