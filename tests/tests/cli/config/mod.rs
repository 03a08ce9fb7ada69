//! `config`, as an operator and as a script use it.

mod editor;
mod wizard;

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown},
    path::Path,
};

use super::{Node, Ran, run, run_with_input};

/// Every file of a directory, with what is in it.
fn files(directory: &Path) -> BTreeMap<String, String> {
    let entries = fs::read_dir(directory).unwrap().map(Result::unwrap);
    let files = entries.filter(|it| it.file_type().unwrap().is_file());
    files
        .map(|it| {
            let text = fs::read_to_string(it.path()).unwrap();
            (it.file_name().into_string().unwrap(), text)
        })
        .collect()
}

fn text(node: &Node) -> String {
    fs::read_to_string(node.config()).unwrap()
}

fn set(node: &Node, settings: &[&str]) -> Ran {
    let mut args = vec!["config", "-y"];
    for setting in settings {
        args.extend(["--set", *setting]);
    }
    node.run(&args)
}

/// Refused, as wrong usage, with these words; and nothing is written.
fn refused(node: &Node, args: &[&str], words: &[&str]) {
    let before = files(node.path());
    let ran = node.run(args);
    assert_eq!(ran.code, 2, "{args:?}: {ran:?}");
    for word in words {
        assert!(ran.err.contains(word), "{word} is not in {}", ran.err);
    }
    assert_eq!(files(node.path()), before, "{args:?}");
}

