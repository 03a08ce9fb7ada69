use std::{fs, path::Path};

use super::{Facts, Owner, Step, instances, make, none_left, remarks, steps};
use crate::host::{Host, record::Author};

fn facts(owner: Owner) -> Facts {
    Facts {
        systemd: true,
        units: vec!["ober.service".to_owned(), "ober@b.service".to_owned()],
        instances: vec!["/etc/ober/ober.toml".into(), "/etc/ober/b.toml".into()],
        directories: vec!["/etc/ober"],
        changed: Author::ALL.to_vec(),
        owner,
        program: true,
        haproxy: true,
    }
}

fn lines(facts: &Facts, keep: bool) -> Vec<String> {
    steps(facts, keep).iter().map(ToString::to_string).collect()
}

#[test]
fn what_may_refuse_comes_first_and_the_program_that_can_do_it_again_goes_last() {
    assert_eq!(
        lines(&facts(Owner::Deb("ober".to_owned())), false),
        [
            "stop ober.service, ober@b.service",
            "end the workers of /etc/ober/ober.toml, take its programs off the interfaces and remove its VIPs",
            "end the workers of /etc/ober/b.toml, take its programs off the interfaces and remove its VIPs",
            "see that no other instance in /sys/fs/bpf/ober runs here",
            "remove /etc/ober/*.toml, *.toml.old and config.d; keys and certificates there stay",
            "put back what `backend-setup` changed",
            "put back what `bootstrap` changed",
            "remove /var/lib/ober, /var/cache/ober and /run/ober: lists, history, records",
            "purge the package ober",
        ]
    );
    assert_eq!(
        lines(&facts(Owner::Table), true)[4..],
        [
            "put back what `backend-setup` changed",
            "put back what `bootstrap` changed, but for the account and the directory of the configuration",
            "remove the files that /usr/share/ober/FILES names",
        ]
    );
}

#[test]
fn what_is_not_there_makes_no_step_and_is_said() {
    let facts = Facts {
        systemd: false,
        units: Vec::new(),
        instances: Vec::new(),
        directories: Vec::new(),
        changed: Vec::new(),
        owner: Owner::Nothing,
        program: true,
        haproxy: true,
    };
    assert_eq!(steps(&facts, true), [Step::NoneLeft]);
    let bare = Facts {
        program: false,
        ..facts.clone()
    };
    assert_eq!(steps(&bare, false), []);
    let all = remarks(&facts, true).join("\n");
    for words in [
        "systemd does not run here",
        "nothing was ever configured",
        "/usr/bin/ober-user: it stays",
        "HAProxy stays installed",
        "/etc/ober and /var/lib/ober stay",
    ] {
        assert!(all.contains(words), "{words}: {all}");
    }
}

#[test]
fn every_instance_that_may_filter_is_detached_and_one_without_a_configuration_stops_the_rest() {
    let directory = tempfile::tempdir().unwrap();
    let make_directory = |path: &str| fs::create_dir_all(directory.path().join(path)).unwrap();
    for path in [
        "etc/ober",
        "srv",
        "var/lib/ober/main",
        "sys/fs/bpf/ober/lost",
    ] {
        make_directory(path);
    }
    for path in ["etc/ober/stopped.toml", "etc/ober/s3.pem", "srv/own.toml"] {
        fs::write(directory.path().join(path), "").unwrap();
    }
    let host = Host::image(directory.path().to_owned());
    let units = ["ober.service", "ober@lab.service"].map(str::to_owned);
    let found = instances(&host, &units, Path::new("/srv/own.toml")).unwrap();
    let expected = [
        "/etc/ober/lab.toml",
        "/etc/ober/ober.toml",
        "/etc/ober/stopped.toml",
        "/srv/own.toml",
    ];
    assert_eq!(found, expected.map(Path::new));

    let refused = none_left(&host, |home| home.ends_with("ober/lost"));
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("known here: lost;"), "{refused}");
    // One that another network namespace has is not of this machine's uninstallation.
    none_left(&host, |_| false).unwrap();
    assert!(host.root.exists("/sys/fs/bpf/ober/lost"));
    fs::remove_dir(directory.path().join("sys/fs/bpf/ober/lost")).unwrap();
    none_left(&host, |_| true).unwrap();
    assert!(!host.root.exists("/sys/fs/bpf/ober"));
    none_left(&host, |_| true).unwrap();
}

#[tokio::test]
async fn files_of_the_table_and_of_the_program_go_and_all_others_stay_also_in_a_second_run() {
    let directory = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let file = directory.path().join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    };
    let table = "/usr/bin/ober-user\n/usr/share/doc/ober/NOTICES\n/etc/passwd\n/usr/../etc/hosts\n";
    write("usr/share/ober/FILES", table);
    let made = "/usr/share/ober\n/usr/share/doc/ober\n/usr/bin\n/etc/ober\n";
    write("usr/share/ober/DIRECTORIES", made);
    for ours in [
        "usr/bin/ober-user",
        "usr/share/doc/ober/NOTICES",
        "etc/ober/ober.toml",
        "etc/ober/ober.toml.old",
        "etc/ober/config.d/a.toml",
        "var/lib/ober/main/history/1.json",
        "var/cache/ober/ober_1_amd64.deb",
    ] {
        write(ours, "");
    }
    for theirs in ["etc/passwd", "etc/hosts", "etc/ober/s3.pem"] {
        write(theirs, "");
    }
    let host = Host::image(directory.path().to_owned());
    for _ in 0..2 {
        for step in [Step::RemoveConfiguration, Step::RemoveState, Step::Files] {
            make(&host, &step).await.unwrap();
        }
        let mut left = std::collections::BTreeMap::new();
        crate::host::tests::tree(directory.path(), &mut left);
        let files = left.keys().filter(|it| it.is_file());
        let files: Vec<_> = files
            .map(|it| it.strip_prefix(directory.path()).unwrap().to_str().unwrap())
            .collect();
        assert_eq!(files, ["etc/hosts", "etc/ober/s3.pem", "etc/passwd"]);
        assert!(!host.root.exists("/usr/share/doc/ober") && !host.root.exists("/usr/bin"));
        assert!(host.root.exists("/usr/share") && host.root.exists("/etc/ober"));
    }
}
