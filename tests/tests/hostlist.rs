//! The oracle of `ober_user::names::hostlist` is Slurm itself: `scontrol show hostnames`, run for every expression.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "the helpers of a test are a test, which clippy cannot see"
)]

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use ober_programs::SCONTROL;
use ober_user::names::{
    hostlist::{Cap, Fault, NoSources, fold, names},
    notation::Miss,
};
use proptest::{prelude::*, test_runner::FileFailurePersistence};

/// scontrol insists on a configuration, though hostnames need nothing from it.
static SLURM_CONF: LazyLock<PathBuf> = LazyLock::new(|| {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("slurm.conf");
    fs::write(&path, "ClusterName=t\nSlurmctldHost=localhost\n").unwrap();
    path
});

/// What scontrol prints, duplicates dropped; `None` when it refuses, which it does with status 0.
fn scontrol(expr: &str) -> Option<Vec<String>> {
    let output = SCONTROL.command()
        .args(["show", "hostnames", expr])
        .env("SLURM_CONF", &*SLURM_CONF)
        .output()
        .unwrap_or_else(|error| {
            panic!("scontrol does not start ({error}): run `cargo xtask setup`, it installs slurm-client")
        });
    assert!(output.status.success(), "scontrol {expr}: {output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    if text.contains("Invalid hostlist") || !output.stderr.is_empty() {
        return None;
    }
    let mut seen = HashSet::new();
    let names = text.lines().filter(|name| seen.insert(name.to_owned()));
    Some(names.map(str::to_owned).collect())
}

fn ours(expr: &str) -> Result<Vec<String>, Fault> {
    names(expr, Cap::default(), &mut NoSources).map_err(|error| error.fault().unwrap().clone())
}

/// Slurm's manual pages, then what its source does with blanks, signs, widths and more than two brackets.
const ACCEPTED: &[&str] = &[
    "n1",
    "n01,n1",
    "n[1-3]",
    "n[1-3,7]",
    "lx[15,18,32-33]",
    "linux[00-17]",
    "tux[1-2][01-02]",
    "rack[0-1]_blade[0-3]",
    "n[09-11],n[9-11]",
    "a[1-2]b[3,5-6]",
    "a[1-2]b[3,5-6]c[7-8]",
    "a[1-2]b[3-4]c[5-6]d[7-8]",
    "a[1,4][3,5][6,7][8-9]",
    "[1-3]",
    "[1-3],a",
    "a b",
    "a\tb",
    "a\nb",
    ",a,,b,",
    " ",
    ",",
    "n1-3",
    "n[1-2]-[3-4]",
    "a.b.c",
    "A_b",
    "001",
    "1",
    "n[1-010]",
    "n[01-9]",
    "n[009-10]",
    "n[9-010]",
    "n[098-101]",
    "n[0,00,000]",
    "n[0-00]",
    "n[00-0]",
    "n[1-1]",
    "n[01-0010]",
    "n[007-9,8]",
    "n[ 1-3]",
    "n[1 -3]",
    "n[1- 3]",
    "n[1, 3]",
    "n[\t1]",
    "n[1 - 3]",
    "n[+1-3]",
    "n[1-+3]",
    "n[10-]",
    "n[1-,3]",
    "n[1-2]m[ 3]",
    "a[1-2] [3-4]",
    "a[1-2]\t[3-4]",
    "n[1-3],n[2-4]",
    "n1,n2,n3,n2,n1",
    "n3,n2,n1",
    "n9,n010",
    "n99,n100",
    "n099,n100",
    "n00,n1,n01",
    "n[9-9,10-11,012]",
    "n[08-09],n[10-11]",
    "n[8-9],n[010-011]",
    "n1[1-2],n13",
    "n01,n[02-3],n4",
    "a[0001]b[01-2]",
    "n[000000000000000000001]",
    "a[18446744073709551615]",
    "10.0.0.[1-3]",
    "10.0.[0-1].[250-260]",
    "10.0.0.300",
    "10.0.0.[01-03]",
    "10.0.0.0/8",
    "fd00::1",
    "fd00::[9-10]",
    "n[1-65536]",
];

#[test]
fn the_expressions_of_slurms_manual_and_its_quirks_expand_as_in_slurm() {
    for &expr in ACCEPTED {
        let expected = scontrol(expr).unwrap_or_else(|| panic!("scontrol refuses {expr}"));
        assert_eq!(ours(expr).as_ref(), Ok(&expected), "{expr}");
    }
}

