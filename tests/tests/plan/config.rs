//! `config` before a person, on a node that serves: what is answered is put in force, and `rollback` takes it back.

use ober_tests::terminal::Session;

use super::*;

fn begin(stage: &Stage, arguments: &[&str]) -> Session {
    let mut command = stage.ober.ober(arguments).expect("ober-user");
    let node = &stage.cluster.node;
    let start = |command: &mut ober_programs::Command| {
        let started = node.run(|| command.spawn());
        started.map_err(std::io::Error::other)?
    };
    Session::begin(&mut command, start).expect("a terminal")
}

#[test]
fn an_answered_change_is_put_in_force_and_a_rollback_takes_it_back() {
    let (stage, before) = serving("wizard", "");
    let old = text(&stage);
    assert!(served(&stage, 0, 80) && !served(&stage, 1, 80));
    let mut session = begin(&stage, &["config", "--reason", "another client"]);
    for (question, answer) in [
        ("Interfaces that clients come in by", String::new()),
        ("How the VIPs become known", String::new()),
        ("VIPs of service s3", String::new()),
        ("Servers of backend rgw", String::new()),
        ("Certificate of service s3", String::new()),
        ("Clients of service s3", client4(1).to_string()),
        ("Put this in force?", "y".to_owned()),
    ] {
        session.answer(question, &answer).expect(question);
    }
    let (code, said) = session.end().expect("it ends");
    assert_eq!(code, Some(0), "{said}");
    for words in [
        "status 200",
        "+sources = ",
        "in this order",
        "in force as snapshot 2",
    ] {
        assert!(said.contains(words), "{words} is not in {said}");
    }
    assert!(served(&stage, 1, 80) && !served(&stage, 0, 80));
    let latest = history(&stage).pop().expect("history");
    assert_eq!(latest.origin.note.as_deref(), Some("another client"));
    assert_eq!(facts(&stage).2, pids(&before), "no worker is replaced");

    let _: Reloaded = json(&stage, &["rollback"], 0);
    assert_eq!(text(&stage), old);
    assert!(served(&stage, 0, 80) && !served(&stage, 1, 80));
}

#[test]
fn a_script_changes_one_key_of_a_running_node_and_a_file_that_changed_meanwhile_stays() {
    let (stage, _) = serving("script", "");
    let old = text(&stage);
    let arguments = ["config", "-y", "--set", "gate.rise=2", "--json"];
    let (code, out, err) = run(&stage, &arguments);
    assert_eq!(code, 0, "{out}{err}");
    let answer: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(
        (&answer["written"], &answer["done"]["snapshot"]),
        (&true.into(), &2.into())
    );
    assert!(
        text(&stage).starts_with(&old[..old.len() - 2]),
        "only at the end"
    );
    let dry = ["config", "--set", "gate.rise=3", "--dry-run"];
    let (before, number) = (text(&stage), history(&stage).len());
    assert_eq!(run(&stage, &dry).0, 4);
    // Fixed at the start of the daemon: the file alone may change.
    let (code, _, err) = run(&stage, &["config", "--set", "node.metrics=127.0.0.1:8405"]);
    assert!(
        code == 1 && err.contains("fixed at the start"),
        "{code}: {err}"
    );
    assert_eq!((text(&stage), history(&stage).len()), (before, number));

    let mut session = begin(&stage, &["config", "--set", "gate.rise=4"]);
    session
        .wait_for("Put this in force?")
        .expect("the question");
    let theirs = format!("{}# theirs\n", text(&stage));
    fs::write(&stage.ober.config, &theirs).expect("write");
    session.keys("y").expect("a key");
    let (code, said) = session.end().expect("it ends");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("it was changed since"), "{said}");
    assert_eq!((text(&stage), history(&stage).len()), (theirs, number));
}

#[test]
fn the_daemon_judges_with_its_own_variables_and_a_key_fixed_at_the_start_goes_into_the_file_alone()
{
    let mut stage = Stage::new("variables", &Settings::default()).expect("build the stage");
    let variable = ("OBER_TEST_PATIENCE".to_owned(), "7s".to_owned());
    stage.ober.environment.push(variable);
    stage.start().expect("start the daemon");
    stage.ober.environment.clear();
    let set = |value: &str, more: &[&str]| {
        let setting = format!("resolve.timeout={value}");
        run(
            &stage,
            &[&["config", "-y", "--set", &setting], more].concat(),
        )
    };
    let before = text(&stage);
    let (code, _, err) = set("${OBER_TEST_OTHER}", &[]);
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("`OBER_TEST_OTHER` is not set"), "{err}");
    assert_eq!(text(&stage), before);
    for more in [&[][..], &["--file-only"]] {
        let (code, out, err) = set("${OBER_TEST_PATIENCE}", more);
        assert_eq!(code, 0, "{out}{err}");
        fs::write(&stage.ober.config, &before).expect("put the file back");
    }
    let (code, out, err) = run(
        &stage,
        &[
            "config",
            "-y",
            "--file-only",
            "--set",
            "node.metrics=127.0.0.1:8405",
        ],
    );
    assert_eq!(code, 0, "{out}{err}");
    assert!(text(&stage).contains("127.0.0.1:8405"));
    let config = stage.ober.config.display();
    assert!(
        out.contains(&format!("`ober-user --config {config} reload`")),
        "{out}"
    );
}
