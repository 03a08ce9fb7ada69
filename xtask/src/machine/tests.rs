use super::checks::{CHECKS, commands, options};
use super::serving::Counts;
use std::collections::BTreeSet;

#[test]
fn every_check_has_a_name_of_its_own_and_a_law() {
    let names: BTreeSet<&str> = CHECKS.iter().map(|check| check.name).collect();
    assert_eq!(names.len(), CHECKS.len());
    assert!(CHECKS.iter().all(|check| !check.law.is_empty()));
    assert!(CHECKS.iter().any(|check| check.quick));
}

#[test]
fn clients_are_content_only_if_they_asked_and_nothing_failed_and_the_download_is_whole() {
    for (said, expected) in [
        (
            "requests=390 failed=0 slowest=0.4 download='whole' failures='none'",
            true,
        ),
        (
            "requests=0 failed=0 slowest=0.0 download='whole' failures='none'",
            false,
        ),
        (
            "requests=390 failed=1 slowest=5.0 download='whole' failures='8.1 s: timed out'",
            false,
        ),
        (
            "requests=390 failed=0 slowest=0.4 download='cut after 3 of 400 pieces at 8.7 s' failures='none'",
            false,
        ),
        (
            "requests=390 failed=0 slowest=0.4 download='unfinished' failures='none'",
            false,
        ),
    ] {
        assert_eq!(Counts::read(said).unwrap().is_clean(), expected, "{said}");
    }
    assert_eq!(Counts::read("Traceback (most recent call last):"), None);
}

#[test]
fn readme_has_four_commands_for_a_node() {
    let commands = commands().unwrap();
    let words = [
        "apt install ./ober_",
        "ober bootstrap",
        "ober config",
        "ober start",
    ];
    assert_eq!(commands.len(), words.len(), "{commands:?}");
    for (command, words) in commands.iter().zip(words) {
        assert!(command.starts_with(&format!("sudo {words}")), "{command}");
    }
}

#[test]
fn podman_is_given_what_the_unit_of_the_container_says() {
    let unit = "[Container]\nImage=x\nNetwork=host\nPodmanArgs=--a=1 --b\nDropCapability=ALL\nAddCapability=BPF KILL\n\
                Volume=/run/ober:/run/ober\n[Service]\nRestart=always\n";
    let expected = [
        "--network=host",
        "--a=1 --b",
        "--cap-drop=ALL",
        "--cap-add=BPF",
        "--cap-add=KILL",
        "--volume=/run/ober:/run/ober",
    ];
    assert_eq!(options(unit), expected);
}
