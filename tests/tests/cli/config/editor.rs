//! `config edit`, with editors that a test wrote.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use ober_tests::terminal::Session;

use super::{files, text};
use crate::{Node, Ran, ober};

/// An editor that does this with the file `$1`. It finds only what a shell has built in.
fn editor(home: &Path, does: &str) -> String {
    let path: PathBuf = home.join("an editor");
    fs::write(&path, format!("#!/bin/sh\n{does}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    // Its name has a blank, so that a link without one names it.
    let link = home.join("editor");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    link.display().to_string()
}

fn edit(node: &Node, does: &str, more: &[&str]) -> Ran {
    let home = tempfile::tempdir().unwrap();
    let editor = editor(home.path(), does);
    let mut config = String::new();
    let args = node.args(&mut config, &[&["config", "edit"], more].concat());
    let mut command = ober(&args);
    let command = command.env("EDITOR", editor).env_remove("VISUAL");
    command.output().unwrap().into()
}

#[test]
fn a_valid_edit_takes_the_place_of_the_file_and_leaves_no_copy() {
    let node = Node::new("edit-good");
    let before = text(&node);
    let ran = edit(
        &node,
        "echo '[gate]' >> \"$1\"; echo 'rise = 3 # mine' >> \"$1\"",
        &["-y"],
    );
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(text(&node), format!("{before}[gate]\nrise = 3 # mine\n"));
    assert!(ran.out.contains("+rise = 3 # mine"), "{}", ran.out);
    let names: Vec<_> = files(node.path()).into_keys().collect();
    assert_eq!(names, ["ober.toml", "ober.toml.old"]);
    let same = edit(&node, "exit 0", &[]);
    assert_eq!(
        (same.code, same.out.as_str()),
        (0, "nothing to change\n"),
        "{same:?}"
    );
    assert_eq!(files(node.path()).len(), 2);
}

#[test]
fn an_edit_that_is_no_configuration_changes_nothing_and_is_kept_beside() {
    let node = Node::new("edit-bad");
    let before = text(&node);
    let ran = edit(&node, "echo 'nonsense' >> \"$1\"", &[]);
    assert_eq!(ran.code, 2, "{ran:?}");
    let copy = node.path().join("ober.edit.toml");
    assert!(ran.err.contains(&copy.display().to_string()), "{}", ran.err);
    assert!(ran.err.contains("nonsense"), "{}", ran.err);
    assert_eq!(text(&node), before);
    assert_eq!(
        fs::read_to_string(&copy).unwrap(),
        format!("{before}nonsense\n")
    );
    // What an earlier edit left is not written over.
    let again = edit(&node, "exit 0", &[]);
    assert_eq!(again.code, 2, "{again:?}");
    assert!(
        again.err.contains("an earlier one left it"),
        "{}",
        again.err
    );
    fs::remove_file(copy).unwrap();
    let failed = edit(&node, "exit 3", &[]);
    assert_eq!(failed.code, 2, "{failed:?}");
    assert!(failed.err.contains("exit status: 3"), "{}", failed.err);
    assert_eq!(text(&node), before);
}

#[test]
fn at_a_terminal_the_mistake_is_shown_and_the_editor_opens_again() {
    let node = Node::new("edit-again");
    let before = text(&node);
    let home = tempfile::tempdir().unwrap();
    let does = format!(
        "if [ -e {0}/once ]; then echo '{1}' > \"$1\"; echo '# good' >> \"$1\"; else : > {0}/once; echo 'nonsense' >> \"$1\"; fi",
        home.path().display(),
        before.trim_end()
    );
    let editor = editor(home.path(), &does);
    let mut config = String::new();
    let args = node.args(&mut config, &["config", "edit"]);
    let mut command = ober(&args);
    command.env("VISUAL", editor);
    let mut session = Session::begin(&mut command, ober_programs::Command::spawn).unwrap();
    session.wait_for("nonsense").unwrap();
    session.answer("Edit it again?", "y").unwrap();
    session.wait_for("+# good").unwrap();
    session.answer("Put this in force?", "y").unwrap();
    let (code, said) = session.end().unwrap();
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(text(&node), format!("{}\n# good\n", before.trim_end()));
}

#[test]
fn a_key_pressed_in_the_editor_does_not_end_the_command() {
    let node = Node::new("edit-interrupt");
    let before = text(&node);
    let ran = edit(
        &node,
        "kill -INT $PPID; kill -QUIT $PPID; echo '# mine' >> \"$1\"",
        &["-y"],
    );
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(text(&node), format!("{before}# mine\n"));
}

#[test]
fn what_was_edited_is_kept_for_the_owner_alone_until_it_is_in_force() {
    let node = Node::new("edit-kept");
    let before = text(&node);
    let copy = node.path().join("ober.edit.toml");
    for (more, code) in [(&["--dry-run"][..], 4), (&[], 2)] {
        let ran = edit(&node, "echo '# mine' >> \"$1\"", more);
        assert_eq!(ran.code, code, "{ran:?}");
        assert!(ran.err.contains(&copy.display().to_string()), "{}", ran.err);
        assert_eq!(
            fs::read_to_string(&copy).unwrap(),
            format!("{before}# mine\n")
        );
        let mode = fs::metadata(&copy).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(text(&node), before);
        fs::remove_file(&copy).unwrap();
    }
}

#[test]
fn an_example_that_was_not_edited_does_not_become_the_configuration() {
    let node = Node::new("edit-new");
    fs::remove_file(node.config()).unwrap();
    let ran = edit(&node, "exit 0", &["-y"]);
    assert_eq!(
        (ran.code, ran.out.as_str()),
        (0, "nothing to change\n"),
        "{ran:?}"
    );
    assert!(files(node.path()).is_empty());
}
