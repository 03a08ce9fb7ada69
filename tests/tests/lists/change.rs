//! A change is whole or not at all.

use std::{collections::BTreeMap, fs, path::PathBuf};

use ober_tests::{
    lab::{client4, client6},
    nodes::one::Stage,
};

use crate::{acl, listed, lists, serving};

const OTHER: &str = "
[limits]
expansion = 1000

[lists.other]
sources = [\"10.9.9.9\"]
";

/// What is kept on disk for the lists.
fn kept(stage: &Stage) -> BTreeMap<PathBuf, Vec<u8>> {
    let home = stage.cluster.lab.directory().join("state/lists");
    let entries = fs::read_dir(home).expect("the lists' directory").flatten();
    entries
        .map(|entry| (entry.path(), fs::read(entry.path()).expect("read")))
        .collect()
}

#[test]
fn a_malformed_or_too_large_change_is_refused_as_a_whole_and_changes_no_list() {
    let stage = serving("refused", OTHER);
    let before = (lists(&stage), kept(&stage));
    for (expression, words) in [
        ("10.1.0.1,10.1.0.[11-", &["10.1.0.[11-", "^"][..]),
        ("10.1.0.1,10.1.0.[5-2]", &["[5-2]"]),
        ("10.1.0.1 10.1.0.2/33", &["10.1.0.2/33"]),
        ("10.1.0.1,@/nonexistent/names", &["/nonexistent/names"]),
        ("n[0-999999999]", &["1000", "limits.expansion"]),
        ("10.[0-255].[0-255].[0-255]x", &["1000", "limits.expansion"]),
    ] {
        for arguments in [
            vec!["sync", "--frontend-http", expression],
            vec!["add", "frontend-http", expression],
            vec!["remove", "frontend-http", expression],
            vec!["sync", "--frontend-http", expression, "--dry-run"],
            // Lists are set together or not at all, wherever the fault is.
            vec![
                "sync",
                "--frontend-http",
                "10.1.0.7",
                "--list",
                "other",
                expression,
            ],
            vec![
                "sync",
                "--frontend-http",
                expression,
                "--list",
                "other",
                "10.1.0.7",
            ],
        ] {
            acl(&stage, &arguments).says(2, words);
        }
        assert_eq!((lists(&stage), kept(&stage)), before, "{expression}");
    }
    let both = [
        "sync",
        "--frontend-http",
        "10.1.0.7",
        "--list",
        "other",
        "10.1.0.8",
    ];
    acl(&stage, &both).says(
        0,
        &[
            "list frontend-http: 1 added, 2 removed",
            "list other: 1 added, 1 removed",
        ],
    );
}

#[test]
fn a_dry_run_shows_exactly_the_difference_and_changes_nothing() {
    let stage = serving("dry", OTHER);
    let before = (lists(&stage), kept(&stage));
    let wanted = format!("{},10.1.0.[1-3],fd00:1::7,fd00:2::/48", client6(0));
    let sync = [
        "sync",
        "--frontend-http",
        &wanted,
        "--list",
        "other",
        "10.9.9.9",
    ];
    let ran = acl(&stage, &[&sync[..], &["--dry-run"]].concat());
    let expected = format!(
        "list frontend-http: would be 5 added, would be 1 removed, 6 on it\n  + 10.1.0.1-10.1.0.3\n  \
         + fd00:1::7\n  + fd00:2::/48\n  - {}\n\
         list other: would be 0 added, would be 0 removed, 1 on it\n",
        client4(0)
    );
    assert_eq!((ran.code, ran.out.as_str()), (0, expected.as_str()));
    assert_eq!((lists(&stage), kept(&stage)), before);
    assert!(listed(&stage, client4(0)));
    acl(&stage, &sync).says(0, &["list frontend-http: 5 added, 1 removed, 6 on it"]);
}
