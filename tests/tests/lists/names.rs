//! Names, files and standard input: what is kept, and what is read again.

use std::{fs, net::IpAddr, path::Path};

use ober_tests::{
    lab::{client4, client6},
    mounts,
    nodes::one::{Settings, Stage},
};

use crate::{Ran, acl, acl_with_input, becomes, listed, lists, serving};

fn write(stage: &Stage, file: &str, text: impl AsRef<str>) {
    // In place: the file is mounted over another.
    fs::write(stage.cluster.lab.directory().join(file), text.as_ref()).expect("write");
}

fn sync(stage: &Stage, expression: &str) -> Ran {
    acl(stage, &["sync", "--frontend-http", expression])
}

#[test]
fn a_name_that_no_longer_resolves_is_reported_and_keeps_its_addresses_unless_pruned() {
    let mut stage = Stage::new("names", &Settings::default()).expect("build the stage");
    let both = format!(
        "{} web1.test\n{} web1.test\n{} web2.test\n",
        client4(0),
        client6(0),
        client4(1)
    );
    write(&stage, "hosts", &both);
    write(
        &stage,
        "resolv.conf",
        "nameserver 127.0.0.1\noptions attempts:1 timeout:1\n",
    );
    let here = stage.cluster.lab.directory().to_owned();
    let names = ["hosts", "resolv.conf"]
        .map(|name| mounts::bind(&here.join(name), &Path::new("/etc").join(name)));
    mounts::start(&mut stage, &names).expect("start with names of its own");
    let ran = sync(&stage, "web[1-2].test");
    ran.says(0, &["3 on it"]);
    assert!(
        [client4(0), client6(0), client4(1)]
            .iter()
            .all(|client| listed(&stage, *client))
    );
    write(&stage, "hosts", format!("{} web1.test\n", client4(0)));
    for again in [
        sync(&stage, "web[1-2].test"),
        acl(&stage, &["sync", "--refresh"]),
    ] {
        again.says(3, &["web2.test", "keeps its earlier addresses"]);
        assert!(!again.out.contains("not resolved: web1.test"), "{again:?}");
        assert!(listed(&stage, client4(1)), "it kept its address");
        assert!(
            !listed(&stage, client6(0)),
            "an address web1.test no longer has"
        );
    }
    let status = stage.status().expect("status");
    let list = status
        .lists
        .iter()
        .find(|list| list.name == "frontend-http");
    let unresolved = &list.expect("the list").unresolved;
    assert_eq!(unresolved.keys().collect::<Vec<_>>(), ["web2.test"]);
    let pruned = acl(
        &stage,
        &["sync", "--frontend-http", "web[1-2].test", "--prune"],
    );
    pruned.says(3, &["web2.test", "1 removed", "1 on it"]);
    assert!(!listed(&stage, client4(1)) && listed(&stage, client4(0)));
    write(&stage, "hosts", both);
    acl(&stage, &["sync", "--refresh"]).says(0, &["3 on it"]);
}

#[test]
fn a_configured_name_keeps_its_addresses_when_other_names_change() {
    let settings = Settings {
        listed: vec!["web[1-2].test".into()],
        ..Settings::default()
    };
    let mut stage = Stage::new("namesconf", &settings).expect("build the stage");
    let both = format!("{} web1.test\n{} web2.test\n", client4(0), client4(1));
    write(&stage, "hosts", both);
    write(&stage, "resolv.conf", "nameserver 127.0.0.1\n");
    let here = stage.cluster.lab.directory().to_owned();
    let names = ["hosts", "resolv.conf"]
        .map(|name| mounts::bind(&here.join(name), &Path::new("/etc").join(name)));
    mounts::start(&mut stage, &names).expect("start with names of its own");
    becomes(&stage, client4(0), true);
    assert!(listed(&stage, client4(1)));
    // The name service knows none of them any more, and the configuration names another client beside one of them.
    write(&stage, "hosts", "127.0.0.1 localhost\n");
    let config = fs::read_to_string(&stage.ober.config).expect("read");
    let edited = config.replace("web[1-2].test", "web1.test,10.1.0.1");
    assert_ne!(edited, config);
    fs::write(&stage.ober.config, edited).expect("write");
    stage.cli(&["reload"]).expect("reload");
    becomes(&stage, "10.1.0.1".parse().expect("address"), true);
    assert!(listed(&stage, client4(0)), "it is still written");
    assert!(!listed(&stage, client4(1)), "it was taken away");
    acl(&stage, &["sync", "--refresh"]).says(3, &["web1.test", "keeps its earlier addresses"]);
    assert!(listed(&stage, client4(0)));
}

