use super::*;
use std::collections::BTreeSet;

#[test]
fn every_program_is_in_the_table_once_with_a_reason_and_a_version_question() {
    let names: BTreeSet<&str> = PROGRAMS.iter().map(|program| program.name).collect();
    assert_eq!(names.len(), PROGRAMS.len());
    for program in PROGRAMS {
        assert!(!program.reason.is_empty(), "{}", program.name);
        assert!(!program.question.is_empty(), "{}", program.name);
    }
}

#[test]
fn a_starter_starts_the_other_command_with_its_environment_and_directory() {
    let mut inner = SH.script("echo \"$word $PWD\"", &[]);
    inner.env("word", "well").current_dir("/");
    let output = SETPRIV
        .before(["--no-new-privs", "--"], &inner)
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "well /\n");
}

#[test]
fn a_shell_script_finds_only_the_programs_passed_to_it() {
    let given = SH.script("sleep 0", &[&SLEEP]).output().unwrap();
    assert!(given.status.success(), "{given:?}");
    let not = SH.script("sleep 0", &[]).output().unwrap();
    assert_eq!(not.status.code(), Some(127), "{not:?}");
}

#[test]
fn commands_in_turn_end_at_the_first_failure_and_keep_quoted_words() {
    let say = |word: &str| SH.script(&format!("echo {word}"), &[]);
    let both = SH
        .in_turn(&[&say("'a b'"), &say("\"it's\"")])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&both.stdout), "a b\nit's\n");
    let fails = SH.script("exit 3", &[]);
    let first = SH.in_turn(&[&fails, &say("never")]).output().unwrap();
    assert_eq!((first.status.code(), first.stdout.len()), (Some(3), 0));
}

#[test]
#[should_panic(expected = "give it a line in the table")]
fn command_own_refuses_a_program_of_the_machine() {
    Command::own("/usr/bin/tcpdump");
}

#[test]
fn an_error_for_a_missing_program_names_its_package_and_the_remedy() {
    let error = HAPROXY.at("/nowhere/haproxy").status().unwrap_err();
    let said = error.to_string();
    assert!(said.contains("haproxy (Debian package haproxy)"), "{said}");
    assert!(said.contains("cargo xtask setup"), "{said}");
}