#[test]
fn expressions_that_slurm_refuses_are_refused_except_suffixes_and_larger_ranges() {
    for expr in [
        "n[3-1]", "n[]", "n[a-c]", "n[1--3]", "n[1-3]]", "n[1,,3]", "n[,1]", "n[1,]", "n[-1]",
        "n[1-2-3]", "n[1:2]", "n[0x1]", "n[[1-2]]", "n[1,[2]]", "n[1 ]", "n[1-3 ]", "n[1- -3]",
        "n[ ]", "n[+]", "n[++1]", "n[1- ]", "n[]x[1]", "n[1]x[a]",
    ] {
        assert_eq!(scontrol(expr), None, "{expr}");
        assert!(ours(expr).is_err(), "{expr}");
    }
    for (expr, count) in [
        ("rgw[01-08].internal", 8),
        ("a[1-2]b[3]c", 2),
        ("n[1-65537]", 65537),
    ] {
        assert_eq!(scontrol(expr), None, "{expr}");
        assert_eq!(ours(expr).map(|names| names.len()), Ok(count), "{expr}");
    }
}

#[test]
fn expressions_that_slurm_wrongly_accepts_are_refused() {
    for (expr, slurm, fault) in [
        ("n[1-", &["n]"][..], Fault::Unclosed),
        ("n[1-3,5", &["n]", "5"], Fault::Unclosed),
        ("a]", &["a]"], Fault::Stray),
        ("n[1a-3]", &["n01", "n02", "n03"], Fault::NotDigits),
        (
            "n[99999999999999999999]",
            &["n18446744073709551615"],
            Fault::TooBig,
        ),
        ("a;b", &["a;b"], Fault::Miss(Miss::Character(';'))),
    ] {
        assert_eq!(scontrol(expr).unwrap(), slurm, "{expr}");
        assert_eq!(ours(expr), Err(fault), "{expr}");
    }
}

fn element() -> impl Strategy<Value = String> {
    let range = |(lo, more, width, blank): (u32, u32, usize, String)| {
        format!("{blank}{lo:0width$}-{}", lo + more)
    };
    prop_oneof![
        4 => "[0-9]{1,4}",
        4 => (0..200u32, 0..15u32, 1..5usize, "[ +]?").prop_map(range),
        1 => "[0-9]{1,2}-",
    ]
}

/// Anything that Slurm's grammar allows: text, then brackets with text between them, none after the last.
fn well_formed() -> impl Strategy<Value = String> {
    let set =
        || proptest::collection::vec(element(), 1..4).prop_map(|e| format!("[{}]", e.join(",")));
    let brackets = proptest::collection::vec(("[a-c0-9._-]{0,2}", set()), 0..4).prop_map(|list| {
        list.into_iter()
            .map(|(text, set)| text + &set)
            .collect::<String>()
    });
    let term =
        prop_oneof![2 => ("[ab]?", brackets).prop_map(|(a, b)| a + &b), 1 => "[ab][0-9]{1,3}"];
    proptest::collection::vec((term, "[, ]{1,2}"), 1..5)
        .prop_map(|list| list.into_iter().map(|(term, end)| term + &end).collect())
}

/// Is there text behind the last bracket of a term?
fn has_suffix(expr: &str) -> bool {
    expr.rsplit(']').next().is_some_and(|rest| !rest.is_empty())
        || expr
            .split(']')
            .skip(1)
            .any(|rest| !rest.starts_with([',', ' ', '[']))
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 400,
        failure_persistence: Some(Box::new(FileFailurePersistence::Off)),
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_well_formed_expression_expands_as_in_slurm(expr in well_formed()) {
        // "-" alone is standard input here, and a leading dash an option there.
        prop_assume!(!expr.starts_with('-') && !expr.split([',', ' ']).any(|term| term == "-"));
        let expected = scontrol(&expr);
        prop_assert!(expected.is_some(), "scontrol refuses {expr}");
        prop_assert_eq!(ours(&expr).ok(), expected);
    }

    #[test]
    fn almost_valid_expressions_agree_with_slurm_or_differ_for_a_known_reason(expr in "n[0-9\\[\\],a -]{1,10}") {
        prop_assume!(!expr.split([',', ' ']).any(|term| term == "-"));
        match (scontrol(&expr), ours(&expr)) {
            (Some(theirs), Ok(ours)) => prop_assert_eq!(ours, theirs),
            (Some(_), Err(fault)) => prop_assert!(
                matches!(fault, Fault::Unclosed | Fault::Stray | Fault::Nested | Fault::NotDigits | Fault::NoNumber | Fault::Backwards),
                "{:?}", fault
            ),
            (None, Ok(_)) => prop_assert!(has_suffix(&expr)),
            (None, Err(_)) => {}
        }
    }

    #[test]
    fn slurm_expands_a_folded_list_to_the_same_names(list in proptest::collection::vec("[ab][0-9]{1,3}|c", 1..30)) {
        let folded = fold(list.iter().map(String::as_str));
        let mut seen = HashSet::new();
        let expected: Vec<_> = list.into_iter().filter(|name| seen.insert(name.clone())).collect();
        prop_assert_eq!(scontrol(&folded), Some(expected), "{}", folded);
    }
}