const QUICK: &str = "[resolve]\ninterval = \"1s\"\n";

#[test]
fn a_file_and_the_addresses_in_slurms_configuration_are_read_again_at_the_interval() {
    let mut stage = Stage::new("interval", &Settings::default()).expect("build the stage");
    let slurm = |address: IpAddr| format!("NodeName=n1 NodeAddr={address}\n");
    write(&stage, "slurm.conf", slurm(client4(0)));
    write(&stage, "clients", "n1\n10.1.0.1\n");
    let here = stage.cluster.lab.directory().display().to_string();
    let config = fs::read_to_string(&stage.ober.config).expect("read");
    let resolve = format!("{config}\n{QUICK}slurm_conf = \"{here}/slurm.conf\"\n");
    fs::write(&stage.ober.config, resolve).expect("write");
    stage.start().expect("start");
    sync(&stage, &format!("@{here}/clients")).says(0, &["2 on it"]);
    assert!(listed(&stage, client4(0)));
    write(&stage, "slurm.conf", slurm(client4(1)));
    becomes(&stage, client4(1), true);
    assert!(!listed(&stage, client4(0)));
    write(&stage, "clients", "10.1.0.2\n");
    becomes(&stage, "10.1.0.2".parse().expect("address"), true);
    assert!(!listed(&stage, client4(1)));
    // A damaged file changes nothing and is reported; mended, it counts again.
    write(&stage, "clients", "10.1.0.[3-\n");
    let error = || {
        let status = stage.status().expect("status");
        status.lists.into_iter().find_map(|list| list.error)
    };
    ober_tests::lab::until("the fault in the status", crate::SOON, || {
        Ok(error().filter(|error| error.contains("clients")))
    })
    .expect("the fault is told");
    assert!(listed(&stage, "10.1.0.2".parse().expect("address")));
    write(&stage, "clients", "10.1.0.3\n");
    becomes(&stage, "10.1.0.3".parse().expect("address"), true);
    assert_eq!(error(), None);
}

#[test]
fn entries_from_standard_input_are_stored_and_survive_later_faults_and_changes() {
    let mut stage = serving("stdin", "");
    let sync = ["sync", "--frontend-http", "-"];
    let two = format!("{}\n{}\n", client4(0), client6(0));
    acl_with_input(&stage, &sync, &two).says(0, &["2 on it"]);
    let before = lists(&stage);
    // Refused or only shown: what was kept is still what counts.
    acl_with_input(&stage, &sync, "10.1.0.1\n10.1.0.[2-\n").says(2, &["[2-"]);
    acl_with_input(&stage, &[&sync[..], &["--dry-run"]].concat(), "10.1.0.1\n")
        .says(0, &["2 removed"]);
    acl(&stage, &["sync", "--refresh"]).says(0, &["0 added, 0 removed, 2 on it"]);
    assert_eq!(lists(&stage), before);
    // More from standard input adds to it, and takes off what it names alone.
    acl_with_input(
        &stage,
        &["add", "frontend-http", "-"],
        "10.1.0.1\n10.1.0.2\n",
    )
    .says(0, &["2 added, 0 removed, 4 on it"]);
    acl_with_input(&stage, &["remove", "frontend-http", "-"], "10.1.0.1\n")
        .says(0, &["0 added, 1 removed, 3 on it"]);
    acl(&stage, &["sync", "--refresh"]).says(0, &["0 added, 0 removed, 3 on it"]);
    let before = lists(&stage);
    stage.kill().expect("kill the daemon");
    stage.start().expect("start again");
    assert_eq!(lists(&stage), before);
    // Among other expressions `-` would be a slip in a range.
    let mixed = ["sync", "--frontend-http", "10.1.0.7,-,10.1.0.8"];
    acl_with_input(&stage, &mixed, "10.1.0.1\n").says(2, &["write 10.1.0.7-10.1.0.8"]);
    acl(&stage, &["sync", "--refresh"]).says(0, &["0 added, 0 removed, 3 on it"]);
    // A whole new list forgets the old texts, on disk too.
    acl_with_input(&stage, &sync, "10.1.0.9\n").says(0, &["1 added, 3 removed, 1 on it"]);
    let kept = fs::read_dir(stage.cluster.lab.directory().join("state/lists")).expect("lists");
    let texts = kept
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().ends_with(".stdin"));
    assert_eq!(texts.count(), 1);
}
