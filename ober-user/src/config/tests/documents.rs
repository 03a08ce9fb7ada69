//! The documents in `config/` match the program.

use serde_json::Value;

use super::*;

const EXAMPLE: &str = include_str!("../../../../config/ober.example.toml");

/// Every key of the schema: its path, with `*` for a free name.
fn keys(schema: &Value) -> Vec<String> {
    fn walk(root: &Value, at: &Value, path: &str, keys: &mut Vec<String>) {
        if let Some(name) = at["$ref"].as_str() {
            walk(
                root,
                &root["$defs"][name.trim_start_matches("#/$defs/")],
                path,
                keys,
            );
        }
        for (name, below) in at["properties"].as_object().into_iter().flatten() {
            let path = format!("{path}.{name}");
            walk(root, below, &path, keys);
            keys.push(path);
        }
        for (kind, name) in [("items", ""), ("additionalProperties", ".*")] {
            if at[kind].is_object() {
                walk(root, &at[kind], &format!("{path}{name}"), keys);
            }
        }
    }
    let mut keys = Vec::new();
    walk(schema, schema, "", &mut keys);
    keys
}

/// The name before `=`, or in the brackets of a table. A commented-out key counts.
fn written(line: &str) -> Option<(&str, bool)> {
    let line = line.strip_prefix("# ").unwrap_or(line);
    let table = line.trim_start_matches('[').trim_end_matches(']');
    if line.starts_with('[') {
        return Some((table, true));
    }
    let (name, _) = line.split_once(" = ")?;
    let word = name
        .bytes()
        .all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == b'_');
    word.then_some((name, false))
}

/// The path of a table as in the schema.
fn free_names(table: &str) -> String {
    [
        "rgw",
        "bytes",
        "words",
        "program",
        "routers",
        "frontend-http",
        "default",
    ]
    .iter()
    .fold(format!(".{table}"), |path, name| {
        path.replace(&format!(".{name}"), ".*")
    })
}

#[test]
fn the_example_shows_every_key_of_the_schema_under_a_comment() {
    let mut shown = Vec::new();
    let (mut table, mut before) = (String::new(), "");
    for line in EXAMPLE.lines() {
        if let Some((name, is_table)) = written(line) {
            if is_table {
                table = free_names(name);
                shown.push(table.clone());
            } else {
                let comment = before.starts_with("# ") && written(before).is_none();
                assert!(comment, "no comment above: {line}");
                shown.push(format!("{table}.{name}"));
            }
        }
        before = line;
    }
    for key in keys(&schema()) {
        let inside = format!("{key}.");
        assert!(
            shown
                .iter()
                .any(|name| *name == key || name.starts_with(&inside)),
            "not in the example: {key}"
        );
    }
}

#[test]
fn the_walk_over_the_schema_sees_keys_of_every_depth() {
    let keys = keys(&schema());
    for key in [
        ".node.xdp",
        ".lists.*.sources",
        ".services.listeners.port",
        ".backends.*.check.rise",
    ] {
        assert!(keys.iter().any(|known| known == key), "{key} of {keys:?}");
    }
}

#[test]
fn the_example_is_accepted_and_writes_nothing_but_defaults() {
    let directory = ConfigDirectory::new();
    let certificate = directory.path("s3.pem").display().to_string();
    let example = EXAMPLE.replace("/etc/ober/s3.pem", &certificate);
    assert_ne!(example, EXAMPLE);
    let least = LEAST.replace("rgw[01-08]", "rgw[01-08].internal")
        + "[lists.frontend-http]\nsources = ['node[001-128]', '192.0.2.0/28']\n\
           [lists.routers]\nsources = ['192.0.2.1', '2001:db8::1']\n";
    assert_eq!(
        directory.parse(&example).unwrap(),
        directory.parse(&least).unwrap()
    );
}

#[test]
fn every_key_that_is_commented_out_in_the_example_is_accepted_too() {
    let mut directory = ConfigDirectory::new();
    let key = "0123456789abcdef".repeat(2);
    directory
        .env
        .variables
        .insert("OBER_CLUSTER_KEY".to_owned(), key);
    let token = ("CONSUL_TOKEN".to_owned(), "t".to_owned());
    directory.env.variables.extend([token]);
    let password = ("OBER_BGP_PASSWORD".to_owned(), "s3cret".to_owned());
    directory.env.variables.extend([password]);
    fs::create_dir(directory.path("tls")).unwrap();
    let secret = ("AWS_SECRET_ACCESS_KEY".to_owned(), "s3cret".to_owned());
    directory.env.variables.extend([secret]);
    for file in ["slurm.conf", "ca.pem", "acme.key"] {
        fs::write(directory.path(file), "").unwrap();
    }
    for file in ["list.secret", "check.secret"] {
        fs::write(directory.path(file), "").unwrap();
        fs::set_permissions(directory.path(file), fs::Permissions::from_mode(0o600)).unwrap();
    }
    let lines = EXAMPLE
        .lines()
        // Of two keys that exclude each other, one is left out.
        .filter(|line| {
            ![
                "cluster_key_file",
                "password_file",
                "multihop",
                "secret_key_file",
            ]
            .iter()
            .any(|key| line.contains(&format!("# {key} =")))
                && !line.contains("acme-dns")
        })
        .map(|line| {
            if written(line).is_some() {
                line.trim_start_matches("# ")
            } else {
                line
            }
        });
    let base = directory.directory.path().to_str().unwrap();
    let text = lines.collect::<Vec<_>>().join("\n");
    let text = text.replace("/etc/ober", base).replace("/etc/slurm", base);
    let config = directory.parse(&text).unwrap();
    assert!(config.node.cluster_key.is_some() && config.node.routers.is_some());
    assert_eq!(
        config.resolve.slurm_conf,
        Some(directory.path("slurm.conf"))
    );
    assert_eq!(config.workers.user.as_deref(), Some("ober"));
    assert_eq!(config.workers.cpus, [0, 1]);
    assert!(config.acme.is_some());
    let bgp = config.bgp.unwrap();
    assert_eq!((bgp.neighbours.len(), bgp.announcements.len()), (1, 1));
}

#[test]
fn every_key_that_holds_a_secret_is_hidden_where_configurations_are_shown() {
    fn walk(at: &Value, secrets: &mut Vec<String>) {
        for (name, below) in at["properties"].as_object().into_iter().flatten() {
            if below["writeOnly"] == true {
                secrets.push(name.clone());
            }
        }
        let below = at.as_object().into_iter().flat_map(|it| it.values());
        below.for_each(|below| walk(below, secrets));
    }
    let mut secrets = Vec::new();
    walk(&serde_json::to_value(schema()).unwrap(), &mut secrets);
    assert!(secrets.len() >= 3, "{secrets:?}");
    for key in secrets {
        let line = format!("{key} = 'hush'\n");
        assert!(!without_secrets(&line).contains("hush"), "{key}");
    }
}

/// `UPDATE=1 cargo test` rewrites the file.
#[test]
fn the_schema_in_the_tree_is_that_of_the_types() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../config/ober.schema.json");
    let schema = serde_json::to_string_pretty(&schema()).unwrap() + "\n";
    if std::env::var_os("UPDATE").is_some() {
        fs::write(path, &schema).unwrap();
    }
    let kept = fs::read_to_string(path).unwrap();
    assert!(
        kept == schema,
        "config/ober.schema.json is old: UPDATE=1 cargo test -p ober-user config"
    );
}
