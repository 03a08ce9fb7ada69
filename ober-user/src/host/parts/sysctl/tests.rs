use std::fs;

use super::*;
use crate::host::{plan::Tone, root::Root, wants::Configured};

/// Facts of a machine whose kernel has these settings and whose files say this.
fn facts(live: &[(&'static str, &str)], files: &[(&str, &str)]) -> SysctlFacts {
    let directory = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let place = directory.path().join(path.trim_start_matches('/'));
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        match text.strip_prefix("-> ") {
            Some(to) => std::os::unix::fs::symlink(to, &place).unwrap(),
            None => fs::write(&place, text).unwrap(),
        }
    }
    let root = Root::below(directory.path().to_owned());
    let live = live.iter().map(|(key, value)| (*key, (*value).to_owned()));
    SysctlFacts {
        live: Some(live.collect()),
        lacking: BTreeSet::new(),
        assigned: files::look(&root).unwrap(),
        file: OwnFile {
            object: Object::File(FILE.into()),
            found: State::Absent,
            ours: false,
        },
        home: State::Absent,
    }
}

/// What becomes of the setting in force, and the line of the file.
fn outcome(plan: &PartPlan, key: &str) -> (Option<String>, Option<String>) {
    let object = Object::Sysctl(key.to_owned());
    let live = plan.changes.iter().find(|it| it.object == object);
    let file = plan.changes.iter().find_map(|it| {
        let State::File { text, .. } = &it.after else {
            return None;
        };
        Some(text.clone())
    });
    let start = format!("{key} = ");
    let file = file.unwrap_or_default();
    let line = file.lines().find_map(|line| line.strip_prefix(&start));
    (
        live.map(|it| it.after.to_string()),
        line.map(ToOwned::to_owned),
    )
}

const KEY: &str = "net.core.somaxconn";

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn a_setting_is_left_to_another_file_that_makes_it_good_and_a_later_file_that_wins_is_named() {
    let (good, bad) = ("net.core.somaxconn = 131072\n", "net/core/somaxconn=128\n");
    let (early, late) = ("/etc/sysctl.d/10-a.conf", "/usr/lib/sysctl.d/99-z.conf");
    let set = || Some("65535".to_owned());
    for (files, live, line, named) in [
        (vec![], set(), set(), None),
        (vec![(early, good)], Some("131072".to_owned()), None, None),
        (vec![(early, bad)], set(), set(), None),
        (vec![(late, good)], Some("131072".to_owned()), None, None),
        (vec![(late, bad)], None, None, Some("99-z.conf:1")),
        // The last word holds.
        (
            vec![(early, good), (late, bad)],
            None,
            None,
            Some("99-z.conf:1"),
        ),
        (
            vec![("/etc/sysctl.conf", bad)],
            None,
            None,
            Some("/etc/sysctl.conf:1"),
        ),
        // Debian's link is the same file, and is read with the others of its name.
        (
            vec![
                ("/etc/sysctl.conf", bad),
                ("/etc/sysctl.d/99-sysctl.conf", "-> ../sysctl.conf"),
            ],
            None,
            None,
            Some("99-sysctl.conf:1"),
        ),
        // A file of the first directory hides those of its name, and /dev/null hides them without a word.
        (
            vec![(late, bad), ("/etc/sysctl.d/99-z.conf", "")],
            set(),
            set(),
            None,
        ),
        (
            vec![(late, bad), ("/run/sysctl.d/99-z.conf", "-> /dev/null")],
            set(),
            set(),
            None,
        ),
        // Comments, other names and other ends do not count; a pattern yields to a key.
        (
            vec![
                (
                    "/etc/sysctl.d/99-a.conf",
                    "# net.core.somaxconn=1\n; x\nnet.core.x=1\n",
                ),
                ("/etc/sysctl.d/99-b.txt", bad),
            ],
            set(),
            set(),
            None,
        ),
        (
            vec![
                (early, good),
                ("/etc/sysctl.d/99-c.conf", "net.core.some*=1\n"),
            ],
            Some("131072".to_owned()),
            None,
            None,
        ),
        (
            vec![("/etc/sysctl.d/99-c.conf", "-net.*.somaxconn=1\n")],
            None,
            None,
            Some("99-c.conf:1"),
        ),
    ] {
        let plan = plan(&facts(&[(KEY, "4096")], &files), &Wants::default());
        assert_eq!(outcome(&plan, KEY), (live, line), "{files:?}");
        let words: Vec<&str> = plan.remarks.iter().map(|it| it.words.as_str()).collect();
        match named {
            None => assert_eq!(words, [""; 0], "{files:?}"),
            Some(named) => assert!(
                words.len() == 1 && words[0].contains(named),
                "{files:?}: {words:?}"
            ),
        }
    }
}

#[test]
fn a_setting_that_is_better_than_wanted_stays_as_it_is() {
    for (key, value, better) in [
        (KEY, "65536", None),
        (KEY, "65534", Some("65535")),
        ("net.ipv4.tcp_rmem", "8192 131072 268435456", None),
        (
            "net.ipv4.tcp_rmem",
            "4096 131072 6291456",
            Some("4096 131072 134217728"),
        ),
        ("kernel.panic", "-1", None),
        ("kernel.panic", "0", Some("10")),
        ("net.ipv4.tcp_mtu_probing", "2", None),
        ("net.ipv4.ip_local_reserved_ports", "8000-9000", None),
        (
            "net.ipv4.ip_local_reserved_ports",
            "8080,9148",
            Some("8080,8404-8405,9148"),
        ),
        ("net.ipv4.tcp_congestion_control", "cubic", Some("bbr")),
        ("vm.panic_on_oom", "0", None),
    ] {
        let plan = plan(&facts(&[(key, value)], &[]), &Wants::default());
        let (live, _) = outcome(&plan, key);
        assert_eq!(live.as_deref(), better, "{key} = {value}");
    }
    let dedicated = Wants {
        dedicated: true,
        ..Wants::default()
    };
    let plan = plan(&facts(&[("vm.panic_on_oom", "0")], &[]), &dedicated);
    assert_eq!(outcome(&plan, "vm.panic_on_oom").0.as_deref(), Some("1"));
}

#[test]
fn ports_of_the_configuration_are_reserved_and_written_as_the_kernel_writes_them() {
    let wants = Wants {
        configured: Some(Configured {
            ports: [80, 443, 8404, 65535].into(),
            ..Configured::default()
        }),
        ..Wants::default()
    };
    let key = "net.ipv4.ip_local_reserved_ports";
    let plan = plan(&facts(&[(key, "81")], &[]), &wants);
    let (live, line) = outcome(&plan, key);
    assert_eq!(live.as_deref(), Some("80-81,443,8404-8405,65535"));
    // What is in force only now is not made to last.
    assert_eq!(line.as_deref(), Some("80,443,8404-8405,65535"));
}

#[test]
fn what_the_kernel_does_not_have_is_neither_set_nor_written() {
    let mut lacks = facts(
        &[("net.ipv4.tcp_congestion_control", "cubic"), (KEY, "1")],
        &[],
    );
    lacks.lacking.insert("bbr");
    let plan = plan(&lacks, &Wants::default());
    let congestion = outcome(&plan, "net.ipv4.tcp_congestion_control");
    assert_eq!(congestion, (None, None));
    assert_eq!(plan.remarks.len(), 1);
    assert_eq!(plan.remarks[0].tone, Tone::Warning);
    // This one is of the whole machine, and a namespace does not have it.
    assert_eq!(outcome(&plan, "net.core.rmem_max"), (None, None));
    assert_eq!(outcome(&plan, KEY).0.as_deref(), Some("65535"));
}

#[test]
fn every_setting_has_a_reason_and_is_in_the_table_once() {
    let keys: BTreeSet<&str> = TABLE.iter().map(|it| it.key).collect();
    assert_eq!(keys.len(), TABLE.len());
    for row in &TABLE {
        assert!(row.reason.len() > 20, "{row:?}");
        // What is set is as it must be.
        let wants = Wants::default();
        assert!(row.is_met(&row.better("", &wants), &wants), "{row:?}");
        assert!(
            !row.is_met("0", &wants) || row.want == Want::Exactly("0"),
            "{row:?}"
        );
    }
}