#[test]
fn one_value_changes_one_line_and_a_second_time_nothing() {
    let node = Node::with(
        "config-set",
        "balance = \"leastconn\" # as ever\n# the end\n",
    );
    fs::set_permissions(node.config(), fs::Permissions::from_mode(0o640)).unwrap();
    chown(node.config(), None, Some(12)).unwrap();
    let before = text(&node);
    let ran = set(&node, &["backends.rgw.balance=roundrobin"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let after = text(&node);
    assert_eq!(after, before.replace("\"leastconn\"", "\"roundrobin\""));
    for words in [
        "-balance = \"leastconn\" # as ever",
        "+balance = \"roundrobin\" # as ever",
        "no daemon runs: this is what a start would do",
        "in this order",
        ": written",
        // No unit of the package reads this file.
        &format!(
            "`ober-user --config {} run` starts",
            node.config().display()
        ),
    ] {
        assert!(ran.out.contains(words), "{words} is not in {}", ran.out);
    }
    let facts = fs::metadata(node.config()).unwrap();
    assert_eq!((facts.mode() & 0o777, facts.gid()), (0o640, 12));
    let old = node.path().join("ober.toml.old");
    assert_eq!(fs::read_to_string(old).unwrap(), before);
    let again = set(&node, &["backends.rgw.balance=roundrobin"]);
    assert_eq!((again.code, again.out.as_str()), (0, "nothing to change\n"));
    assert_eq!(fs::metadata(node.config()).unwrap().ino(), facts.ino());
    assert_eq!(node.run(&["validate"]).code, 0);
}

#[test]
fn a_dry_run_shows_file_and_plan_and_writes_nothing() {
    let node = Node::new("config-dry");
    let before = files(node.path());
    let ran = node.run(&[
        "config",
        "--dry-run",
        "--set",
        "services.s3.listeners.8080.access=open",
    ]);
    assert_eq!(ran.code, 4, "{ran:?}");
    for words in [
        "+port = 8080",
        "+access = \"open\"",
        ":8080",
        "in this order",
    ] {
        assert!(ran.out.contains(words), "{words} is not in {}", ran.out);
    }
    let args = ["config", "--dry-run", "--json", "--set", "gate.rise=7"];
    let ran = node.run(&args);
    assert_eq!(ran.code, 4, "{ran:?}");
    let answer = ran.json();
    assert_eq!(
        answer["differences"],
        serde_json::json!(["+ gate.rise = 7"])
    );
    assert_eq!(
        (&answer["written"], &answer["done"]),
        (&false.into(), &serde_json::Value::Null)
    );
    assert!(answer["plan"]["steps"].is_array(), "{answer}");
    assert_eq!(files(node.path()), before);
}

#[test]
fn what_cannot_be_is_refused_with_the_reason_and_the_file_stays_byte_for_byte() {
    let node = Node::new("config-bad");
    for (setting, words) in [
        (
            "gate.rise=often",
            &["`rise` is \"often\"", "a whole number"] as &[_],
        ),
        (
            "gate.raise=2",
            &["unknown key `raise`", "did you mean `rise`?"],
        ),
        ("services.s3.vips=[\"192.0.2.300\"]", &["192.0.2.300"]),
        ("services.s3.vips=[\"192.0.2.1\"", &["is no value"]),
        ("services.s3.vips.first=1", &["`vips` has a value"]),
        ("services.s3.routes.x.backend=rgw", &["`routes`"]),
        ("gate", &["set `gate`: KEY=VALUE is wanted"]),
        ("services.s3.backend=none", &["ober.toml:", "none"]),
        (
            "workers.haproxy=/nonexistent/haproxy",
            &["/nonexistent/haproxy"],
        ),
    ] {
        refused(&node, &["config", "--set", setting], words);
    }
    refused(
        &node,
        &["config", "--unset", "gate.rise"],
        &["it is not in"],
    );
    refused(
        &node,
        &["config", "--unset", "services.s3.backend"],
        &["backend"],
    );
    refused(
        &node,
        &["config", "--answers", "/nonexistent/answers"],
        &["/nonexistent/answers"],
    );
}

#[test]
fn a_file_that_is_no_toml_is_left_alone_and_the_place_is_named() {
    let node = Node::with("config-broken", "nonsense here\n");
    let line = text(&node)
        .lines()
        .position(|it| it == "nonsense here")
        .unwrap()
        + 1;
    let place = format!("ober.toml:{line}:");
    refused(&node, &["config", "--set", "gate.rise=2"], &[&place]);
    refused(&node, &["config", "get", "gate.rise"], &[&place]);
    let good = Node::new("config-answers-broken");
    let before = files(good.path());
    let ran = good.run_with_input(&["config", "--answers", "-"], "[gate]\nrise = \n");
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.err.contains("standard input:2:"), "{}", ran.err);
    assert_eq!(files(good.path()), before);
}

#[test]
fn without_a_terminal_and_without_answers_the_two_ways_to_answer_are_shown() {
    let node = Node::new("config-mute");
    refused(
        &node,
        &["config"],
        &[
            "ober-user config -y --set",
            "ober-user config -y --answers FILE",
        ],
    );
}

#[test]
fn where_nothing_can_be_asked_only_y_changes_the_file() {
    let node = Node::new("config-unasked");
    let words = &["was not confirmed", "`-y`", "`--dry-run`"];
    for more in [&[][..], &["--json"], &["--file-only"]] {
        let args = [&["config", "--set", "gate.rise=7"], more].concat();
        refused(&node, &args, words);
    }
    let args = ["config", "-y", "--json", "--set", "gate.rise=7"];
    let ran = node.run(&args);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(ran.json()["written"], serde_json::json!(true));
    // Nothing is to be confirmed.
    let same = node.run(&["config", "--set", "gate.rise=7"]);
    assert_eq!((same.code, same.out.as_str()), (0, "nothing to change\n"));
}

#[test]
fn a_secret_on_the_command_line_is_in_no_message() {
    let node = Node::new("config-secret-typed");
    let before = files(node.path());
    for typed in [
        "node.cluster_key=\"hush",
        "node.cluster_key: hush",
        "node.cluster_key=4815162342",
    ] {
        let ran = node.run(&["config", "--set", typed]);
        assert_eq!(ran.code, 2, "{ran:?}");
        let said = format!("{}{}", ran.out, ran.err);
        assert!(
            !said.contains("hush") && !said.contains("4815162342"),
            "{said}"
        );
    }
    assert_eq!(files(node.path()), before);
}

#[test]
fn answers_make_a_whole_configuration_from_nothing() {
    let home = tempfile::tempdir().unwrap();
    let config = home.path().join("etc/ober.toml");
    let main = config.display().to_string();
    let state = home.path().join("state").display().to_string();
    let answers = format!(
        "node = {{ instance = 'made-{0}', interfaces = ['lo'], state = '{state}', run = '{state}' }}\n\
         [[services]]\nname = 's3'\nvips = ['192.0.2.10']\nbackend = 'rgw'\nlisteners = [{{ port = 80, access = 'open' }}]\n\
         [backends.rgw]\nservers = ['127.0.0.1:9000'] # ours\n",
        std::process::id()
    );
    let args = [
        "--config",
        &main,
        "config",
        "-y",
        "--answers",
        "-",
        "--set",
        "bgp.as=65001",
        "--set",
        "bgp.neighbours.192.0.2.254.as=external",
    ];
    let ran = run_with_input(&args, &answers);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.out.contains("ober.toml (new)"), "{}", ran.out);
    let valid = run(&["--config", &main, "validate"]);
    assert_eq!(valid.code, 0, "{valid:?}");
    let facts = fs::metadata(&config).unwrap();
    assert_eq!(facts.mode() & 0o777, 0o600);
    let again = run_with_input(&args, &answers);
    assert_eq!((again.code, again.out.as_str()), (0, "nothing to change\n"));
}

