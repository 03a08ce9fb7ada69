//! Files that an operator put into the directory of the lists.

use std::{fs, path::PathBuf};

use ober_tests::{
    lab::{client4, client6},
    nodes::one::Stage,
};

use crate::{acl, listed, load, serving};

fn kept(stage: &Stage, name: &str) -> PathBuf {
    stage.cluster.lab.directory().join("state/lists").join(name)
}

/// Starts again under load, with a copy of the list's file beside it.
fn restart_with_a_copy(stage: &mut Stage, source: Option<&PathBuf>) {
    let copies = ["frontend-http-bak.json", "a-frontend-http.json"].map(|name| kept(stage, name));
    for copy in &copies {
        fs::copy(kept(stage, "frontend-http.json"), copy).expect("copy it");
    }
    let load = load(stage)
        .start(&stage.cluster.clients[0])
        .expect("start the load");
    stage.kill().expect("kill the daemon");
    let away = source.map(|source| source.with_extension("away"));
    if let (Some(source), Some(away)) = (source, &away) {
        fs::rename(source, away).expect("take the source away");
    }
    stage.start().expect("start again");
    assert!(listed(stage, client4(0)) && listed(stage, client6(0)));
    let tries = load.done() + 20;
    ober_tests::lab::until("more requests", crate::SOON, || {
        Ok((load.done() > tries).then_some(()))
    })
    .expect("traffic goes on");
    let report = load.finish().expect("finish");
    assert_eq!(report.tally().failed(), 0, "{:?}", report.failures(3));
    for copy in &copies {
        assert!(copy.exists(), "whoever made {} may want it", copy.display());
    }
    if let (Some(source), Some(away)) = (source, &away) {
        fs::rename(away, source).expect("put the source back");
    }
}

#[test]
fn a_copy_of_a_lists_file_removes_no_entry_and_is_left_unchanged() {
    let mut stage = serving("copies", "");
    restart_with_a_copy(&mut stage, None);
    let hosts = format!("{}\n{}\n", client4(0), client6(0));
    let source = stage.cluster.lab.write("hosts.txt", hosts).expect("write");
    let expression = format!("@{}", source.display());
    acl(&stage, &["sync", "--frontend-http", &expression]).says(0, &["2 on it"]);
    restart_with_a_copy(&mut stage, Some(&source));
    // Files of earlier versions did not say which list they are of.
    let file = kept(&stage, "frontend-http.json");
    let text = fs::read_to_string(&file).expect("read");
    assert!(text.contains("\"name\": \"frontend-http\","), "{text}");
    fs::write(&file, text.replace("\"name\": \"frontend-http\",", "")).expect("write");
    restart_with_a_copy(&mut stage, None);
}

#[test]
fn a_list_whose_file_was_overwritten_by_anothers_keeps_its_own_entries_only() {
    let extra = "[lists.other]\nsources = [\"10.9.9.9\"]\n";
    let mut stage = serving("overwritten", extra);
    let numbers = |stage: &Stage| {
        let lists = stage.status().expect("status").lists;
        let mut numbers: Vec<u32> = lists.iter().map(|list| list.number).collect();
        numbers.sort_unstable();
        numbers
    };
    let before = numbers(&stage);
    stage.kill().expect("kill the daemon");
    fs::copy(
        kept(&stage, "frontend-http.json"),
        kept(&stage, "other.json"),
    )
    .expect("overwrite it");
    let status = stage.start().expect("start again");
    assert_eq!(status.disk.damaged.len(), 1, "{:?}", status.disk);
    let after = numbers(&stage);
    let mut distinct = after.clone();
    distinct.dedup();
    assert_eq!((after.len(), distinct.len()), (before.len(), before.len()));
    acl(&stage, &["show", "other"]).says(0, &["10.9.9.9"]);
    let shown = acl(&stage, &["show", "other"]);
    assert!(!shown.out.contains(&client4(0).to_string()), "{shown:?}");
    assert!(listed(&stage, client4(0)));
}
