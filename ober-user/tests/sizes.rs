//! Files a person can keep in mind: none of this repository is longer than 500 lines, its own tests apart. A function has at
//! most 70 lines; clippy holds it to that (`too-many-lines-threshold`), and this that no `clippy.toml` forgets it.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails by it, in its helpers as well"
)]
#![expect(
    clippy::disallowed_methods,
    reason = "a test reads the files of the repository"
)]

use std::{
    fs,
    path::{Path, PathBuf},
};

const MOST: usize = 500;
const THRESHOLD: &str = "too-many-lines-threshold = 70";
const FOLDERS: [&str; 6] = [
    "ober-base",
    "ober-common",
    "ober-ebpf",
    "ober-user",
    "tests",
    "xtask",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every file below a directory whose name ends so, what cargo made left out.
fn files(directory: &Path, end: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && !path.is_symlink() && name != "target" {
            found.append(&mut files(&path, end));
        } else if path.is_file() && name.ends_with(end) {
            found.push(path);
        }
    }
    found
}

/// Lines before the module of tests at the end of a file.
fn lines(text: &str) -> usize {
    let mut before = "";
    let tests = text.lines().position(|line| {
        let begins = line.ends_with("mod tests {") && !line.starts_with(' ');
        let found = begins && before.starts_with("#[");
        before = line;
        found
    });
    tests.unwrap_or_else(|| text.lines().count())
}

#[test]
fn the_tests_at_the_end_of_a_file_do_not_count() {
    assert_eq!(lines("a\nb\n"), 2);
    assert_eq!(lines("a\n#[cfg(test)]\nmod tests {\n    b\n}\n"), 2);
    assert_eq!(lines("mod tests {\n    b\n}\n"), 3);
}

#[test]
fn no_file_is_longer_than_500_lines_its_tests_apart() {
    let all = FOLDERS.iter().flat_map(|it| files(&root().join(it), ".rs"));
    let long: Vec<_> = all
        .map(|path| (lines(&fs::read_to_string(&path).unwrap()), path))
        .filter(|(lines, _)| *lines > MOST)
        .collect();
    assert!(
        long.is_empty(),
        "these files are longer than {MOST} lines; give a part of each a file of its own: {long:#?}"
    );
}

#[test]
fn every_clippy_toml_limits_functions_to_70_lines() {
    let nested = FOLDERS
        .iter()
        .flat_map(|it| files(&root().join(it), "clippy.toml"));
    for path in nested.chain([root().join("clippy.toml")]) {
        let text = fs::read_to_string(&path).unwrap();
        let says = text.lines().any(|line| line == THRESHOLD);
        assert!(says, "{} lacks `{THRESHOLD}`", path.display());
    }
}
