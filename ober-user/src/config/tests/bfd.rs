//! The section `[bfd]`.

use super::*;
use crate::protocols::bfd::Micros;

#[test]
fn the_built_in_bfd_profiles_exist_and_a_written_key_changes_only_itself() {
    let directory = ConfigDirectory::new();
    let bfd = directory.parse(LEAST).unwrap().bfd;
    let pace = |name: &str| bfd.profiles[name].timers.transmit;
    assert_eq!(
        ["default", "fast", "ultra"].map(pace),
        [300_000, 50_000, 10_000].map(Micros)
    );
    let text = LEAST.to_owned()
        + "[bfd]\nhold_down = '5s'\n[bfd.profiles.fast]\nmultiplier = 5\n[bfd.profiles.wan]\nreceive = '1s'\npassive = true\n";
    let bfd = directory.parse(&text).unwrap().bfd;
    assert_eq!(bfd.hold_down, Duration::from_secs(5));
    let numbers = |name: &str| {
        let profile = bfd.profiles[name];
        let timers = profile.timers;
        (
            timers.transmit.0,
            timers.receive.0,
            timers.multiplier.get(),
            profile.passive,
        )
    };
    assert_eq!(numbers("fast"), (50_000, 50_000, 5, false));
    assert_eq!(numbers("wan"), (300_000, 1_000_000, 3, true));
    assert_eq!(bfd.profiles.len(), 4);
}

#[test]
fn each_impossible_value_of_a_bfd_profile_is_refused_by_name() {
    let text = LEAST.to_owned()
        + "[bfd.profiles.Fast]\n[bfd.profiles.off]\n[bfd.profiles.a]\ntransmit = '9ms'\nreceive = '2m'\nmultiplier = 0\n";
    let first = LEAST.lines().count();
    let problems = ConfigDirectory::new().problems(&text);
    let lines = problems.iter().map(|problem| {
        let (line, what) = problem.split_once(": ").unwrap();
        (
            line.parse::<usize>().unwrap() - first,
            what.split(" | ").next().unwrap(),
        )
    });
    assert_eq!(
        lines.collect::<Vec<_>>(),
        [(
            6,
            "`multiplier` is 0, but must be a whole number from 1 to 255"
        ),]
    );
    let text = text.replace("multiplier = 0\n", "");
    let problems = ConfigDirectory::new().problems(&text);
    for (problem, words) in problems.iter().zip([
        "`Fast` is no name for a BFD profile",
        "`off` is no name for a BFD profile | a neighbour says `bfd = \"off\"`",
        "`transmit` is 9ms, but must be from 10ms to 60s | software cannot keep a shorter interval",
        "`receive` is 120s, but must be from 10ms to 60s | a failure found after minutes",
    ]) {
        assert!(problem.contains(words), "{words}\n{problem}");
    }
    assert_eq!(problems.len(), 4);
}
