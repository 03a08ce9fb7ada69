//! A command names what is wrong with its place and its remedy, and changes nothing.

use std::{collections::BTreeSet, fs, net::IpAddr, os::unix::fs::PermissionsExt as _, path::Path};

use crate::{Node, Ran, ober, run, run_with_input};
use ober_programs::{Command, HAPROXY};
use ober_tests::certificate::Authority;

fn files(directory: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(directory).unwrap();
    let name =
        |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    entries.map(name).collect()
}

fn validate(more: &str) -> Ran {
    let node = Node::with("bad", more);
    let ran = node.run(&["validate"]);
    let written = files(node.path());
    assert_eq!(
        written,
        ["ober.toml".to_owned()].into(),
        "validate must write nothing"
    );
    ran
}

#[test]
fn a_good_configuration_is_valid() {
    let good = validate("");
    assert_eq!(good.code, 0, "{good:?}");
    assert!(good.out.contains("valid: instance bad-"), "{good:?}");
    let json = Node::new("good").run(&["validate", "--json"]);
    assert!(good.out.contains("\nHAProxy "), "{good:?}");
    let changed_live = json.json();
    assert_eq!(changed_live["valid"], true);
    assert_eq!(changed_live["problems"], serde_json::json!([]));
    assert!(
        changed_live["haproxy"]["tls_library"].is_string(),
        "{changed_live}"
    );
}

#[test]
fn an_unknown_key_is_refused_with_its_line_and_the_nearest_name() {
    let refused = validate("\nbalanse = \"leastconn\"\n");
    assert_eq!((refused.code, refused.out.as_str()), (2, ""), "{refused:?}");
    for word in ["ober.toml:26:1", "balanse", "balance"] {
        assert!(refused.err.contains(word), "{word}: {}", refused.err);
    }
}

#[test]
fn problems_in_json_name_file_line_and_column() {
    let node = Node::with("json", "port = \"x\"\n");
    let refused = node.run(&["validate", "--json"]);
    assert_eq!(refused.code, 2);
    let problem = &refused.json()["problems"][0];
    assert_eq!(problem["file"], node.config().display().to_string());
    assert_eq!(
        (&problem["line"], refused.json()["valid"].as_bool()),
        (&25.into(), Some(false))
    );
}

#[test]
fn a_missing_certificate_is_named_with_the_remedy() {
    let refused = validate(
        "\n[[services]]\nname = \"tls\"\nvips = [\"192.0.2.11\"]\nbackend = \"rgw\"\n[[services.listeners]]\nport = 443\ncertificate = \"/nonexistent/s3.pem\"\n",
    );
    assert_eq!(refused.code, 2, "{refused:?}");
    for word in ["/nonexistent/s3.pem", "correct the path, or make the file"] {
        assert!(refused.err.contains(word), "{word}: {}", refused.err);
    }
}

/// A node whose second service ends TLS with the certificate that this line of the configuration, the 32nd, names.
fn with_certificate(name: &str, certificate: &str) -> Node {
    let more = format!(
        "\n[[services]]\nname = \"tls\"\nvips = [\"192.0.2.11\"]\nbackend = \"rgw\"\n[[services.listeners]]\nport = 443\ncertificate = \"{certificate}\"\n"
    );
    Node::with(name, &more)
}

