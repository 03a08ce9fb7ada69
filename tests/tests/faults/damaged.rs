//! Damages every file that is kept, in every way, and starts the daemon.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::FileTypeExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use ober_tests::{
    lab::{VIP4, client4, client6, until},
    nodes::one::{Settings, Stage},
};
use ober_user::system::store::{Kind, Lasts, Row, TABLE};

use crate::{CONTENT, PATH, store};

type Damage = fn(&[u8]) -> Vec<u8>;

/// What may happen to a file.
const DAMAGES: [Damage; 4] = [
    |_| Vec::new(),
    |bytes| bytes[..bytes.len() / 2].to_vec(),
    |bytes| vec![0; bytes.len()],
    |bytes| {
        let places = (0u32..).take(bytes.len());
        let garbage = places.map(|at| (at.wrapping_mul(0x9e37_79b9) >> 24) as u8 | 0x80);
        garbage.collect()
    },
];

const EXTRA: &str = "
[lists.other]
sources = [\"10.9.9.9\"]

[acme]
terms_agreed = true
contact = [\"admin@example.net\"]
directory = \"https://127.0.0.1:1/directory\"

[[services]]
name = \"issued\"
vips = [\"192.0.2.77\"]
backend = \"rgw\"

[[services.listeners]]
port = 443
acme = [\"s3.example.net\"]

[[services.listeners]]
port = 80
access = \"open\"
";

/// Is this the place, in the notation of the table?
fn fits(place: &str, path: &str) -> bool {
    let Some((before, after)) = place.split_once('*') else {
        return place == path;
    };
    path.strip_prefix(before).is_some_and(|rest| {
        let ends = (0..=rest.len()).take_while(|end| !rest[..*end].contains('/'));
        ends.into_iter().any(|end| fits(after, &rest[end..]))
    })
}

/// Everything below a directory that is a file.
fn files(home: &Path) -> BTreeSet<PathBuf> {
    let mut all = BTreeSet::new();
    for entry in fs::read_dir(home).expect("read a directory").flatten() {
        let kind = entry.file_type().expect("a kind");
        if kind.is_dir() {
            all.extend(files(&entry.path()));
        } else if !kind.is_socket() {
            all.insert(entry.path());
        }
    }
    all
}

/// What is kept of a stage, by its place in the table. Logs and the lock hold nothing that is read back.
fn kept(stage: &Stage) -> Vec<(PathBuf, &'static Row)> {
    let home = stage.cluster.lab.directory();
    let all = ["state", "run"].map(|part| files(&home.join(part)));
    let mut kept = Vec::new();
    for path in all.into_iter().flatten() {
        let name = path
            .strip_prefix(home)
            .expect("below")
            .display()
            .to_string();
        let log = path.extension().is_some_and(|it| it == "log");
        if name.contains(".damaged-") || log || name == "run/lock" {
            continue;
        }
        let mut rows = TABLE.iter().filter(|row| fits(row.place, &name));
        let row = rows.next();
        assert!(row.is_some(), "{name} is in no row of the table");
        kept.extend(row.map(|row| (path, row)));
        assert!(rows.next().is_none(), "{name} is in two rows of the table");
    }
    kept
}

fn damage(path: &Path, how: usize) {
    let bytes = fs::read(path).expect("read it");
    fs::write(path, DAMAGES[how % DAMAGES.len()](&bytes)).expect("damage it");
}

/// The listed client is served and the stranger is not, whatever was lost.
fn serves(stage: &Stage, after: &str) {
    let get = |number: usize| {
        let client = stage
            .open(VIP4)
            .limits(Duration::from_millis(500), crate::PATIENCE);
        let get = stage.cluster.clients[number].tokio(async || client.get(PATH, CONTENT).await);
        get.expect("enter the client")
    };
    let served = until("a listed client that is served", crate::PATIENCE, || {
        Ok(get(0).is_ok().then_some(()))
    });
    assert!(served.is_ok(), "{after}: {served:?}");
    assert!(get(1).is_err(), "{after}: the stranger got in");
    let client = stage.secure(VIP4);
    let get = stage.cluster.clients[1].tokio(async || client.get(PATH, CONTENT).await);
    assert_eq!(get.expect("enter the client"), Ok(()), "{after}");
}

/// A node with a file of every kind.
fn full(name: &str) -> Stage {
    let settings = Settings {
        extra: EXTRA.to_owned(),
        ..Settings::default()
    };
    let mut stage = Stage::new(name, &settings).expect("build the stage");
    stage.start().expect("start");
    store(&stage);
    let source = stage
        .cluster
        .lab
        .write("names", format!("{}\n{}\n", client4(0), client6(0)));
    let source = source.expect("write");
    let mut sync = stage
        .ober
        .ober(&["acl", "sync", "--frontend-http", "-"])
        .expect("ober-user");
    sync.stdin(fs::File::open(source).expect("open it"));
    let output = stage.cluster.node.try_output(&mut sync).expect("run it");
    assert!(
        output.status.success(),
        "set a list from standard input: {output:?}"
    );
    stage
        .cli(&["acl", "add", "other", "10.9.9.10"])
        .expect("add");
    // The same server in another notation.
    let servers = format!("10.77.1.[2-2]:{}", ober_tests::nodes::one::S3_PORT);
    stage
        .cli(&["acl", "sync", "--backend-http", &servers])
        .expect("set servers");
    stage.cli(&["drain", "192.0.2.77"]).expect("drain");
    stage
}

#[test]
fn every_stored_file_is_in_the_table_and_damage_to_one_affects_no_other() {
    let mut stage = full("damaged");
    let all = kept(&stage);
    let kinds: BTreeSet<&str> = all.iter().map(|(_, row)| row.place).collect();
    for row in TABLE {
        // The configuration and what was changed of the machine lie elsewhere, and no authority issues anything here.
        let absent = matches!(
            row.kind,
            Kind::Configuration | Kind::Issued | Kind::Bootstrap | Kind::BackendSetup
        );
        assert_eq!(!kinds.contains(row.place), absent, "{}", row.place);
    }
    for (how, (path, row)) in all.iter().enumerate() {
        let after = format!("{} damaged in way {}", path.display(), how % DAMAGES.len());
        stage.kill().expect("kill the daemon");
        if !path.exists() {
            // After an earlier damage the daemon may have no need of this file.
            stage
                .start()
                .unwrap_or_else(|error| panic!("before {after}: {error:#}"));
            continue;
        }
        damage(path, how);
        let status = stage
            .start()
            .unwrap_or_else(|error| panic!("{after}: {error:#}"));
        serves(&stage, &after);
        let reported = status.disk.damaged.iter().any(|it| it.file == *path);
        let set_aside =
            row.lasts == Lasts::Power && !matches!(row.kind, Kind::History | Kind::ListText);
        if set_aside {
            let key = row.kind == Kind::ClusterKey;
            // Garbage of the right length is a key like any other.
            assert!(reported || key, "{after}: {:?}", status.disk);
        }
        if reported {
            let name = path
                .file_name()
                .expect("a name")
                .to_string_lossy()
                .into_owned();
            let beside = files(path.parent().expect("a directory"));
            let aside = beside
                .iter()
                .any(|it| it.to_string_lossy().contains(&format!("{name}.damaged-")));
            assert!(aside, "{after}: it was moved aside");
        }
    }
}

#[test]
fn a_node_with_all_files_damaged_starts_and_serves_the_clients_the_configuration_lists() {
    let mut stage = full("wreck");
    for how in 0..DAMAGES.len() {
        stage.kill().expect("kill the daemon");
        for (path, _) in kept(&stage) {
            damage(&path, how);
        }
        stage
            .start()
            .unwrap_or_else(|error| panic!("way {how}: {error:#}"));
        serves(&stage, &format!("everything damaged in way {how}"));
    }
}

#[test]
fn a_list_with_a_damaged_file_keeps_its_entries_with_or_without_those_in_the_kernel() {
    let settings = Settings {
        listed: vec!["10.1.1.1".to_owned()],
        ..Settings::default()
    };
    let mut stage = Stage::new("wrecked-list", &settings).expect("build the stage");
    stage.start().expect("start");
    store_by_tls(&stage);
    let sources = format!("{},{}", client4(0), client6(0));
    stage
        .cli(&["acl", "sync", "--frontend-http", &sources])
        .expect("set the list");
    let list = stage
        .cluster
        .lab
        .directory()
        .join("state/lists/frontend-http.json");
    for detach in [false, true] {
        stage.kill().expect("kill the daemon");
        if detach {
            stage.cli(&["detach"]).expect("detach");
        }
        damage(&list, 0);
        let status = stage.start().expect("start");
        assert_eq!(status.disk.damaged.len(), 1, "{:?}", status.disk);
        serves(&stage, "a list's file is empty");
        let listed = |address: &str| {
            stage
                .try_cli(&["acl", "check", address])
                .expect("check")
                .status
                .success()
        };
        assert!(
            !listed("10.1.1.1"),
            "what somebody took off by `acl sync` stays off"
        );
        stage.cli(&["acl", "sync", "--refresh"]).expect("refresh");
        serves(&stage, "and after its sources were read again");
        stage
            .cli(&["acl", "add", "frontend-http", "10.1.1.2"])
            .expect("add");
        assert!(listed("10.1.1.2"));
        stage
            .cli(&["acl", "remove", "frontend-http", "10.1.1.2"])
            .expect("remove");
    }
}

fn store_by_tls(stage: &Stage) {
    store(stage);
}
