//! The files of a machine, below a directory.

use std::fs;

use ober_programs::SETPRIV;

use crate::{Image, bootstrap};

const FILE: &str = "etc/sysctl.d/60-ober.conf";

#[test]
fn an_image_is_changed_as_shown_once_only_and_undone_without_a_trace() {
    let image = Image::new();
    let before = image.whole();
    let shown = image.run(&["--dry-run"]);
    shown.says(
        4,
        &[
            "/etc/sysctl.d/60-ober.conf: absent -> a file",
            "+ net.core.somaxconn = 65535",
        ],
    );
    assert_eq!(image.whole(), before, "--dry-run writes nothing");
    image.run(&["-y"]).says(0, &["sysctl: 1 changed"]);
    let text = fs::read_to_string(image.at(FILE)).unwrap();
    assert!(
        text.contains("net.ipv4.tcp_congestion_control = bbr"),
        "{text}"
    );
    let after = image.whole();
    image.run(&["-y"]).says(0, &["nothing to do"]);
    image.run(&["--dry-run"]).says(0, &["nothing to do"]);
    assert_eq!(image.whole(), after);
    image.run(&["--undo", "--dry-run"]).says(4, &["-> absent"]);
    assert_eq!(image.whole(), after);
    image.run(&["--undo", "-y"]).says(0, &["-> absent"]);
    assert_eq!(image.whole(), before);
    image.run(&["--undo", "-y"]).says(0, &["nothing to undo"]);
    assert_eq!(image.whole(), before);
}

#[test]
fn what_an_administrator_changed_since_stays_and_the_undo_says_so() {
    let image = Image::new();
    image.run(&["-y"]).says(0, &[]);
    let text = fs::read_to_string(image.at(FILE)).unwrap() + "kernel.panic = 3\n";
    fs::write(image.at(FILE), &text).unwrap();
    image
        .run(&["--only", "sysctl", "--dry-run"])
        .says(0, &["was not written by this command", "move it away"]);
    for _ in 0..2 {
        image
            .run(&["--undo", "-y"])
            .says(1, &["which bootstrap did not make", "stays"]);
        assert_eq!(fs::read_to_string(image.at(FILE)).unwrap(), text);
    }
    fs::remove_file(image.at(FILE)).unwrap();
    image.run(&["--undo", "-y"]).says(0, &[]);
    assert!(!image.at("var/lib/ober").exists());
}

#[test]
fn the_answers_in_json_name_every_change_and_what_became_of_it() {
    let image = Image::new();
    let of = |arguments: &[&str]| -> serde_json::Value {
        serde_json::from_str(&image.run(arguments).out).unwrap()
    };
    let shown = of(&["--dry-run", "--json", "--only", "sysctl"]);
    assert_eq!(shown["parts"][0]["part"], "sysctl");
    assert_eq!(shown["done"], serde_json::Value::Null);
    let change = &shown["parts"][0]["changes"][0];
    assert_eq!(change["object"]["file"], "/etc/sysctl.d/60-ober.conf");
    assert_eq!(change["before"], "absent");
    let done = of(&["-y", "--json", "--only", "sysctl"]);
    assert_eq!(done["done"][0]["changed"][0]["object"], change["object"]);
    assert_eq!(done["done"][0]["failed"], serde_json::Value::Null);
    let undone = of(&["--undo", "-y", "--json"]);
    assert_eq!(undone[0]["how"], "restore");
}

#[test]
fn a_wrong_name_of_a_part_a_missing_terminal_and_too_few_rights_are_refused_before_anything_is_done()
 {
    let image = Image::new();
    let before = image.whole();
    image
        .run(&["-y", "--only", "sysctl,kernel"])
        .says(2, &["there is no part \"kernel\"", "os, sysctl, qdisc"]);
    image
        .run(&[])
        .says(2, &["standard input is no terminal", "--dry-run"]);
    image
        .run(&["--undo", "--dedicated"])
        .says(2, &["--dedicated"]);
    let common = ["--reuid", "65534", "--regid", "65534", "--clear-groups"];
    // The program is in a directory of root's; its name is all that is looked at here.
    let ran = SETPRIV
        .before(common, &image.command(&["-y"]))
        .output()
        .unwrap();
    crate::Ran::from(ran).says(1, &["not enough privileges", "CAP_DAC_OVERRIDE"]);
    assert_eq!(image.whole(), before);
    let help = crate::Ran::from(bootstrap(&["--help"]).output().unwrap());
    help.says(0, &["--dry-run", "--undo", "bootstrap.json"]);
}

#[test]
fn an_old_release_is_refused_and_an_unknown_one_is_warned_of() {
    let image = Image::new();
    fs::write(image.at("etc/os-release"), "ID=debian\nVERSION_ID=11\n").unwrap();
    let before = image.whole();
    image.run(&["-y"]).says(1, &["debian 11 is too old"]);
    assert_eq!(image.whole(), before);
    image
        .run(&["-y", "--only", "sysctl"])
        .says(0, &["sysctl: 1 changed"]);
    fs::write(image.at("etc/os-release"), "ID=plan9\n").unwrap();
    image
        .run(&["--dry-run", "--only", "os"])
        .says(0, &["was not thought of"]);
}
