//! Lists that do not fit the kernel's maps.

use std::fmt::Write as _;

use ober_tests::{
    lab::{VIP4, client4},
    nodes::one::{Settings, Stage},
};
use serde_json::Value;

use crate::{CONTENT, PATH, Refusal, store};

const LIMITS: &str = "
[limits]
ipv4_pages = 8
ipv6_hosts = 64
ipv6_prefixes = 4

[lists.other]
sources = [\"10.9.9.9\"]
";

fn lists(stage: &Stage) -> Value {
    serde_json::from_str(&stage.cli(&["acl", "show", "--json"]).expect("show")).expect("JSON")
}

#[test]
fn a_list_over_a_limit_is_refused_with_the_limits_name_and_the_lists_before_stay_in_force() {
    let settings = Settings {
        extra: LIMITS.to_owned(),
        ..Settings::default()
    };
    let mut stage = Stage::new("full", &settings).expect("build the stage");
    stage.start().expect("start");
    store(&stage);
    let mut hosts = String::new();
    for number in 0..4000 {
        writeln!(hosts, "fd00:1::{number:x}:1").expect("text");
    }
    let hosts = stage.cluster.lab.write("hosts", hosts).expect("write");
    let hosts = format!("@{}", hosts.display());
    let before = lists(&stage);
    for (limit, sources) in [
        ("limits.ipv4_pages", "10.[1-40].0.1"),
        ("limits.ipv6_hosts", &hosts),
        (
            "limits.ipv6_prefixes",
            "fd01::/48,fd02::/48,fd03::/48,fd04::/48,fd05::/48,fd06::/48",
        ),
    ] {
        for arguments in [
            vec!["acl", "sync", "--frontend-http", sources],
            vec!["acl", "add", "frontend-http", sources],
            // The list that fits comes first, and is taken back.
            vec![
                "acl",
                "sync",
                "--frontend-http",
                "10.1.1.1",
                "--list",
                "other",
                sources,
            ],
        ] {
            let refusal = Refusal::from(stage.try_cli(&arguments).expect("run"));
            refusal.says(1, &[limit, "raise", "room for its old and its new entries"]);
            assert_eq!(lists(&stage), before, "{arguments:?}");
        }
        let client = stage.open(VIP4);
        let get = stage.cluster.clients[0].tokio(async || client.get(PATH, CONTENT).await);
        assert_eq!(get.expect("enter the client"), Ok(()), "{limit}");
    }
    assert!(stage.status().expect("status").healthy);
    let sources = format!("{},10.1.0.1", client4(0));
    let done = stage.cli(&["acl", "sync", "--frontend-http", &sources]);
    assert!(done.expect("what fits is taken").contains("2 on it"));
}