/// The real HAProxy in the node's directory, but it answers no to one question about itself.
fn haproxy_without(node: &Node, question: &str) {
    let path = node.path().join("bin/haproxy");
    let text = format!("#!/bin/sh\n[ \"$2\" = '{question}' ] && exit 1\nexec {HAPROXY} \"$@\"\n");
    fs::create_dir(node.path().join("bin")).unwrap();
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_certificate_or_program_that_cannot_be_used_is_bad_configuration_with_its_line() {
    let authority = Authority::new().unwrap();
    let address: [IpAddr; 1] = ["192.0.2.11".parse().unwrap()];
    let one = authority.server(&address).unwrap();
    let other = authority.server(&address).unwrap();
    let key = |text: &str| text.find("-----BEGIN PRIVATE KEY").unwrap();
    let mismatch = one[..key(&one)].to_owned() + &other[key(&other)..];
    let program =
        |name: &str, path: &str| Node::with(name, &format!("\n[workers]\nhaproxy = \"{path}\"\n"));
    let no_haproxy = program("program", "/bin/true");
    let old = program("old", "bin/haproxy");
    haproxy_without(&old, "version_atleast(2.6)");
    let lacking = program("lacking", "bin/haproxy");
    haproxy_without(&lacking, "feature(PROMEX)");
    for (node, line, words) in [
        (
            with_certificate("mismatch", "mismatch.pem"),
            32,
            "its private key is that of another certificate",
        ),
        (
            with_certificate("empty", "empty"),
            32,
            "there is none that can be used",
        ),
        (no_haproxy, 27, "is no HAProxy"),
        (old, 27, "ober needs HAProxy 2.6 or newer"),
        (lacking, 27, "node.metrics needs HAProxy built with PROMEX"),
    ] {
        fs::write(node.path().join("mismatch.pem"), &mismatch).unwrap();
        fs::create_dir(node.path().join("empty")).unwrap();
        let refused = node.run(&["validate"]);
        assert_eq!(refused.code, 2, "{refused:?}");
        let place = format!("ober.toml:{line}:");
        for words in [place.as_str(), words] {
            assert!(refused.err.contains(words), "{words}: {}", refused.err);
        }
        let refused = node.run(&["validate", "--json"]);
        assert_eq!(refused.code, 2, "{refused:?}");
        let problem = &refused.json()["problems"][0];
        assert_eq!(problem["file"], node.config().display().to_string());
        assert_eq!(problem["line"], line);
    }
}

#[test]
fn standard_input_that_is_no_text_is_refused_with_its_place_as_a_file_is() {
    let node = Node::new("encoding");
    let bytes = b"n1\nn2, caf\xe9 # B\xfcro\n";
    fs::write(node.path().join("hosts"), bytes).unwrap();
    let file = node.path().join("hosts").display().to_string();
    let named = format!("@{file}");
    for (refused, origin) in [
        (
            node.run_with_input(&["acl", "add", "frontend-http", "-"], bytes),
            "standard input",
        ),
        (
            run_with_input(&["hostlist", "expand", "-"], bytes),
            "standard input",
        ),
        (run(&["hostlist", "expand", &named]), file.as_str()),
    ] {
        let words = format!("error: {origin}, line 2, column 8: the line is not UTF-8 text");
        assert!(refused.err.starts_with(&words), "{words}: {refused:?}");
        assert_eq!((refused.code, refused.out.as_str()), (2, ""));
    }
}

#[test]
fn an_expired_certificate_is_valid_with_a_warning() {
    let authority = Authority::new().unwrap();
    let expired = authority.expired(&["192.0.2.11".parse().unwrap()]).unwrap();
    let node = with_certificate("expired", "expired.pem");
    fs::write(node.path().join("expired.pem"), expired).unwrap();
    let valid = node.run(&["validate"]);
    assert_eq!(valid.code, 0, "{valid:?}");
    let warning = "expired.pem: it has been expired for ";
    assert!(valid.out.contains(warning), "{valid:?}");
    let warnings = &node.run(&["validate", "--json"]).json()["warnings"];
    assert!(
        warnings.to_string().contains("it has been expired for "),
        "{warnings}"
    );
}

#[test]
fn validate_and_run_report_the_same_faults_of_expressions_with_their_lines() {
    for (written, advice) in [
        (
            "[lists.x]\nsources = [\"10.0.0.1 - 10.0.0.9\"]\n",
            "write 10.0.0.1-10.0.0.9",
        ),
        (
            "[lists.x]\nsources = [\"10.0.0.1/24\"]\n",
            "write 10.0.0.0/24",
        ),
        (
            "[backends.x]\nservers = [\"http://172.31.9.2:9000\"]\n",
            "write 172.31.9.2:9000",
        ),
        (
            "[backends.x]\nservers = [\"fd00::2:9000\"]\n",
            "write [fd00::2:9000] or [fd00::2]:9000",
        ),
    ] {
        let node = Node::with("expressions", &format!("\n{written}"));
        for command in ["validate", "run"] {
            let refused = node.run(&[command]);
            assert_eq!(refused.code, 2, "{command} {written}: {refused:?}");
            for words in ["ober.toml:27:", advice] {
                assert!(refused.err.contains(words), "{words}: {}", refused.err);
            }
        }
    }
}

#[test]
fn a_missing_slurm_configuration_is_a_warning() {
    let node = Node::with("slurm", "\n[resolve]\nslurm_conf = \"gone.conf\"\n");
    let good = node.run(&["validate"]);
    assert_eq!(good.code, 0, "{good:?}");
    assert!(
        good.out
            .contains("warning: resolve.slurm_conf: No such file"),
        "{good:?}"
    );
    let changed_live = node.run(&["validate", "--json"]);
    assert_eq!(
        (changed_live.code, &changed_live.json()["valid"]),
        (0, &true.into())
    );
    let warnings = &changed_live.json()["warnings"];
    let slurm: Vec<_> = warnings
        .as_array()
        .unwrap()
        .iter()
        .filter(|it| it["about"] == "resolve.slurm_conf")
        .collect();
    assert_eq!(slurm.len(), 1, "{warnings}");
    let said = slurm[0]["message"].as_str().unwrap();
    assert!(said.contains("No such file"), "{warnings}");
    assert!(
        slurm[0]["help"].as_str().unwrap().contains("keep"),
        "{warnings}"
    );
    // The text form shows as many.
    let lines = good
        .out
        .lines()
        .filter(|line| line.starts_with("warning: "));
    assert_eq!(lines.count(), warnings.as_array().unwrap().len());
}

#[test]
fn validate_names_a_missing_haproxy_with_the_remedy() {
    let missing = validate("\n[workers]\nhaproxy = \"/nonexistent/haproxy\"\n");
    assert_eq!((missing.code, missing.out.as_str()), (2, ""), "{missing:?}");
    for word in [
        "ober.toml:27:11",
        "/nonexistent/haproxy",
        "looks it up in PATH",
    ] {
        assert!(missing.err.contains(word), "{word}: {}", missing.err);
    }
}

#[test]
fn a_configuration_that_haproxy_refuses_is_bad_and_haproxys_message_is_shown() {
    let elsewhere = tempfile::tempdir().unwrap();
    let stub = elsewhere.path().join("haproxy");
    fs::write(&stub, "#!/bin/sh\necho 'these are its words' >&2\nexit 1\n").unwrap();
    open_to_all(&stub);
    let more = format!("\n[workers]\nhaproxy = \"{}\"\n", stub.display());
    let node = Node::with("refused", &more);
    let mut config = String::new();
    let mut command = ober(&node.args(&mut config, &["validate"]));
    let refused = Ran::from(command.env("TMPDIR", elsewhere.path()).output().unwrap());
    assert_eq!((refused.code, refused.out.as_str()), (2, ""), "{refused:?}");
    assert!(refused.err.contains("these are its words"), "{refused:?}");
    let left = [files(node.path()), files(elsewhere.path())].map(Vec::from_iter);
    assert_eq!(left, [["ober.toml"], ["haproxy"]]);
}

#[test]
fn a_missing_configuration_is_bad_configuration() {
    let refused = run(&["--config", "/nonexistent/ober.toml", "status"]);
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(
        refused.err.contains("/nonexistent/ober.toml"),
        "{refused:?}"
    );
    let from_environment = ober(&["validate"])
        .env("OBER_CONFIG", "/nonexistent/other.toml")
        .output();
    let from_environment = Ran::from(from_environment.unwrap());
    assert_eq!(from_environment.code, 2);
    assert!(
        from_environment.err.contains("/nonexistent/other.toml"),
        "{from_environment:?}"
    );
}

#[test]
fn wrong_usage_has_its_own_exit_status_and_a_message_with_the_correct_form() {
    let node = Node::new("usage");
    for (args, word) in [
        (&["acl", "sync"][..], "--frontend-http"),
        (&["sync", "--dry-run"], "--frontend-http"),
        (
            &["sync", "--list", "guests", "n1"],
            "the lists are frontend-http, routers",
        ),
        (
            &["sync", "--list", "routers", "n1", "--routers", "n2"],
            "set twice",
        ),
        (
            &["sync", "--routers", "-", "--frontend-http", "-"],
            "standard input can be read once",
        ),
        (
            &["sync", "--backend-http", "n1", "--backend", "x"],
            "the backends are rgw",
        ),
        (
            &["acl", "add", "guests", "n1"],
            "the lists are frontend-http, routers",
        ),
        (&["acl", "check", "n1"], "invalid"),
        (
            &["flow", "explain", "192.0.2.1:1", "[2001:db8::1]:80"],
            "both",
        ),
        (
            &["flow", "explain", "192.0.2.1", "192.0.2.10:80"],
            "invalid",
        ),
        (&["counters", "--watch=0"], "0.1"),
        (
            &["detach", "--instance", "../x"],
            "not the name of an instance",
        ),
        (&["nonsense"], "unrecognized"),
    ] {
        let refused = node.run(args);
        assert_eq!(
            (refused.code, refused.out.as_str()),
            (2, ""),
            "{args:?}: {refused:?}"
        );
        assert!(refused.err.contains(word), "{args:?}: {}", refused.err);
    }
}

#[test]
fn commands_without_a_running_daemon_say_so_and_how_to_start_it() {
    let node = Node::new("absent");
    for args in [
        &["status"][..],
        &["counters"],
        &["acl", "show"],
        &["acl", "check", "192.0.2.1"],
        &["acl", "watch"],
        &["sync", "--refresh"],
        &["flow", "explain", "192.0.2.1:1", "192.0.2.10:80"],
        &["reload"],
    ] {
        let failed = node.run(args);
        assert_eq!(
            (failed.code, failed.out.as_str()),
            (1, ""),
            "{args:?}: {failed:?}"
        );
        for word in [&node.instance, "ober-user run"] {
            assert!(failed.err.contains(word), "{args:?}: {}", failed.err);
        }
    }
    assert_eq!(files(node.path()), ["ober.toml".to_owned()].into());
}

/// The command as a user without any privilege.
fn as_nobody(node: &Node, args: &[&str]) -> Ran {
    let mut config = String::new();
    let args = node.args(&mut config, args);
    // The binary may lie in a directory that the account cannot enter.
    let binary = node.path().join("ober-user");
    // Copied by another program: a child forked by another thread would hold this copy open for writing, so that it could not
    // start.
    let built = ober_tests::lab::program("ober-user").unwrap();
    let copied = ober_programs::CP.command().arg(built).arg(&binary).status();
    assert!(copied.unwrap().success());
    open_to_all(&binary);
    let mut command = Command::own(&binary);
    command
        .args(args)
        .env_remove("RUST_LOG")
        .env_remove("OBER_CONFIG");
    let output = command.uid(65_534).gid(65_534).output().unwrap();
    fs::remove_file(&binary).unwrap();
    output.into()
}

fn open_to_all(path: &Path) {
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
}

#[test]
fn an_account_that_is_not_root_sees_which_capabilities_are_missing() {
    let node = Node::new("nobody");
    open_to_all(node.path());
    for command in ["run", "detach"] {
        let refused = as_nobody(&node, &[command]);
        assert_eq!(
            (refused.code, refused.out.as_str()),
            (1, ""),
            "{command}: {refused:?}"
        );
        for word in [
            "root",
            "CAP_BPF: ",
            "CAP_NET_ADMIN: ",
            "CAP_PERFMON: ",
            "CAP_SYS_ADMIN",
        ] {
            assert!(
                refused.err.contains(word),
                "{command}: {word}: {}",
                refused.err
            );
        }
    }
    assert_eq!(files(node.path()), ["ober.toml".to_owned()].into());
}

#[test]
fn an_account_without_access_to_the_daemon_sees_which_account_has_it() {
    let node = Node::new("denied");
    open_to_all(node.path());
    let socket = node.path().join("run/control.sock");
    fs::create_dir(node.path().join("run")).unwrap();
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    fs::set_permissions(&socket, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    open_to_all(&node.path().join("run"));
    let refused = as_nobody(&node, &["status"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(
        refused.err.contains("control.sock") && refused.err.contains("only root"),
        "{refused:?}"
    );
}

#[test]
fn without_a_daemon_plan_shows_a_start_and_nothing_can_be_applied() {
    let node = Node::new("planless");
    let ran = node.run(&["plan"]);
    assert_eq!(ran.code, 4, "{ran:?}");
    for word in ["no daemon runs", "service s3: added", "attach to lo", "1. "] {
        assert!(ran.out.contains(word), "{word} is not in {}", ran.out);
    }
    for arguments in [&["apply"][..], &["rollback"], &["plan", "--snapshot", "1"]] {
        let ran = node.run(arguments);
        assert!(
            matches!(ran.code, 1 | 2) && ran.err.contains("ober-user run"),
            "{ran:?}"
        );
    }
    let history = node.run(&["history", "--json"]);
    assert_eq!((history.code, history.json()), (0, serde_json::json!([])));
    let missing = node.run(&["history", "7"]);
    assert!(
        missing.code == 2 && missing.err.contains("none is kept yet"),
        "{missing:?}"
    );
}

#[test]
fn doctor_looks_at_the_machine_before_there_is_a_configuration() {
    let node = Node::new("before");
    std::fs::remove_file(node.config()).unwrap();
    let found = node.run(&["doctor", "--json"]).json();
    let findings = found["findings"].as_array().unwrap();
    let of = |part: &str, object: &str| {
        let found = findings
            .iter()
            .find(|it| it["part"] == part && it["object"] == object);
        found.unwrap_or_else(|| panic!("{part} {object}: {found:#?}"))["verdict"].clone()
    };
    assert_eq!(
        of("configuration", &node.config().display().to_string()),
        "warning"
    );
    assert_eq!(of("kernel", "release"), "ok");
    assert_eq!(of("haproxy", "haproxy"), "ok");
    for finding in findings.iter().filter(|it| it["part"] == "sysctls") {
        let advice = finding["advice"].as_str().unwrap_or_default();
        assert!(advice.contains("bootstrap --only sysctl"), "{finding:#}");
    }
}
