//! `logs`, and every command of this kind where there is no systemd.

use ober_tests::nodes::routed::{Routed, Settings};
use ober_user::config::MAIN;

use crate::{Node, Ran};

#[test]
fn logs_asks_the_real_journalctl_which_takes_every_word() {
    let node = Node::new("logs");
    let shown = node.ober(&[
        "logs",
        "-n",
        "5",
        "--since",
        "-2h",
        "--service",
        "gate",
        "--vip",
        "192.0.2.10",
    ]);
    // `journalctl` refused no argument, and the journal of this machine has nothing about this unit, if there is one.
    let said = format!("{}{}", shown.out, shown.err);
    let nothing = ["No entries", "No journal files were found"];
    assert!(nothing.iter().any(|it| said.contains(it)), "{shown:?}");
    let refused = node.ober(&["logs", "--service", "http"]);
    assert!(
        refused.code == 2 && refused.err.contains("certificates"),
        "{refused:?}"
    );
}

#[test]
fn without_systemd_each_command_says_what_to_do_instead() {
    let stage = Routed::new("no-systemd", &Settings::default()).expect("build the stage");
    for (words, instead) in [
        ("start", "`ober-user run` runs the daemon here"),
        ("stop", "then `ober-user detach`"),
        ("restart", "run `ober-user run` again"),
        ("logs", "its standard error"),
    ] {
        let words = [words, "--unit", "ober"];
        let ran: Ran = stage.ober[0]
            .try_cli(stage.node(0), &words)
            .expect("run it")
            .into();
        assert_eq!(ran.code, 1, "{ran:?}");
        assert!(
            ran.err.contains("systemd does not manage this machine"),
            "{ran:?}"
        );
        assert!(ran.err.contains(instead), "{ran:?}");
    }
}

#[test]
fn a_file_that_no_unit_reads_is_named_with_the_unit_to_give() {
    let node = Node::new("no-unit");
    let mut command = node.before(&["start"], &[]).expect("the command");
    let refused: Ran = node.host().try_output(&mut command).expect("run it").into();
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(
        refused.err.contains("--unit") && refused.err.contains(MAIN),
        "{refused:?}"
    );
}
