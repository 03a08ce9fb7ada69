//! The rooms of the user half: which of them name a room above them. Their order is that of the `mod` lines in `src/lib.rs` of
//! `ober-user`, and then of `ober-base`.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails by it, in its helpers as well"
)]
#![expect(
    clippy::disallowed_methods,
    reason = "a test reads the files of the package"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// The sources of the two packages, the upper one first.
fn sources() -> [PathBuf; 2] {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    ["src", "../ober-base/src"].map(|it| package.join(it))
}

/// The rooms of a package, highest first.
fn rooms_in(source: &Path) -> Vec<String> {
    let lib = fs::read_to_string(source.join("lib.rs")).unwrap();
    let lines = lib.lines().filter_map(|line| line.strip_prefix("pub mod "));
    lines
        .filter_map(|line| Some(line.strip_suffix(';')?.to_owned()))
        .collect()
}

/// The rooms with their folders, highest first: the first may use all others.
fn rooms() -> Vec<(String, PathBuf)> {
    let all = sources().into_iter().flat_map(|source| {
        let rooms = rooms_in(&source).into_iter();
        rooms.map(move |room| (room.clone(), source.join(room)))
    });
    all.collect()
}

/// Every file of Rust below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.append(&mut files(&path));
        } else if path.extension().is_some_and(|it| it == "rs") {
            found.push(path);
        }
    }
    found
}

fn is_of_a_name(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '_'
}

/// The names after each `crate::`, comments left out: one name, or the first name of each item of a brace.
fn named(text: &str) -> BTreeSet<String> {
    let code = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n");
    let mut names = BTreeSet::new();
    for behind in code.split("crate::").skip(1) {
        let Some(tree) = behind.strip_prefix('{') else {
            names.extend(
                behind
                    .split(|letter| !is_of_a_name(letter))
                    .next()
                    .map(str::to_owned),
            );
            continue;
        };
        let (mut depth, mut begins) = (1_usize, true);
        for (at, letter) in tree.char_indices() {
            match letter {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 1 => begins = true,
                _ if begins && depth == 1 && is_of_a_name(letter) => {
                    let name: String = tree
                        .get(at..)
                        .unwrap_or_default()
                        .chars()
                        .take_while(|letter| is_of_a_name(*letter))
                        .collect();
                    names.insert(name);
                    begins = false;
                }
                _ => {}
            }
            if depth == 0 {
                break;
            }
        }
    }
    names
}

#[test]
fn names_are_read_from_single_paths_and_from_nested_ones() {
    let text = "use crate::{\n    api::{Reply, status::Status},\n    lists,\n};\nuse crate::config::Config;\n\
                // crate::cli is only spoken of\nfn f() { crate::plan::go() }";
    let expected = ["api", "config", "lists", "plan"].map(str::to_owned);
    assert_eq!(named(text), expected.into());
}

#[test]
fn every_entry_of_the_source_directories_is_a_room() {
    for source in sources() {
        let entries = fs::read_dir(&source).unwrap();
        let beside: BTreeSet<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != "lib.rs" && name != "main.rs")
            .collect();
        assert_eq!(beside, rooms_in(&source).into_iter().collect());
    }
}

#[test]
fn a_room_names_only_rooms_below_it() {
    let rooms = rooms();
    let names = rooms.iter().map(|(room, _)| room.as_str());
    let rank: BTreeMap<&str, usize> = names.zip(0..).collect();
    let mut found = BTreeSet::new();
    for (room, folder) in &rooms {
        for path in files(folder) {
            let names = named(&fs::read_to_string(&path).unwrap());
            let above = names.into_iter().filter(|name| {
                rank.get(name.as_str())
                    .is_some_and(|it| *it < rank[room.as_str()])
            });
            found.extend(above.map(|name| (path.display().to_string(), name)));
        }
    }
    assert!(
        found.is_empty(),
        "these files name a room above their own; move what they need to the room that has it, or below: {found:#?}"
    );
}

#[test]
fn each_rooms_head_comment_states_its_purpose_and_what_it_never_does() {
    for (room, folder) in rooms() {
        let text = fs::read_to_string(folder.join("mod.rs")).unwrap();
        let head: Vec<&str> = text
            .lines()
            .take_while(|line| line.starts_with("//!"))
            .collect();
        assert!(
            !head.is_empty(),
            "{room}/mod.rs opens with what the room is, in lines of `//!`"
        );
        let limits = head
            .iter()
            .any(|line| line.split_whitespace().any(|word| word == "never"));
        assert!(
            limits,
            "{room}/mod.rs says in its head what the room never does, in a sentence with `never`"
        );
    }
}