#[test]
fn keys_are_read_as_they_are_written_and_secrets_are_not_shown() {
    let more = "[bgp]\nas = 65001\n[[bgp.neighbours]]\naddress = '192.0.2.254'\nas = 'external'\npassword = '${SECRET}'\n";
    let node = Node::with("config-get", more);
    fs::set_permissions(node.config(), fs::Permissions::from_mode(0o600)).unwrap();
    let more = node.path().join("config.d");
    fs::create_dir(&more).unwrap();
    fs::write(more.join("gate.toml"), "[gate]\nrise = 3\n").unwrap();
    for (key, out) in [
        ("bgp.as", "65001\n"),
        ("bgp.neighbours.192.0.2.254.as", "external\n"),
        ("bgp.neighbours.192.0.2.254.password", "(secret)\n"),
        ("services.s3.vips", "[\"192.0.2.10\", \"2001:db8::10\"]\n"),
        (
            "services.s3.listeners.80",
            "access = \"frontend-http\"\nport = 80\n",
        ),
        ("gate.rise", "3\n"),
    ] {
        let ran = node.run(&["config", "get", key]);
        assert_eq!((ran.code, ran.out.as_str()), (0, out), "{key}: {}", ran.err);
    }
    let json = node
        .run(&["config", "get", "services.s3.vips", "--json"])
        .json();
    assert_eq!(json, serde_json::json!(["192.0.2.10", "2001:db8::10"]));
    let absent = node.run(&["config", "get", "gate.fall"]);
    assert_eq!(absent.code, 1, "{absent:?}");
    assert!(
        absent.err.contains("`gate.fall` is not written"),
        "{}",
        absent.err
    );
    for (key, words) in [
        ("gate.raise", "unknown key `raise`; did you mean `rise`?"),
        ("gaet.rise", "unknown key `gaet`; did you mean `gate`?"),
        ("services.s3.listeners.80.acces", "did you mean `access`?"),
        ("backends.rgw.check.intervall", "did you mean `interval`?"),
        ("bgp.as.more", "`as` has a value"),
    ] {
        refused(&node, &["config", "get", key], &[words]);
    }
    for key in [
        "backends.cold.servers",
        "services.s3.listeners.443.tls.min_version",
        "lists.more",
    ] {
        let absent = node.run(&["config", "get", key]);
        assert_eq!(absent.code, 1, "{absent:?}");
    }
    let absent = node.run(&["config", "get", "gate.fall", "--json"]);
    assert_eq!((absent.code, absent.json()), (1, serde_json::Value::Null));
    // It stands in the other file, which this command does not change.
    refused(
        &node,
        &["config", "--set", "gate.fall=2"],
        &["config.d/gate.toml", "change it there"],
    );
    let before = files(node.path());
    let ran = node.run_with_input(&["config", "-y", "--answers", "-"], "[gate]\nfall = 2\n");
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.err.contains("config.d/gate.toml"), "{}", ran.err);
    assert_eq!(files(node.path()), before);
    refused(
        &node,
        &["config", "--unset", "gate.rise"],
        &["config.d/gate.toml"],
    );
}

#[test]
fn the_example_that_is_printed_is_the_one_of_the_documents() {
    let ran = run(&["config", "example"]);
    assert_eq!(ran.code, 0);
    assert_eq!(
        ran.out,
        include_str!("../../../../config/ober.example.toml")
    );
}

#[test]
fn a_changed_secret_is_named_and_not_shown() {
    let node = Node::new("config-secret");
    let key = |letter: &str| format!("node.cluster_key={}", letter.repeat(32));
    fs::set_permissions(node.config(), fs::Permissions::from_mode(0o600)).unwrap();
    for letter in ["a", "b"] {
        let ran = set(&node, &[&key(letter)]);
        assert_eq!(ran.code, 0, "{ran:?}");
        assert!(!ran.out.contains(&letter.repeat(32)), "{}", ran.out);
        assert!(ran.out.contains("cluster_key"), "{}", ran.out);
    }
}
