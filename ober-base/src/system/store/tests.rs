use std::{fs, path::Path};

use super::*;

fn write(path: &Path, text: &str) -> Pending {
    Pending::write(Kind::List, path, text.as_bytes()).unwrap()
}

fn names(home: &Path) -> Vec<String> {
    let entries = fs::read_dir(home).unwrap().flatten();
    let mut names: Vec<_> = entries
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn an_uncommitted_append_is_undone_and_a_file_changed_since_is_not_appended_to() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("file");
    assert!(Appended::write(&path, 0, b"new").unwrap().is_none());
    fs::write(&path, "old").unwrap();
    drop(Appended::write(&path, 3, b", new").unwrap().unwrap());
    assert_eq!(fs::read(&path).unwrap(), b"old");
    Appended::write(&path, 3, b", new")
        .unwrap()
        .unwrap()
        .commit();
    assert_eq!(fs::read(&path).unwrap(), b"old, new");
    assert!(Appended::write(&path, 3, b", other").unwrap().is_none());
}

#[test]
fn files_written_together_all_appear_or_none_and_no_temporary_file_stays() {
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(name);
    fs::write(at("a"), "old a").unwrap();
    let texts = || ["a", "b", "c"].map(|name| fs::read_to_string(at(name)).ok());
    let batch = || Batch::from(vec![write(&at("a"), "new a"), write(&at("b"), "new b")]);
    // The previous files are put back, as after a change that the kernel refused.
    drop(batch().place().unwrap());
    assert_eq!(texts(), [Some("old a".to_owned()), None, None]);
    // The last file cannot be moved to its place.
    fs::create_dir(at("c")).unwrap();
    fs::write(at("c/full"), "").unwrap();
    let mut bad = batch();
    let mut last = write(&at("elsewhere"), "new c");
    last.spoil(&at("c").join("nowhere/file"));
    bad.push(last);
    bad.place().unwrap_err();
    assert_eq!(texts(), [Some("old a".to_owned()), None, None]);
    batch().place().unwrap().keep();
    let new = ["new a", "new b"].map(|text| Some(text.to_owned()));
    assert_eq!(texts()[..2], new);
    assert_eq!(names(home.path()), ["a", "b", "c"]);
}

#[test]
fn a_damaged_file_is_moved_aside_counts_as_missing_and_the_latest_three_are_kept() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("gate.json");
    for text in ["", "\0\0\0\0", "{\"a\":", "garbage", "[]"] {
        fs::write(&path, text).unwrap();
        let read = recover_json::<std::collections::BTreeMap<String, u32>>(Kind::Orders, &path);
        assert_eq!(read.unwrap(), None, "{text:?}");
        assert!(!path.exists());
    }
    let left = names(home.path());
    assert_eq!(left.len(), 3, "{left:?}");
    assert!(
        left.iter()
            .all(|name| name.starts_with("gate.json.damaged-"))
    );
    let last = fs::read_to_string(home.path().join(&left[2])).unwrap();
    assert_eq!(last, "[]");
    let reported = disk().damaged.into_iter().filter(|it| it.file == path);
    assert_eq!(reported.count(), 5);
    fs::create_dir(&path).unwrap();
    let read = recover_json::<u32>(Kind::Orders, &path).unwrap();
    assert_eq!(read, None, "a directory in its place is no file either");
    assert!(!path.exists());
}

#[test]
fn a_file_that_could_not_be_written_is_reported_until_it_is() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("file");
    let reported = || disk().unkept.iter().any(|unkept| unkept.file == path);
    let error = Error::Write {
        path: path.clone(),
        source: io::ErrorKind::StorageFull.into(),
    };
    unkept(&path, &error);
    assert!(reported());
    write(&path, "text").commit().unwrap();
    assert!(!reported());
    for there in [true, false] {
        unkept(&path, &error);
        assert!(reported());
        remove(&path).unwrap();
        assert!(!reported(), "what is to be in no file is kept: {there}");
    }
}

#[test]
fn every_kind_of_file_is_in_the_table_once_and_files_of_the_state_directory_are_durable() {
    let mut kinds = std::collections::HashSet::new();
    for row in TABLE {
        assert!(kinds.insert(row.kind), "{row:?}");
        let lasts = if row.place.starts_with("run/") {
            Lasts::Boot
        } else {
            Lasts::Power
        };
        assert_eq!(row.lasts, lasts, "{row:?}");
    }
}
